package agent

import (
	"path/filepath"
	"testing"
	"time"

	"drp/orchestrator/agent/home"
	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

func newJournal(t *testing.T, path string) *journal {
	t.Helper()
	j, err := openJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.close() })
	return j
}

func TestJournal_fence(t *testing.T) {
	j := newJournal(t, filepath.Join(t.TempDir(), "j"))
	set := func(f fence) error { return j.fence("shop", func(old *fence) { *old = f }) }
	for _, step := range []struct {
		to   fence
		good bool
	}{
		{fence{Token: token(2)}, true},
		{fence{Token: token(1)}, false},
		{fence{Token: token(2), Stopped: true}, true},
		{fence{Token: token(2)}, false},
		{fence{Token: state.Token{Incarnation: 2, Generation: 1}}, true},
		{fence{Token: token(9)}, false},
	} {
		if err := set(step.to); (err == nil) != step.good {
			t.Errorf("to %+v: %v, want accepted %v", step.to, err, step.good)
		}
	}
	if _, err := openJournal(j.db.Path()); err == nil {
		t.Error("two agents have the journal open")
	}
}

func TestJournal_ids(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	j := newJournal(t, path)
	pool := Identities{First: 1000, Size: 100, Count: 3}
	give := func(account state.AccountName, held *home.IDs, from Identities) home.IDs {
		t.Helper()
		ids, err := j.ids(account, held, from)
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	if got, want := give("a", nil, pool), (home.IDs{First: 1000, Size: 100}); got != want {
		t.Errorf("first = %v, want %v", got, want)
	}
	// A home that is older than the journal, from another configuration, lies across two ranges.
	give("b", &home.IDs{First: 1150, Size: 60}, pool)
	if _, err := j.ids("c", nil, pool); err == nil {
		t.Error("a range was given twice")
	}
	j.close()
	j = newJournal(t, path)
	pool.Count = 5
	if got, want := give("c", nil, pool), (home.IDs{First: 1300, Size: 100}); got != want {
		t.Errorf("third = %v, want %v", got, want)
	}
	if got, want := give("a", nil, pool), (home.IDs{First: 1000, Size: 100}); got != want {
		t.Errorf("first, again = %v, want %v", got, want)
	}
	low := give("d", &home.IDs{First: 500, Size: 100}, pool) // below the pool: touches none of it
	if got, want := give("e", nil, pool), (home.IDs{First: 1400, Size: 100}); got != want || low.First != 500 {
		t.Errorf("fourth = %v, want %v", got, want)
	}
}

func TestJournal_forgetsOldResults(t *testing.T) {
	j := newJournal(t, filepath.Join(t.TempDir(), "j"))
	now := time.Now()
	for age, id := range map[time.Duration]state.TaskID{8 * 24 * time.Hour: "old", time.Hour: "young"} {
		task := state.Task{ID: id}
		if err := j.begin(task, now.Add(-age)); err != nil {
			t.Fatal(err)
		}
		if err := j.finish(task, wire.TaskReport{Task: id}, now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.finish(state.Task{ID: "now"}, wire.TaskReport{Task: "now"}, now); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[state.TaskID]bool{"old": false, "young": true, "now": true, "never": false} {
		r, err := j.result(id)
		if err != nil || (r != nil) != want {
			t.Errorf("result of %s = %v, %v; want known %v", id, r, err, want)
		}
	}
}

func TestIdentities_check(t *testing.T) {
	for _, c := range []struct {
		i    Identities
		good bool
	}{
		{Identities{1_000_000_000, 65536, 30000}, true},
		{Identities{}, false},
		{Identities{1_000_000_000, 65536, 60000}, false},
		{Identities{1_000_000_000, 1000, 10}, false},
	} {
		if err := c.i.check(); (err == nil) != c.good {
			t.Errorf("%+v: %v, want accepted %v", c.i, err, c.good)
		}
	}
}
