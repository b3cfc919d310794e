package maintenance_test

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"drp/replicator/storetest"
)

// renewed is a site with two repositories of an account: the first one, with three snapshots, and one that took its place longer
// ago than the grace.
func renewed(t *testing.T) (*world, *worldSite) {
	t.Helper()
	w, s, _ := lone(t)
	s.copyAs("shop", "shop~2")
	w.pass(31 * time.Hour) // the grace of these sites is 30
	return w, s
}

func (s *worldSite) copyAs(from, to string) {
	for key, content := range s.under(from + "/") {
		s.double.Store(to+"/"+strings.TrimPrefix(key, from+"/"), []byte(content))
	}
}

// under is what lies below a prefix.
func (s *worldSite) under(prefix string) map[string]string {
	held := make(map[string]string)
	for key, content := range s.double.Objects() {
		if strings.HasPrefix(key, prefix) {
			held[key] = string(content)
		}
	}
	return held
}

// TestRemove_Refuses: what is looked at before a whole repository goes, whatever the leader says.
func TestRemove_Refuses(t *testing.T) {
	for name, c := range map[string]struct {
		successor string
		change    func(w *world, s *worldSite)
		want      string
	}{
		"an earlier one":      {"shop", nil, "is no later one of that account"},
		"another account's":   {"shop2~2", nil, "is no later one of that account"},
		"no successor":        {"", nil, "is no later one of that account"},
		"one that is nowhere": {"shop~3", nil, "shop~3 is to take its place: it has no config"},
		"one that holds nothing": {"shop~2", func(w *world, s *worldSite) {
			for key := range s.under("shop~2/snapshots/") {
				s.double.Forget(key)
			}
		}, "it lists no snapshot"},
		"one that is young": {"shop~2", func(w *world, s *worldSite) { w.pass(-2 * time.Hour) }, "has been here for 29h0m0s only, and not for the grace of 30h0m0s"},
		"one with another config": {"shop~2", func(w *world, s *worldSite) {
			if err := s.keeper.CheckConfig(context.Background(), "shop~2"); err != nil {
				w.t.Fatal(err)
			}
			s.double.Store("shop~2/config", []byte("another one"))
		}, "the config differs since"},
		"one that is young by the store's clock":  {"shop~2", func(_ *world, s *worldSite) { s.off(0, -2*time.Hour) }, "has been here for 29h0m0s only"},
		"one that is young by the worker's clock": {"shop~2", func(_ *world, s *worldSite) { s.off(-2*time.Hour, 0) }, "has been here for 29h0m0s only"},
		"a listing that breaks off": {"shop~2", func(_ *world, s *worldSite) {
			s.double.PageSize = 2
			s.double.Fault = func(c storetest.Call) *storetest.Fault {
				if c.Operation == storetest.List && c.Key == "shop~2/" && c.Page == 2 {
					return &storetest.Fault{Status: http.StatusInternalServerError, Code: "InternalError"}
				}
				return nil
			}
		}, "list "},
		"a live lock": {"shop~2", func(w *world, s *worldSite) {
			s.double.Store("shop/locks/"+strings.Repeat("a", 64), []byte("lock"))
		}, "its lock was renewed"},
	} {
		t.Run(name, func(t *testing.T) {
			w, s := renewed(t)
			if c.change != nil {
				c.change(w, s)
			}
			before := s.repository()
			if _, err := s.keeper.Remove(t.Context(), "shop", c.successor); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			if after := s.repository(); !maps.Equal(before, after) {
				t.Error("something of it is gone")
			}
		})
	}
}

// TestRemove_StillWritten: who stores something while all of it is being moved away has not heard that it is over. Then all stays.
func TestRemove_StillWritten(t *testing.T) {
	for name, late := range map[string]string{
		"a pack":     "shop/data/aa/" + strings.Repeat("a", 64),
		"a snapshot": "shop/snapshots/" + strings.Repeat("a", 64),
		"the config": "shop/config",
	} {
		t.Run(name, func(t *testing.T) {
			_, s := renewed(t)
			before := s.repository()
			before[late] = "config"
			s.double.Fault = func(c storetest.Call) *storetest.Fault {
				if c.Operation == storetest.List && c.Key == "shop/" && len(s.repository()) == 0 {
					s.double.Store(late, []byte("config")) // all else is gone
				}
				return nil
			}
			if _, err := s.keeper.Remove(t.Context(), "shop", "shop~2"); err == nil || !strings.Contains(err.Error(), "is still being written") {
				t.Errorf("got %v, want it said that it is still being written", err)
			}
			if after := s.repository(); !maps.Equal(before, after) {
				t.Errorf("%d objects are there, want all %d that were, and the late one", len(after), len(before))
			}
			if left := s.under(".trash/"); len(left) != 0 {
				t.Errorf("in the trash: %v", slices.Sorted(maps.Keys(left)))
			}
		})
	}
}

