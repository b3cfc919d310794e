package maintenance_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"drp/replicator"
	"drp/replicator/maintenance"
	"drp/replicator/storetest"
)

const year = 365 * 24 * time.Hour

// off makes both clocks of a site wrong by so much.
func (s *worldSite) off(worker, store time.Duration) {
	s.workerOff.Store(int64(worker))
	s.storeOff.Store(int64(store))
}

func (s *worldSite) trashed() (n int) {
	for key := range s.double.Objects() {
		if strings.HasPrefix(key, ".trash/") {
			n++
		}
	}
	return n
}

func (s *worldSite) tend(t *testing.T) {
	t.Helper()
	if _, err := s.keeper.Tend(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
}

// TestRun_LockClock: a lock that was just renewed is alive, whatever one of the two clocks says.
func TestRun_LockClock(t *testing.T) {
	for name, c := range map[string]struct {
		worker, store time.Duration
		want          string
	}{
		"the worker's clock is ahead":                 {worker: 31 * time.Minute, want: "renewed 1m0s ago (this machine's clock is 31m0s before the store's"},
		"the store's clock has stepped ahead":         {store: 31 * time.Minute, want: "renewed 1m0s ago (this machine's clock is -31m0s before the store's"},
		"the worker's clock is behind":                {worker: -time.Hour, want: "renewed -59m0s ago (this"},
		"the store's clock has stepped back":          {store: -time.Hour, want: "renewed -59m0s ago (this"},
		"both are right":                              {want: "its lock was renewed 1m0s ago"},
		"they are wrong by less than is worth a word": {worker: time.Minute, want: "its lock was renewed 1m0s ago"},
	} {
		t.Run(name, func(t *testing.T) {
			w, s, job := lone(t)
			lock := "shop/locks/" + strings.Repeat("a", 64)
			s.double.Store(lock, []byte("lock"))
			w.pass(time.Minute)
			s.off(c.worker, c.store)
			if _, err := s.keeper.Run(t.Context(), job); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			if _, ok := s.double.Objects()[lock]; !ok {
				t.Error("the lock is gone")
			}
		})
	}
}

// followed is a replica that is about to follow its home.
func followed(t *testing.T) (w *world, replica *worldSite, follow func() error) {
	t.Helper()
	w, home, job := lone(t)
	replica = w.sites[1]
	pass := func() {
		if _, err := replicator.Pass(t.Context(), home.store, replica.store, "shop/", replicator.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	pass()
	if _, err := home.keeper.Run(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	return w, replica, func() error {
		lists, err := replica.keeper.Pending(t.Context(), home.store, "shop", 1)
		if err != nil {
			t.Fatal(err)
		}
		pass()
		_, err = replica.keeper.Follow(t.Context(), home.store, "shop", lists)
		return err
	}
}

// TestFollow_Lock: a replica takes nothing away from under who works there, and says why.
func TestFollow_Lock(t *testing.T) {
	w, replica, follow := followed(t)
	lock := "shop/locks/" + strings.Repeat("a", 64)
	replica.double.Store(lock, []byte("lock"))
	w.pass(time.Minute)
	replica.off(time.Hour, 0)
	if err := follow(); err == nil || !strings.Contains(err.Error(), "its lock was renewed 1m0s ago") {
		t.Errorf("got %v", err)
	}
	if slices.ContainsFunc(replica.double.Puts(), func(key string) bool { return strings.HasPrefix(key, ".trash/") }) {
		t.Error("something was taken away, if only for a while")
	}
	replica.off(0, 0)
	w.pass(30 * time.Minute)
	if err := follow(); err != nil || replica.trashed() == 0 {
		t.Errorf("when its owner was dead: got %v, and %d objects in the trash", err, replica.trashed())
	}
}

// TestFollow_LockMeanwhile: somebody begins to read while a replica takes away what is over.
func TestFollow_LockMeanwhile(t *testing.T) {
	_, replica, follow := followed(t)
	replica.double.Fault = func(c storetest.Call) *storetest.Fault {
		if c.Operation == storetest.Put && strings.HasPrefix(c.Key, ".trash/") {
			replica.double.Store("shop/locks/"+strings.Repeat("a", 64), []byte("lock"))
		}
		return nil
	}
	if err := follow(); err == nil || !strings.Contains(err.Error(), "its lock was renewed 0s ago") {
		t.Errorf("got %v", err)
	}
	if n := replica.trashed(); n > 0 {
		t.Errorf("%d objects are still in the trash", n)
	}
}

// TestTend_Clock: the trash is kept for the grace by both clocks.
func TestTend_Clock(t *testing.T) {
	w, s, job := lone(t)
	if _, err := s.keeper.Run(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	all := s.trashed()
	for _, off := range [][2]time.Duration{{worldGrace, 0}, {year, 0}, {0, year}} {
		s.off(off[0], off[1])
		w.pass(time.Hour)
		s.tend(t)
		if n := s.trashed(); n != all {
			t.Fatalf("clocks off by %v: %d of %d objects are left in the trash", off, n, all)
		}
	}
	s.off(0, 0)
	w.pass(worldGrace)
	if s.tend(t); s.trashed() > 0 {
		t.Error("after the grace the trash is not empty")
	}
}

// TestTend_MarkedAhead: what was deleted while a clock was ahead is kept for one grace after that was seen, and not until
// that time has come.
func TestTend_MarkedAhead(t *testing.T) {
	for name, off := range map[string][2]time.Duration{"worker": {year, 0}, "store": {0, year}, "both": {year, year}} {
		t.Run(name, func(t *testing.T) {
			w, s, job := lone(t)
			s.off(off[0], off[1])
			if _, err := s.keeper.Run(t.Context(), job); err != nil {
				t.Fatal(err)
			}
			s.off(0, 0)
			all := s.trashed()
			for range 2 {
				w.pass(worldGrace - time.Hour) // it is seen at the first of these, or when the worker alone would empty it
				if s.tend(t); s.trashed() != all {
					t.Fatal("the trash was emptied before its grace began to count")
				}
			}
			if err := s.keeper.HasRead(t.Context(), "shop", 1, 1, w.now()); err != nil {
				t.Fatal(err)
			}
			w.pass(worldGrace)
			if s.tend(t); s.trashed() > 0 {
				t.Error("two graces later the trash is still there")
			}
		})
	}
}

// TestFollow_ReadAhead: what was read while the clock was ahead is not taken for read after what was deleted then, not
// even when that time has come.
func TestFollow_ReadAhead(t *testing.T) {
	for name, read := range map[string][2]int{"all of it": {1, 1}, "the first part": {1, 2}} {
		t.Run(name, func(t *testing.T) {
			w, replica, follow := followed(t)
			replica.off(24*time.Hour, 0)
			if err := replica.keeper.HasRead(t.Context(), "shop", read[0], read[1], replica.keeper.Now()); err != nil {
				t.Fatal(err)
			}
			replica.off(0, 0)
			if err := follow(); err != nil {
				t.Fatal(err)
			}
			w.pass(2 * worldGrace)
			if read[1] == 2 {
				if err := replica.keeper.HasRead(t.Context(), "shop", 2, 2, w.now()); err != nil {
					t.Fatal(err)
				}
			}
			if replica.tend(t); replica.trashed() == 0 {
				t.Error("the trash was emptied, and nobody has read what remains")
			}
		})
	}
}

// TestHasRead_Ahead: a reading that began at a time that has yet to come is no reading.
func TestHasRead_Ahead(t *testing.T) {
	w, s, _ := lone(t)
	if err := s.keeper.HasRead(t.Context(), "shop", 1, 1, w.now().Add(time.Minute)); err == nil || !strings.Contains(err.Error(), "has yet to come") {
		t.Errorf("got %v", err)
	}
	if _, noted := s.double.Objects()[".marks/shop/read.json"]; noted {
		t.Error("it is noted")
	}
}

// TestRun_BrakeClock: a worker's clock that jumps ahead lets no more go.
func TestRun_BrakeClock(t *testing.T) {
	w, s, job := lone(t)
	for range 7 {
		w.backup(0)
	}
	job.Known, job.Forget = w.order, w.order[:9]
	for _, off := range []time.Duration{0, worldGrace, year} {
		s.off(off, 0)
		var braked *maintenance.BrakeError
		if _, err := s.keeper.Run(t.Context(), job); !errors.As(err, &braked) {
			t.Errorf("clock off by %v: got %v, want the brake", off, err)
		}
		if n := len(w.files(s, "snapshots")); n != 5 {
			t.Errorf("clock off by %v: %d of 10 snapshots are left, want 5", off, n)
		}
	}
}
