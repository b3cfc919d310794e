package raftstore

import (
	"context"
	"fmt"
	"io"
	"net"

	"github.com/hashicorp/raft"
)

// Disk holds one node's log, votes and snapshots. Config's is nil in production: then it is a bolt file and a directory
// of snapshots in Dir. Tests bring one that fails. A write that returned is on the disk for good.
type Disk interface {
	raft.LogStore
	raft.StableStore
	raft.SnapshotStore
	io.Closer
}

// Network carries one node's connections. Config's is nil in production: then it is TCP. What is spoken over it
// is the same, TLS with the certificates of both ends, so that a test's faults meet the whole of it.
type Network interface {
	Listen(address string) (net.Listener, error)
	// Dial gives up when ctx ends.
	Dial(ctx context.Context, address string) (net.Conn, error)
}

// tcp is the network of production.
type tcp struct{}

func (tcp) Listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for coordinators: %w", err)
	}
	return l, nil
}

func (tcp) Dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("dial coordinator: %w", err)
	}
	return conn, nil
}
