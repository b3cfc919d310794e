package replicator_test

import (
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"drp/replicator"
)

// flip changes one bit of an object; the double's ETag is made to stay as it was.
func flipped(content []byte) []byte {
	bad := slices.Clone(content)
	bad[len(bad)/2] ^= 4
	return bad
}

// sick is a shelf that has been copied, of which ETags tell nothing.
func sick(t *testing.T) *shelf {
	t.Helper()
	s := newShelf(t, 4)
	s.source.ETag = func(string, []byte) string { return "0123456789abcdef0123456789abcdef" }
	s.target.ETag = s.source.ETag
	for key, content := range s.source.Objects() {
		s.target.Store(key, content)
	}
	return s
}

func (s *shelf) heal(t *testing.T, from, to *replicator.Store) replicator.Healed {
	t.Helper()
	h, err := replicator.Heal(t.Context(), from, to, "shop/", replicator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHeal(t *testing.T) {
	keys := map[string]func(*shelf) string{
		"data": func(s *shelf) string { return s.data[1] }, "index": func(s *shelf) string { return s.index[0] },
		"snapshots": func(s *shelf) string { return "shop/snapshots/" + s.snapshots[0] },
		"keys":      func(*shelf) string { return nameOf("keys", "key") },
	}
	for class, key := range keys {
		t.Run(class+" broken at the destination", func(t *testing.T) {
			s := sick(t)
			bad := key(s)
			s.target.Store(bad, flipped(s.source.Objects()[bad]))
			if r, err := s.pass(t); err != nil || r.Objects != 0 {
				t.Fatalf("the pass: %+v, %v: it should not be able to see it", r, err)
			}
			h := s.heal(t, s.from, s.to)
			if want := []string{bad}; !cmp.Equal(h.There.Broken, want) || !cmp.Equal(h.Repaired.Written, want) || !h.Sound() {
				t.Errorf("got %+v", h)
			}
			s.whole(t)
			if got := s.target.Puts(); !cmp.Equal(got, []string{bad}) {
				t.Errorf("written: %v", got)
			}
		})
		t.Run(class+" broken at the source", func(t *testing.T) {
			s := sick(t)
			bad := key(s)
			before := s.target.Objects()
			s.source.Store(bad, flipped(before[bad]))
			h := s.heal(t, s.from, s.to)
			if want := []string{bad}; !cmp.Equal(h.Here.Broken, want) || len(h.Repaired.Written) > 0 || h.Sound() {
				t.Errorf("got %+v", h)
			}
			if got := s.target.Objects(); !cmp.Equal(got, before) {
				t.Errorf("the destination changed: %s", cmp.Diff(before, got))
			}
			if h := s.heal(t, s.to, s.from); !cmp.Equal(h.Repaired.Written, []string{bad}) || !h.Sound() {
				t.Errorf("turned round: %+v", h)
			}
			s.whole(t)
		})
		t.Run(class+" broken at both", func(t *testing.T) {
			s := sick(t)
			bad := key(s)
			s.source.Store(bad, flipped(s.source.Objects()[bad]))
			s.target.Store(bad, []byte("worse"))
			h := s.heal(t, s.from, s.to)
			if !cmp.Equal(h.Repaired.Unhealed, []string{bad}) || len(s.target.Puts()) > 0 || h.Sound() {
				t.Errorf("got %+v", h)
			}
		})
	}
	t.Run("a pack is lost", func(t *testing.T) {
		for name, turned := range map[string]bool{"at the destination": false, "at the source": true} {
			t.Run(name, func(t *testing.T) {
				s := sick(t)
				from, to, at := s.from, s.to, s.target
				if turned {
					from, to, at = s.to, s.from, s.source
				}
				at.Forget(s.data[2])
				if h := s.heal(t, from, to); !cmp.Equal(h.Lost, []string{s.data[2]}) || !cmp.Equal(h.Repaired.Written, h.Lost) {
					t.Errorf("got %+v", h)
				}
				s.whole(t)
			})
		}
	})
	t.Run("a home's lost pack comes back, also where it has backups that the replica lacks", func(t *testing.T) {
		s := sick(t)
		s.source.Forget(s.data[2])
		s.add("index", "newer")
		if h := s.heal(t, s.to, s.from); !cmp.Equal(h.Lost, []string{s.data[2]}) || !cmp.Equal(h.Repaired.Written, h.Lost) {
			t.Errorf("got %+v", h)
		}
	})
	t.Run("no pack counts as lost by a copy without an index", func(t *testing.T) {
		s := sick(t)
		s.source.Forget(s.data[2])
		for _, i := range s.index {
			s.target.Forget(i)
		}
		if h := s.heal(t, s.to, s.from); len(h.Lost) > 0 {
			t.Errorf("got %+v", h)
		}
	})
	t.Run("what was forgotten and pruned does not come back", func(t *testing.T) {
		s := sick(t)
		s.source.Forget("shop/snapshots/" + s.snapshots[0])
		s.source.Forget(s.data[2])
		s.source.Forget(s.index[0])
		s.add("index", "rewritten")
		before := s.source.Objects()
		if h := s.heal(t, s.to, s.from); len(h.Lost)+len(h.Repaired.Written) > 0 {
			t.Errorf("got %+v", h)
		}
		if got := s.source.Objects(); !cmp.Equal(got, before) {
			t.Errorf("the home changed: %s", cmp.Diff(before, got))
		}
	})
	t.Run("nothing new is copied", func(t *testing.T) {
		s := newShelf(t, 3)
		if h := s.heal(t, s.from, s.to); !h.Sound() || h.Here.Objects != 7 || len(s.target.Puts()) > 0 {
			t.Errorf("got %+v", h)
		}
	})
	t.Run("another repository", func(t *testing.T) {
		s := sick(t)
		s.target.Store("shop/config", []byte("konfig"))
		s.target.Store(s.data[0], []byte("bad"))
		_, err := replicator.Heal(t.Context(), s.from, s.to, "shop/", replicator.Options{})
		if !errors.Is(err, replicator.ErrConfigDiffers) || len(s.target.Puts()) > 0 {
			t.Errorf("got %v, written %v", err, s.target.Puts())
		}
	})
}

func TestHealFolder(t *testing.T) {
	s := sick(t)
	s.also("a/", "b/")
	s.target.Store("old/config", []byte("config"))
	s.target.Store("old/keys/"+nameOf("keys", "key")[len("shop/keys/"):], []byte("kex"))
	s.target.Store(s.data[0], flipped(s.source.Objects()[s.data[0]]))
	got := make(map[string]bool)
	err := replicator.HealFolder(t.Context(), s.from, s.to, replicator.Options{}, func(h replicator.Healed, err error) {
		got[h.Prefix] = err == nil && h.Sound()
	})
	if want := map[string]bool{"a/": true, "b/": true, "shop/": true, "old/": false}; err != nil || !cmp.Equal(got, want) {
		t.Errorf("got %v and %v, want %v", got, err, want)
	}
}

func TestRepair(t *testing.T) {
	s := sick(t)
	all := s.source.Objects()
	s.target.Store(s.data[0], flipped(all[s.data[0]]))
	s.target.Forget(s.data[1])
	s.target.Forget(s.index[0])
	s.source.Forget(s.data[3])
	s.target.Forget(s.data[3])
	r, err := replicator.Repair(t.Context(), s.from, s.to, "shop/", []string{s.index[0], s.data[0], s.data[1], s.data[2], s.data[3]}, replicator.Options{})
	want := replicator.Repaired{
		Written: []string{s.data[0], s.data[1], s.index[0]}, Good: []string{s.data[2]}, Unhealed: []string{s.data[3]},
	}
	if err != nil || !cmp.Equal(r, want) {
		t.Errorf("got %+v and %v, want %+v", r, err, want)
	}
	if got := s.target.Puts(); !cmp.Equal(got, want.Written) {
		t.Errorf("written: %v", got)
	}
	for _, key := range []string{"shop/config", nameOf("locks", "x"), "shop/data/x", "shop/../x", "else/data/" + s.data[0][len("shop/data/"):]} {
		if _, err := replicator.Repair(t.Context(), s.from, s.to, "shop/", []string{key}, replicator.Options{}); err == nil {
			t.Errorf("%s was taken", key)
		}
	}
}

// TestScrub_RealStore: flipped bits and a lost pack on the disk of a real store, at either end; restic is the judge.
func TestScrub_RealStore(t *testing.T) {
	w := newTwo(t)
	w.backup(t, "a", 20<<20)
	w.mustPass(t)
	packs := keys(t, w.from, "shop/data/")
	w.target.Flip("target", packs[0])
	w.target.Flip("target", keys(t, w.to, "shop/index/")[0])
	if err := os.Remove(w.target.File("target", packs[1])); err != nil {
		t.Fatal(err)
	}
	found, err := replicator.Scrub(t.Context(), w.to, "shop/", replicator.Options{})
	if err != nil || len(found.Broken) != 2 {
		t.Fatalf("got %+v and %v", found, err)
	}
	h, err := replicator.Heal(t.Context(), w.from, w.to, "shop/", replicator.Options{})
	if err != nil || len(h.Repaired.Written) != 3 || !h.Sound() {
		t.Fatalf("got %+v and %v", h, err)
	}
	w.there.Check(t)

	w.source.Flip("source", packs[2])
	home := open(t, w.source.Endpoint, "source", w.source.Admin)
	replica := open(t, w.target.Endpoint, "target", w.target.Reader)
	if h, err := replicator.Heal(t.Context(), replica, home, "shop/", replicator.Options{}); err != nil || !cmp.Equal(h.Repaired.Written, packs[2:3]) {
		t.Fatalf("got %+v and %v", h, err)
	}
	w.here.Check(t)
}
