package maintenance_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"drp/replicator/maintenance"
	"drp/replicator/storetest"
)

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
	t.Run("broken mark", func(t *testing.T) {
		for _, mark := range []string{"", "{", `{"account":"shop2","since":"2020-01-01T00:00:00Z"}`} {
			w, s, _, _ := leaving(t)
			s.double.Store(".erasing/shop.json", []byte(mark))
			takeBack(s, "blog")
			if e := s.erase(t); !e.Until.Equal(w.now().Add(worldGrace)) {
				t.Errorf("%q, ordered again: %+v", mark, e)
			}
		}
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
