package raftstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"drp/raftstore/state"
)

// hello is what coordinators tell each other each second, beside raft. Newer ones may add fields; unknown ones are left
// out, since this is how coordinators of different age learn of each other.
type hello struct {
	Name        string        `json:"name"`
	Start       string        `json:"start,omitempty"` // another word at each start of the process
	Cluster     string        `json:"cluster,omitempty"`
	Incarnation uint64        `json:"incarnation,omitempty"`
	Level       int           `json:"level"`
	Term        uint64        `json:"term"`
	Last        uint64        `json:"last"`
	Committed   uint64        `json:"committed"`
	Applied     uint64        `json:"applied"`
	Leads       bool          `json:"leads,omitempty"`   // and has all that was committed before
	Sure        time.Duration `json:"sure,omitempty"`    // of a leader: how long ago a quorum was heard
	Joining     bool          `json:"joining,omitempty"` // it waits to be added
	Members     []helloMember `json:"members,omitempty"`
	Head        mark          `json:"head"` // of its state as it is
	Marks       []mark        `json:"marks,omitempty"`
	Clock       time.Time     `json:"clock"`
	Full        string        `json:"full,omitempty"` // its disk is: a sentence
	Quarantined string        `json:"quarantined,omitempty"`
}

type helloMember struct {
	Name  string `json:"name"`
	Voter bool   `json:"voter"`
}

// maxHello bounds one, encoded. 64 marks take about 6 KiB.
const maxHello = 64 << 10

func (h *hello) encode() ([]byte, error) {
	data, err := json.Marshal(h)
	if err == nil && len(data) > maxHello {
		err = fmt.Errorf("it has %d bytes, and %d are allowed", len(data), maxHello)
	}
	if err != nil {
		return nil, fmt.Errorf("encode hello: %w", err)
	}
	return data, nil
}

func decodeHello(data []byte, from string) (*hello, error) {
	var h hello
	if err := json.Unmarshal(data, &h); err != nil {
		return nil, fmt.Errorf("read hello of %s: %w", from, err)
	}
	if h.Name != from {
		return nil, fmt.Errorf("read hello of %s: it calls itself %s", from, h.Name)
	}
	if len(h.Marks) > keptMarks {
		return nil, fmt.Errorf("read hello of %s: %d marks", from, len(h.Marks))
	}
	return &h, nil
}

// knows returns the digest at an index, as far as the hello tells it.
func (h *hello) knows(index uint64) (state.Digest, bool) {
	if h.Head.Index == index {
		return h.Head.Digest, true
	}
	for _, m := range h.Marks {
		if m.Index == index {
			return m.Digest, true
		}
	}
	return state.Digest{}, false
}

// member reports whether the sender counts this node among the members.
func (h *hello) member(name string) (voter, ok bool) {
	for _, m := range h.Members {
		if m.Name == name {
			return m.Voter, true
		}
	}
	return false, false
}

// courier carries hellos between coordinators of one cluster; it has made sure of both ends' names.
type courier interface {
	// ask sends a hello and returns the answer. It gives up when ctx ends.
	ask(ctx context.Context, to Peer, h *hello) (*hello, error)
	// answer says what to answer with. It is called once. What comes before it is turned away.
	answer(func(h *hello) *hello)
}

// hello of this node, as things are.
func (s *Store) hello() *hello {
	v := s.View()
	h := &hello{
		Name: s.cfg.Name, Start: s.word, Level: s.cfg.Level, Clock: s.cfg.Clock.Wall(), Incarnation: s.parts.history.incarnation(),
		Term: s.raft.CurrentTerm(), Last: s.raft.LastIndex(), Committed: s.raft.CommitIndex(), Applied: s.raft.AppliedIndex(),
		Joining: s.roster.isJoining(), Head: mark{v.Index(), v.Digest()}, Marks: s.fsm.marks.all(),
		Full: s.space.full(),
	}
	if c := v.Cluster(); c != nil {
		h.Cluster = c.UUID
	}
	if s.established() {
		h.Leads, h.Sure = true, time.Since(s.peers.quorumHeard(time.Now(), h.Term, s.cfg.Name, s.roster.voters()))
	}
	if err := s.Err(); errors.Is(err, ErrQuarantined) {
		h.Quarantined = err.Error()
	}
	for _, m := range s.roster.servers() {
		h.Members = append(h.Members, helloMember{string(m.ID), m.Suffrage == voter})
	}
	return h
}
