package maintenance_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// twiceRemoved is a repository that was removed, was written to once more by somebody who had not heard, and was removed again a day
// later.
func twiceRemoved(t *testing.T) (w *world, s *worldSite, late string) {
	t.Helper()
	w, s = renewed(t)
	if _, err := s.keeper.Remove(t.Context(), "shop", "shop~2"); err != nil {
		t.Fatal(err)
	}
	w.pass(24 * time.Hour)
	late = "shop/keys/" + s.keyFile("shop", "late")
	if _, err := s.keeper.Remove(t.Context(), "shop", "shop~2"); err != nil {
		t.Fatal(err)
	}
	return w, s, late
}

// TestRemove_EachRunByItsOwn: what came late into a removed repository is kept as long as all else.
func TestRemove_EachRunByItsOwn(t *testing.T) {
	w, s, _ := twiceRemoved(t)
	if err := s.keeper.HasRead(t.Context(), "shop~2", 1, 1, w.now()); err != nil {
		t.Fatal(err)
	}
	trash := func() (contents []string) {
		t.Helper()
		if _, err := s.keeper.Tend(t.Context(), "shop"); err != nil {
			t.Fatal(err)
		}
		for key, content := range s.under(".trash/shop/") {
			if !strings.HasSuffix(key, "complete.json") {
				contents = append(contents, content)
			}
		}
		return contents
	}
	s.double.Store(".breakglass/shop.age", []byte("x"))
	w.pass(7 * time.Hour) // 31 hours after the first removal; the grace is 30
	if got := trash(); !slices.Equal(got, []string{"late"}) {
		t.Errorf("%d objects are in the trash, want the late one alone", len(got))
	}
	if len(s.under(".breakglass/")) != 1 {
		t.Error("the sealed password of what is still in the trash is gone")
	}
	w.pass(24 * time.Hour)
	if got := trash(); len(got) != 0 {
		t.Errorf("%d objects are left in the trash", len(got))
	}
}

// A second removal that broke off is undone and not emptied, however old the first one is.
func TestRemove_BrokenOffLater(t *testing.T) {
	w, s, late := twiceRemoved(t)
	for key := range s.under(".trash/shop/") {
		if strings.HasSuffix(key, "/complete.json") && s.under(strings.TrimSuffix(key, "complete.json") + "keys/")[strings.TrimSuffix(key, "complete.json")+strings.TrimPrefix(late, "shop/")] == "late" {
			s.double.Forget(key)
		}
	}
	if err := s.keeper.HasRead(t.Context(), "shop~2", 1, 1, w.now()); err != nil {
		t.Fatal(err)
	}
	w.pass(40 * time.Hour)
	if _, err := s.keeper.Tend(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	if got := s.repository(); len(got) != 1 || got[late] != "late" {
		t.Errorf("in its place: %v, want what the broken-off removal had moved", slices.Collect(maps.Keys(got)))
	}
}

// TestRemove_BreakGlassGoes: the sealed password of a removed repository stays for as long as what it opens can be moved back, and
// goes with that. Those of others stay.
func TestRemove_BreakGlassGoes(t *testing.T) {
	w, s := renewed(t)
	for _, key := range []string{".breakglass/shop.age", ".breakglass/shop~2.age", ".removed-keys/shop/a", ".removed-keys/shop~2/a"} {
		s.double.Store(key, []byte("x"))
	}
	if _, err := s.keeper.Remove(t.Context(), "shop", "shop~2"); err != nil {
		t.Fatal(err)
	}
	if err := s.keeper.HasRead(t.Context(), "shop~2", 1, 1, w.now()); err != nil {
		t.Fatal(err)
	}
	there := func() (keys []string) {
		t.Helper()
		if _, err := s.keeper.Tend(t.Context(), "shop"); err != nil {
			t.Fatal(err)
		}
		held := s.under(".breakglass/")
		maps.Copy(held, s.under(".removed-keys/"))
		return slices.Sorted(maps.Keys(held))
	}
	w.pass(29 * time.Hour)
	if got := there(); len(got) != 4 {
		t.Errorf("within the grace: %v", got)
	}
	w.pass(2 * time.Hour)
	if got := there(); !slices.Equal(got, []string{".breakglass/shop~2.age", ".removed-keys/shop~2/a"}) {
		t.Errorf("at the end: %v", got)
	}
}
