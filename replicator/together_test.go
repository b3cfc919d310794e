package replicator_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"drp/replicator"
	"drp/replicator/storetest"
)

// TestPass_Meanwhile runs a backup, or forget and prune, at each step of a pass. Whatever the pass says then, what is
// at the destination passes check, and what it calls copied can be restored.
func TestPass_Meanwhile(t *testing.T) {
	steps := []struct {
		name      string
		operation storetest.Operation
		key       string
		nth       int32 // such request
		answered  bool  // once the store has answered it; else ahead of it
	}{
		{"ahead of the snapshots", storetest.List, "shop/snapshots/", 1, false},
		{"ahead of the index", storetest.List, "shop/index/", 1, false},
		{"ahead of the packs", storetest.List, "shop/data/", 1, false},
		{"between the last listing of the index and the next request", storetest.List, "shop/index/", 2, true},
		{"ahead of the keys", storetest.List, "shop/keys/", 1, false},
		{"ahead of the first pack", storetest.Get, "shop/data/", 1, false},
		{"ahead of the first index", storetest.Get, "shop/index/", 1, false},
	}
	w := newTwo(t)
	proxy := storetest.NewProxy(t, w.source.Endpoint)
	from := open(t, proxy.Endpoint, "source", w.source.Reader)
	stale := w.backup(t, "first", 1<<20)
	for round, step := range steps {
		for _, event := range []string{"backup", "prune"} {
			t.Run(event+" "+step.name, func(t *testing.T) {
				newest := w.backup(t, fmt.Sprintf("%s-%d", event, round), 1<<20)
				var nth atomic.Int32
				meanwhile := func(c storetest.Call) {
					if c.Operation != step.operation || !strings.HasPrefix(c.Key, step.key) || nth.Add(1) != step.nth {
						return
					}
					if event == "backup" {
						w.backup(t, fmt.Sprintf("meanwhile-%d", round), 1<<20)
						return
					}
					w.here.Forget(t, stale) // a pack that the newest shares with it is rewritten
					stale = newest
				}
				if step.answered {
					proxy.Watch(nil, meanwhile)
				} else {
					proxy.Watch(meanwhile, nil)
				}
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
				if nth.Load() < step.nth {
					t.Error("nothing happened meanwhile")
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
