package raftstore

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"drp/raftstore/state"
)

// wrongClock is off, and can be set.
type wrongClock struct {
	bubbleClock
	off atomic.Int64
}

func (c *wrongClock) Wall() time.Time { return c.bubbleClock.Wall().Add(time.Duration(c.off.Load())) }

// A clock that is wrong by an hour, or steps, breaks nothing and raises an alarm.
func TestStore_WrongClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := &wrongClock{bubbleClock: bubbleClock{time.Now()}}
		clock.off.Store(int64(time.Hour))
		c := newCluster(t, func(cfg *Config) {
			if cfg.Name == "b" {
				cfg.Clock = clock
			}
		})
		leader := c.leader()
		b := c.nodes["b"]
		for _, m := range c.others(b) {
			if words := c.raises(m, AlarmClock, "b"); !strings.Contains(words, "1h0m0s off") {
				t.Errorf("got %q, want by how much", words)
			}
		}
		c.raises(b, AlarmClock, "a")
		if off := c.memberOf(c.others(b)[0], "b").Clock; (off - time.Hour).Abs() > time.Second {
			t.Errorf("got an offset of %s, want an hour", off)
		}
		if words := alarmed(b.Store, AlarmClockStep, "b"); words != "" {
			t.Errorf("got %q from a clock that is only off", words)
		}
		c.addToken(leader, "meanwhile")
		clock.off.Store(0)
		if words := c.raises(b, AlarmClockStep, "b"); !strings.Contains(words, "set by -1h0m0s") {
			t.Errorf("got %q, want by how much", words)
		}
		c.until("the offset is gone", func() bool { return alarmed(c.others(b)[0].Store, AlarmClock, "b") == "" })
		c.until("the step is old news", func() bool { time.Sleep(time.Second); return alarmed(b.Store, AlarmClockStep, "b") == "" })
		c.addToken(leader, "afterwards")
		if len(c.fatals) > 0 {
			t.Errorf("a clock ended a node: %v", <-c.fatals)
		}
		c.agree(leader)
	})
}

func TestStore_AlarmsAboutMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		leader := c.leader()
		c.addToken(leader, "one")
		time.Sleep(time.Minute) // of the bubble's time
		for _, m := range c.others(nil) {
			if list := m.Alarms(); len(list) > 0 {
				t.Errorf("%s raises %+v where nothing is wrong", m.name, list)
			}
		}
		cut := c.others(leader)[0]
		c.memory.Cut(cut.name)
		c.raises(leader, AlarmSilent, cut.name)
		c.raises(cut, AlarmSilent, leader.name)
		c.memory.Heal(cut.name)
		c.until("it is heard again", func() bool { return len(leader.Alarms()) == 0 })
	})
}

// A follower answers everything and gets no entry (hashicorp/raft#612).
func TestPeers_NoProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, start := newPeers(), time.Now()
		since := func() time.Duration { return time.Since(p.of("b").progress) }
		for range 60 {
			p.hear(&hello{Name: "b", Last: 100}, time.Now(), nil)
			p.look(time.Now(), 100)
			time.Sleep(time.Second)
		}
		if got := since(); got > 5*time.Second {
			t.Errorf("nothing to do counts as no progress for %s", got)
		}
		for i := range 60 { // it falls behind, and goes on
			p.hear(&hello{Name: "b", Last: 100 + uint64(i)}, time.Now(), nil)
			p.look(time.Now(), 1000)
			time.Sleep(time.Second)
		}
		if got := since(); got > 5*time.Second {
			t.Errorf("being slow counts as no progress for %s", got)
		}
		for range 60 {
			p.hear(&hello{Name: "b", Last: 159}, time.Now(), nil)
			p.look(time.Now(), 1000)
			time.Sleep(time.Second)
		}
		if got := since(); got < wedgedAfter {
			t.Errorf("got %s without progress, want more than %s (of %s)", got, wedgedAfter, time.Since(start))
		}
	})
}

