package raftstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"drp/raftstore/state"
)

// fsm is the thin shell round the state that raft talks to. Raft calls Apply, Snapshot and Restore from one goroutine.
type fsm struct {
	logger *slog.Logger
	fail   func(error) // tells the store that this node cannot go on

	state atomic.Pointer[state.State]
	// stopped is why nothing is applied any more. Of a state that misses an entry no snapshot may ever be taken.
	stopped error
	// installs are the times of snapshots that came one after the other, without an entry in between.
	installs []time.Time

	mu   sync.Mutex
	next chan struct{} // closed at the next change
}

func newFSM(logger *slog.Logger, fail func(error)) *fsm {
	f := &fsm{logger: logger, fail: fail, next: make(chan struct{})}
	f.state.Store(state.New())
	return f
}

func (f *fsm) view() *state.View { return f.state.Load().View() }

func (f *fsm) changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.next
}

func (f *fsm) announce() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.next)
	f.next = make(chan struct{})
}

// Apply answers with a state.Result, or an error where this node has stopped.
func (f *fsm) Apply(entry *raft.Log) any {
	if f.stopped != nil {
		return f.stopped
	}
	result, err := f.apply(entry)
	if err != nil {
		f.stopped = err
		f.fail(err)
		return err
	}
	f.installs = nil
	f.announce()
	return result
}

func (f *fsm) apply(entry *raft.Log) (state.Result, error) {
	var c state.Command
	d := json.NewDecoder(bytes.NewReader(entry.Data))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return state.Result{}, fmt.Errorf("decode entry %d of the log: %w", entry.Index, err)
	}
	return f.state.Load().Apply(entry.Index, c)
}

// Snapshot captures the state; raft writes it while the next entries are being applied.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if f.stopped != nil {
		return nil, fmt.Errorf("snapshot: %w", f.stopped)
	}
	return captured{f.view()}, nil
}

// Restore replaces the state by a snapshot's.
func (f *fsm) Restore(r io.ReadCloser) error {
	defer func() { _ = r.Close() }() // it was read whole, or the error is the decoder's
	s, err := state.Restore(r)
	if err != nil {
		return err
	}
	f.state.Store(s)
	f.watchInstalls(time.Now())
	f.announce()
	return nil
}

// watchInstalls tells of a follower that gets snapshot after snapshot and never an entry (hashicorp/raft#697).
func (f *fsm) watchInstalls(now time.Time) {
	f.installs = append(f.installs, now)
	for now.Sub(f.installs[0]) > 10*time.Minute {
		f.installs = f.installs[1:]
	}
	if len(f.installs) >= 3 {
		f.logger.Error("this coordinator got several snapshots without going on from any: its log may not fit the leader's; "+
			"if a restart does not help stop it: the others go on without it. Keep its directory: an empty coordinator must not vote",
			"snapshots", len(f.installs))
	}
}

type captured struct{ view *state.View }

func (c captured) Persist(sink raft.SnapshotSink) error {
	if err := c.view.Persist(sink); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

func (captured) Release() {}
