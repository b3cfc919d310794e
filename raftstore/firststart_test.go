package raftstore

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A coordinator loses its disk while another one lags, and the leader dies: were the empty one to vote, the one that
// lags would lead without what was acknowledged.
func TestOpen_EmptyCoordinatorDoesNotVote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		leader := c.leader()
		c.addToken(leader, "before")
		lagging, wiped := c.others(leader)[0], c.others(leader)[1]
		c.memory.Cut(lagging.name)
		c.addToken(leader, "acknowledged")

		c.close(wiped)
		c.memory.Wipe(wiped.name)
		c.memory.Cut(leader.name)
		config := wiped.cfg
		if s, err := Open(config); !errors.Is(err, ErrEmpty) {
			t.Errorf("got %v, want %v", err, ErrEmpty)
			if s != nil {
				c.nodes[wiped.name] = &member{Store: s, name: wiped.name, cancel: func() {}, stopped: closed()}
			}
		}
		c.memory.Heal(lagging.name)
		time.Sleep(time.Minute) // of the bubble's time: any number of elections
		if v, err := lagging.Read(c.ctx); err == nil {
			t.Errorf("%s leads; it has what was acknowledged: %v", lagging.name, has(v, "acknowledged"))
		}

		c.memory.Heal(leader.name)
		again := c.leaderNow()
		if v, err := again.Read(c.ctx); err != nil || !has(v, "acknowledged") {
			t.Errorf("two of three: read: %v, want what was acknowledged", err)
		}
		c.addToken(again, "after")
	})
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func TestOpen_FirstStart(t *testing.T) {
	authority := newAuthority(t, "7d1f")
	config := func(t *testing.T) Config {
		return realConfig(t, authority, t.TempDir(), "a", []Peer{{"a", loopback(1)[0]}})
	}
	refused := func(t *testing.T, cfg Config) {
		t.Helper()
		s, err := Open(cfg)
		if s != nil {
			closeStore(t, s)
		}
		if !errors.Is(err, ErrEmpty) || !strings.Contains(err.Error(), "drp server init") {
			t.Errorf("got %v, want %v", err, ErrEmpty)
		}
	}
	t.Run("without a mark nothing starts, and nothing is written", func(t *testing.T) {
		cfg := config(t)
		refused(t, cfg)
		if _, err := os.Stat(cfg.Dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the directory was made: %v", err)
		}
		if err := os.Mkdir(cfg.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		refused(t, cfg)
		prepare(t, cfg) // would refuse a directory that is not empty
	})
	t.Run("a log without state is not enough", func(t *testing.T) {
		cfg := config(t)
		cfg.Listen = "203.0.113.1:7400" // fails after the log was made
		prepare(t, cfg)
		if _, err := Open(cfg); err == nil || errors.Is(err, ErrEmpty) {
			t.Fatalf("got %v, want that it cannot listen", err)
		}
		cfg.Listen = ""
		if err := os.Remove(folder{cfg.Dir}.path(firstStartName)); err != nil {
			t.Fatal(err)
		}
		refused(t, cfg)
	})
	t.Run("the mark is consumed", func(t *testing.T) {
		cfg := prepare(t, config(t))
		closeStore(t, open(t, cfg))
		if _, err := os.Stat(folder{cfg.Dir}.path(firstStartName)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the mark is still there: %v", err)
		}
		closeStore(t, open(t, cfg))
		if err := os.RemoveAll(cfg.Dir); err != nil {
			t.Fatal(err)
		}
		refused(t, cfg)
	})
	t.Run("a crash before it was removed", func(t *testing.T) {
		cfg := prepare(t, config(t))
		s := open(t, cfg)
		firstToLead(t, []*Store{s})
		if r, err := s.Propose(t.Context(), token("kept", "1")); err != nil || r.Err != nil {
			t.Fatalf("propose: %v, refused: %v", err, r.Err)
		}
		closeStore(t, s)
		if err := os.WriteFile(folder{cfg.Dir}.path(firstStartName), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		s = open(t, cfg)
		awaitToken(t, s, "kept")
		closeStore(t, s)
		if _, err := os.Stat(folder{cfg.Dir}.path(firstStartName)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the mark is still there: %v", err)
		}
	})
}

func TestPrepare(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	for range 2 { // the second time after a crash, perhaps
		if err := Prepare(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, logName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for words, dir := range map[string]string{
		"holds raft.db":             dir,
		"make directory of the log": "/dev/null/x",
		"no directory":              "",
	} {
		if err := Prepare(dir); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("got %v, want the words %q", err, words)
		}
	}
}

// Whoever reads the advice must not make an empty coordinator of one that has voted.
func TestFSM_AdviceKeepsTheDirectory(t *testing.T) {
	var said strings.Builder
	f := newFSM("a", newAlarms(slog.New(slog.NewTextHandler(&said, nil))), nil)
	for range 3 {
		f.watchInstalls(time.Now())
	}
	if got := said.String(); !strings.Contains(got, "Keep its directory") {
		t.Errorf("got %q, want advice that keeps the directory", got)
	}
}
