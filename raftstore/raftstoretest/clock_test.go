package raftstoretest

import (
	"testing"
	"testing/synctest"
	"time"

	"drp/raftstore"
)

// Clocks that are wrong by an hour, or step, break nothing, and somebody is told.
func TestClocks_WrongOnesBreakNothing(t *testing.T) {
	seed := Seed(t)
	var h History
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{Seed: seed})
		c.Furnish(&h)
		c.Node("a").Clock.Set(time.Hour)
		c.Node("b").Clock.Set(-time.Hour)
		stop := c.Load(&h, 3, nil)
		for _, o := range []string{"a", "b"} {
			for _, n := range c.Others(c.Node(o)) {
				n.awaitAlarm(raftstore.AlarmClock, o)
			}
		}
		c.Node("c").Clock.Set(45 * time.Minute)
		c.Node("c").awaitAlarm(raftstore.AlarmClockStep, "c")
		first := c.Leader()
		first.Restart() // its certificate is issued, and looked at, by clocks that differ
		time.Sleep(5 * time.Second)
		stop()
		c.Agree()
		for _, n := range c.Nodes() {
			if err := n.Ended(); err != nil {
				t.Errorf("%s ended: %v", n.Name, err)
			}
		}
	})
	h.Check(t)
	if all, _ := h.Len(); all < 30 {
		t.Errorf("the clients got %d operations done only", all)
	}
}