func TestFSM_SnapshotLoop(t *testing.T) {
	list := newAlarms(slog.New(slog.DiscardHandler))
	f := newFSM("b", list, nil)
	now := time.Now()
	for i := range 2 {
		f.watchInstalls(now.Add(time.Duration(i) * 11 * time.Minute))
	}
	if got := list.list(); len(got) > 0 {
		t.Errorf("got %+v for two installs in 11 minutes", got)
	}
	for i := range 2 {
		f.watchInstalls(now.Add(12*time.Minute + time.Duration(i)*time.Minute))
	}
	if got := list.list(); len(got) != 1 || got[0].Kind != AlarmSnapshotLoop || got[0].Member != "b" {
		t.Errorf("got %+v, want a snapshot loop", got)
	}
	f.wentOn()
	if got := list.list(); len(got) > 0 {
		t.Errorf("got %+v, want it ended by an entry", got)
	}
}

func TestAlarms_LoggedWhenTheyBeginAndEnd(t *testing.T) {
	var said strings.Builder
	a := newAlarms(slog.New(slog.NewTextHandler(&said, nil)))
	for i := range 3 {
		a.set(AlarmSilent, "b", true, "silent %d", i)
	}
	if list := a.list(); len(list) != 1 || list[0].Message != "silent 2" || list[0].Since.IsZero() {
		t.Errorf("got %+v, want one alarm with the newest words", list)
	}
	a.set(AlarmSilent, "c", true, "silent")
	a.keep(AlarmSilent, []string{"b"})
	a.set(AlarmSilent, "b", false, "")
	if list := a.list(); len(list) != 0 || strings.Count(said.String(), "alarm: silent") != 2 || strings.Count(said.String(), "alarm ended") != 2 {
		t.Errorf("got %+v, logged:\n%s", list, said.String())
	}
}

func TestStore_StateOfAnotherCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClusterOf(t, 1, nil)
		leader := c.leader()
		initCluster(c, leader)
		if err := leader.Snapshot(c.ctx); err != nil {
			t.Fatal(err)
		}
		c.close(leader)
		cfg := leader.cfg
		cfg.Cluster = "another"
		if s, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "cluster 7d1f") || !strings.Contains(err.Error(), "cluster another") {
			t.Errorf("got %v, want both clusters named", err)
			if s != nil {
				_ = s.Close()
			}
		}
		<-c.fatals
		cfg.Cluster = "7d1f"
		s, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestStore_ReadStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		leader := c.leader()
		c.addToken(leader, "one")
		follower := c.others(leader)[0]
		c.await(follower, "the command", func(v *state.View) bool { return has(v, "one") })
		time.Sleep(5 * time.Second) // of the bubble's time
		for _, m := range []*member{leader, follower} {
			if v, age, err := m.ReadStale(); err != nil || !has(v, "one") || age > 3*time.Second {
				t.Errorf("%s: got an age of %s, %v", m.name, age, err)
			}
		}
		c.memory.Cut(follower.name)
		c.addToken(leader, "two")
		time.Sleep(time.Minute) // of the bubble's time
		v, age, err := follower.ReadStale()
		if err != nil || has(v, "two") || age < time.Minute || age > time.Minute+5*time.Second {
			t.Errorf("cut off for a minute: got an age of %s, %v", age, err)
		}
		alone := c.others(leader)[1]
		c.close(alone)
		c.memory.Cut(alone.name)
		alone = c.open(alone.name)
		time.Sleep(time.Minute) // of the bubble's time
		if _, age, err := alone.ReadStale(); err != nil || age != AgeUnknown {
			t.Errorf("never heard the leader: got an age of %s, %v", age, err)
		}
		if _, age, _ := leader.ReadStale(); age < 50*time.Second { // both others are gone
			t.Errorf("a leader that was cut off: got an age of %s", age)
		}
	})
}
