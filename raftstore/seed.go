package raftstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"drp/raftstore/state"
)

// Seed is provisional.
func Seed(dir string, self Peer, snapshot io.Reader, data state.ClusterRecoverData) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	s, err := state.Restore(snapshot)
	if err != nil {
		return err
	}
	index := max(s.View().Index(), 1)
	snapshots, err := raft.NewFileSnapshotStore(dir, 2, io.Discard)
	if err != nil {
		return err
	}
	configuration := raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: raft.ServerID(self.Name), Address: raft.ServerAddress(self.Address)}}}
	_, encoder := raft.NewInmemTransport("seed")
	sink, err := snapshots.Create(raft.SnapshotVersionMax, index, 1, configuration, 1, encoder)
	if err != nil {
		return err
	}
	if err := errors.Join(s.Persist(sink), sink.Close()); err != nil {
		return err
	}
	bolt, err := raftboltdb.New(raftboltdb.Options{Path: filepath.Join(dir, logName)})
	if err != nil {
		return err
	}
	command, err := json.Marshal(state.NewCommand(state.ClusterRecover, fmt.Sprintf("recover-%d", data.Incarnation), time.Now(), "recover/"+self.Name, data))
	if err != nil {
		return err
	}
	return errors.Join(
		bolt.StoreLog(&raft.Log{Index: index + 1, Term: 1, Type: raft.LogCommand, Data: command}),
		bolt.SetUint64([]byte("CurrentTerm"), 1), bolt.Close())
}
