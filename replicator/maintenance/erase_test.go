package maintenance_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"drp/replicator"
	"drp/replicator/maintenance"
	"drp/replicator/storetest"
)

// leaving is a site with all that it can have of an account which leaves, shop, beside others whose names are much like that one.
func leaving(t *testing.T) (w *world, s *worldSite, own, others map[string]string) {
	t.Helper()
	w, s, job := lone(t)
	if _, err := s.keeper.Run(t.Context(), job); err != nil { // a run in the trash, a list of tombstones, marks
		t.Fatal(err)
	}
	s.copyAs("shop", "shop~2")
	s.copyAs("shop", "shop~31")
	for _, p := range replicator.Places {
		for _, name := range []string{"shop", "shop~2"} {
			s.put(p, name)
		}
		for _, name := range []string{
			"sho", "shop2", "shop-2", "shop_", "shopping", "shop.x", "shop~x", "shop~", "shop~1", "shop~02", "shop~2~3", "shop~2x", "xshop", "shop2~2", "SHOP", "shop ", "a",
		} {
			s.put(p, name)
		}
	}
	s.double.Store(".drp/exports/shop/1.json", []byte("x"))
	s.double.Store("shop", []byte("no folder of that name"))
	s.double.Store(".breakglass/shop.age/x", []byte("x"))
	own, others = make(map[string]string), make(map[string]string)
	for key, content := range s.double.Objects() {
		name := key
		for _, p := range replicator.Places {
			if rest, ok := strings.CutPrefix(key, p.Before); ok && p.Before != "" {
				name = strings.TrimSuffix(rest, ".age") + "/"
			}
		}
		if slices.ContainsFunc([]string{"shop/", "shop~2/", "shop~31/"}, func(n string) bool { return strings.HasPrefix(name, n) }) && key != ".breakglass/shop.age/x" {
			own[key] = string(content)
		} else {
			others[key] = string(content)
		}
	}
	if len(own) < 40 || len(others) < 17*len(replicator.Places) {
		t.Fatalf("%d own and %d others: it proves nothing", len(own), len(others))
	}
	return w, s, own, others
}

// put writes one object of a repository into a place.
func (s *worldSite) put(p replicator.Place, name string) {
	key := p.Before + name + p.After
	if p.After == "/" {
		key += "keys/" + strings.Repeat("a", 64)
	}
	s.double.Store(key, []byte("of "+name))
}

// rest is what is there but for the marks of erasures and the store's clock.
func (s *worldSite) rest() map[string]string {
	rest := make(map[string]string)
	for key, content := range s.double.Objects() {
		if !strings.HasPrefix(key, ".eras") && key != ".marks/.clock" {
			rest[key] = string(content)
		}
	}
	return rest
}

const brakeSpan = 24 * time.Hour

func sizes(objects map[string]string) (n, bytes int64) {
	for _, content := range objects {
		bytes += int64(len(content))
	}
	return int64(len(objects)), bytes
}

