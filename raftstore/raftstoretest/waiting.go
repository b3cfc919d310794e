package raftstoretest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"drp/raftstore/state"
)

// Led is one time that a node began to lead: all that was committed before is in its state.
type Led struct {
	Node string
	At   time.Time
}

func (c *Cluster) announce(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	close(c.news)
	c.news = make(chan struct{})
}

// AwaitLed waits until a node begins to lead that is not one of those given, after the time given.
func (c *Cluster) AwaitLed(after time.Time, within time.Duration, but ...*Node) Led {
	c.t.Helper()
	timeout := time.After(within)
	for {
		c.mu.Lock()
		news := c.news
		for _, l := range c.led {
			if !l.At.Before(after) && !slices.Contains(but, c.Node(l.Node)) {
				c.mu.Unlock()
				return l
			}
		}
		c.mu.Unlock()
		select {
		case <-news:
		case <-timeout:
			c.t.Fatalf("nobody leads after %s; %s", within, c.describe())
		}
	}
}

// Leader waits until some node answers a linearizable read.
func (c *Cluster) Leader(but ...*Node) *Node {
	c.t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for time.Now().Before(deadline) {
		for _, n := range c.nodes {
			if slices.Contains(but, n) {
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			_, err := n.Read(ctx)
			cancel()
			if err == nil {
				return n
			}
		}
		time.Sleep(50 * time.Millisecond) // of the bubble's time
	}
	c.t.Fatalf("nobody leads after 2 minutes; %s", c.describe())
	return nil
}

func (c *Cluster) describe() string {
	s := fmt.Sprintf("seed %d;", c.Seed)
	for _, n := range c.nodes {
		if st := n.Store(); st != nil {
			v := st.Status()
			s += fmt.Sprintf(" %s: %s, leader %q, term %d, last %d, committed %d, applied %d, error %q;", n.Name, v.Role, v.Leader, v.Term, v.Last, v.Committed, v.Applied, v.Error)
		} else {
			s += fmt.Sprintf(" %s: down (%v);", n.Name, n.Ended())
		}
	}
	return s
}

// Do proposes a command until its outcome is known, under the same id, wherever a leader is.
func (c *Cluster) Do(cmd state.Command) state.Result {
	c.t.Helper()
	r, err := c.Try(2*time.Minute, cmd)
	if err != nil {
		c.t.Fatalf("%s %s: %v; %s", cmd.Name, cmd.ID, err, c.describe())
	}
	return r
}

// Try is Do, and gives up.
func (c *Cluster) Try(within time.Duration, cmd state.Command) (r state.Result, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	for ctx.Err() == nil {
		for _, n := range c.nodes {
			one, stop := context.WithTimeout(ctx, 5*time.Second)
			r, err = n.Propose(one, cmd)
			stop()
			if err == nil {
				return r, nil
			}
		}
		time.Sleep(50 * time.Millisecond) // of the bubble's time
	}
	return r, err
}

// Agree waits until all nodes that run have applied what the leader has, and holds that their states are the same.
func (c *Cluster) Agree() {
	c.t.Helper()
	leader := c.Leader()
	want := leader.Store().View()
	for _, n := range c.nodes {
		s := n.Store()
		if s == nil {
			continue
		}
		v := n.Await("the leader's state", func(v *state.View) bool { return v.Index() >= want.Index() })
		if v.Index() == want.Index() && Persisted(c.t, v) != Persisted(c.t, want) {
			c.t.Errorf("%s has another state than %s at %d", n.Name, leader.Name, want.Index())
		}
	}
}

// Await waits until the node's state is as asked.
func (n *Node) Await(what string, holds func(*state.View) bool) *state.View {
	n.cluster.t.Helper()
	timeout := time.After(3 * time.Minute)
	for {
		s := n.Store()
		if s == nil {
			n.cluster.t.Fatalf("%s is down (%v), and was to have %s", n.Name, n.Ended(), what)
		}
		changed := s.Changed()
		if v := s.View(); holds(v) {
			return v
		}
		select {
		case <-changed:
		case <-s.Done():
			n.cluster.t.Fatalf("%s has ended (%v), and was to have %s", n.Name, s.Err(), what)
		case <-timeout:
			n.cluster.t.Fatalf("%s: %s never came; %s", n.Name, what, n.cluster.describe())
		}
	}
}
