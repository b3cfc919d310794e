package raftstore

import (
	"slices"
	"sync"

	"github.com/hashicorp/raft"
)

// roster says who belongs to the cluster and where they are. Membership is what raft's configuration says. The
// configuration file has the word on addresses, so that a coordinator can move without a command in the log.
type roster struct {
	self string
	file []Peer

	mu      sync.Mutex
	current func() raft.Configuration // nil until raft runs
	told    map[string]bool           // members by the word of a member: our own log may not have them yet
	joining bool                      // we wait to be added, and know nobody
}

func newRoster(cfg *Config) *roster {
	return &roster{self: cfg.Name, file: cfg.Peers, told: map[string]bool{}}
}

func (r *roster) follow(run *raft.Raft) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current = func() raft.Configuration { return run.GetConfiguration().Configuration() }
}

// servers of raft's newest configuration, committed or not.
func (r *roster) servers() []raft.Server {
	r.mu.Lock()
	current := r.current
	r.mu.Unlock()
	if current == nil {
		return nil
	}
	return current().Servers
}

func (r *roster) server(name string) (raft.Server, bool) {
	for _, s := range r.servers() {
		if string(s.ID) == name {
			return s, true
		}
	}
	return raft.Server{}, false
}

func (r *roster) voters() []string {
	var list []string
	for _, s := range r.servers() {
		if s.Suffrage == raft.Voter {
			list = append(list, string(s.ID))
		}
	}
	return list
}

// others are whom this node talks to: the members, and those of the file where there are none yet.
func (r *roster) others() []Peer {
	servers := r.servers()
	if len(servers) == 0 {
		return slices.DeleteFunc(slices.Clone(r.file), func(p Peer) bool { return p.Name == r.self })
	}
	var list []Peer
	for _, s := range servers {
		if name := string(s.ID); name != r.self {
			address, _ := r.address(name)
			list = append(list, Peer{name, address})
		}
	}
	return list
}

func (r *roster) address(name string) (string, bool) {
	for _, p := range r.file {
		if p.Name == name {
			return p.Address, true
		}
	}
	s, ok := r.server(name)
	return string(s.Address), ok
}

// at are the coordinators that are reached at an address, as far as it is known whose it is.
func (r *roster) at(address string) []string {
	var names []string
	for _, p := range slices.Concat(r.others(), r.file) {
		if p.Address == address {
			names = append(names, p.Name)
		}
	}
	return names
}

// admits reports whether raft may talk to this coordinator of our cluster. The configuration file counts only as long as raft
// has no configuration: who was removed stands in it for as long as nobody edits it.
func (r *roster) admits(name string) bool {
	servers := r.servers()
	inFile := slices.ContainsFunc(r.file, func(p Peer) bool { return p.Name == name })
	if len(servers) == 0 && inFile || slices.ContainsFunc(servers, func(s raft.Server) bool { return string(s.ID) == name }) {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.joining || r.told[name]
}

// believe takes the word of a member for who the others are. Else a node that missed the change by which one was added
// would refuse that one as the leader, and never learn of the change.
func (r *roster) believe(members []helloMember) {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.told)
	for _, m := range members {
		r.told[m.Name] = true
	}
}

func (r *roster) setJoining(joining bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.joining = joining
}

func (r *roster) isJoining() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.joining
}
