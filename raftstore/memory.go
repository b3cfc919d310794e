package raftstore

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
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
	papers    *memoryPapers
	respond   func(*hello) *hello
}

// memoryPapers are a coordinator's papers on a disk in memory.
type memoryPapers struct {
	mu   sync.Mutex
	held map[string][]byte
}

func newMemoryPapers(names ...string) *memoryPapers {
	m := &memoryPapers{held: map[string][]byte{}}
	for _, n := range names {
		m.held[n] = nil
	}
	return m
}

func (m *memoryPapers) has(name string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.held[name]
	return ok, nil
}

func (m *memoryPapers) read(name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.held[name], nil
}

func (m *memoryPapers) put(name string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held[name] = data
	return nil
}

func (m *memoryPapers) remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.held, name)
	return nil
}

// memoryCourier carries hellos where there is no cut.
type memoryCourier struct {
	memory *Memory
	self   string
}

func (c memoryCourier) answer(f func(*hello) *hello) {
	c.memory.mu.Lock()
	defer c.memory.mu.Unlock()
	c.memory.nodes[c.self].respond = f
}

func (c memoryCourier) ask(_ context.Context, to Peer, h *hello) (*hello, error) {
	c.memory.mu.Lock()
	self, other := c.memory.nodes[c.self], c.memory.nodes[to.Name]
	reachable := other != nil && string(other.address) == to.Address && !self.cut && !other.cut
	var respond func(*hello) *hello
	if reachable {
		respond = other.respond
	}
	c.memory.mu.Unlock()
	if respond == nil {
		return nil, fmt.Errorf("ask coordinator %s: nobody answers at %s", to.Name, to.Address)
	}
	return respond(h), nil
}

// Close is that of the node: nobody answers any more.
func (c memoryCourier) Close() error {
	c.answer(nil)
	return nil
}

// NewMemory returns a network without nodes. Put it into each node's Config.
func NewMemory() *Memory { return &Memory{nodes: map[string]*memoryNode{}} }

const memoryTimeout = 500 * time.Millisecond

func (m *Memory) open(cfg *Config) *parts {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.nodes[cfg.Name]
	if n == nil {
		n = newMemoryNode(firstStartName)
		m.nodes[cfg.Name] = n
	}
	self, _ := cfg.peer(cfg.Name)
	n.stall = &stall{over: make(chan struct{})}
	n.address, n.transport = raft.NewInmemTransportWithTimeout(raft.ServerAddress(self.Address), memoryTimeout)
	m.connect()
	courier := memoryCourier{m, cfg.Name}
	return &parts{
		logs:      stallingLogs{n.logs, n.stall},
		stable:    stallingStable{n.logs, n.stall},
		snapshots: n.snapshots,
		transport: newTransport(n.transport),
		courier:   courier,
		papers:    n.papers,
		disks:     courier,
	}
}

func newMemoryNode(papers ...string) *memoryNode {
	return &memoryNode{logs: raft.NewInmemStore(), snapshots: raft.NewInmemSnapshotStore(), papers: newMemoryPapers(papers...)}
}

// PrepareJoin makes a node that is opened for the first time wait to be added.
func (m *Memory) PrepareJoin(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nodes[name] = newMemoryNode(joiningName)
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
	n.logs, n.snapshots, n.papers = raft.NewInmemStore(), raft.NewInmemSnapshotStore(), newMemoryPapers()
}

// Stall makes a node's disk hang, until Recover.
func (m *Memory) Stall(name string) { m.stallOf(name).begin() }

// Recover lets the writes go on that hang.
func (m *Memory) Recover(name string) { m.stallOf(name).end() }

// Fill makes a node's disk full, until it is called with false.
func (m *Memory) Fill(name string, full bool) { m.stallOf(name).full.Store(full) }

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
	full  atomic.Bool
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

func (s *stall) wait() error {
	s.mu.Lock()
	lasts, over := s.lasts, s.over
	s.mu.Unlock()
	if lasts {
		<-over
	}
	if s.full.Load() {
		return syscall.ENOSPC
	}
	return nil
}

type stallingLogs struct {
	raft.LogStore
	stall *stall
}

func (l stallingLogs) StoreLog(entry *raft.Log) error { return l.StoreLogs([]*raft.Log{entry}) }

func (l stallingLogs) StoreLogs(entries []*raft.Log) error {
	if err := l.stall.wait(); err != nil {
		return err
	}
	return l.LogStore.StoreLogs(entries)
}

type stallingStable struct {
	raft.StableStore
	stall *stall
}

func (s stallingStable) Set(key, value []byte) error {
	if err := s.stall.wait(); err != nil {
		return err
	}
	return s.StableStore.Set(key, value)
}

func (s stallingStable) SetUint64(key []byte, value uint64) error {
	if err := s.stall.wait(); err != nil {
		return err
	}
	return s.StableStore.SetUint64(key, value)
}
