package raftstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/raft"
)

const (
	snapshotsName    = "snapshots" // raft's names
	unfinishedSuffix = ".tmp"
)

// roomySnapshots notes when there is no room for a snapshot, and leaves nothing of it behind: raft would keep the part
// that was written, and take the last room with it.
type roomySnapshots struct {
	raft.SnapshotStore
	space *space
}

func (s roomySnapshots) Create(v raft.SnapshotVersion, index, term uint64, c raft.Configuration, at uint64, t raft.Transport) (raft.SnapshotSink, error) {
	var sink raft.SnapshotSink
	err := s.space.during(func() (err error) {
		sink, err = s.SnapshotStore.Create(v, index, term, c, at, t)
		return err
	})
	if err != nil {
		return nil, err
	}
	return roomySink{sink, s.space}, nil
}

type roomySink struct {
	raft.SnapshotSink
	space *space
}

func (s roomySink) Write(p []byte) (n int, err error) {
	err = s.space.during(func() error {
		n, err = s.SnapshotSink.Write(p)
		return err
	})
	return n, err
}

func (s roomySink) Close() error { return s.clear(s.space.during(s.SnapshotSink.Close)) }

func (s roomySink) Cancel() error { return s.clear(s.SnapshotSink.Cancel()) }

// clear removes what a failed end has left.
func (s roomySink) clear(err error) error {
	if err == nil || s.space.dir == "" {
		return err
	}
	return errors.Join(err, os.RemoveAll(filepath.Join(s.space.dir, snapshotsName, s.ID()+unfinishedSuffix)))
}

// clearUnfinished removes snapshots that were never finished. Nobody writes one meanwhile.
func clearUnfinished(dir string) error {
	entries, err := os.ReadDir(filepath.Join(dir, snapshotsName))
	if err != nil {
		return nil // there are none
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), unfinishedSuffix) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, snapshotsName, e.Name())); err != nil {
			return fmt.Errorf("remove a snapshot that was never finished: %w", err)
		}
	}
	return nil
}
