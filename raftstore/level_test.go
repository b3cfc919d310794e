package raftstore

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"drp/raftstore/state"
)

func newer(id string) state.Command {
	return state.NewCommand(state.AuditNote, id, time.Now(), "operator/ada", state.AuditNoteData{Action: "read snapshots", Subject: "all"})
}

// A rolling upgrade: while one member is old, nothing goes into the log that would stop it.
func TestStore_OlderMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		levels := map[string]int{"a": 2, "b": 2, "c": 1}
		c := newCluster(t, func(cfg *Config) { cfg.Level = levels[cfg.Name] })
		leader := c.leader()
		if leader.name == "c" { // an old one proposes what it knows, and it is the others' turn
			c.until("all are heard", func() bool { return leader.answers("a") })
			if err := leader.TransferLeadership(c.ctx, "a"); err != nil {
				t.Fatal(err)
			}
			leader = c.leader()
		}
		initCluster(c, leader)
		time.Sleep(time.Minute) // of the bubble's time
		_, err := leader.Propose(c.ctx, newer(c.id()))
		if !errors.Is(err, ErrTooNew) || !strings.Contains(err.Error(), "coordinator c has 1") {
			t.Errorf("got %v, want that c is too old", err)
		}
		if words := c.raises(leader, AlarmLevel, "c"); !strings.Contains(words, "upgrade it") {
			t.Errorf("got %q", words)
		}
		c.addToken(leader, "old-ones-go-on")
		c.close(c.nodes["c"])
		time.Sleep(time.Minute) // of the bubble's time
		if _, err := leader.Propose(c.ctx, newer(c.id())); !errors.Is(err, ErrTooNew) {
			t.Errorf("the old one is down, and comes back: got %v, want %v", err, ErrTooNew)
		}
		c.close(leader) // and nobody who runs has ever heard it
		c.close(c.others(nil)[0])
		c.open("a")
		c.open("b")
		leader = c.leaderNow()
		if _, err := leader.Propose(c.ctx, newer(c.id())); !errors.Is(err, ErrTooNew) || !strings.Contains(err.Error(), "coordinator c was not heard yet") {
			t.Errorf("got %v, want that nobody knows what c can apply", err)
		}
		levels["c"] = 2
		c.open("c")
		c.until("the level is raised", func() bool { return leader.View().Level() == 2 })
		if r, err := leader.Propose(c.ctx, newer(c.id())); err != nil || r.Err != nil {
			t.Errorf("all are new: got %v, %v", err, r.Err)
		}
		c.until("the alarm ends", func() bool { return alarmed(leader.Store, AlarmLevel, "c") == "" })
	})
}

func TestStore_InitOfACoordinatorThatIsNewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, func(cfg *Config) {
			if cfg.Name == "c" {
				cfg.Level = 1
			}
		})
		leader := c.leader()
		time.Sleep(5 * time.Second) // of the bubble's time
		first := func(level int) error {
			_, err := leader.Propose(c.ctx, state.NewCommand(state.ClusterInit, c.id(), time.Now(), "coordinator/a",
				state.ClusterInitData{UUID: "7d1f", Incarnation: 1, Level: level}))
			return err
		}
		if err := first(2); leader.name != "c" && !errors.Is(err, ErrTooNew) {
			t.Errorf("got %v, want %v", err, ErrTooNew)
		}
		if err := first(0); err != nil {
			t.Error(err)
		}
	})
}

// What a command says, and not only its name, may be too new: an account with a database stops a member of level 2.
func TestStore_OlderMemberAndNewerFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, func(cfg *Config) {
			if cfg.Name == "c" {
				cfg.Level = state.LevelParts - 1
			}
		})
		leader := c.leader()
		initCluster(c, leader)
		time.Sleep(time.Minute) // of the bubble's time
		apply := func(databases ...state.Database) error {
			_, err := leader.Propose(c.ctx, state.NewCommand(state.InventoryApply, c.id(), time.Now(), "operator/ada",
				state.InventoryData{Accounts: []state.Account{{Name: "shop", Policy: "none", Databases: databases}}}))
			return err
		}
		if err := apply(); err != nil {
			t.Errorf("without one: %v", err)
		}
		if err := apply(state.Database{Engine: state.PostgreSQL, Name: "shop"}); !errors.Is(err, ErrTooNew) {
			t.Errorf("got %v, want %v", err, ErrTooNew)
		}
	})
}
