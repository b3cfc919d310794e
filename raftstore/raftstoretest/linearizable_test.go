package raftstoretest

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"

	"drp/raftstore"
)

// fault is one kind of T1: it begins and ends a few times while clients work.
type fault struct {
	name       string
	nodes      int
	begin, end func(c *Cluster)
	lasts      time.Duration // 0: 6 s
}

func heal(c *Cluster) { c.Network.Heal() }

func faults() []fault {
	someone := func(c *Cluster) *Node { return c.nodes[c.Random.IntN(len(c.nodes))] }
	// the leader is where a fault hurts most
	victim := func(c *Cluster) *Node {
		if c.Random.IntN(2) == 0 {
			return someone(c)
		}
		return c.Leader()
	}
	var hit *Node
	on := func(f func(*Node)) func(*Cluster) {
		return func(c *Cluster) {
			hit = victim(c)
			f(hit)
		}
	}
	off := func(f func(*Node)) func(*Cluster) { return func(*Cluster) { f(hit) } }
	restartEnded := func(c *Cluster) {
		for _, n := range c.nodes {
			if n.Store() == nil {
				n.Start()
			}
		}
	}
	return []fault{
		{name: "kill", begin: on(func(n *Node) { n.Crash() }), end: restartEnded},
		{name: "kill all", begin: func(c *Cluster) {
			for _, n := range c.nodes {
				n.Crash()
			}
		}, end: restartEnded, lasts: time.Second},
		{name: "freeze", begin: on(func(n *Node) { n.Freeze(true) }), end: off(func(n *Node) { n.Freeze(false) })},
		{name: "partition of one", begin: func(c *Cluster) { c.Isolate(victim(c)) }, end: heal},
		{name: "partition of a majority", nodes: 5, begin: func(c *Cluster) { c.Split([]*Node{c.Leader(), someone(c)}) }, end: heal},
		{name: "partition into a ring", nodes: 5, begin: (*Cluster).Ring, end: heal},
		{name: "asymmetric partition", begin: func(c *Cluster) { c.Mute(victim(c)) }, end: heal},
		{name: "delay", begin: func(c *Cluster) { c.Links(Link{Delay: 100 * time.Millisecond, Jitter: 400 * time.Millisecond}) }, end: heal},
		{name: "drop", begin: func(c *Cluster) { c.Links(Link{Drop: 0.2}) }, end: heal},
		{name: "slow disk", begin: on(func(n *Node) { n.Disk.Slow(300 * time.Millisecond) }), end: off(func(n *Node) { n.Disk.Slow(0) })},
		{name: "full disk", begin: on(func(n *Node) { n.Disk.Full(true) }), end: off(func(n *Node) { n.Disk.Full(false) })},
		{name: "hung disk", begin: on(func(n *Node) { n.Disk.Hang(true) }), end: func(c *Cluster) {
			hit.Disk.Hang(false)
			restartEnded(c)
		}, lasts: 25 * time.Second},
		{name: "appends refused", begin: on(func(n *Node) { n.Disk.Refuse(func() error { return errDiskFull }) }), end: off(func(n *Node) { n.Disk.Refuse(nil) })},
	}
}

// T1: whatever fails, all answers are explained by one order of the operations.
func TestT1_Linearizable(t *testing.T) {
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			seed := Seed(t)
			var h History
			synctest.Test(t, func(t *testing.T) {
				c := New(t, Options{Nodes: f.nodes, Seed: seed, Edit: func(_ string, cfg *raftstore.Config) {
					cfg.Snapshots = raftstore.Snapshots{Interval: 5 * time.Second, Threshold: 50, Trailing: 50}
				}})
				c.Furnish(&h)
				stop := c.Load(&h, 4, nil)
				lasts := f.lasts
				if lasts == 0 {
					lasts = 6 * time.Second
				}
				for range 2 {
					f.begin(c)
					time.Sleep(lasts) // of the bubble's time, as all below
					f.end(c)
					time.Sleep(4 * time.Second)
				}
				stop()
				c.Agree()
			})
			h.Check(t)
			all, unknown := h.Len()
			t.Logf("ops=%d unknown outcomes=%d", all, unknown)
			if all < 30 {
				t.Errorf("the clients got %d operations done only: that shows nothing", all)
			}
		})
	}
}

// The checker is worth nothing if it does not find what is wrong.
func TestChecker_Finds(t *testing.T) {
	verdict := func(t *testing.T, run func(c *Cluster, h *History)) porcupine.CheckResult {
		t.Helper()
		var h History
		seed := Seed(t)
		synctest.Test(t, func(t *testing.T) {
			c := New(t, Options{Seed: seed})
			c.Furnish(&h)
			run(c, &h)
		})
		return h.Verdict()
	}
	for _, test := range []struct {
		name  string
		stale bool
		want  porcupine.CheckResult
	}{
		{"a stale read on a leader that was cut off", true, porcupine.Illegal},
		{"nothing where that leader is asked for what is sure", false, porcupine.Ok},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := verdict(t, func(c *Cluster, h *History) {
				old := c.Leader()
				c.Isolate(old)
				next := c.Leader(old)
				writer := &Client{Number: 1, Cluster: c, History: h, near: index(c, next)}
				if a := writer.Ask(Operation{Kind: Stop, Account: "shop", Generation: 1}); !a.Changed {
					t.Fatalf("got %+v from the new leader", a)
				}
				reader := &Client{Number: 2, Cluster: c, History: h, near: index(c, old), StaleRead: test.stale}
				if a := reader.Ask(Operation{Kind: Read, Account: "shop"}); a.Account.Stopped == test.stale {
					t.Fatalf("got %+v, want stopped: %t", a, !test.stale)
				}
			})
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
	for _, test := range []struct {
		name  string
		fresh bool
		want  porcupine.CheckResult
	}{
		{"a command that was applied twice", true, porcupine.Illegal},
		{"nothing where it was repeated under its id", false, porcupine.Ok},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := verdict(t, func(c *Cluster, h *History) {
				client := &Client{Number: 1, Cluster: c, History: h, LoseAnswers: true, FreshIDs: test.fresh}
				client.Ask(Operation{Kind: Stop, Account: "shop", Generation: 1})
			})
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// A leader that hangs does not see that its lease is over: only the question to the others tells it.
func TestRead_LeaderThatHangsWhileAnotherLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{})
		old := c.Leader()
		c.Do(token("one"))
		old.Disk.Hang(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _ = old.Propose(ctx, token("hangs"))
		c.Isolate(old)
		next := c.AwaitLed(time.Now(), 15*time.Second, old)
		if _, err := c.Node(next.Node).Propose(t.Context(), token("two")); err != nil {
			t.Fatal(err)
		}
		if old.Store() == nil {
			t.Fatal("the old leader has ended already: that shows nothing")
		}
		if v, err := old.Read(t.Context()); err == nil && !has("two")(v) {
			t.Error("it answers, and does not know what the next leader decided")
		}
	})
}

func index(c *Cluster, n *Node) int {
	for i, o := range c.nodes {
		if o == n {
			return i
		}
	}
	return -1
}
