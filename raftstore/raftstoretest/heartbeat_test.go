package raftstoretest

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// hashicorp/raft#695: on the short cut for heartbeats another goroutine than raft's main loop changes the term. Here they
// queue behind the log, so that followers which cannot write do not keep a leader alive.
func TestHeartbeats_QueueBehindTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{})
		leader := c.Leader()
		term := leader.Store().Status().Term
		for _, n := range c.Others(leader) {
			n.Disk.Hang(true)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _ = leader.Propose(ctx, token("one")) // makes both followers write
		start := time.Now()
		for leader.Store().Status().Role == "leader" {
			if time.Since(start) > 5*time.Second {
				t.Fatal("it still leads, with heartbeats alone")
			}
			time.Sleep(50 * time.Millisecond) // of the bubble's time
		}
		for _, n := range c.Others(leader) {
			n.Disk.Hang(false)
		}
		c.Do(token("one"))
		if got := c.Leader().Store().Status().Term; got <= term {
			t.Errorf("got term %d, want one after %d", got, term)
		}
		c.Agree()
	})
}

// Without pre-votes, a node that comes back has a higher term than all, and the leader steps down.
func TestReturnFromPartition_LeaderStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{})
		leader := c.Leader()
		term := leader.Store().Status().Term
		away := c.Others(leader)[0]
		c.Isolate(away)
		time.Sleep(30 * time.Second) // of the bubble's time, as below
		c.Do(token("meanwhile"))
		back := time.Now()
		c.Network.Heal()
		away.Await("what it missed", has("meanwhile"))
		time.Sleep(15 * time.Second)
		if st := leader.Store().Status(); st.Role != "leader" || st.Term != term {
			t.Errorf("%s is %s in term %d, want it to lead in term %d still", leader.Name, st.Role, st.Term, term)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, l := range c.led {
			if l.At.After(back) {
				t.Errorf("%s began to lead after the other came back", l.Node)
			}
		}
	})
}
