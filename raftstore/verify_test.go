package raftstore

import (
	"strings"
	"testing"
	"testing/synctest"

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
