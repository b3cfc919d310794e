package raftstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"drp/raftstore/state"
)

// cluster is three coordinators in memory. Tests run it in a synctest bubble, with the timers of production.
type cluster struct {
	t      *testing.T
	memory *Memory
	nodes  map[string]*member
	edit   func(*Config)
	next   int          // of command ids
	led    chan *member // each time one begins to lead
	fatals chan error   // of any node
	ended  chan *member // each time one has ended to lead
	ctx    context.Context
}

type member struct {
	*Store
	name    string
	cancel  context.CancelFunc
	stopped chan struct{} // Lead has returned
}

func newCluster(t *testing.T, edit func(*Config)) *cluster {
	c := &cluster{
		t: t, memory: NewMemory(), nodes: map[string]*member{}, edit: edit, ctx: t.Context(),
		led: make(chan *member, 100), ended: make(chan *member, 100), fatals: make(chan error, 100),
	}
	for _, name := range []string{"a", "b", "c"} {
		c.open(name)
	}
	t.Cleanup(func() {
		for _, m := range c.nodes {
			c.close(m)
		}
	})
	return c
}

func (c *cluster) open(name string) *member {
	c.t.Helper()
	cfg := Config{
		Name: name, Memory: c.memory, Logger: slog.New(slog.DiscardHandler),
		Peers: []Peer{{"a", "a:1"}, {"b", "b:1"}, {"c", "c:1"}},
		Fatal: func(err error) { c.fatals <- err },
	}
	if c.edit != nil {
		c.edit(&cfg)
	}
	s, err := Open(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	m := &member{Store: s, name: name, stopped: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	c.nodes[name] = m
	go func() {
		defer close(m.stopped)
		_ = m.Lead(ctx, func(ctx context.Context) error {
			c.led <- m
			<-ctx.Done()
			c.ended <- m
			return nil
		})
	}()
	return m
}

func (c *cluster) close(m *member) {
	c.t.Helper()
	if c.nodes[m.name] != m {
		return
	}
	delete(c.nodes, m.name)
	m.cancel()
	if err := m.Close(); err != nil {
		c.t.Errorf("close %s: %v", m.name, err)
	}
	<-m.stopped
}

// leader waits until a node leads that has not ended to.
func (c *cluster) leader() *member {
	c.t.Helper()
	for {
		select {
		case m := <-c.led:
			if l, _ := m.leadership(); l != nil && l.ctx.Err() == nil {
				return m
			}
		case <-time.After(time.Minute):
			c.t.Fatal("nobody leads after a minute")
		}
	}
}

// leaderNow waits until some node can answer a read.
func (c *cluster) leaderNow() *member {
	c.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		for _, m := range c.others(nil) {
			if _, err := m.Read(c.ctx); err == nil {
				return m
			}
		}
		time.Sleep(100 * time.Millisecond) // of the bubble's time
	}
	c.t.Fatal("nobody leads after a minute")
	return nil
}

func (c *cluster) id() string {
	c.next++
	return fmt.Sprintf("c%d", c.next)
}

func token(name, id string) state.Command {
	return state.NewCommand(state.TokenCreate, id, time.Now(), "operator/ada", state.TokenCreateData{Token: state.APIToken{
		Name: name, SHA256: make([]byte, 32), Role: "support", Expires: time.Now().Add(time.Hour),
	}})
}

// addToken proposes a command that the state shows by a name.
func (c *cluster) addToken(m *member, name string) {
	c.t.Helper()
	r, err := m.Propose(c.ctx, token(name, c.id()))
	if err != nil || r.Err != nil {
		c.t.Fatalf("propose on %s: %v, refused: %v", m.name, err, r.Err)
	}
}

func has(v *state.View, name string) bool {
	for _, token := range v.APITokens() {
		if token.Name == name {
			return true
		}
	}
	return false
}

// await waits until the node's state is as asked.
func (c *cluster) await(m *member, what string, holds func(*state.View) bool) {
	c.t.Helper()
	timeout := time.After(5 * time.Minute)
	for {
		changed := m.Changed()
		if holds(m.View()) {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			c.t.Fatalf("%s: %s never came; it is at %d", m.name, what, m.View().Index())
		}
	}
}

// agree waits until all nodes are where the leader is, and holds that their states are the same.
func (c *cluster) agree(leader *member) {
	c.t.Helper()
	want := leader.View()
	for _, m := range c.nodes {
		c.await(m, "the leader's state", func(v *state.View) bool { return v.Index() >= want.Index() })
		if got := m.View(); !bytes.Equal(persisted(c.t, got), persisted(c.t, want)) {
			c.t.Errorf("%s has another state than %s at %d", m.name, leader.name, want.Index())
		}
	}
}

func persisted(t *testing.T, v *state.View) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := v.Persist(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (c *cluster) others(m *member) []*member {
	var list []*member
	for _, name := range []string{"a", "b", "c"} {
		if o := c.nodes[name]; o != nil && o != m {
			list = append(list, o)
		}
	}
	return list
}

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

// Nodes are cut off and killed at random while commands are proposed, each again and again under its id until the
// outcome is known. In the end all states are the same, and each command is there once.
func TestStore_RandomCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seed := rand.Int64() // the clock of a bubble always says the same
		if s, err := strconv.ParseInt(os.Getenv("DRP_TEST_SEED"), 10, 64); err == nil {
			seed = s
		}
		t.Logf("DRP_TEST_SEED=%d", seed)
		random := rand.New(rand.NewPCG(uint64(seed), 0))
		c := newCluster(t, func(cfg *Config) {
			cfg.Snapshots = Snapshots{Interval: 5 * time.Second, Threshold: 10, Trailing: 5}
		})
		names := []string{"a", "b", "c"}
		for i := range 60 {
			name := names[random.IntN(len(names))]
			switch random.IntN(4) {
			case 0:
				c.memory.Cut(name)
			case 1:
				c.close(c.nodes[name])
				c.open(name)
			}
			c.proposeSomewhere(token(fmt.Sprintf("t%d", i), c.id()), names, random)
			for _, n := range names {
				c.memory.Heal(n)
			}
			time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond) // of the bubble's time
		}
		leader := c.leaderNow()
		for i := range 60 {
			if !has(leader.View(), fmt.Sprintf("t%d", i)) {
				t.Errorf("the acknowledged command t%d is lost", i)
			}
		}
		c.agree(leader)
	})
}

func (c *cluster) proposeSomewhere(command state.Command, names []string, random *rand.Rand) {
	c.t.Helper()
	for range 1000 {
		m := c.nodes[names[random.IntN(len(names))]]
		r, err := m.Propose(c.ctx, command)
		if err == nil {
			if r.Err != nil || !r.Changed {
				c.t.Fatalf("%s: got %+v, want the answer of the first time", command.ID, r)
			}
			return
		}
		if !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrUnknownOutcome) {
			c.t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond) // of the bubble's time
	}
	c.t.Fatalf("%s was never applied", command.ID)
}
