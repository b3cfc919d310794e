package raftstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"drp/raftstore/state"
)

func TestStore_LeaderDecidesAndAllFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		leader := c.leader()
		c.addToken(leader, "one")
		v, err := leader.Read(c.ctx)
		if err != nil || !has(v, "one") {
			t.Errorf("read on the leader: got %v, want what was acknowledged", err)
		}
		for _, m := range c.others(leader) {
			c.await(m, "the command", func(v *state.View) bool { return has(v, "one") })
			if name, ok := m.Leader(); !ok || name != leader.name {
				t.Errorf("%s takes %q for the leader, want %s", m.name, name, leader.name)
			}
			if _, err := m.Read(c.ctx); !errors.Is(err, ErrNotLeader) {
				t.Errorf("read on %s: got %v, want %v", m.name, err, ErrNotLeader)
			}
			if _, err := m.Propose(c.ctx, token("two", c.id())); !errors.Is(err, ErrNotLeader) {
				t.Errorf("propose on %s: got %v, want %v", m.name, err, ErrNotLeader)
			}
		}
		c.agree(leader)
		st := leader.Status()
		if st.Role != "leader" || st.Leader != leader.name || st.Applied < st.Committed || st.Term == 0 || len(st.Peers) != 3 {
			t.Errorf("got status %+v", st)
		}
		r, err := leader.Propose(c.ctx, token("one", c.id()))
		if err != nil || !errors.Is(r.Err, state.ErrConflict) {
			t.Errorf("got %v, %v, want a refusal and no error", r.Err, err)
		}
	})
}

func TestStore_LeaderKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		first := c.leader()
		c.addToken(first, "one")
		again := token("two", "same-id")
		if _, err := first.Propose(c.ctx, again); err != nil {
			t.Fatal(err)
		}
		c.close(first)
		if ended := <-c.ended; ended != first {
			t.Errorf("the leadership of %s ended, want that of %s", ended.name, first.name)
		}
		next := c.leader()
		v, err := next.Read(c.ctx)
		if err != nil || !has(v, "one") || !has(v, "two") {
			t.Fatalf("the next leader misses what was acknowledged: %v", err)
		}
		if r, err := next.Propose(c.ctx, again); err != nil || r.Err != nil || !r.Changed {
			t.Errorf("the same id again: got %+v, %v, want the first answer", r, err)
		}
		back := c.open(first.name)
		c.addToken(next, "three")
		c.await(back, "what it missed", func(v *state.View) bool { return has(v, "three") })
		c.agree(next)
	})
}

func TestStore_LeaderCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		first := c.leader()
		c.addToken(first, "one")
		c.memory.Cut(first.name)
		lost := token("lost", "lost-id")
		if _, err := first.Propose(c.ctx, lost); !errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("propose on a leader that was cut off: got %v, want %v", err, ErrUnknownOutcome)
		}
		if ended := <-c.ended; ended != first {
			t.Errorf("the leadership of %s ended, want that of %s", ended.name, first.name)
		}
		next := c.leader()
		c.addToken(next, "two")
		if _, err := first.Read(c.ctx); !errors.Is(err, ErrNotLeader) {
			t.Errorf("read on a leader that was cut off: got %v, want %v", err, ErrNotLeader)
		}
		c.memory.Heal(first.name)
		c.await(first, "what it missed", func(v *state.View) bool { return has(v, "two") })
		if has(first.View(), "lost") {
			t.Error("an entry that no quorum had was applied")
		}
		if r, err := next.Propose(c.ctx, lost); err != nil || r.Err != nil {
			t.Errorf("the unknown command again: %v, %v", r.Err, err)
		}
		c.agree(next)
	})
}

