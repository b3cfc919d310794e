package raftstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"drp/raftstore/state"
)

// fsm is the thin shell round the state that raft talks to. Raft calls Apply, Snapshot and Restore from one goroutine.
type fsm struct {
	name   string
	alarms *alarms
	fail   func(error) // tells the store that this node cannot go on

	state atomic.Pointer[state.State]
	last  uint64 // index of the newest command in it
	marks marks
	// known is called with the cluster's row each time it has changed.
	known func(*state.Cluster)
	// stopped is why nothing is applied any more. Of a state that misses an entry no snapshot may ever be taken.
	stopped error
	// installs are the times of snapshots that came one after the other, without an entry in between.
	installs []time.Time

	mu   sync.Mutex
	next chan struct{} // closed at the next change
}

func newFSM(name string, alarms *alarms, fail func(error)) *fsm {
	f := &fsm{name: name, alarms: alarms, fail: fail, next: make(chan struct{})}
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
	f.wentOn()
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
	s := f.state.Load()
	digest := func() state.Digest { return s.View().Digest() }
	f.marks.cross(f.last, entry.Index, digest)
	result, err := s.Apply(entry.Index, c)
	if err != nil {
		return result, err
	}
	f.last = entry.Index
	if f.last%markEvery == 0 {
		f.marks.cross(f.last, f.last+1, digest)
	}
	if result.Changed && (c.Name == state.ClusterInit || c.Name == state.ClusterRecover) {
		f.tellCluster(s.View())
	}
	return result, nil
}

func (f *fsm) tellCluster(v *state.View) {
	if c := v.Cluster(); c != nil && f.known != nil {
		f.known(c)
	}
}

// StoreConfiguration makes raft count its own entries too: else no snapshot could be taken after a change of members
// until the next command.
func (f *fsm) StoreConfiguration(uint64, raft.Configuration) {}

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
	v := s.View()
	f.last = v.Index()
	f.tellCluster(v)
	f.watchInstalls(time.Now())
	f.announce()
	return nil
}

type captured struct{ view *state.View }

func (c captured) Persist(sink raft.SnapshotSink) error {
	if err := c.view.Persist(sink); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

func (captured) Release() {}
