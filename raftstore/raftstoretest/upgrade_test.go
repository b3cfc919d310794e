package raftstoretest

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"drp/raftstore"
	"drp/raftstore/state"
)

// A rolling upgrade: as long as one coordinator is old, nobody puts a command into the log at which it would stop.
func TestUpgrade_NewCommandsWaitForTheOldestMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		levels := map[string]int{"a": 1, "b": 1, "c": 1} // of the bubble's goroutine alone
		c := New(t, Options{Edit: func(name string, cfg *raftstore.Config) { cfg.Level = levels[name] }})
		c.Do(state.NewCommand(state.ClusterInit, "init", time.Now(), "operator/ada", state.ClusterInitData{UUID: "7d1f", Incarnation: 1}))
		note := state.NewCommand(state.AuditNote, "note", time.Now(), "operator/ada", state.AuditNoteData{Action: "read snapshots", Subject: "shop"})
		for _, n := range c.Nodes() {
			time.Sleep(5 * time.Second) // of the bubble's time: they have heard each other
			if _, err := c.Try(10*time.Second, note); !errors.Is(err, raftstore.ErrTooNew) && !errors.Is(err, raftstore.ErrNotLeader) {
				t.Errorf("before %s is new: got %v, want %v", n.Name, err, raftstore.ErrTooNew)
			}
			levels[n.Name] = state.Level
			n.Restart()
			c.Do(token("old-command-" + n.Name))
		}
		if r := c.Do(note); r.Err != nil {
			t.Errorf("all are new: refused: %v", r.Err)
		}
		if got := c.Leader().Store().View().Level(); got != state.Level {
			t.Errorf("got level %d, want %d", got, state.Level)
		}
		c.Agree()
	})
}