func TestStore_Lead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		leader := c.leader()
		broken := errors.New("broken")
		err := leader.Lead(c.ctx, func(context.Context) error { return broken })
		if !errors.Is(err, broken) {
			t.Errorf("got %v, want the error of what ran", err)
		}
		ctx, cancel := context.WithCancel(c.ctx)
		err = leader.Lead(ctx, func(inner context.Context) error {
			cancel()
			<-inner.Done()
			return inner.Err()
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want %v", err, context.Canceled)
		}
		follower := c.others(leader)[0]
		failed := make(chan error, 1)
		go func() {
			failed <- follower.Lead(c.ctx, func(context.Context) error { return nil })
		}()
		c.close(follower)
		if err := <-failed; !errors.Is(err, ErrClosed) {
			t.Errorf("got %v from a closed store, want %v", err, ErrClosed)
		}
	})
}

// Two trues in a row mean that the leadership was lost and won again: what ran under the first has to end.
func TestStore_Lead_LostAndWonAgainUnseen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		leader := c.leader()
		signals := make(chan bool)
		s := &Store{
			cfg: leader.cfg, raft: leader.raft, fsm: leader.fsm,
			watched: make(chan struct{}), ledChange: make(chan struct{}), done: make(chan struct{}),
		}
		go s.watchLeadership(signals)
		ctx, cancel := context.WithCancel(c.ctx)
		events := make(chan string, 10)
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			_ = s.Lead(ctx, func(ctx context.Context) error {
				events <- "begin"
				<-ctx.Done()
				events <- "end: " + context.Cause(ctx).Error()
				return nil
			})
		}()
		signals <- true
		want := []string{"begin", "end: not the leader", "begin", "end: not the leader"}
		for i, w := range want {
			if got := <-events; got != w {
				t.Errorf("event %d: got %q, want %q", i, got, w)
			}
			switch i {
			case 0:
				if _, err := s.Read(c.ctx); err != nil {
					t.Errorf("read: %v", err)
				}
				l, _ := s.leadership()
				l.term-- // as if the barrier had passed in a term that is over
				if _, err := s.Read(c.ctx); !errors.Is(err, ErrNotLeader) {
					t.Errorf("read without a barrier in this term: got %v, want %v", err, ErrNotLeader)
				}
				signals <- true
			case 2:
				signals <- false
			}
		}
		s.end(ErrClosed)
		cancel()
		<-s.watched
		<-stopped
	})
}

func TestStore_LaggingNodeGetsSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, func(cfg *Config) { cfg.Snapshots.Trailing = 5 })
		leader := c.leader()
		lagging := c.others(leader)[0]
		c.close(lagging)
		for i := range 50 {
			c.addToken(leader, fmt.Sprintf("t%d", i))
		}
		if err := leader.raft.Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
		first, err := c.memory.nodes[leader.name].logs.FirstIndex()
		if err != nil || first < 40 {
			t.Fatalf("the leader's log begins at %d (%v), want it cut", first, err)
		}
		back := c.open(lagging.name)
		c.await(back, "the snapshot", func(v *state.View) bool { return has(v, "t49") })
		c.addToken(leader, "after")
		c.await(back, "the next entry", func(v *state.View) bool { return has(v, "after") })
		c.agree(leader)

		c.close(back) // and from its own snapshot
		again := c.open(lagging.name)
		c.await(again, "its own snapshot", func(v *state.View) bool { return has(v, "after") })
		c.agree(leader)
	})
}

func TestStore_UnknownCommandStopsTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		leader := c.leader()
		c.addToken(leader, "one")
		before := persisted(t, leader.View())
		newer := []byte(`{"name":"account.teleport","id":"x","at":"2026-03-01T00:00:00Z","by":"a/b","data":{}}`)
		if err := leader.raft.Apply(newer, time.Second).Error(); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the third may be left without a quorum, and never learn that the entry is committed
			var unknown *state.UnknownCommandError
			if err := <-c.fatals; !errors.As(err, &unknown) {
				t.Errorf("got fatal %v, want an unknown command", err)
			}
		}
		for _, m := range c.others(nil) {
			if m.Err() == nil {
				continue
			}
			if _, err := m.Propose(c.ctx, token("two", c.id())); !errors.As(err, new(*state.UnknownCommandError)) {
				t.Errorf("propose on a stopped node: got %v, want why it stopped", err)
			}
			if _, err := m.Read(c.ctx); err == nil {
				t.Error("a stopped node answers reads")
			}
			if _, err := m.fsm.Snapshot(); err == nil {
				t.Error("a stopped node would write a snapshot that misses an entry")
			}
			if m.Status().Error == "" {
				t.Error("the status does not say why the node stopped")
			}
		}
		if !bytes.Equal(persisted(t, leader.View()), before) {
			t.Error("the state changed")
		}
	})
}

