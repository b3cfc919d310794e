package raftstoretest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"drp/raftstore"
	"drp/raftstore/state"
)

// A disk that forgets what it promised loses what raft promised: so it is the sync that T2 stands on, and T2's cut finds it.
func TestDisk_CrashForgetsWhatWasNotSynced(t *testing.T) {
	d := newDisk()
	m := d.mount()
	if err := m.SetUint64([]byte("sure"), 1); err != nil {
		t.Fatal(err)
	}
	d.Lie(true)
	if err := m.SetUint64([]byte("forgotten"), 1); err != nil {
		t.Fatal(err)
	}
	d.crash()
	if err := m.SetUint64([]byte("late"), 1); err != nil { // of the process that is dead
		t.Fatal(err)
	}
	m = d.mount()
	for key, want := range map[string]uint64{"sure": 1, "forgotten": 0, "late": 0} {
		if got, err := m.GetUint64([]byte(key)); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", key, got, err, want)
		}
	}
}

// T4: raft goes on to lead over a disk that hangs (hashicorp/raft#503, #666); the watchdog tells the process to end.
func TestT4_LeadersDiskHangs_LeadershipIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{})
		first := c.Leader()
		w := writer{pace: 50 * time.Millisecond}
		stop := w.run(c, 2, "load")
		time.Sleep(time.Second) // of the bubble's time
		hung := time.Now()
		first.Disk.Hang(true)
		err := first.AwaitEnd(25 * time.Second)
		if took := time.Since(hung); took > 25*time.Second || !strings.Contains(err.Error(), "disk hangs") {
			t.Errorf("got %v after %s, want that the disk hangs within 25s", err, took)
		} else {
			t.Logf("told to end after %s", took)
		}
		next := c.AwaitLed(hung, 10*time.Second, first)
		t.Logf("%s is ready %s after the disk hung", next.Node, next.At.Sub(hung))
		first.Disk.Hang(false)
		first.Start()
		stop()
		if lost := w.lost(c.Leader().Store().View()); lost > 0 {
			t.Errorf("lost %d acknowledged commands", lost)
		}
		c.Agree()
	})
}

// VerifyLeader of raft itself has no timeout, and blocks while the disk hangs.
func TestRead_ReturnsWhileTheDiskHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{})
		leader := c.Leader()
		leader.Disk.Hang(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := leader.Propose(ctx, token("one")); !errors.Is(err, raftstore.ErrUnknownOutcome) {
			t.Errorf("propose: got %v, want %v", err, raftstore.ErrUnknownOutcome)
		}
		start := time.Now()
		if _, err := leader.Read(t.Context()); err == nil || time.Since(start) > 6*time.Second {
			t.Errorf("read: got %v after %s, want an error within 6s", err, time.Since(start))
		}
		if leader.Store() == nil {
			t.Fatalf("both calls lasted until the watchdog ended the node: %v", leader.Ended())
		}
		leader.Disk.Hang(false)
		c.Do(token("one"))
		c.Agree()
	})
}

// T5: a follower's log refuses appends now and then, under load. With requests in flight beside each other raft then leaves
// that follower behind for good, while its heartbeats look healthy (hashicorp/raft#612).
func TestT5_FollowerRefusesAppends_IsNotWedged(t *testing.T) {
	wedged := 0
	for range 5 {
		seed := Seed(t)
		synctest.Test(t, func(t *testing.T) {
			c := New(t, Options{Seed: seed})
			leader := c.Leader()
			follower := c.Others(leader)[0]
			c.Links(Link{Delay: 5 * time.Millisecond}) // so that there is always something on the way
			var w writer
			stop := w.run(c, 8, "load")
			for range 6 {
				time.Sleep(time.Duration(100+c.Random.IntN(50)) * time.Millisecond) // of the bubble's time
				refusals := 1
				follower.Disk.Refuse(func() error {
					if refusals == 0 {
						return nil
					}
					refusals--
					return errors.New("write raft.db: input/output error")
				})
			}
			time.Sleep(100 * time.Millisecond)
			stop()
			follower.Disk.Refuse(nil)
			want := c.Leader().Store().View().Index()
			for start := time.Now(); follower.Store().View().Index() < want; {
				if time.Since(start) > 15*time.Second {
					wedged++
					t.Errorf("%s is at %d, want %d: wedged (seed %d)", follower.Name, follower.Store().View().Index(), want, seed)
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
			t.Logf("caught up with %d entries", want)
		})
	}
	t.Logf("wedged=%d of 5", wedged)
}

// An entry that this binary does not know stops the node that meets it; the others go on.
func TestUnknownCommand_StopsTheNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{})
		leader := c.Leader()
		c.Do(token("one"))
		c.Agree()
		n := c.Others(leader)[0]
		n.Crash()
		n.Disk.Replace(t, "token.create", "token.teleport")
		if err := n.start(nil); err != nil {
			t.Fatal(err)
		}
		var unknown *state.UnknownCommandError
		if err := n.AwaitEnd(time.Minute); !errors.As(err, &unknown) {
			t.Errorf("got %v, want an unknown command", err)
		}
		c.Do(token("two"))
	})
}
