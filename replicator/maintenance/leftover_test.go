package maintenance_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"drp/replicator"
	"drp/replicator/storetest"
)

// leaves has a site hold what a prune that was broken off leaves: one more index file, that names all packs there are.
func (w *world) leaves(s *worldSite) (index string) {
	all := modelFile{Packs: make(map[string][]string)}
	for name, pack := range w.files(s, "data") {
		all.Packs[name] = pack.Blobs
	}
	index, content := w.tool.file(all)
	s.double.Store("shop/index/"+index, content)
	return index
}

// promised are the packs that a site's index files name and that are not there. The next backup would build on them.
func (w *world) promised(s *worldSite) (packs []string) {
	there := w.files(s, "data")
	for _, index := range w.files(s, "index") {
		for name := range index.Packs {
			if _, ok := there[name]; !ok {
				packs = append(packs, name)
			}
		}
	}
	slices.Sort(packs)
	return slices.Compact(packs)
}

// TestLeftoverIndex: an index file that the home never had names packs which the home has deleted since.
func TestLeftoverIndex(t *testing.T) {
	start := func(t *testing.T) (w *world, home, replica *worldSite, pass func()) {
		w, home, job := lone(t)
		replica = w.sites[1]
		pass = func() {
			t.Helper()
			if _, err := replicator.Pass(t.Context(), home.store, replica.store, "shop/", replicator.Options{}); err != nil {
				t.Fatal(err)
			}
		}
		pass()
		w.leaves(replica)
		packs := w.files(home, "data")
		if _, err := home.keeper.Run(t.Context(), job); err != nil {
			t.Fatal(err)
		}
		if maps.EqualFunc(packs, w.files(home, "data"), func(modelFile, modelFile) bool { return true }) {
			t.Fatal("the home has deleted no pack")
		}
		return w, home, replica, pass
	}
	follow := func(t *testing.T, home, replica *worldSite) (moved int64) {
		t.Helper()
		lists, err := replica.keeper.Pending(t.Context(), home.store, "shop", 1)
		if err != nil || len(lists) == 0 {
			t.Fatal(lists, err)
		}
		result, err := replica.keeper.Follow(t.Context(), home.store, "shop", lists)
		if err != nil {
			t.Fatal(err)
		}
		return result.Objects
	}

	t.Run("followed", func(t *testing.T) {
		w, home, replica, pass := start(t)
		pass()
		if follow(t, home, replica) == 0 || len(w.files(replica, "data")) != len(w.files(home, "data")) {
			t.Error("nothing was taken away")
		}
		if packs := w.promised(replica); len(packs) > 0 {
			t.Errorf("the replica's index names %v, which are not there", packs)
		}
	})
	t.Run("index to come", func(t *testing.T) {
		w, home, replica, pass := start(t)
		pass()
		w.backup(0)
		if moved := follow(t, home, replica); moved > 0 {
			t.Errorf("%d objects were taken away", moved)
		}
	})
	t.Run("pruned", func(t *testing.T) {
		_, home, replica, pass := start(t)
		pass()
		home.breaks(func(c storetest.Call) *storetest.Fault {
			if c.Operation == storetest.List && c.Key == "shop/" { // it was asked for its runs before
				home.double.Store(".trash/shop/1-20260101T000000-abc/index/aa", nil)
			}
			return nil
		})
		if moved := follow(t, home, replica); moved > 0 {
			t.Errorf("%d objects were taken away", moved)
		}
	})
	// A run of the home that fails just then has its index in the trash, and puts it back; and a listing can leave something out.
	for looks := 1; looks <= 3; looks++ { // the first, the second, both
		t.Run(fmt.Sprint("not listed in looks ", looks), func(t *testing.T) {
			w, home, replica, pass := start(t)
			w.backup(0)
			pass()
			before := w.files(replica, "index")
			var listings atomic.Int32
			home.breaks(func(c storetest.Call) *storetest.Fault {
				if c.Operation != storetest.List || c.Key != "shop/" || looks&(1<<(listings.Add(1)-1)) == 0 {
					return nil
				}
				return &storetest.Fault{Listing: func(a *storetest.ListingAnswer) {
					first := true
					a.Contents = slices.DeleteFunc(a.Contents, func(o storetest.ListedObject) bool {
						hidden := first && strings.Contains(o.Key, "index")
						first = first && !hidden
						return hidden
					})
				}}
			})
			moved := follow(t, home, replica)
			for name := range w.files(home, "index") {
				if _, had := before[name]; !had {
					t.Fatal("the replica was to have all of the home's index")
				}
				if _, has := w.files(replica, "index")[name]; !has {
					t.Errorf("%.8s is at the home, and was taken away here, with %d objects", name, moved-1)
				}
			}
		})
	}
	t.Run("taken", func(t *testing.T) {
		w, home, replica, _ := start(t)
		over, err := home.keeper.Over(t.Context(), "shop")
		if err != nil || over == nil {
			t.Fatal("nothing is over", err)
		}
		if _, err := replicator.Pass(t.Context(), replica.store, home.store, "shop/", replicator.Options{Skip: over}); err != nil {
			t.Fatal(err)
		}
		if packs := w.promised(home); len(packs) > 0 {
			t.Errorf("the home's index names %v, which are not there", packs)
		}
	})
}
