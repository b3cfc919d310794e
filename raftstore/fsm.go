package raftstore

import (
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

// Apply answers as ApplyBatch does.
func (f *fsm) Apply(entry *raft.Log) any { return f.ApplyBatch([]*raft.Log{entry})[0] }

// ApplyBatch applies entries that were committed together: the state is changed and shown once for all of them. The
// answer to each is a []state.Result with one for each of its commands, or an error where this node has stopped. Then
// nothing of this batch is shown: what can be seen never ends within an entry.
func (f *fsm) ApplyBatch(entries []*raft.Log) []any {
	answers := make([]any, len(entries))
	s := f.state.Load()
	b := s.Batch()
	applied, founded := 0, false
	for i, entry := range entries {
		switch {
		case entry.Type != raft.LogCommand: // who the members are is raft's own
			continue
		case f.stopped != nil:
			answers[i] = f.stopped
			continue
		}
		results, founds, err := f.apply(b, entry)
		if err != nil {
			f.stopped, answers[i] = err, err
			continue
		}
		answers[i] = results
		applied++
		founded = founded || founds
	}
	if f.stopped != nil {
		f.fail(f.stopped) // the first time counts
		return answers
	}
	if applied > 0 {
		b.Commit()
		if founded {
			f.tellCluster(s.View())
		}
		f.wentOn()
		f.announce()
	}
	return answers
}

// apply carries out the commands of one entry. It reports whether one of them changed what the cluster is.
func (f *fsm) apply(b *state.Batch, entry *raft.Log) (results []state.Result, founds bool, err error) {
	f.marks.cross(f.last, entry.Index, b.Digest)
	for c, err := range state.Commands(entry.Data) {
		if err != nil {
			return nil, false, fmt.Errorf("decode entry %d of the log: %w", entry.Index, err)
		}
		result, err := b.Apply(entry.Index, c)
		if err != nil {
			return nil, false, err
		}
		results = append(results, result)
		founds = founds || result.Changed && (c.Name == state.ClusterInit || c.Name == state.ClusterRecover || c.Name == state.ClusterResume)
	}
	f.last = entry.Index
	if f.last%markEvery == 0 {
		f.marks.cross(f.last, f.last+1, b.Digest)
	}
	return results, founds, nil
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
