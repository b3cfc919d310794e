package raftstore

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A copied data directory is started elsewhere under the same name. The copy is asked by nobody; it asks the others.
func TestStore_Twin(t *testing.T) {
	for name, word := range map[string]func(second int) string{
		"a copy":                      func(int) string { return "the copy's word" },
		"one that ends all 3 seconds": func(second int) string { return fmt.Sprint("the copy's word ", second/3) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, nil)
				c.leader()
				a, b := c.nodes["a"], c.nodes["b"]
				for second := range 30 {
					copied := b.hello()
					copied.Start = word(second)
					a.answer(copied)
					time.Sleep(time.Second) // of the bubble's time
				}
				words := alarmed(a.Store, AlarmTwin, "b")
				for _, want := range []string{"b:1", "drp raft remove b"} {
					if !strings.Contains(words, want) {
						t.Errorf("got %q, want an alarm that says %q", words, want)
					}
				}
				if words := alarmed(c.nodes["c"].Store, AlarmTwin, "b"); words != "" {
					t.Errorf("c heard no copy, and says %q", words)
				}
				c.until("the alarm ends when the copy is stopped", func() bool { return alarmed(a.Store, AlarmTwin, "b") == "" })
			})
		})
	}
}

// A restart alone is none, however many there are and however late what the ended process said is read.
func TestStore_Twin_restarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		c.leader()
		for i := range 12 {
			b := c.nodes["b"]
			last := b.hello()
			c.close(b)
			time.Sleep(time.Duration(i) * time.Second) // of the bubble's time
			c.open("b")
			time.Sleep(2 * time.Second) // of the bubble's time
			for range 2 {               // one in each direction
				c.nodes["a"].answer(last)
			}
			for range 10 {
				time.Sleep(time.Second) // of the bubble's time
				for _, m := range c.others(nil) {
					for _, about := range []string{"a", "b", "c"} {
						if words := alarmed(m.Store, AlarmTwin, about); words != "" {
							t.Fatalf("restart %d: %s raises %q", i, m.name, words)
						}
					}
				}
			}
		}
	})
}
