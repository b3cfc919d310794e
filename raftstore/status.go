package raftstore

import (
	"time"

	"github.com/hashicorp/raft"
)

// Status is what this node knows of itself.
type Status struct {
	Name        string    `json:"name"`
	Role        string    `json:"role"` // leader, follower, candidate or shutdown
	Leader      string    `json:"leader,omitempty"`
	Term        uint64    `json:"term"`
	Last        uint64    `json:"last"`      // newest index in the log
	Committed   uint64    `json:"committed"` // newest index that is sure
	Applied     uint64    `json:"applied"`   // newest index in the state
	LastContact time.Time `json:"last_contact,omitzero"`
	Peers       []Peer    `json:"peers"`
	Error       string    `json:"error,omitempty"` // why this node has stopped
}

// Status of this node.
func (s *Store) Status() Status {
	leader, _ := s.Leader()
	st := Status{
		Name: s.cfg.Name, Leader: leader, Role: roleName(s.raft.State()), Term: s.raft.CurrentTerm(),
		Last: s.raft.LastIndex(), Committed: s.raft.CommitIndex(), Applied: s.raft.AppliedIndex(),
		LastContact: s.raft.LastContact(), Peers: s.peersNow(),
	}
	if err := s.Err(); err != nil {
		st.Error = err.Error()
	}
	return st
}

// peersNow are the members, this node too; before there are any those of the configuration file.
func (s *Store) peersNow() []Peer {
	var list []Peer
	for _, m := range s.Members() {
		list = append(list, Peer{m.Name, m.Address})
	}
	if list == nil {
		return s.cfg.Peers
	}
	return list
}

func roleName(s raft.RaftState) string {
	switch s {
	case raft.Leader:
		return "leader"
	case raft.Candidate:
		return "candidate"
	case raft.Follower:
		return "follower"
	default:
		return "shutdown"
	}
}
