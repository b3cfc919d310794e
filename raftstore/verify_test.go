package raftstore

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"drp/raftstore/state"
)

func TestStore_Verify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClusterOf(t, 2, nil)
		leader := c.leader()
		c.addToken(leader, "one")
		other := c.others(leader)[0]
		c.await(other, "the command", func(v *state.View) bool { return has(v, "one") })
		v, err := leader.Verify(c.ctx)
		if err != nil || !v.OK() || v.Index != leader.View().Index() || v.Digest != leader.View().Digest() || len(v.Members) != 2 {
			t.Errorf("got %+v, %v, want all equal at %d", v, err, leader.View().Index())
		}
		c.corrupt(other)
		v, err = leader.Verify(c.ctx)
		if err != nil || v.OK() || result(v, other.name).Result != VerifiedDiffers || !v.Recomputed {
			t.Errorf("got %+v, %v, want a difference", v, err)
		}
		c.close(other)
		v, err = leader.Verify(c.ctx)
		if got := result(v, other.name); err != nil || v.OK() || got.Result != VerifiedUnknown || !strings.Contains(got.Why, "does not answer") {
			t.Errorf("got %+v, %v, want it unknown", got, err)
		}
	})
}

func result(v Verification, name string) Verified {
	for _, m := range v.Members {
		if m.Name == name {
			return m
		}
	}
	return Verified{}
}

// The others learn that an entry is committed with the next message of the leader, a moment after it has applied it. Who asks
// in that moment is not told that nothing could be compared.
func TestStore_Verify_rightAfterACommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		leader := c.leader()
		for i := range 20 {
			c.addToken(leader, fmt.Sprint("t", i))
			v, err := leader.Verify(c.ctx)
			if err != nil || !v.OK() || v.Index != leader.View().Index() {
				t.Fatalf("commit %d: got %+v, %v, want all equal at %d", i, v, err, leader.View().Index())
			}
		}
	})
}

// nowhere answers, and is at no index at which it could be compared.
type nowhere struct{ courier }

func (n nowhere) ask(ctx context.Context, to Peer, h *hello) (*hello, error) {
	answer, err := n.courier.ask(ctx, to, h)
	if err == nil && to.Name == "b" {
		without := *answer
		without.Head, without.Marks = mark{Index: 1 << 40}, nil
		answer = &without
	}
	return answer, err
}

// One that stays behind is not waited for without end.
func TestStore_Verify_oneStaysBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClusterOf(t, 2, func(cfg *Config) {
			open := cfg.parts
			cfg.parts = func(cfg *Config) *parts {
				p := open(cfg)
				p.courier = nowhere{p.courier}
				return p
			}
		})
		c.leader()
		a := c.nodes["a"]
		c.until("b is heard", func() bool { return a.answers("b") })
		began := time.Now()
		v, err := a.Verify(c.ctx)
		if got := result(v, "b"); err != nil || got.Result != VerifiedUnknown || !strings.Contains(got.Why, "no digest of index") {
			t.Errorf("got %+v, %v, want it unknown", got, err)
		}
		if took := time.Since(began); took < verifyWithin || took > 2*verifyWithin {
			t.Errorf("it took %s, want %s", took, verifyWithin)
		}
	})
}
