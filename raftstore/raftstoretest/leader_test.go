package raftstoretest

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"drp/raftstore/state"
)

func token(name string) state.Command {
	return state.NewCommand(state.TokenCreate, "create-"+name, time.Now(), "operator/ada", state.TokenCreateData{Token: state.APIToken{
		Name: name, SHA256: make([]byte, 32), Role: "support", Expires: time.Now().Add(24 * time.Hour),
	}})
}

func has(name string) func(*state.View) bool {
	return func(v *state.View) bool {
		for _, t := range v.APITokens() {
			if t.Name == name {
				return true
			}
		}
		return false
	}
}

// T9: the leader is lost, and the next one is ready soon.
func TestT9_LeaderLost_NextOneReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{})
		first := c.Leader()
		for i := range 10 {
			c.Do(token(fmt.Sprintf("t%d", i)))
		}
		lost := time.Now()
		first.Crash()
		next := c.AwaitLed(lost, time.Minute, first)
		if took := next.At.Sub(lost); took > 8*time.Second {
			t.Errorf("the next leader was ready after %s, want 8s at most", took)
		} else {
			t.Logf("the next leader was ready after %s", took)
		}
		c.Node(next.Node).Await("what was acknowledged", has("t9"))
		first.Start()
		c.Do(token("after"))
		c.Agree()
	})
}
