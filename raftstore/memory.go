package raftstore

import (
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Memory is a network and the disks of its nodes, for tests: nothing leaves the process, and time may be that of
// testing/synctest. A node that is opened for the first time is new, as after Prepare; one that is opened again under its
// name finds its disk as it left it.
type Memory struct {
	mu    sync.Mutex
	nodes map[string]*memoryNode
}

type memoryNode struct {
	address   raft.ServerAddress
	logs      *raft.InmemStore
	snapshots *raft.InmemSnapshotStore
	transport *raft.InmemTransport
	cut       bool
	stall     *stall
	mark      *memoryMark
}

// memoryMark is the mark of a first start on a disk in memory.
type memoryMark struct{ set bool }

func (m *memoryMark) marked() (bool, error) { return m.set, nil }

func (m *memoryMark) consume() error {
	m.set = false
	return nil
}

// NewMemory returns a network without nodes. Put it into each node's Config.
func NewMemory() *Memory { return &Memory{nodes: map[string]*memoryNode{}} }

const memoryTimeout = 500 * time.Millisecond

func (m *Memory) open(cfg *Config, fail func(error)) *parts {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.nodes[cfg.Name]
	if n == nil {
		n = &memoryNode{logs: raft.NewInmemStore(), snapshots: raft.NewInmemSnapshotStore(), mark: &memoryMark{set: true}}
		m.nodes[cfg.Name] = n
	}
	self, _ := cfg.peer(cfg.Name)
	n.stall = &stall{over: make(chan struct{})}
	n.address, n.transport = raft.NewInmemTransportWithTimeout(raft.ServerAddress(self.Address), memoryTimeout)
	m.connect()
	watch := newWatchdog(cfg.Timers.Stall, fail)
	return &parts{
		logs:      watchedLogs{stallingLogs{n.logs, n.stall}, watch},
		stable:    watchedStable{n.logs, watch},
		snapshots: n.snapshots,
		transport: &transport{n.transport},
		first:     n.mark,
		disks:     io.NopCloser(nil),
	}
}

// connect makes the network what the cuts say.
func (m *Memory) connect() {
	for _, a := range m.nodes {
		for _, b := range m.nodes {
			switch {
			case a == b || a.transport == nil || b.transport == nil:
			case a.cut || b.cut:
				a.transport.Disconnect(b.address)
			default:
				a.transport.Connect(b.address, b.transport)
			}
		}
	}
}

// Cut takes a node off the network.
func (m *Memory) Cut(name string) { m.setCut(name, true) }

// Heal brings it back.
func (m *Memory) Heal(name string) { m.setCut(name, false) }

func (m *Memory) setCut(name string, cut bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nodes[name].cut = cut
	m.connect()
}

// Wipe puts an empty disk into a node that is closed.
func (m *Memory) Wipe(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.nodes[name]
	n.logs, n.snapshots, n.mark = raft.NewInmemStore(), raft.NewInmemSnapshotStore(), &memoryMark{}
}

// Stall makes a node's disk hang, until Recover.
func (m *Memory) Stall(name string) { m.stallOf(name).begin() }

// Recover lets the writes go on that hang.
func (m *Memory) Recover(name string) { m.stallOf(name).end() }

func (m *Memory) stallOf(name string) *stall {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.nodes[name].stall
}

// stall holds writes back while it lasts.
type stall struct {
	mu    sync.Mutex
	lasts bool
	over  chan struct{} // closed at the end of the present stall
}

func (s *stall) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lasts = true
}

func (s *stall) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lasts = false
	close(s.over)
	s.over = make(chan struct{})
}

func (s *stall) wait() {
	s.mu.Lock()
	lasts, over := s.lasts, s.over
	s.mu.Unlock()
	if lasts {
		<-over
	}
}

type stallingLogs struct {
	raft.LogStore
	stall *stall
}

func (l stallingLogs) StoreLog(entry *raft.Log) error {
	l.stall.wait()
	return l.LogStore.StoreLog(entry)
}

func (l stallingLogs) StoreLogs(entries []*raft.Log) error {
	l.stall.wait()
	return l.LogStore.StoreLogs(entries)
}
