package replicator_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"drp/replicator"
	"drp/replicator/storetest"
)

// TestPass_Meanwhile runs a backup, or forget and prune, at each step of a pass. Whatever the pass says then, what is
// at the destination passes check, and what it calls copied can be restored.
func TestPass_Meanwhile(t *testing.T) {
	steps := []storetest.Call{
		{Operation: storetest.List, Key: "shop/snapshots/"},
		{Operation: storetest.List, Key: "shop/index/"},
		{Operation: storetest.List, Key: "shop/data/"},
		{Operation: storetest.List, Key: "shop/keys/"},
		{Operation: storetest.Get}, // the first object
	}
	w := newTwo(t)
	proxy := storetest.NewProxy(t, w.source.Endpoint)
	from := open(t, proxy.Endpoint, "source", w.source.Reader)
	stale := w.backup(t, "first", 1<<20)
	for round, step := range steps {
		for _, event := range []string{"backup", "prune"} {
			t.Run(fmt.Sprintf("%s before %s %s", event, step.Operation, step.Key), func(t *testing.T) {
				newest := w.backup(t, fmt.Sprintf("%s-%d", event, round), 1<<20)
				var once sync.Once
				proxy.Watch(func(c storetest.Call) {
					if c.Operation != step.Operation || step.Key != "" && c.Key != step.Key {
						return
					}
					once.Do(func() {
						if event == "backup" {
							w.backup(t, fmt.Sprintf("meanwhile-%d", round), 1<<20)
							return
						}
						w.here.Forget(t, stale) // a pack that the newest shares with it is rewritten
						stale = newest
					})
				}, nil)
				r, err := replicator.Pass(t.Context(), from, w.to, "shop/", replicator.Options{})
				proxy.Watch(nil, nil)
				t.Logf("the pass said: %d objects, %d missing, error %v", r.Objects, len(r.Missing), err)
				switch {
				case event == "backup" && err != nil:
					t.Errorf("got %v, want none: a backup is no reason", err)
				case err != nil && !errors.Is(err, replicator.ErrChanged):
					t.Errorf("got %v, want ErrChanged or none", err)
				case err == nil && !slices.Contains(r.Snapshots, newest):
					t.Error("the newest snapshot of before the pass is not called copied")
				case err != nil && len(r.Snapshots) > 0:
					t.Errorf("called copied: %v", r.Snapshots)
				}
				w.there.Check(t)
			})
		}
	}
	r := w.mustPass(t)
	if want := keys(t, w.from, "shop/snapshots/"); len(r.Snapshots) != len(want) {
		t.Errorf("the last pass holds %d snapshots, want %d", len(r.Snapshots), len(want))
	}
	w.there.Check(t)
	for _, id := range r.Snapshots {
		w.there.Restore(t, id, t.TempDir())
	}
}