// TestRemove: all of it goes into the trash, and for good when the grace is over and what took its place was read.
func TestRemove(t *testing.T) {
	w, s, job := lone(t)
	if _, err := s.keeper.Run(t.Context(), job); err != nil { // so that an older run lies in the trash
		t.Fatal(err)
	}
	s.copyAs("shop", "shop~2")
	w.pass(31 * time.Hour)
	whole, later := s.repository(), s.under("shop~2/")
	result, err := s.keeper.Remove(t.Context(), "shop", "shop~2")
	if err != nil || result.Objects != int64(len(whole)) || result.Bytes == 0 {
		t.Fatalf("got %+v, %v, want all %d objects", result, err, len(whole))
	}
	if left := s.repository(); len(left) != 0 {
		t.Errorf("still there: %v", slices.Sorted(maps.Keys(left)))
	}
	trashed := slices.Collect(maps.Values(s.under(".trash/shop/")))
	for key, content := range whole {
		if !slices.Contains(trashed, content) {
			t.Errorf("%s is not in the trash", key)
		}
	}
	if result, err := s.keeper.Remove(t.Context(), "shop", "shop~2"); err != nil || result.Objects != 0 {
		t.Errorf("once more: got %+v, %v", result, err)
	}
	tend := func(want bool, when string) {
		t.Helper()
		if _, err := s.keeper.Tend(t.Context(), "shop"); err != nil {
			t.Fatal(err)
		}
		if got := len(s.under(".trash/shop/")) > 0; got != want {
			t.Errorf("%s: something in the trash: %v, want %v", when, got, want)
		}
	}
	if err := s.keeper.HasRead(t.Context(), "shop~2", 1, 1, w.now()); err != nil {
		t.Fatal(err)
	}
	w.pass(29 * time.Hour)
	tend(true, "within the grace")
	if err := s.keeper.Doubt(t.Context(), "shop~2"); err != nil {
		t.Fatal(err)
	}
	w.pass(2 * time.Hour)
	tend(true, "what took its place was found to be bad")
	if err := s.keeper.HasRead(t.Context(), "shop~2", 1, 1, w.now()); err != nil {
		t.Fatal(err)
	}
	s.double.Forget("shop~2/config")
	tend(true, "what took its place is not whole")
	s.double.Store("shop~2/config", []byte(later["shop~2/config"]))
	tend(false, "at the end")
	for key := range s.double.Objects() {
		if strings.Contains(key, "shop/") && key != ".marks/shop/removed.json" {
			t.Errorf("%s is left", key)
		}
	}
	if got := s.under("shop~2/"); !maps.Equal(got, later) {
		t.Error("what took its place is another one")
	}
}

// One in which nothing was ever stored needs nothing in its place.
func TestRemove_Empty(t *testing.T) {
	w, s := renewed(t)
	w.drop(s, "snapshots")
	if _, err := s.keeper.Remove(t.Context(), "shop", "shop~7"); err != nil || len(s.repository()) != 0 {
		t.Errorf("got %v, left %d", err, len(s.repository()))
	}
	w.pass(31 * time.Hour)
	if _, err := s.keeper.Tend(t.Context(), "shop"); err != nil || len(s.under(".trash/")) != 0 {
		t.Errorf("got %v, trash %d", err, len(s.under(".trash/")))
	}
}

// What took its place may itself be removed before the trash is emptied: then what took the place of that counts.
func TestRemove_Chain(t *testing.T) {
	w, s := renewed(t)
	s.copyAs("shop", "shop~3")
	w.pass(31 * time.Hour)
	for _, name := range []string{"shop", "shop~2"} {
		successor := map[string]string{"shop": "shop~2", "shop~2": "shop~3"}[name]
		if _, err := s.keeper.Remove(t.Context(), name, successor); err != nil {
			t.Fatal(err)
		}
	}
	w.pass(31 * time.Hour)
	tend := func() {
		t.Helper()
		for _, name := range []string{"shop~2", "shop"} {
			if _, err := s.keeper.Tend(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
	}
	tend()
	if len(s.under(".trash/shop/")) == 0 || len(s.under(".trash/shop~2/")) == 0 {
		t.Error("the trash was emptied, and the last of them was never read")
	}
	if err := s.keeper.HasRead(t.Context(), "shop~3", 1, 1, w.now()); err != nil {
		t.Fatal(err)
	}
	tend()
	if left := s.under(".trash/"); len(left) != 0 {
		t.Errorf("left: %v", slices.Sorted(maps.Keys(left)))
	}
}

// TestRemove_AfterDeath: wherever the worker dies, all of it is in its place or in the trash, and the next one ends it.
func TestRemove_AfterDeath(t *testing.T) {
	died := 0
	for requests := 0; ; requests += 3 {
		_, s := renewed(t)
		whole := s.repository()
		var err error
		s.dying(requests, func(ctx context.Context) { _, err = s.keeper.Remove(ctx, "shop", "shop~2") })
		if err == nil {
			break
		}
		died++
		lost := 0
		now := slices.Collect(maps.Values(s.under("shop/")))
		now = append(now, slices.Collect(maps.Values(s.under(".trash/shop/")))...)
		for _, content := range whole {
			if !slices.Contains(now, content) {
				lost++
			}
		}
		if lost > 0 {
			t.Fatalf("after %d requests %d objects are nowhere", requests, lost)
		}
		if _, err := s.keeper.Remove(t.Context(), "shop", "shop~2"); err != nil || len(s.repository()) != 0 {
			t.Fatalf("the next one, after %d requests: got %v, left %d", requests, err, len(s.repository()))
		}
	}
	if died < 10 {
		t.Errorf("it died %d times only", died)
	}
}
