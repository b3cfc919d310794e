package raftstore

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// fill makes a node's disk full, and lets it find out.
func (c *cluster) fill(m *member) {
	c.memory.Fill(m.name, true)
	c.until(m.name+" knows that its disk is full", func() bool {
		if m.space.full() == "" {
			_, _ = m.Propose(c.ctx, token("fill-"+m.name, c.id()))
		}
		return m.space.full() != ""
	})
}

func TestStore_DiskFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		first := c.leader()
		c.addToken(first, "before")
		time.Sleep(3 * time.Second) // of the bubble's time: all are heard

		c.fill(first) // one: another one leads, and commands go on
		next := c.leaderNow()
		if next == first {
			t.Fatal("a node without room leads on")
		}
		c.addToken(next, "one-is-full")
		if words := c.raises(next, AlarmDiskFull, first.name); !strings.Contains(words, first.name) {
			t.Errorf("got %q", words)
		}
		c.raises(first, AlarmDiskFull, first.name)
		time.Sleep(time.Minute) // of the bubble's time
		if lead, _ := first.leadership(); lead != nil {
			t.Error("a node without room leads again")
		}

		second := c.others(next)[0] // two: nothing new, said at once and clearly; what is there can be read
		if second == first {
			second = c.others(next)[1]
		}
		c.memory.Fill(second.name, true)
		ctx, cancel := context.WithTimeout(c.ctx, 3*time.Second)
		_, err := next.Propose(ctx, token("nobody-has-room", "in-doubt"))
		cancel()
		if !errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("got %v, want %v from the first that meets it", err, ErrUnknownOutcome)
		}
		c.until("the leader knows that no quorum has room", func() bool { return next.checkRoom() != nil })
		start := time.Now()
		_, err = next.Propose(c.ctx, token("refused", c.id()))
		if !errors.Is(err, ErrDiskFull) || errors.Is(err, ErrUnknownOutcome) || time.Since(start) > time.Second ||
			!strings.Contains(err.Error(), "coordinator "+second.name) || !strings.Contains(err.Error(), "make room") {
			t.Errorf("got %v after %s, want whose disk is full, at once", err, time.Since(start))
		}
		if v, err := next.Read(c.ctx); err != nil || !has(v, "one-is-full") {
			t.Errorf("read: %v", err)
		}

		c.memory.Fill(next.name, true) // all three
		time.Sleep(5 * time.Minute)    // of the bubble's time
		if _, err := next.Propose(c.ctx, token("refused-too", c.id())); !errors.Is(err, ErrDiskFull) {
			t.Errorf("got %v, want %v", err, ErrDiskFull)
		}
		for _, m := range c.others(nil) {
			if v, _, err := m.ReadStale(); err != nil || !has(v, "before") {
				t.Errorf("stale read at %s: %v", m.name, err)
			}
		}

		for _, m := range c.others(nil) {
			c.memory.Fill(m.name, false)
		}
		freed := time.Now()
		var leader *member
		c.until("commands go on", func() bool {
			leader = c.leaderNow()
			r, err := leader.Propose(c.ctx, token("nobody-has-room", "in-doubt"))
			return err == nil && r.Err == nil
		})
		c.addToken(leader, "after")
		if took := time.Since(freed); took > time.Minute {
			t.Errorf("it took %s until commands went on", took)
		}
		for _, name := range []string{"before", "one-is-full", "after"} {
			if !has(leader.View(), name) {
				t.Errorf("the acknowledged %s is lost", name)
			}
		}
		c.agree(leader)
		c.until("the alarms end", func() bool { return alarmed(leader.Store, AlarmDiskFull, first.name) == "" })
		if len(c.fatals) > 0 {
			t.Errorf("a full disk ended a node: %v", <-c.fatals)
		}
	})
}

// Room runs out slowly, as a rule: the leader hands over while it still can write.
func TestStore_HandsOverBeforeTheDiskIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		first := c.leader()
		c.addToken(first, "before")
		time.Sleep(10 * time.Second) // of the bubble's time: all are known to be healthy
		low := func(m *member, yes bool) {
			m.space.mu.Lock()
			defer m.space.mu.Unlock()
			m.space.low = yes
		}
		low(first, true)
		_, err := first.Propose(c.ctx, token("refused", c.id()))
		if handedOver := errors.Is(err, ErrNotLeader); !handedOver && !errors.Is(err, ErrDiskFull) || errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("got %v, want %v, or that it has handed over by then", err, ErrDiskFull)
		}
		next := c.leader()
		if next == first {
			t.Fatal("the leader has no room and leads on")
		}
		c.addToken(next, "went-on")
		for _, m := range c.others(nil) { // all of them: whoever leads goes on to, so that there are reads
			low(m, true)
		}
		time.Sleep(time.Minute) // of the bubble's time
		if v, err := next.Read(c.ctx); err != nil || !has(v, "went-on") {
			t.Errorf("read: %v", err)
		}
		if _, err := next.Propose(c.ctx, token("refused", c.id())); !errors.Is(err, ErrDiskFull) {
			t.Errorf("got %v, want %v", err, ErrDiskFull)
		}
		for _, m := range c.others(nil) {
			low(m, false)
		}
		time.Sleep(5 * time.Second) // of the bubble's time
		c.addToken(next, "after")
	})
}

