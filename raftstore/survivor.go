package raftstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"

	"drp/raftstore/state"
)

// survivor is a coordinator's directory whose cluster has lost its majority.
type survivor struct {
	state  *state.State
	report Report
}

// RecoverQuorum makes a cluster of one voter from the directory of one survivor, in a new incarnation: everything in its
// snapshot and its log, to the end. The old directory is kept beside it, with a name of its own. It is refused while a
// coordinator runs from the directory.
func RecoverQuorum(dir string, r Recovery) (Report, error) {
	fail := func(err error) (Report, error) { return Report{}, fmt.Errorf("recover from %s: %w", dir, err) }
	dir = filepath.Clean(dir)
	made := dir + ".recovered"
	if err := os.RemoveAll(made); err != nil { // of an attempt that was cut short
		return fail(err)
	}
	bolt, s, err := openSurvivor(dir)
	if err != nil {
		return fail(err)
	}
	s.report.Term++ // above whatever the survivor has seen
	s.report.Kept = fmt.Sprintf("%s.incarnation-%d", dir, s.report.Incarnation)
	if _, there := os.Lstat(s.report.Kept); !errors.Is(there, os.ErrNotExist) {
		err = fmt.Errorf("%s is there already: this directory was recovered before", s.report.Kept)
	}
	if err == nil {
		err = r.begin(s.state, s.report.Last+1, &s.report)
	}
	if err == nil {
		err = r.write(made, s.state, s.report)
	}
	if err == nil {
		err = swap(dir, s.report.Kept, made)
	}
	if err := errors.Join(err, bolt.Close()); err != nil { // locked until now: nobody starts from it meanwhile
		return fail(err)
	}
	return s.report, nil
}

// Survey reads a survivor's directory and changes nothing: what RecoverQuorum would make of it, before the new
// incarnation begins. The state is as its log ends.
func Survey(dir string) (*state.View, Report, error) {
	bolt, s, err := openSurvivor(filepath.Clean(dir))
	if err != nil {
		return nil, Report{}, fmt.Errorf("look at %s: %w", dir, err)
	}
	if err := bolt.Close(); err != nil {
		return nil, Report{}, fmt.Errorf("look at %s: %w", dir, err)
	}
	return s.state.View(), s.report, nil
}

// swap puts the new directory into the place of the old one, and keeps that.
func swap(dir, kept, made string) error {
	if err := os.Rename(dir, kept); err != nil {
		return err
	}
	if err := os.Rename(made, dir); err != nil {
		return errors.Join(err, os.Rename(kept, dir))
	}
	return syncDirectory(filepath.Dir(dir))
}

func openSurvivor(dir string) (io.Closer, *survivor, error) {
	papers := folder{dir}
	if there, err := papers.has(logName); err != nil {
		return nil, nil, err
	} else if !there {
		return nil, nil, fmt.Errorf("it has no %s: it is not the directory of a coordinator that has run", logName)
	}
	if waits, err := papers.has(joiningName); err != nil {
		return nil, nil, err
	} else if waits {
		return nil, nil, errors.New("it is the directory of a coordinator that was never a member")
	}
	if err := refuseQuarantined(papers); err != nil {
		return nil, nil, fmt.Errorf("its state is wrong; recover from another survivor, or from an export: %w", err)
	}
	bolt, err := openBolt(dir)
	if errors.Is(err, ErrInUse) {
		return nil, nil, fmt.Errorf("a coordinator runs from it; stop that first: %w", err)
	}
	if err != nil {
		return nil, nil, err
	}
	snapshots, err := raft.NewFileSnapshotStore(dir, retainSnapshots, io.Discard)
	if err != nil {
		return nil, nil, errors.Join(err, bolt.Close())
	}
	s := &survivor{}
	if err := s.read(bolt, bolt, snapshots); err != nil {
		return nil, nil, errors.Join(err, bolt.Close())
	}
	return bolt, s, nil
}

// read takes the newest snapshot that can be read, and all of the log after it.
func (s *survivor) read(logs raft.LogStore, stable raft.StableStore, snapshots raft.SnapshotStore) error {
	term, err := stable.GetUint64([]byte(currentTerm))
	if err != nil {
		return fmt.Errorf("read its term: %w", err)
	}
	s.report.Term = term
	if err := s.restore(snapshots); err != nil {
		return err
	}
	last, err := logs.LastIndex()
	if err != nil {
		return fmt.Errorf("find the end of its log: %w", err)
	}
	s.report.Last = max(s.report.Snapshot, last)
	for index := s.report.Snapshot + 1; index <= last; index++ {
		if err := s.replay(logs, index); err != nil {
			return err
		}
	}
	v := s.state.View()
	if c := v.Cluster(); c != nil {
		s.report.Cluster, s.report.Incarnation = c.UUID, c.Incarnation
	}
	if q, err := recomputed(v); err != nil {
		return err
	} else if q != nil {
		return fmt.Errorf("its rows do not give its digest at %d: %w", q.Index, ErrQuarantined)
	}
	return nil
}

func (s *survivor) restore(snapshots raft.SnapshotStore) error {
	list, err := snapshots.List()
	if err != nil {
		return fmt.Errorf("list its snapshots: %w", err)
	}
	var broken error
	for _, meta := range list {
		_, source, err := snapshots.Open(meta.ID)
		if err == nil {
			s.state, err = state.Restore(source)
			_ = source.Close() // only read
		}
		if err == nil {
			s.report.Snapshot = meta.Index
			return nil
		}
		broken = errors.Join(broken, fmt.Errorf("snapshot %s: %w", meta.ID, err))
	}
	if broken != nil {
		return broken
	}
	s.state = state.New()
	return nil
}

func (s *survivor) replay(logs raft.LogStore, index uint64) error {
	var entry raft.Log
	if err := logs.GetLog(index, &entry); err != nil {
		return fmt.Errorf("its log misses entry %d between the snapshot and the end: %w", index, err)
	}
	if entry.Type != raft.LogCommand {
		return nil
	}
	var c state.Command
	d := json.NewDecoder(bytes.NewReader(entry.Data))
	d.DisallowUnknownFields()
	if err := d.Decode(&c); err != nil {
		return fmt.Errorf("decode entry %d of its log: %w", index, err)
	}
	if _, err := s.state.Apply(index, c); err != nil {
		return err
	}
	s.report.Replayed++
	s.report.Tail = append(s.report.Tail, Entry{Index: index, Term: entry.Term, Name: c.Name, ID: c.ID, At: c.At, By: c.By})
	if extra := len(s.report.Tail) - keptTail; extra > 0 {
		s.report.Tail = s.report.Tail[extra:]
	}
	return nil
}