func TestStore_HangingDiskEndsTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		first := c.leader()
		c.addToken(first, "one")
		c.memory.Stall(first.name)
		start := time.Now()
		if _, err := first.Propose(c.ctx, token("two", c.id())); !errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("propose on a leader whose disk hangs: got %v, want %v", err, ErrUnknownOutcome)
		}
		err := <-c.fatals
		if err == nil || time.Since(start) > 25*time.Second {
			t.Errorf("got %v after %s, want the watchdog within 25s", err, time.Since(start))
		}
		<-first.Done()
		c.memory.Cut(first.name) // what the end of its process does
		next := c.leader()
		c.addToken(next, "three")
		c.memory.Recover(first.name)
	})
}

func TestStore_Read_GivesUpWhileTheDiskHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		leader := c.leader()
		c.addToken(leader, "one")
		c.memory.Stall(leader.name)
		ctx, cancel := context.WithTimeout(c.ctx, time.Second)
		defer cancel()
		if _, err := leader.Propose(ctx, token("two", c.id())); !errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("propose: got %v, want %v", err, ErrUnknownOutcome)
		}
		start := time.Now()
		if _, err := leader.Read(c.ctx); err == nil || time.Since(start) > verifyTimeout {
			t.Errorf("read: got %v after %s, want an error within %s", err, time.Since(start), verifyTimeout)
		}
		c.memory.Recover(leader.name)
		again := c.leaderNow()
		c.addToken(again, "three")
		if len(c.fatals) > 0 {
			t.Errorf("a pause of a few seconds ended a node: %v", <-c.fatals)
		}
		c.agree(again)
	})
}

func TestStore_Propose_RefusedBeforeTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		leader := c.leader()
		large := state.InventoryData{Sites: []state.Site{{Name: "par1", Gateways: []string{string(bytes.Repeat([]byte("x"), maxCommand))}}}}
		tooLarge := state.InventoryData{Sites: []state.Site{{Name: "par1", Gateways: []string{string(bytes.Repeat([]byte("x"), maxInventory))}}}}
		tests := []struct {
			name    string
			command state.Command
			want    error
		}{
			{"unknown", state.Command{Name: "account.teleport", ID: "1", Data: []byte("{}")}, state.ErrInvalid},
			{"undecodable", state.Command{Name: state.TaskForget, ID: "2", Data: []byte("[]")}, state.ErrInvalid},
			{"no id", state.Command{Name: state.TaskForget, Data: []byte("{}")}, state.ErrInvalid},
			{"too large", state.NewCommand(state.TaskForget, "3", time.Now(), "a/b", state.TaskForgetData{Task: state.TaskID(bytes.Repeat([]byte("x"), maxCommand))}), state.ErrInvalid},
			{"large inventory", state.NewCommand(state.InventoryApply, "4", time.Now(), "a/b", large), nil},
			{"too large inventory", state.NewCommand(state.InventoryApply, "5", time.Now(), "a/b", tooLarge), state.ErrInvalid},
		}
		for _, test := range tests {
			if _, err := leader.Propose(c.ctx, test.command); !errors.Is(err, test.want) {
				t.Errorf("%s: got %v, want %v", test.name, err, test.want)
			}
		}
		ctx, cancel := context.WithCancel(c.ctx)
		cancel()
		if _, err := leader.Propose(ctx, token("x", c.id())); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("got %v for a call that was over before, want %v", err, context.Canceled)
		}
	})
}
