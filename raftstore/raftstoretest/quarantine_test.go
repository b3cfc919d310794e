package raftstoretest

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"drp/raftstore"
)

// T7: a flipped bit in one node's log gives it another state, which raft itself never finds.
func TestT7_DivergedState_QuarantinesItself(t *testing.T) {
	for _, test := range []struct {
		name    string
		entries int
	}{{"under load within 256 entries", 256}, {"without load", 0}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := New(t, Options{})
				leader := c.Leader()
				c.Do(token("victim"))
				c.Agree()
				n := c.Others(leader)[0]
				n.Crash()
				n.Disk.Replace(t, `"role":"support"`, `"role":"operator"`)
				n.Start()
				n.Await("its log", has("victim"))
				for i := range test.entries {
					c.Do(token(fmt.Sprintf("t%d", i)))
				}
				if err := n.AwaitEnd(10 * time.Second); !errors.Is(err, raftstore.ErrQuarantined) {
					t.Errorf("got %v, want %v", err, raftstore.ErrQuarantined)
				}
				if err := n.TryStart(); !errors.Is(err, raftstore.ErrQuarantined) {
					t.Errorf("started again: got %v, want %v", err, raftstore.ErrQuarantined)
				}
				c.Do(token("the others go on"))
				for _, o := range c.Others(n) {
					o.awaitAlarm(raftstore.AlarmQuarantined, n.Name)
				}
				c.Agree()
			})
		})
	}
}

// awaitAlarm waits until a node raises an alarm about a member.
func (n *Node) awaitAlarm(kind raftstore.AlarmKind, about string) raftstore.Alarm {
	n.cluster.t.Helper()
	for start := time.Now(); time.Since(start) < time.Minute; {
		for _, a := range n.Store().Alarms() {
			if a.Kind == kind && a.Member == about {
				return a
			}
		}
		time.Sleep(100 * time.Millisecond) // of the bubble's time
	}
	n.cluster.t.Fatalf("%s raises no alarm %s about %s; it raises %+v", n.Name, kind, about, n.Store().Alarms())
	return raftstore.Alarm{}
}
