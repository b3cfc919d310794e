package raftstore

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// parts are what raft stands on.
type parts struct {
	logs      raft.LogStore
	stable    raft.StableStore
	snapshots raft.SnapshotStore
	transport *transport
	first     firstStart
	disks     io.Closer
}

// Close is for parts that raft never took over.
func (p *parts) Close() error { return errors.Join(p.transport.Close(), p.disks.Close()) }

const (
	logName         = "raft.db"
	logCacheEntries = 512
	lockTimeout     = time.Second // of the log's file: another drp server has it
	rpcTimeout      = 5 * time.Second
	pooledPerPeer   = 3
)

func openParts(cfg *Config, fail func(error)) (*parts, error) {
	if cfg.Memory != nil {
		return cfg.Memory.open(cfg, fail), nil
	}
	watch := newWatchdog(cfg.Timers.Stall, fail)
	logger := newHCLog(cfg.Logger)
	p, err := openDisk(cfg, logger)
	if err != nil {
		return nil, err
	}
	p.stable = watchedStable{p.stable, watch}
	p.logs, err = raft.NewLogCache(logCacheEntries, watchedLogs{p.logs, watch})
	if err != nil {
		return nil, errors.Join(err, p.disks.Close())
	}
	stream, err := listen(cfg)
	if err != nil {
		return nil, errors.Join(err, p.disks.Close())
	}
	p.transport = &transport{raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		ServerAddressProvider: addressBook{cfg},
		Logger:                logger,
		Stream:                stream,
		MaxPool:               pooledPerPeer,
		MaxRPCsInFlight:       1, // hashicorp/raft#612: with more, one refused append wedges a follower for good
		Timeout:               rpcTimeout,
	})}
	return p, nil
}

// openDisk gives the parts that are on a disk.
func openDisk(cfg *Config, logger hclog.Logger) (*parts, error) {
	if d := cfg.Disk; d != nil {
		return &parts{logs: d, stable: d, snapshots: d, first: markFile{cfg.Dir}, disks: d}, nil
	}
	if err := checkDirectory(cfg.Dir); err != nil {
		return nil, err
	}
	path := filepath.Join(cfg.Dir, logName)
	bolt, err := raftboltdb.New(raftboltdb.Options{
		Path: path,
		BoltOptions: &bbolt.Options{
			Timeout:        lockTimeout,
			NoFreelistSync: true, // else each commit writes the whole freelist
			FreelistType:   bbolt.FreelistMapType,
		},
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open log %s: another process has it open", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open log %s: %w", path, err)
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(cfg.Dir, retainSnapshots, logger)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open snapshots in %s: %w", cfg.Dir, err), bolt.Close())
	}
	return &parts{logs: bolt, stable: bolt, snapshots: snapshots, first: markFile{cfg.Dir}, disks: bolt}, nil
}

// addressBook gives the addresses of the configuration file, so that a coordinator can move without a command in
// the log.
type addressBook struct{ cfg *Config }

func (b addressBook) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	p, ok := b.cfg.peer(string(id))
	if !ok {
		return "", fmt.Errorf("find address of %s: it is not one of the peers", id)
	}
	return raft.ServerAddress(p.Address), nil
}

// transport is raft's, without two of its short cuts.
type transport struct{ raft.Transport }

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
	w, ok := t.Transport.(raft.WithPreVote)
	if !ok {
		return errors.New("request pre-vote: the transport knows none")
	}
	return w.RequestPreVote(id, to, args, resp)
}

// Close ends the connections.
func (t *transport) Close() error {
	if w, ok := t.Transport.(raft.WithClose); ok {
		return w.Close()
	}
	return nil
}
