package raftstore

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"drp/raftstore/state"
)

// cluster is three coordinators in memory. Tests run it in a synctest bubble, with the timers of production.
type cluster struct {
	t      *testing.T
	size   int // nodes at the start
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

func newCluster(t *testing.T, edit func(*Config)) *cluster { return newClusterOf(t, 3, edit) }

func newClusterOf(t *testing.T, size int, edit func(*Config)) *cluster {
	c := &cluster{
		t: t, size: size, memory: NewMemory(), nodes: map[string]*member{}, edit: edit, ctx: t.Context(),
		led: make(chan *member, 100), ended: make(chan *member, 100), fatals: make(chan error, 100),
	}
	for _, name := range []string{"a", "b", "c"}[:size] {
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
		Peers: c.peers(name),
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

// peers are what the configuration file of a node has: the first three, and itself.
func (c *cluster) peers(name string) []Peer {
	list := []Peer{{"a", "a:1"}, {"b", "b:1"}, {"c", "c:1"}}[:c.size]
	if name > list[len(list)-1].Name {
		list = append(list, Peer{name, name + ":1"})
	}
	return list
}

// join opens a node that waits to be added.
func (c *cluster) join(name string) *member {
	c.t.Helper()
	c.memory.PrepareJoin(name)
	return c.open(name)
}

// until waits until something holds that comes with time.
func (c *cluster) until(what string, holds func() bool) {
	c.t.Helper()
	for range 3000 {
		if holds() {
			return
		}
		time.Sleep(100 * time.Millisecond) // of the bubble's time
	}
	c.t.Fatalf("%s: not after five minutes", what)
}

// raises waits until a node raises an alarm, and returns its words.
func (c *cluster) raises(m *member, kind AlarmKind, about string) string {
	c.t.Helper()
	var words string
	c.until(fmt.Sprintf("%s raises %s about %s", m.name, kind, about), func() bool {
		words = alarmed(m.Store, kind, about)
		return words != ""
	})
	return words
}

// alarmed returns the words of an alarm, or nothing.
func alarmed(s *Store, kind AlarmKind, about string) string {
	for _, a := range s.Alarms() {
		if a.Kind == kind && a.Member == about {
			return a.Message
		}
	}
	return ""
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
