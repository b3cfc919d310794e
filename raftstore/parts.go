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
	courier   courier
	history   *history
	papers    papers
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

func openParts(cfg *Config, r *roster, space *space, fail func(error)) (*parts, error) {
	watch := newWatchdog(cfg.Timers.Stall, fail)
	logger := newHCLog(cfg.Logger)
	if cfg.Memory != nil {
		p := cfg.Memory.open(cfg)
		return p, p.guard(space, watch)
	}
	p, err := openDisk(cfg, logger)
	if err != nil {
		return nil, err
	}
	if err := p.guard(space, watch); err != nil {
		return nil, errors.Join(err, p.disks.Close())
	}
	stream, err := listen(cfg, r, p.history)
	if err != nil {
		return nil, errors.Join(err, p.disks.Close())
	}
	p.courier = newTLSCourier(stream)
	p.transport = newTransport(raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		ServerAddressProvider: addressBook{r},
		Logger:                logger,
		Stream:                stream,
		MaxPool:               pooledPerPeer,
		MaxRPCsInFlight:       1, // hashicorp/raft#612: with more, one refused append wedges a follower for good
		Timeout:               rpcTimeout,
	}))
	return p, nil
}

// guard puts what watches the disk round its parts. The order matters: a write that waits for room does not hang.
func (p *parts) guard(space *space, watch *watchdog) error {
	stable := watchedStable{p.stable, watch}
	space.probe = func() error { return probe(stable) }
	p.stable = roomyStable{stable, space}
	logs, err := raft.NewLogCache(logCacheEntries, &roomyLogs{LogStore: watchedLogs{p.logs, watch}, space: space})
	if err != nil {
		return err
	}
	p.logs = logs
	p.snapshots = roomySnapshots{p.snapshots, space}
	p.history, err = openHistory(p.stable)
	return err
}

// openDisk gives the parts that are on a disk.
func openDisk(cfg *Config, logger hclog.Logger) (*parts, error) {
	if d := cfg.Disk; d != nil {
		return &parts{logs: d, stable: d, snapshots: d, papers: folder{cfg.Dir}, disks: d}, nil
	}
	if err := checkDirectory(cfg.Dir); err != nil {
		return nil, err
	}
	bolt, err := openBolt(cfg.Dir)
	if err != nil {
		return nil, err
	}
	if err := clearUnfinished(cfg.Dir); err != nil {
		return nil, errors.Join(err, bolt.Close())
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(cfg.Dir, retainSnapshots, logger)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open snapshots in %s: %w", cfg.Dir, err), bolt.Close())
	}
	return &parts{logs: bolt, stable: bolt, snapshots: snapshots, papers: folder{cfg.Dir}, disks: bolt}, nil
}

// openBolt opens the log. One process at a time has it.
func openBolt(dir string) (*raftboltdb.BoltStore, error) {
	path := filepath.Join(dir, logName)
	bolt, err := raftboltdb.New(raftboltdb.Options{
		Path: path,
		BoltOptions: &bbolt.Options{
			Timeout:        lockTimeout,
			NoFreelistSync: true, // else each commit writes the whole freelist
			FreelistType:   bbolt.FreelistMapType,
		},
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open log %s: %w", path, ErrInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("open log %s: %w", path, err)
	}
	return bolt, nil
}

// addressBook tells raft where a coordinator is.
type addressBook struct{ roster *roster }

func (b addressBook) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	address, ok := b.roster.address(string(id))
	if !ok {
		return "", fmt.Errorf("find address of %s: it is no member, and not one of the peers", id)
	}
	return raft.ServerAddress(address), nil
}