func (s *worldSite) erase(t *testing.T) maintenance.Erasure {
	t.Helper()
	e, err := s.keeper.Erase(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// same fails the test unless everything of the others is there, and nothing else.
func (s *worldSite) same(t testing.TB, others map[string]string) {
	t.Helper()
	delete(others, ".marks/.clock")
	got := s.rest()
	for key := range got {
		if _, ok := others[key]; !ok {
			t.Errorf("still there: %s", key)
		}
	}
	for key, content := range others {
		if got[key] != content {
			t.Errorf("of another account, and gone or changed: %s", key)
		}
	}
}

// TestErase: nothing before the grace, then all of exactly one account; what is done is told again.
func TestErase(t *testing.T) {
	w, s, own, others := leaving(t)
	before := s.rest()
	e := s.erase(t)
	want := maintenance.Erasure{
		Repositories: []string{"shop", "shop~2", "shop~31"}, Until: w.now().Add(worldGrace), Next: w.now().Add(worldGrace),
	}
	if fmt.Sprint(e) != fmt.Sprint(want) {
		t.Errorf("first look: got %+v, want %+v", e, want)
	}
	w.pass(worldGrace - time.Second)
	if e := s.erase(t); !e.Until.Equal(w.now().Add(time.Second)) {
		t.Errorf("a second before the end of the grace: %+v", e)
	}
	if !maps.Equal(before, s.rest()) {
		t.Error("something was deleted before the grace was over")
	}
	w.pass(time.Second)
	var gone []string
	s.breaks(func(c storetest.Call) *storetest.Fault {
		if c.Operation == storetest.Delete && !strings.HasPrefix(c.Key, ".erasing/") {
			s.mu.Lock()
			defer s.mu.Unlock()
			gone = append(gone, c.Key)
		}
		return nil
	})
	e = s.erase(t)
	n, bytes := sizes(own)
	if e.Objects != n || e.Bytes != bytes || !e.Empty.Equal(w.now()) || !e.Until.IsZero() || len(e.Repositories) != 3 {
		t.Errorf("got %+v, want %d objects, %d bytes", e, n, bytes)
	}
	s.same(t, others)
	isKey := func(key string) bool {
		return strings.Contains(key, "/keys/") || strings.HasPrefix(key, ".breakglass/") || strings.HasPrefix(key, ".going-keys/")
	}
	if first := slices.IndexFunc(gone, func(key string) bool { return !isKey(key) }); first < 9 || slices.ContainsFunc(gone[first:], isKey) {
		t.Errorf("deleted in another order than keys first: %v", gone)
	}
	w.pass(time.Hour)
	if again := s.erase(t); fmt.Sprint(again) != fmt.Sprint(e) {
		t.Errorf("done again: got %+v, want %+v", again, e)
	}
	for name, refused := range map[string]bool{"shop": true, "shop~2": true, "shop~99": true, "shop2": false, "sho": false, "shop-2~2": false} {
		if err := maintenance.Erased(t.Context(), s.store, name); errors.Is(err, maintenance.ErrErased) != refused || err != nil && !refused {
			t.Errorf("%s may come back: %v", name, err)
		}
	}
	if marks := slices.Sorted(maps.Keys(s.under(".erasing/"))); len(marks) != 1 || marks[0] != ".erasing/.begun.json" {
		t.Errorf("marks left: %v", marks)
	}
}

// TestErase_Nothing: a site that never had a copy waits as well, and says so for good then. It counts like any other: a mark
// stays, and whoever asks for thousands of names is not to close them all.
func TestErase_Nothing(t *testing.T) {
	w, s, _, others := leaving(t)
	s.keeper.Erasures = 1
	for _, account := range []string{"gone", "none"} {
		if e, err := s.keeper.Erase(t.Context(), account); err != nil || e.Until.IsZero() || len(e.Repositories) != 0 {
			t.Fatalf("got %+v, %v", e, err)
		}
		if err := maintenance.Erased(t.Context(), s.store, account); err != nil {
			t.Error("refused before the wait is over:", err)
		}
	}
	w.pass(worldGrace)
	if e, err := s.keeper.Erase(t.Context(), "gone"); err != nil || e.Empty.IsZero() || e.Objects != 0 {
		t.Fatalf("got %+v, %v", e, err)
	}
	before := len(s.double.Calls())
	brake := (*maintenance.ErasureBrakeError)(nil)
	if _, err := s.keeper.Erase(t.Context(), "none"); !errors.As(err, &brake) || maintenance.Erased(t.Context(), s.store, "none") != nil {
		t.Errorf("the second one within a day: %v", err)
	}
	for _, c := range s.double.Calls()[before:] {
		if c.Operation == storetest.List && !strings.HasPrefix(c.Key, ".erasing/") {
			t.Errorf("it has to wait, and %q is listed all the same", c.Key)
		}
	}
	w.pass(24 * time.Hour)
	if e, err := s.keeper.Erase(t.Context(), "none"); err != nil || e.Empty.IsZero() {
		t.Errorf("a day later: got %+v, %v", e, err)
	}
	for key := range others {
		if _, ok := s.double.Objects()[key]; !ok {
			t.Errorf("gone: %s", key)
		}
	}
}

// TestErase_Names: what is no account's name leads nowhere.
func TestErase_Names(t *testing.T) {
	_, s, _, _ := leaving(t)
	before := s.double.Objects()
	for _, name := range []string{"", "shop~2", "shop/", ".", "..", ".trash", "../shop", "Shop", "shop*", "a b", strings.Repeat("a", 64)} {
		if _, err := s.keeper.Erase(t.Context(), name); err == nil || !strings.Contains(err.Error(), "is no name of an account") {
			t.Errorf("%q: %v", name, err)
		}
	}
	if after := s.double.Objects(); len(after) != len(before) {
		t.Error("something was written or deleted")
	}
}

// TestErase_Others: whatever names others have, nothing of theirs is touched, and nothing of the account's is left.
func TestErase_Others(t *testing.T) {
	w, s, _ := lone(t)
	letter := rapid.SampledFrom([]rune("ab-_~0129.A /"))
	rapid.Check(t, func(r *rapid.T) {
		for key := range s.double.Objects() {
			s.double.Forget(key)
		}
		account := rapid.StringMatching(`[ab0][ab0_-]{0,3}`).Draw(r, "account")
		names := rapid.SliceOfN(rapid.OneOf(
			rapid.Just(account),
			rapid.Map(rapid.IntRange(0, 120), func(n int) string { return fmt.Sprintf("%s~%d", account, n) }),
			rapid.Map(rapid.StringOfN(letter, 0, 4, -1), func(end string) string { return account + end }),
			rapid.Map(rapid.StringOfN(letter, 1, 4, -1), func(start string) string { return start + account }),
			rapid.StringOfN(letter, 1, 5, -1),
		), 1, 8).Draw(r, "names")
		own := make(map[string]bool)
		others := make(map[string]string)
		for _, name := range names {
			if strings.HasPrefix(name, "/") || strings.Contains(name, "//") || strings.HasSuffix(name, "/") {
				continue // no client sends such a key
			}
			for _, p := range replicator.Places {
				key := p.Before + name + p.After
				if p.After == "/" {
					key += rapid.SampledFrom([]string{"config", "data/aa/x", "keys/x", "locks", "x.json"}).Draw(r, "object")
				}
				s.double.Store(key, []byte(name))
				if ownKey(p, key, account) {
					own[key] = true
				} else {
					others[key] = name
				}
			}
		}
		if _, err := s.keeper.Erase(t.Context(), account); err != nil {
			r.Fatal(err)
		}
		w.pass(worldGrace)
		e, err := s.keeper.Erase(t.Context(), account)
		if err != nil || e.Objects != int64(len(own)) {
			r.Fatalf("got %+v, %v, want %d objects: %v", e, err, len(own), own)
		}
		got := s.rest()
		for key := range own {
			if _, ok := got[key]; ok {
				r.Errorf("still there: %s", key)
			}
		}
		for key := range others {
			if _, ok := got[key]; !ok {
				r.Errorf("of another account, and gone: %s", key)
			}
		}
	})
}

// ownKey says it in another way than the code that is tested: by the form of the key as a whole.
func ownKey(p replicator.Place, key, account string) bool {
	rest := strings.TrimPrefix(key, p.Before)
	if p.After == "/" {
		rest, _, _ = strings.Cut(rest, "/")
	} else {
		rest = strings.TrimSuffix(rest, p.After)
	}
	if rest == account {
		return true
	}
	for n := 2; n <= 999; n++ { // a mark and three digits are the longest end that is drawn
		if rest == fmt.Sprintf("%s~%d", account, n) {
			return true
		}
	}
	return false
}

// TestErase_Clocks: whichever clock of the two is wrong, nothing is deleted before its time, and it is deleted in the end.
func TestErase_Clocks(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		worker, store           time.Duration // while it is ordered
		workerThen, storeThen   time.Duration // when the grace is over but for an hour
		until                   time.Duration // told then
		workerAfter, storeAfter time.Duration // and an hour later
		anew                    bool          // and it waits for all of the grace
	}{
		"both are right":                    {until: time.Hour},
		"the worker's steps ahead":          {workerThen: year, workerAfter: year, until: time.Hour},
		"the store's steps ahead":           {storeThen: year, storeAfter: year, until: time.Hour},
		"the worker's was behind":           {worker: -year, until: time.Hour},
		"the store's was behind":            {store: -year, until: time.Hour},
		"the worker's was ahead":            {worker: day, until: worldGrace, anew: true},
		"the store's was ahead":             {store: 3 * day, workerThen: 2 * time.Hour, workerAfter: 2 * time.Hour, until: worldGrace, anew: true},
		"the store's is ahead by a moment":  {store: time.Second, until: time.Hour},
		"the worker's ran ahead in between": {workerThen: year, until: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			w, s, own, others := leaving(t)
			s.off(c.worker, c.store)
			s.erase(t)
			w.pass(worldGrace - time.Hour)
			if name == "the worker's was ahead" {
				w.pass(-10 * time.Hour)
			}
			s.off(c.workerThen, c.storeThen)
			e := s.erase(t)
			if got := e.Until.Sub(s.keeper.Now()); (got - c.until).Abs() > time.Second {
				t.Errorf("an hour before the end: until %s from now, want %s", got, c.until)
			}
			if n, _ := sizes(own); len(s.rest()) < int(n) {
				t.Fatal("something was deleted")
			}
			s.off(c.workerAfter, c.storeAfter)
			w.pass(time.Hour + time.Second)
			e = s.erase(t)
			if anew := e.Empty.IsZero(); anew != c.anew {
				t.Fatalf("an hour later: %+v", e)
			}
			w.pass(worldGrace)
			if e := s.erase(t); e.Empty.IsZero() {
				t.Errorf("in the end: %+v", e)
			}
			s.same(t, others)
		})
	}
}
