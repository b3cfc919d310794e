package raftstoretest

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A thousand connections that never end their handshake, from one address and from many, delay no heartbeat by more than a
// second, not even of coordinators that have to connect anew meanwhile; and nobody else begins to lead. In the bubble's time: how
// fast the machine is that runs this changes nothing.
func TestHalfOpen(t *testing.T) {
	// At one address a place is an honest peer's for as long as sixteen others need to come after it. In front of those of strangers
	// from anywhere peers are safe however many come: 64 of them do so in less than a handshake takes.
	for name, c := range map[string]struct {
		from        func(leader string, i int) string
		delay, wait time.Duration
	}{
		"from one address, that of the leader": {func(leader string, _ int) string { return leader }, 10 * time.Millisecond, 5 * time.Second},
		"from a thousand addresses":            {func(_ string, i int) string { return fmt.Sprintf("2001:db8:%x::1", i+1) }, 50 * time.Millisecond, time.Second},
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { halfOpen(t, c.from, c.delay, c.wait) }) })
	}
}

func halfOpen(t *testing.T, from func(leader string, i int) string, delay, wait time.Duration) {
	c := New(t, Options{})
	c.Links(Link{Delay: delay}) // a handshake takes some of them
	leader := c.Leader()
	term := leader.Store().Status().Term
	before := c.longestSilence(leader)
	ip, _, err := net.SplitHostPort(leader.Address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var strangers sync.WaitGroup
	for i := range 1000 {
		h := c.Network.host(fmt.Sprint("stranger", i), from(ip, i))
		for _, n := range c.Nodes() {
			strangers.Go(func() { halfOpenForEver(ctx, h, n.Address, time.Duration(i)*wait/1000, wait) })
		}
	}
	time.Sleep(6 * time.Second) // all have come, of the bubble's time
	meanwhile := c.longestSilence(leader)
	if meanwhile > before+time.Second {
		t.Errorf("the longest silence was %s, and %s without strangers: want at most a second more", meanwhile, before)
	}
	if now := leader.Store().Status(); now.Role != "leader" || now.Term != term {
		t.Errorf("got %s of term %d, want still the leader of term %d", now.Role, now.Term, term)
	}
	t.Logf("longest silence %s, without strangers %s", meanwhile, before)
	cancel()
	strangers.Wait()
}

// halfOpenForEver connects, says nothing, and connects again a while after it was thrown out.
func halfOpenForEver(ctx context.Context, h *host, to string, first, wait time.Duration) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(first):
		}
		first = wait
		conn, err := h.Dial(ctx, to)
		if err != nil {
			continue
		}
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		_, _ = io.Copy(io.Discard, conn)
		stop()
		_ = conn.Close()
	}
}

// longestSilence is how long a follower heard nothing from the leader, while their connections were broken some times.
func (c *Cluster) longestSilence(leader *Node) time.Duration {
	var most time.Duration
	for look := range 2000 { // 10 s
		if look%700 == 0 { // in no step with the five seconds that a stranger has
			c.Network.Reset("a", "b", "c")
		}
		time.Sleep(5 * time.Millisecond) // of the bubble's time
		for _, n := range c.Others(leader) {
			most = max(most, time.Since(n.Store().Status().LastContact))
		}
	}
	return most
}
