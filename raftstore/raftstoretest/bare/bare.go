// Package bare is hashicorp/raft with raft-boltdb and nothing round it: what the benchmark holds package raftstore
// against. Versions, timers, TLS, bolt options, the log cache and the RPCs in flight are those of raftstore; its FSM
// does nothing.
package bare

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// Config of one node.
type Config struct {
	Name           string
	Dir            string
	Peers          map[string]string // addresses by name, this node's too
	Server, Client *tls.Config
}

// Node is one member of a bare cluster.
type Node struct {
	raft *raft.Raft
	bolt io.Closer
}

// Open starts a node that has never run.
func Open(c Config) (*Node, error) {
	bolt, err := raftboltdb.New(raftboltdb.Options{
		Path:        filepath.Join(c.Dir, "raft.db"),
		BoltOptions: &bbolt.Options{Timeout: time.Second, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType},
	})
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	n := &Node{bolt: bolt}
	if err := n.start(c, bolt); err != nil {
		return nil, errors.Join(fmt.Errorf("start bare node: %w", err), bolt.Close())
	}
	return n, nil
}

func (n *Node) start(c Config, bolt *raftboltdb.BoltStore) error {
	logs, err := raft.NewLogCache(512, bolt)
	if err != nil {
		return err
	}
	silent := hclog.NewNullLogger()
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(c.Dir, 2, silent)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", c.Peers[c.Name])
	if err != nil {
		return err
	}
	transport := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: &stream{tls.NewListener(listener, c.Server), c.Client}, Logger: silent,
		MaxPool: 3, MaxRPCsInFlight: 1, Timeout: 5 * time.Second,
	})
	config := raft.DefaultConfig()
	config.ProtocolVersion, config.LocalID, config.Logger = 3, raft.ServerID(c.Name), silent
	config.HeartbeatTimeout, config.ElectionTimeout, config.LeaderLeaseTimeout = 2*time.Second, 2*time.Second, time.Second
	config.NoLegacyTelemetry = true
	var members raft.Configuration
	for name, address := range c.Peers {
		members.Servers = append(members.Servers, raft.Server{ID: raft.ServerID(name), Address: raft.ServerAddress(address)})
	}
	if err := raft.BootstrapCluster(config, logs, bolt, snapshots, transport, members); err != nil {
		return errors.Join(err, transport.Close())
	}
	n.raft, err = raft.NewRaft(config, nothing{}, logs, bolt, snapshots, transport)
	if err != nil {
		return errors.Join(err, transport.Close())
	}
	return nil
}

// Leading reports whether this node is the leader.
func (n *Node) Leading() bool { return n.raft.State() == raft.Leader }

// Apply commits one entry.
func (n *Node) Apply(data []byte) error { return n.raft.Apply(data, 10*time.Second).Error() }

// Close stops the node.
func (n *Node) Close() error { return errors.Join(n.raft.Shutdown().Error(), n.bolt.Close()) }

type stream struct {
	net.Listener
	client *tls.Config
}

func (s *stream) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return tls.DialWithDialer(&net.Dialer{Timeout: timeout}, "tcp", string(to), s.client)
}

// nothing is an FSM that does nothing.
type nothing struct{}

func (nothing) Apply(*raft.Log) any                 { return nil }
func (nothing) Snapshot() (raft.FSMSnapshot, error) { return nothing{}, nil }
func (nothing) Restore(r io.ReadCloser) error       { return r.Close() }
func (nothing) Persist(s raft.SnapshotSink) error   { return s.Close() }
func (nothing) Release()                            {}
