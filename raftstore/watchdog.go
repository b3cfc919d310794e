package raftstore

import (
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// watchdog tells when the disk hangs: no write has finished for a while, and one is under way. Raft itself does not
// notice: its leader goes on sending heartbeats, and nothing is ever committed again (hashicorp/raft#503, #666).
type watchdog struct {
	limit time.Duration
	fail  func(error)

	mu       sync.Mutex
	underway int
	progress time.Time // when a write last finished, or the first of those under way began
	timer    *time.Timer
}

func newWatchdog(limit time.Duration, fail func(error)) *watchdog {
	w := &watchdog{limit: limit, fail: fail}
	w.timer = time.AfterFunc(limit, w.look)
	w.timer.Stop()
	return w
}

func (w *watchdog) look() {
	w.mu.Lock()
	stalled := w.underway > 0 && time.Since(w.progress) >= w.limit
	w.mu.Unlock()
	if stalled {
		w.fail(fmt.Errorf("the disk hangs: no write to the log has finished for %s", w.limit))
	}
}

func (w *watchdog) during(write func() error) error {
	w.mu.Lock()
	if w.underway == 0 {
		w.progress = time.Now()
		w.timer.Reset(w.limit)
	}
	w.underway++
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.underway--
		w.progress = time.Now()
		if w.underway == 0 {
			w.timer.Stop()
		} else {
			w.timer.Reset(w.limit)
		}
	}()
	return write()
}

// watchedLogs and watchedStable have their writes watched.
type watchedLogs struct {
	raft.LogStore
	watch *watchdog
}

func (l watchedLogs) StoreLog(entry *raft.Log) error {
	return l.watch.during(func() error { return l.LogStore.StoreLog(entry) })
}

func (l watchedLogs) StoreLogs(entries []*raft.Log) error {
	return l.watch.during(func() error { return l.LogStore.StoreLogs(entries) })
}

func (l watchedLogs) DeleteRange(first, last uint64) error {
	return l.watch.during(func() error { return l.LogStore.DeleteRange(first, last) })
}

type watchedStable struct {
	raft.StableStore
	watch *watchdog
}

func (s watchedStable) Set(key, value []byte) error {
	return s.watch.during(func() error { return s.StableStore.Set(key, value) })
}

func (s watchedStable) SetUint64(key []byte, value uint64) error {
	return s.watch.during(func() error { return s.StableStore.SetUint64(key, value) })
}
