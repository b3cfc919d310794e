package bare

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// WriteSnapshot makes the directory of a cluster of one member, which is where this snapshot stands: what a member
// has after it wrote one and lost its log's tail. persist writes the state.
func WriteSnapshot(dir, name, address string, index uint64, persist func(io.Writer) error) (err error) {
	bolt, err := raftboltdb.NewBoltStore(filepath.Join(dir, "raft.db"))
	if err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	defer func() { err = errors.Join(err, bolt.Close()) }()
	if err := bolt.Set([]byte("CurrentTerm"), binary.BigEndian.AppendUint64(nil, 1)); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir, 1, hclog.NewNullLogger())
	if err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	at := raft.ServerAddress(address)
	_, nowhere := raft.NewInmemTransport(at)
	members := raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(name), Address: at}}}
	sink, err := snapshots.Create(raft.SnapshotVersionMax, index, 1, members, 1, nowhere)
	if err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	if err := persist(sink); err != nil {
		return errors.Join(fmt.Errorf("write snapshot: %w", err), sink.Cancel())
	}
	return sink.Close()
}
