package raftstore

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// errNewVoter: the others count on the vote of a node that has forgotten whom it gave it to.
var errNewVoter = errors.New("this coordinator is a voter of the cluster, and its directory is new: it has forgotten what it promised, and must not vote. " +
	"If its old directory is lost, run drp raft remove at another coordinator, and then drp raft join")

// judgeOwnPlace learns from the leader what we are.
func (s *Store) judgeOwnPlace(h *hello) {
	ours := s.parts.history.incarnation()
	second := !s.roster.isJoining() && (ours == 0 || h.Incarnation == ours) && s.leadsAnother(h)
	s.alarms.set(AlarmSecond, h.Name, second, "coordinator %s leads a cluster of its own, in which %s is not: it was begun with a configuration that does not list the same peers. "+
		"Nothing passes between the two, and both would give accounts away. Stop %s, keep its directory, and let it join under a new name (drp server init --join)", h.Name, s.cfg.Name, h.Name)
	if second { // its word on who was removed is not that of our cluster
		s.alarms.set(AlarmRemoved, s.cfg.Name, false, "")
		return
	}
	if !h.Leads || h.Term < s.raft.CurrentTerm() || h.Sure > heardOf || ours != 0 && h.Incarnation != ours {
		return
	}
	votes, member := h.member(s.cfg.Name)
	if !s.roster.isJoining() {
		s.alarms.set(AlarmRemoved, s.cfg.Name, !member, "coordinator %s was removed from the cluster: it takes part in nothing any more. Stop it; to use the machine again, empty its data directory and run drp server init --join", s.cfg.Name)
		return
	}
	switch {
	case !member:
	case votes:
		s.fail(errNewVoter)
	case s.inOwnConfiguration(): // what is on the disk speaks for itself from now on
		if err := s.parts.papers.remove(joiningName); err != nil {
			s.fail(err)
			return
		}
		s.roster.setJoining(false)
		s.parts.transport.gate.lift()
	}
}

// inOwnConfiguration reports whether our own log has come to where we were added. Before that it may name only members of
// long ago, and whoever sends us the rest of it would be refused.
func (s *Store) inOwnConfiguration() bool {
	_, ok := s.roster.server(s.cfg.Name)
	return ok
}

// leadsAnother reports whether a coordinator leads a cluster without us while ours is at work: there is one leader that a
// quorum hears, and who was removed hears none.
func (s *Store) leadsAnother(h *hello) bool {
	if _, member := h.member(s.cfg.Name); member || !h.Leads || h.Sure > answering {
		return false
	}
	if s.established() {
		return time.Since(s.peers.quorumHeard(time.Now(), s.raft.CurrentTerm(), s.cfg.Name, s.roster.voters())) <= answering
	}
	leader, ok := s.Leader()
	return ok && leader != h.Name && time.Since(s.raft.LastContact()) <= answering
}

// voteGate keeps a node that waits to join from voting: raft itself, while it knows no members, votes for anybody.
type voteGate struct {
	passed chan raft.RPC
	done   chan struct{}
	ended  chan struct{}

	mu     sync.Mutex
	lifted bool
}

var errNoVoteYet = errors.New("this coordinator waits to be added, and does not vote")

func newVoteGate(from <-chan raft.RPC) *voteGate {
	g := &voteGate{passed: make(chan raft.RPC), done: make(chan struct{}), ended: make(chan struct{})}
	go g.pass(from)
	return g
}

func (g *voteGate) pass(from <-chan raft.RPC) {
	defer close(g.ended)
	for {
		select {
		case rpc := <-from:
			if g.refuses(rpc.Command) {
				rpc.Respond(nil, errNoVoteYet)
				continue
			}
			select {
			case g.passed <- rpc:
			case <-g.done:
				return
			}
		case <-g.done:
			return
		}
	}
}

func (g *voteGate) refuses(command any) bool {
	switch command.(type) {
	case *raft.RequestVoteRequest, *raft.RequestPreVoteRequest, *raft.TimeoutNowRequest:
		g.mu.Lock()
		defer g.mu.Unlock()
		return !g.lifted
	}
	return false
}

func (g *voteGate) lift() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lifted = true
}

func (g *voteGate) close() {
	close(g.done)
	<-g.ended
}

// begin makes the first state of a node that has none: that of a new cluster, or that of a node that waits.
func (s *Store) begin(config *raft.Config, exists bool) error {
	p := s.parts
	first, err := p.papers.has(firstStartName)
	if err != nil {
		return err
	}
	joining, err := p.papers.has(joiningName)
	if err != nil {
		return err
	}
	switch {
	case joining: // until the leader says what we are, whatever came from it already
		s.roster.setJoining(true)
		p.transport.gate = newVoteGate(p.transport.Consumer())
		return nil
	case exists:
	case !first:
		return ErrEmpty
	default:
		// Every voter does so with the same list, which is as safe as if one had.
		if err := raft.BootstrapCluster(config, p.logs, p.stable, p.snapshots, p.transport, s.cfg.voters()); err != nil {
			return fmt.Errorf("bootstrap: %w", err)
		}
	}
	return p.papers.remove(firstStartName)
}