// A node without room would be elected, and hold up the others where it cannot write its term.
func TestStore_FullNodeDoesNotStand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		full := c.leader()
		vote := func() error {
			return full.parts.transport.RequestPreVote("z", "z:1", &raft.RequestPreVoteRequest{}, &raft.RequestPreVoteResponse{})
		}
		if err := vote(); err == nil || errors.Is(err, ErrDiskFull) {
			t.Errorf("got %v with room, want that nobody is there", err)
		}
		c.fill(full)
		if err := vote(); !errors.Is(err, ErrDiskFull) {
			t.Errorf("got %v without room, want %v", err, ErrDiskFull)
		}
		c.memory.Fill(full.name, false)
	})
}

func TestSpace_TermsAndVotesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var full atomic.Bool
		full.Store(true)
		hung := func(err error) { t.Errorf("a full disk counts as one that hangs: %v", err) }
		done := make(chan struct{})
		inner := failingStable{raft.NewInmemStore(), func() error {
			if full.Load() {
				return &os.PathError{Op: "write", Path: "raft.db", Err: syscall.ENOSPC}
			}
			return nil
		}}
		space := &space{done: done}
		s := roomyStable{watchedStable{inner, newWatchdog(20*time.Second, hung)}, space}
		wrote := make(chan error)
		go func() { wrote <- s.SetUint64([]byte(currentTerm), 7) }()
		time.Sleep(time.Hour)
		if space.full() == "" {
			t.Error("it does not know that the disk is full")
		}
		full.Store(false)
		if err := <-wrote; err != nil {
			t.Error(err)
		}
		if n, err := s.GetUint64([]byte(currentTerm)); n != 7 || err != nil {
			t.Errorf("got term %d, %v, want 7", n, err)
		}
		full.Store(true)
		go func() { wrote <- s.Set([]byte("LastVoteCand"), []byte("b")) }()
		time.Sleep(time.Minute)
		close(done)
		if err := <-wrote; !isFull(err) {
			t.Errorf("a vote while the store ends: got %v, want that it was not written", err)
		}
		if err := s.SetUint64([]byte(currentTerm), 8); err != nil {
			t.Errorf("a term while the store ends: got %v, where raft would panic", err)
		}
	})
}

type failingStable struct {
	raft.StableStore
	fail func() error
}

func (s failingStable) Set(key, value []byte) error {
	if err := s.fail(); err != nil {
		return err
	}
	return s.StableStore.Set(key, value)
}

func (s failingStable) SetUint64(key []byte, value uint64) error {
	if err := s.fail(); err != nil {
		return err
	}
	return s.StableStore.SetUint64(key, value)
}

// Raft takes its log for longer than it is where an append fails after a part was cut off, and never recovers from that.
func TestSpace_AppendAfterACutWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := &stall{over: make(chan struct{})}
		logs := &roomyLogs{LogStore: stallingLogs{raft.NewInmemStore(), inner}, space: &space{done: make(chan struct{})}}
		entries := func(term uint64, indexes ...uint64) (list []*raft.Log) {
			for _, i := range indexes {
				list = append(list, &raft.Log{Index: i, Term: term})
			}
			return list
		}
		if err := logs.StoreLogs(entries(1, 1, 2, 3)); err != nil {
			t.Fatal(err)
		}
		inner.full.Store(true)
		if err := logs.StoreLogs(entries(1, 4)); !isFull(err) {
			t.Errorf("got %v, want that there is no room", err)
		}
		if err := logs.DeleteRange(2, 3); err != nil {
			t.Fatal(err)
		}
		wrote := make(chan error)
		go func() { wrote <- logs.StoreLogs(entries(2, 2, 3)) }()
		time.Sleep(time.Minute)
		select {
		case err := <-wrote:
			t.Errorf("got %v before there was room", err)
			return
		default:
		}
		inner.full.Store(false)
		if err := <-wrote; err != nil {
			t.Error(err)
		}
	})
}

// A snapshot for which there is no room leaves nothing behind that takes room.
func TestSpace_SnapshotWithoutRoom(t *testing.T) {
	dir := t.TempDir()
	files, err := raft.NewFileSnapshotStore(dir, retainSnapshots, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	space := &space{dir: dir}
	_, naming := raft.NewInmemTransport("a:1")
	sink, err := roomySnapshots{files, space}.Create(1, 5, 1, raft.Configuration{}, 1, naming)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sink.Write([]byte("half of it")); err != nil {
		t.Fatal(err)
	}
	sink = roomySink{brokenSink{sink.(roomySink).SnapshotSink}, space}
	if _, err := sink.Write([]byte("the rest")); !isFull(err) || space.full() == "" {
		t.Errorf("got %v, want that there is no room", err)
	}
	if err := sink.Cancel(); err == nil {
		t.Error("got no error, want what went wrong")
	}
	left, err := os.ReadDir(filepath.Join(dir, snapshotsName))
	if err != nil || len(left) > 0 {
		t.Errorf("%d entries are left (%v)", len(left), err)
	}
	if err := os.MkdirAll(filepath.Join(dir, snapshotsName, "1-5-123"+unfinishedSuffix), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := clearUnfinished(dir); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, snapshotsName)); len(left) > 0 {
		t.Error("what a process that was killed had begun is left")
	}
}

// brokenSink is raft's own when the disk is full: it cannot even be given up in good order.
type brokenSink struct{ raft.SnapshotSink }

func (brokenSink) Write([]byte) (int, error) { return 0, syscall.ENOSPC }
func (brokenSink) Cancel() error             { return syscall.ENOSPC }
