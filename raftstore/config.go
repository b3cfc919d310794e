package raftstore

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"drp/raftstore/state"
)

// Config says which coordinator this is, and which others there are.
type Config struct {
	Name string // this node, one of Peers
	Dir  string // log and snapshots; Prepare makes it
	// Peers has this node too. At the first start of a cluster they are its voters, the same list on each; after that they
	// are addresses, and who is a member stands in raft's configuration.
	Peers []Peer
	// Cluster is the UUID that this node's certificate carries. A state of another cluster is refused. Empty: not compared.
	Cluster string

	Listen string // host:port; empty: the address of this node in Peers
	// Server and Client are made by identity.Credentials for the role Coordinator. Both ends check the other's.
	Server, Client *tls.Config

	Timers    Timers
	Snapshots Snapshots
	Logger    *slog.Logger // nil: slog.Default
	// Fatal is called at most once, on a goroutine of its own, when this node cannot go on: it met an unknown command, or
	// its disk hangs. The process has to end then: nothing else is sure to stop a leader whose disk hangs. Nil: the
	// error is logged, and Done and Err tell it.
	Fatal func(error)

	Disk    Disk    // nil: in Dir
	Network Network // nil: TCP

	// Memory replaces Dir, Listen, Server and Client in tests.
	Memory *Memory

	Level int   // what this node says that it can apply; 0: state.Level. Tests make an older node with it
	Clock Clock // nil: the machine's
}

// Peer is one coordinator.
type Peer struct {
	Name    string
	Address string // host:port at which the others reach it
}

// Timers of the protocol. Zero values get the defaults, which suit datacenters of one region.
type Timers struct {
	Heartbeat   time.Duration // 2 s; a follower without contact for so long wants an election
	Election    time.Duration // 2 s
	LeaderLease time.Duration // 1 s; a leader without a quorum for so long steps down
	Stall       time.Duration // 20 s; how long a write to the disk may take
}

// Snapshots says when the log is cut. Zero values get the defaults.
type Snapshots struct {
	Interval  time.Duration // 2 min; how often it is looked at
	Threshold uint64        // 8192 entries since the newest snapshot
	Trailing  uint64        // 10240 entries are kept for followers that lag
}

const (
	minHeartbeat    = 2 * time.Second // hashicorp/raft#695: shorter ones bring the race back into reach
	retainSnapshots = 2
)

func (c *Config) setDefaults() error {
	for _, d := range []struct {
		of    *time.Duration
		value time.Duration
	}{
		{&c.Timers.Heartbeat, 2 * time.Second},
		{&c.Timers.Election, 2 * time.Second},
		{&c.Timers.LeaderLease, time.Second},
		{&c.Timers.Stall, 20 * time.Second},
		{&c.Snapshots.Interval, 2 * time.Minute},
	} {
		if *d.of == 0 {
			*d.of = d.value
		}
	}
	if c.Snapshots.Threshold == 0 {
		c.Snapshots.Threshold = 8192
	}
	if c.Snapshots.Trailing == 0 {
		c.Snapshots.Trailing = 10240
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Clock == nil {
		c.Clock = machineClock(c.Memory != nil || c.Disk != nil)
	}
	if c.Network == nil {
		c.Network = tcp{}
	}
	if c.Level == 0 {
		c.Level = state.Level
	}
	if c.Fatal == nil {
		c.Fatal = func(err error) { c.Logger.Error("raft store cannot go on", "error", err) }
	}
	return c.check()
}

func (c *Config) check() error {
	self, ok := c.peer(c.Name)
	if !ok {
		return fmt.Errorf("%q is not one of the peers", c.Name)
	}
	seen := map[string]bool{}
	for _, p := range c.Peers {
		if p.Name == "" || p.Address == "" {
			return fmt.Errorf("peer %q at %q: it needs a name and an address", p.Name, p.Address)
		}
		if seen[p.Name] || seen[p.Address] {
			return fmt.Errorf("peer %s at %s: its name or its address is given twice", p.Name, p.Address)
		}
		seen[p.Name], seen[p.Address] = true, true
	}
	if c.Timers.Heartbeat < minHeartbeat {
		return fmt.Errorf("heartbeat of %s is too short: at least %s", c.Timers.Heartbeat, minHeartbeat)
	}
	if c.Memory != nil {
		return nil
	}
	if c.Server == nil || c.Client == nil {
		return errors.New("no certificates: coordinators talk under TLS only")
	}
	if c.Dir == "" {
		return errors.New("no directory for the log")
	}
	if c.Listen == "" {
		c.Listen = self.Address
	}
	return nil
}

func (c *Config) peer(name string) (Peer, bool) {
	for _, p := range c.Peers {
		if p.Name == name {
			return p, true
		}
	}
	return Peer{}, false
}
