package maintenance_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"drp/replicator/maintenance"
	"drp/replicator/storetest"
)

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
