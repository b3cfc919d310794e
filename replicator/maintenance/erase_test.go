package maintenance_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
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

// TestErase_Nothing: a site that never had a copy waits as well, and says so for good then.
func TestErase_Nothing(t *testing.T) {
	w, s, _, others := leaving(t)
	s.keeper.Erasures = -1 // nothing is deleted, so nothing is counted
	if e, err := s.keeper.Erase(t.Context(), "gone"); err != nil || e.Until.IsZero() || len(e.Repositories) != 0 {
		t.Fatalf("got %+v, %v", e, err)
	}
	if err := maintenance.Erased(t.Context(), s.store, "gone"); err != nil {
		t.Error("refused before the wait is over:", err)
	}
	w.pass(worldGrace)
	if e, err := s.keeper.Erase(t.Context(), "gone"); err != nil || e.Empty.IsZero() || e.Objects != 0 {
		t.Fatalf("got %+v, %v", e, err)
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
	for n := 2; n <= 120; n++ {
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

// TestErase_Killed ends it at each of its writes and deletions, and between them, before the store has served that request and
// after, and has it go on then.
func TestErase_Killed(t *testing.T) {
	w, s, own, others := leaving(t)
	all := s.double.Objects()
	begin := func() {
		for key := range s.double.Objects() {
			s.double.Forget(key)
		}
		for key, content := range all {
			s.double.Store(key, content)
		}
		s.erase(t)
		w.pass(worldGrace)
	}
	begin()
	before := len(s.double.Calls())
	s.erase(t)
	calls := s.double.Calls()[before:]
	changes := func(n int) bool {
		return n >= 0 && n < len(calls) && (calls[n].Operation == storetest.Put || calls[n].Operation == storetest.Delete)
	}
	killed := 0
	for at := range len(calls) {
		if !changes(at) && !changes(at-1) {
			continue
		}
		for _, served := range []bool{false, true} {
			begin()
			ctx, cancel := context.WithCancel(t.Context())
			left := at
			s.breaks(func(storetest.Call) *storetest.Fault {
				s.mu.Lock()
				defer s.mu.Unlock()
				if left--; left >= 0 {
					return nil
				}
				cancel()
				if served && left == -1 {
					return &storetest.Fault{Lost: true}
				}
				return &storetest.Fault{Down: true}
			})
			e, err := s.keeper.Erase(ctx, "shop")
			cancel()
			if err == nil || !e.Empty.IsZero() || e.Objects > int64(len(own)) {
				t.Fatalf("killed at request %d: %+v, %v", at, e, err)
			}
			killed++
			s.breaks(nil)
			w.pass(time.Hour)
			e = s.erase(t)
			if n, bytes := sizes(own); e.Objects != n || e.Bytes != bytes || e.Empty.IsZero() || len(e.Repositories) != 3 {
				t.Fatalf("killed at request %d, then: %+v, want %d objects, %d bytes", at, e, n, bytes)
			}
			if s.same(t, others); t.Failed() {
				t.Fatalf("killed at request %d of %d: %v", at, len(calls), calls[at])
			}
		}
	}
	if killed < 100 {
		t.Errorf("killed at %d requests only: it proves little", killed)
	}
}

// TestErase_Fails: what goes wrong is an error, and nothing is called done.
func TestErase_Fails(t *testing.T) {
	for name, fault := range map[string]func(c storetest.Call) *storetest.Fault{
		"a listing that breaks off": func(c storetest.Call) *storetest.Fault {
			if c.Operation == storetest.List && c.Key == "shop~" {
				return &storetest.Fault{Truncate: true}
			}
			return nil
		},
		"a page of a listing": func(c storetest.Call) *storetest.Fault {
			if c.Operation == storetest.List && c.Key == "shop/" && c.Page == 2 {
				return &storetest.Fault{Status: http.StatusInternalServerError, Code: "InternalError"}
			}
			return nil
		},
		"a listing of another account": func(c storetest.Call) *storetest.Fault {
			if c.Operation == storetest.List && c.Key == "shop/" {
				return &storetest.Fault{Listing: func(a *storetest.ListingAnswer) { a.Contents[0].Key = "shop2/config" }}
			}
			return nil
		},
		"a delete that the store refuses": func(c storetest.Call) *storetest.Fault {
			if c.Operation == storetest.Delete && strings.HasPrefix(c.Key, "shop/data/") {
				return &storetest.Fault{Status: http.StatusForbidden, Code: "AccessDenied"}
			}
			return nil
		},
		"a delete of a key": func(c storetest.Call) *storetest.Fault {
			if c.Operation == storetest.Delete && strings.HasPrefix(c.Key, "shop/keys/") {
				return &storetest.Fault{Status: http.StatusServiceUnavailable, Code: "SlowDown"}
			}
			return nil
		},
		"a mark that cannot be written": func(c storetest.Call) *storetest.Fault {
			if c.Operation == storetest.Put && c.Key == ".erased/shop.json" {
				return &storetest.Fault{Status: http.StatusInternalServerError, Code: "InternalError"}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, s, own, others := leaving(t)
			s.double.PageSize = 3
			s.erase(t)
			w.pass(worldGrace)
			s.breaks(fault)
			e, err := s.keeper.Erase(t.Context(), "shop")
			if err == nil || !e.Empty.IsZero() {
				t.Fatalf("got %+v, %v", e, err)
			}
			left := s.rest()
			maps.DeleteFunc(left, func(key, _ string) bool { _, of := own[key]; return !of })
			if e.Objects > int64(len(own)-len(left)) {
				t.Errorf("told %d deleted, and %d of %d are there", e.Objects, len(left), len(own))
			}
			if strings.HasPrefix(name, "a delete of a key") {
				for key := range own {
					if _, ok := left[key]; !ok && strings.HasPrefix(key, "shop/data") {
						t.Error("deleted before the keys were: ", key)
					}
				}
			}
			if strings.HasSuffix(name, "refuses") && (!strings.Contains(err.Error(), "objects stay: ") || len(left) > 10) {
				t.Errorf("it does not go on beyond what is refused: %d of %d are there: %v", len(left), len(own), err)
			}
			s.breaks(nil)
			if e := s.erase(t); e.Objects != int64(len(own)) {
				t.Errorf("then: %+v", e)
			}
			s.same(t, others)
		})
	}
}

// TestErase_Lies: a listing that leaves out what is there, once, at whatever moment, or for ever: what is there is never called gone.
func TestErase_Lies(t *testing.T) {
	empty := func(a *storetest.ListingAnswer) {
		a.Contents, a.KeyCount, a.IsTruncated, a.NextContinuationToken = nil, 0, false, ""
	}
	short := func(a *storetest.ListingAnswer) { a.IsTruncated, a.NextContinuationToken = false, "" }
	for name, lie := range map[string]func(*storetest.ListingAnswer){"nothing at all": empty, "no second page": short} {
		t.Run(name, func(t *testing.T) {
			for at := range 6 { // the nth listing of shop/
				w, s, own, others := leaving(t)
				s.double.PageSize = 5
				listings := 0
				s.breaks(func(c storetest.Call) *storetest.Fault {
					s.mu.Lock()
					defer s.mu.Unlock()
					if c.Operation != storetest.List || c.Key != "shop/" || c.Page > 1 {
						return nil
					}
					if listings++; listings-1 == at {
						return &storetest.Fault{Listing: lie}
					}
					return nil
				})
				s.erase(t)
				w.pass(worldGrace)
				if e := s.erase(t); e.Objects != int64(len(own)) {
					t.Errorf("listing %d: %+v, want %d objects", at, e, len(own))
				}
				s.same(t, others)
			}
		})
	}
	t.Run("all listings of one look", func(t *testing.T) {
		for at := range 6 {
			w, s, own, others := leaving(t)
			look := -1
			s.breaks(func(c storetest.Call) *storetest.Fault {
				s.mu.Lock()
				defer s.mu.Unlock()
				if c.Operation != storetest.List || strings.HasPrefix(c.Key, ".eras") {
					return nil
				}
				if c.Key == "shop/" {
					look++
				}
				if look != at {
					return nil
				}
				return &storetest.Fault{Listing: empty}
			})
			s.erase(t)
			w.pass(worldGrace)
			if e := s.erase(t); e.Objects != int64(len(own)) {
				t.Errorf("look %d: %+v, want %d objects", at, e, len(own))
			}
			s.same(t, others)
		}
	})
	t.Run("all listings, but one is asked for by name", func(t *testing.T) {
		w, s, _, _ := leaving(t)
		s.erase(t)
		w.pass(worldGrace)
		s.breaks(func(c storetest.Call) *storetest.Fault {
			if c.Operation == storetest.List && !strings.HasPrefix(c.Key, ".erasing/") {
				return &storetest.Fault{Listing: empty}
			}
			return nil
		})
		if e, err := s.keeper.Erase(t.Context(), "shop"); err == nil || !strings.Contains(err.Error(), "the store's listing is wrong") || !e.Empty.IsZero() {
			t.Errorf("got %+v, %v", e, err)
		}
	})
}

// TestErase_Late: what is written while it is deleted goes as well, and is counted; what comes after that waits as the first did.
func TestErase_Late(t *testing.T) {
	w, s, own, others := leaving(t)
	s.erase(t)
	w.pass(worldGrace)
	late := 0
	s.breaks(func(c storetest.Call) *storetest.Fault {
		s.mu.Lock()
		defer s.mu.Unlock()
		if c.Operation == storetest.Delete && late < 3 && strings.HasPrefix(c.Key, "shop/") {
			late++
			s.double.Store(fmt.Sprint("shop/data/aa/late", late), []byte("late"))
		}
		return nil
	})
	e := s.erase(t)
	if e.Objects != int64(len(own))+3 || e.Empty.IsZero() {
		t.Errorf("got %+v, want %d objects", e, len(own)+3)
	}
	s.same(t, others)
	s.breaks(nil)

	s.double.Store("shop/data/aa/later", []byte("1234567"))
	w.pass(time.Hour)
	if again := s.erase(t); again.Until.IsZero() || !again.Empty.IsZero() {
		t.Errorf("what came later does not wait: %+v", again)
	}
	if err := maintenance.Erased(t.Context(), s.store, "shop"); !errors.Is(err, maintenance.ErrErased) {
		t.Error("and the account may come back meanwhile:", err)
	}
	w.pass(worldGrace)
	if last := s.erase(t); last.Objects != e.Objects+1 || last.Bytes != e.Bytes+7 || !last.Empty.Equal(w.now()) {
		t.Errorf("got %+v, want one object more than %+v", last, e)
	}
	s.same(t, others)

	// Who goes on writing is told of.
	s.double.Store("shop/data/aa/x", []byte("x"))
	s.erase(t)
	w.pass(worldGrace)
	s.breaks(func(c storetest.Call) *storetest.Fault {
		if c.Operation == storetest.List && c.Key == "shop/" {
			s.double.Store("shop/data/aa/x", []byte("x"))
		}
		return nil
	})
	if e, err := s.keeper.Erase(t.Context(), "shop"); err == nil || !strings.Contains(err.Error(), "who still writes there?") || !e.Empty.IsZero() {
		t.Errorf("got %+v, %v", e, err)
	}
}

// TestErase_Lock: as long as a restic works on any of its repositories, nothing of the account is deleted.
func TestErase_Lock(t *testing.T) {
	w, s, own, others := leaving(t)
	s.erase(t)
	w.pass(worldGrace)
	lock := "shop~31/locks/" + strings.Repeat("a", 64)
	s.double.Store(lock, []byte("lock"))
	w.pass(20 * time.Minute)
	before := s.rest()
	if e, err := s.keeper.Erase(t.Context(), "shop"); err == nil || !strings.Contains(err.Error(), "its lock was renewed 20m0s ago; nothing is deleted") || e.Objects != 0 {
		t.Errorf("got %+v, %v", e, err)
	}
	if !maps.Equal(before, s.rest()) {
		t.Error("something was deleted")
	}
	w.pass(11 * time.Minute)
	if e := s.erase(t); e.Objects != int64(len(own))+1 {
		t.Errorf("got %+v", e)
	}
	s.same(t, others)
}

// TestTakeBack: what is taken back waits for all of the grace when it is ordered again, also in the middle of the deletion.
func TestTakeBack(t *testing.T) {
	takeBack := func(s *worldSite, wanted ...string) {
		t.Helper()
		if err := s.keeper.TakeBack(t.Context(), func(account string) bool { return slices.Contains(wanted, account) }); err != nil {
			t.Error(err)
		}
	}
	t.Run("while it waits", func(t *testing.T) {
		w, s, _, _ := leaving(t)
		s.erase(t)
		w.pass(worldGrace - time.Hour)
		takeBack(s, "shop", "blog")
		if e := s.erase(t); !e.Until.Equal(w.now().Add(time.Hour)) {
			t.Errorf("still wanted: %+v", e)
		}
		takeBack(s, "shop2", "blog")
		if left := s.under(".eras"); len(left) != 0 {
			t.Errorf("marks are left: %v", left)
		}
		w.pass(2 * time.Hour)
		if e := s.erase(t); !e.Until.Equal(w.now().Add(worldGrace)) {
			t.Errorf("ordered again: %+v", e)
		}
	})
	t.Run("while it is deleted", func(t *testing.T) {
		w, s, own, others := leaving(t)
		s.erase(t)
		w.pass(worldGrace)
		s.breaks(func(c storetest.Call) *storetest.Fault {
			if c.Operation == storetest.Delete && strings.HasPrefix(c.Key, "shop/data/") {
				return &storetest.Fault{Status: http.StatusServiceUnavailable, Code: "SlowDown"}
			}
			return nil
		})
		if _, err := s.keeper.Erase(t.Context(), "shop"); err == nil {
			t.Fatal("no error")
		}
		s.breaks(nil)
		before := s.rest()
		takeBack(s)
		takeBack(s)
		w.pass(time.Hour)
		if e := s.erase(t); !e.Until.Equal(w.now().Add(worldGrace)) || e.Objects != int64(len(own)-(len(before)-len(others))) {
			t.Errorf("ordered again: %+v, want the %d objects that were deleted", e, len(own)-(len(before)-len(others)))
		}
		if !maps.Equal(before, s.rest()) {
			t.Error("something was deleted")
		}
		if err := maintenance.Erased(t.Context(), s.store, "shop"); err != nil {
			t.Error("what was taken back may not be mended:", err)
		}
		w.pass(worldGrace)
		n, bytes := sizes(own)
		if e := s.erase(t); e.Objects != n || e.Bytes != bytes {
			t.Errorf("in the end: %+v, want %d objects, %d bytes", e, n, bytes)
		}
		s.same(t, others)
	})
	t.Run("when it is done", func(t *testing.T) {
		w, s, own, _ := leaving(t)
		s.erase(t)
		w.pass(worldGrace)
		e := s.erase(t)
		takeBack(s)
		if again := s.erase(t); fmt.Sprint(again) != fmt.Sprint(e) || e.Objects != int64(len(own)) {
			t.Errorf("got %+v, want %+v", again, e)
		}
	})
}

// TestErase_Brake: so many accounts begin to be deleted within a day, and not one more, by either clock.
func TestErase_Brake(t *testing.T) {
	w, s, _ := lone(t)
	s.keeper.Erasures = 3
	look := func(n int) (maintenance.Erasure, error) {
		account := fmt.Sprint("a", n)
		return s.keeper.Erase(t.Context(), account)
	}
	for n := range 9 {
		s.double.Store(fmt.Sprintf("a%d/config", n), []byte("x"))
		if _, err := look(n); err != nil {
			t.Fatal(err)
		}
	}
	w.pass(worldGrace)
	erased := func() (n int) {
		for i := range 9 {
			if _, ok := s.double.Objects()[fmt.Sprintf("a%d/config", i)]; !ok {
				n++
			}
		}
		return n
	}
	all := func(want int) {
		t.Helper()
		for n := range 9 {
			e, err := look(n)
			var brake *maintenance.ErasureBrakeError
			switch {
			case errors.As(err, &brake) && s.keeper.Erasures < 0:
				if !strings.Contains(err.Error(), "this site erases none at all (erasures: 0") || !e.Next.IsZero() {
					t.Errorf("got %+v, %v", e, err)
				}
			case brake != nil:
				if !strings.Contains(err.Error(), "of 3 accounts has begun here within a day") || e.Next.IsZero() {
					t.Errorf("got %+v, %v", e, err)
				}
			case err != nil:
				t.Error(err)
			}
		}
		if got := erased(); got != want {
			t.Errorf("%d are erased, want %d", got, want)
		}
	}
	s.keeper.Erasures = -1
	all(0)
	s.keeper.Erasures = 3
	// One that begins, and ends before anything of it is deleted, counts once.
	s.breaks(func(c storetest.Call) *storetest.Fault {
		if c.Operation == storetest.Put && c.Key == ".erasing/a0.json" {
			return &storetest.Fault{Status: http.StatusInternalServerError, Code: "InternalError"}
		}
		return nil
	})
	if _, err := look(0); err == nil {
		t.Error("no error")
	}
	s.breaks(nil)
	w.pass(time.Hour)
	all(3)
	w.pass(22 * time.Hour)
	s.off(48*time.Hour, 0) // one clock that steps ahead lets nobody through
	all(3)
	s.off(0, 48*time.Hour)
	all(3)
	s.off(0, 0)
	e, err := look(8)
	if want := w.now().Add(time.Hour); err == nil || !e.Next.Equal(want) {
		t.Errorf("the next one from %s, want %s: %v", e.Next, want, err)
	}
	w.pass(time.Hour)
	all(4) // the one that began first is a day old
	w.pass(2 * time.Hour)
	all(6)
	w.pass(24 * time.Hour)
	all(9)
	// What is said to have begun at a time that has yet to come holds up others for a day, and not until then.
	s.keeper.Erasures = 1
	s.off(year, year)
	begin := func(account string) error {
		s.double.Store(account+"/config", []byte("x"))
		_, err := s.keeper.Erase(t.Context(), account)
		if err == nil {
			w.pass(worldGrace)
			_, err = s.keeper.Erase(t.Context(), account)
		}
		return err
	}
	if err := begin("b"); err != nil {
		t.Fatal(err)
	}
	s.off(0, 0)
	if err := begin("c"); err == nil {
		t.Error("by clocks that were ahead and are right again, c may begin at once")
	}
	w.pass(brakeSpan)
	if _, err := s.keeper.Erase(t.Context(), "c"); err != nil {
		t.Error(err)
	}
}

// TestErase_BrokenMark: a mark that cannot be read, or is another account's, is no reason to delete anything.
func TestErase_BrokenMark(t *testing.T) {
	for _, mark := range []string{"", "{", "{}", `{"account":"shop2","since":"2020-01-01T00:00:00Z","began":"2020-01-01T00:00:00Z"}`} {
		_, s, _, _ := leaving(t)
		s.double.Store(".erasing/shop.json", []byte(mark))
		before := s.rest()
		if e, err := s.keeper.Erase(t.Context(), "shop"); err == nil || !strings.Contains(err.Error(), ".erasing/shop.json: it is no mark of account shop") {
			t.Errorf("%q: got %+v, %v", mark, e, err)
		}
		if !maps.Equal(before, s.rest()) {
			t.Errorf("%q: something was deleted", mark)
		}
	}
}
