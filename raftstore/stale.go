package raftstore

import (
	"math"
	"time"

	"drp/raftstore/state"
)

// AgeUnknown is the age of a state when the leader was not heard since this node started.
const AgeUnknown = time.Duration(math.MaxInt64)

// freshness is how old this node's state can be at most.
type freshness struct {
	at      time.Time // all that was committed then is in our state
	pending []known   // what it will be once our state has come so far, oldest first
}

type known struct {
	at    time.Time
	index uint64 // of the leader's state
}

const maxPending = 16

// leaderSaid notes what a leader's state had when it was asked: whatever was acknowledged until then.
func (p *peers) leaderSaid(h *hello, asked time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fresh.pending = append(p.fresh.pending, known{asked.Add(-h.Sure), h.Head.Index})
	if len(p.fresh.pending) > maxPending {
		p.fresh.pending = p.fresh.pending[1:] // a later one is as good as soon as it is reached
	}
}

// freshAt is when our state, which is at this index, was known to be complete.
func (p *peers) freshAt(index uint64) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.fresh.pending) > 0 && p.fresh.pending[0].index <= index {
		if first := p.fresh.pending[0]; first.at.After(p.fresh.at) {
			p.fresh.at = first.at
		}
		p.fresh.pending = p.fresh.pending[1:]
	}
	return p.fresh.at
}

// ReadStale returns the state that this node has, leader or not, with how old it is at most: whatever was acknowledged
// longer ago is in it. It is for people who have to know something while nobody leads; show the age beside it.
func (s *Store) ReadStale() (v *state.View, age time.Duration, err error) {
	if err := s.Err(); err != nil {
		return nil, 0, err
	}
	now := time.Now()
	v = s.View()
	at := s.peers.freshAt(v.Index())
	if s.established() {
		if sure := s.peers.quorumHeard(now, s.raft.CurrentTerm(), s.cfg.Name, s.roster.voters()); sure.After(at) {
			at = sure
		}
	}
	if at.IsZero() {
		return v, AgeUnknown, nil
	}
	return v, max(now.Sub(at), 0), nil
}

// established reports whether this node leads and has all that was committed before.
func (s *Store) established() bool {
	l, _ := s.leadership()
	if l == nil {
		return false
	}
	select {
	case <-l.ready:
		return l.ctx.Err() == nil
	default:
		return false
	}
}
