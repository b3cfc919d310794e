package raftstore

import (
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
)

// transport is raft's, without two of its short cuts.
type transport struct {
	raft.Transport
	// abstains says why this node must not become the leader, or nil.
	abstains func() error
	gate     *voteGate // nil: this node votes
	closed   sync.Once
}

func newTransport(t raft.Transport) *transport {
	return &transport{Transport: t, abstains: func() error { return nil }}
}

// Consumer gives the requests of the others.
func (t *transport) Consumer() <-chan raft.RPC {
	if t.gate != nil {
		return t.gate.passed
	}
	return t.Transport.Consumer()
}

// SetHeartbeatHandler does nothing, so that heartbeats queue to raft's main loop like everything else. On the short cut
// another goroutine changes the term under it, and a deposed leader can write an entry in a term that it never
// led (hashicorp/raft#695).
func (*transport) SetHeartbeatHandler(func(raft.RPC)) {}

// AppendEntriesPipeline is never used: see MaxRPCsInFlight.
func (*transport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// RequestPreVote has to be forwarded by name: without it raft does without pre-votes, and a node that comes back from
// a cut deposes the leader.
func (t *transport) RequestPreVote(id raft.ServerID, to raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if err := t.abstains(); err != nil {
		return fmt.Errorf("request pre-vote: %w", err)
	}
	w, ok := t.Transport.(raft.WithPreVote)
	if !ok {
		return errors.New("request pre-vote: the transport knows none")
	}
	return w.RequestPreVote(id, to, args, resp)
}

// Close ends the connections.
func (t *transport) Close() (err error) {
	t.closed.Do(func() {
		if t.gate != nil {
			t.gate.close()
		}
		if w, ok := t.Transport.(raft.WithClose); ok {
			err = w.Close()
		}
	})
	return err
}
