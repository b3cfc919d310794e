package raftstore

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// ErrDiskFull: nothing new can be written; what is there can be read.
var ErrDiskFull = errors.New("disk full")

const (
	retryFull = time.Second
	// reserve is room that commands never take, so that votes and terms can still be written and a leader whose disk
	// fills up goes on to lead while it hands over. Of a small file system it is a part.
	reserve      = 64 << 20
	reserveShare = 20
)

// space watches the room on this node's disk. Raft panics where it cannot write its term, and a leader whose log cannot
// grow steps down and is elected again, for ever.
type space struct {
	dir   string // empty: it cannot be measured
	done  <-chan struct{}
	probe func() error // a write of some size

	probing atomic.Bool
	mu      sync.Mutex
	refused bool // a write was
	low     bool
	free    uint64
}

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// during runs a write and notes whether there was room for it.
func (s *space) during(write func() error) error {
	err := write()
	if isFull(err) {
		s.mu.Lock()
		s.refused = true
		s.mu.Unlock()
	}
	return err
}

// insist runs a write again and again while there is no room for it. It gives up when the store ends.
func (s *space) insist(write func() error) error {
	for {
		err := s.during(write)
		if !isFull(err) {
			return err
		}
		select {
		case <-time.After(retryFull):
		case <-s.done:
			return err
		}
	}
}

// full says so in a sentence without its beginning, or nothing: "the disk at … is full (… free)".
func (s *space) full() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.refused && !s.low {
		return ""
	}
	if s.dir == "" {
		return "its disk is full"
	}
	return fmt.Sprintf("its disk is full: %d MiB are free at %s", s.free>>20, s.dir)
}

// look measures, and tries whether there is room again. It never waits.
func (s *space) look() {
	s.measure()
	s.mu.Lock()
	refused := s.refused
	s.mu.Unlock()
	if !refused || !s.probing.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer s.probing.Store(false)
		if err := s.probe(); err == nil {
			s.mu.Lock()
			s.refused = false
			s.mu.Unlock()
		}
	}()
}

func (s *space) measure() {
	if s.dir == "" {
		return
	}
	var st syscall.Statfs_t
	if err := syscall.Statfs(s.dir, &st); err != nil {
		return
	}
	free, total := st.Bavail*uint64(st.Bsize), st.Blocks*uint64(st.Bsize)
	limit := min(uint64(reserve), total/reserveShare)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = free
	s.low = free < limit || s.low && free < limit+limit/4
}

var (
	probeKey    = []byte("drp-probe")
	currentTerm = "CurrentTerm" // raft's key
)

const probeSize = 64 << 10

// probe writes what a command could be as large as, and takes it away: there is room in the log's file then.
func probe(s raft.StableStore) error {
	if err := s.Set(probeKey, make([]byte, probeSize)); err != nil {
		return err
	}
	return s.Set(probeKey, []byte{0})
}

// roomyStable waits for room. A node that cannot write its term or vote says nothing meanwhile, as if it were down.
type roomyStable struct {
	raft.StableStore
	space *space
}

func (s roomyStable) Set(key, value []byte) error {
	return s.space.insist(func() error { return s.StableStore.Set(key, value) })
}

func (s roomyStable) SetUint64(key []byte, value uint64) error {
	err := s.space.insist(func() error { return s.StableStore.SetUint64(key, value) })
	if isFull(err) && string(key) == currentTerm {
		return nil // the store has ended, and raft would panic; no vote or entry of this term can be written after this
	}
	return err
}

// roomyLogs notes when there is no room for an entry. Raft tries again by itself, but for one case: after it has cut
// a part off that did not fit the leader's it believes that the log is still as long as before.
type roomyLogs struct {
	raft.LogStore
	space *space
	cut   atomic.Bool
}

func (l *roomyLogs) StoreLog(entry *raft.Log) error { return l.StoreLogs([]*raft.Log{entry}) }

func (l *roomyLogs) StoreLogs(entries []*raft.Log) error {
	write := func() error { return l.LogStore.StoreLogs(entries) }
	if l.cut.Load() {
		if err := l.space.insist(write); err != nil {
			return err
		}
		l.cut.Store(false)
		return nil
	}
	return l.space.during(write)
}

func (l *roomyLogs) DeleteRange(first, last uint64) error {
	newest, err := l.LastIndex()
	if err != nil {
		return err
	}
	if err := l.space.during(func() error { return l.LogStore.DeleteRange(first, last) }); err != nil {
		return err
	}
	if last >= newest {
		l.cut.Store(true)
	}
	return nil
}
