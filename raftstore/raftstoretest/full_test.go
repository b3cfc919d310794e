package raftstoretest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"drp/raftstore"
)

// T12: the disk is full on some coordinators.
func TestT12_DiskFull(t *testing.T) {
	for _, test := range []struct {
		name   string
		full   int
		leads  bool // the leader's is one of them
		goesOn bool
	}{
		{"on a follower", 1, false, true},
		{"on the leader", 1, true, true},
		{"on both followers", 2, false, false},
		{"on the leader and a follower", 2, true, false},
		{"on all three", 3, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := New(t, Options{})
				leader := c.Leader()
				w := writer{pace: 100 * time.Millisecond}
				stop := w.run(c, 2, "load")
				time.Sleep(time.Second) // of the bubble's time
				victims := c.Others(leader)[:test.full-btoi(test.leads)]
				if test.leads {
					victims = append(victims, leader)
				}
				for _, n := range victims {
					n.Disk.Full(true)
				}
				time.Sleep(15 * time.Second)
				if test.goesOn {
					if _, err := c.Try(10*time.Second, token("goes-on")); err != nil {
						t.Errorf("%d of 3 disks full: %v, want it to go on", test.full, err)
					}
				} else {
					c.refusesWrites(t, victims)
				}
				for _, n := range c.nodes {
					v, age, err := n.Store().ReadStale()
					if err != nil || age > 20*time.Second && age != raftstore.AgeUnknown {
						t.Errorf("%s: stale read: %v, of age %s", n.Name, err, age)
					} else if lost := w.missing(v, time.Now().Add(-age)); lost > 0 {
						t.Errorf("%s: of what was acknowledged more than %s ago %d commands are missing", n.Name, age, lost)
					}
				}
				for _, n := range victims {
					n.Disk.Full(false)
				}
				room := time.Now()
				if _, err := c.Try(60*time.Second, token("after")); err != nil {
					t.Fatalf("not back 60s after there is room: %v; %s", err, c.describe())
				}
				t.Logf("back %s after there was room", time.Since(room))
				stop()
				if lost := w.lost(c.Leader().Store().View()); lost > 0 {
					t.Errorf("lost %d acknowledged commands", lost)
				}
				c.Agree()
			})
		})
	}
}

// Raft panics where it cannot write its term. A coordinator without room says nothing until there is some.
func TestT12_TermsAndVotesWaitForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{})
		leader := c.Leader()
		c.Do(token("before"))
		full := c.Others(leader)[0]
		full.Disk.Full(true)
		leader.Crash()               // who is left has to vote, and cannot
		time.Sleep(15 * time.Second) // of the bubble's time
		full.Disk.Full(false)
		if _, err := c.Try(60*time.Second, token("after")); err != nil {
			t.Fatalf("not back 60s after there is room: %v; %s", err, c.describe())
		}
		leader.Start()
		c.Agree()
	})
}

// refusesWrites holds that whoever may answer says what is wrong and where.
func (c *Cluster) refusesWrites(t *testing.T, full []*Node) {
	t.Helper()
	clear := 0
	for i, n := range c.nodes {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		_, err := n.Propose(ctx, token(fmt.Sprintf("refused-%d", i)))
		cancel()
		switch {
		case err == nil:
			t.Errorf("%s took a command, with %d of 3 disks full", n.Name, len(full))
		case errors.Is(err, raftstore.ErrDiskFull):
			clear++
			named := false
			for _, v := range full {
				named = named || strings.Contains(err.Error(), "coordinator "+v.Name)
			}
			if !named || !strings.Contains(err.Error(), "disk is full") || !strings.Contains(err.Error(), "make room") {
				t.Errorf("%s: got %q, want whose disk is full and what to do", n.Name, err)
			}
		case !errors.Is(err, raftstore.ErrNotLeader):
			t.Logf("%s: %v", n.Name, err)
		}
	}
	if clear == 0 {
		t.Errorf("no coordinator says that a disk is full; %s", c.describe())
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
