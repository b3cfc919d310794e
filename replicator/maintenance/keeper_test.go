package maintenance_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"drp/replicator"
	"drp/replicator/maintenance"
	"drp/replicator/restic"
	"drp/replicator/storetest"
)

// lone is one site of a world, with three snapshots.
func lone(t *testing.T) (*world, *worldSite, maintenance.Job) {
	t.Helper()
	w := &world{t: t}
	w.sites = newWorldSites(t, w)
	w.begin(3) // so that packs of the first one are over with it
	w.backup(0)
	w.backup(0)
	w.pass(time.Hour)
	return w, w.sites[0], maintenance.Job{Account: "shop", Epoch: 1, Forget: w.order[:1], Known: w.order}
}

// TestRun_Refuses: what a run looks at before it deletes anything.
func TestRun_Refuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(w *world, s *worldSite, j *maintenance.Job)
		want   string
	}{
		"no config": {func(_ *world, s *worldSite, _ *maintenance.Job) { s.double.Forget("shop/config") }, "object not found"},
		"another config": {func(w *world, s *worldSite, _ *maintenance.Job) {
			if err := s.keeper.CheckConfig(context.Background(), "shop"); err != nil {
				w.t.Fatal(err)
			}
			s.double.Store("shop/config", []byte("another one"))
		}, "the config differs since"},
		"no key":      {func(w *world, s *worldSite, _ *maintenance.Job) { w.drop(s, "keys") }, "it has no key"},
		"no snapshot": {func(w *world, s *worldSite, _ *maintenance.Job) { w.drop(s, "snapshots") }, "it lists no snapshot"},
		"no index":    {func(w *world, s *worldSite, _ *maintenance.Job) { w.drop(s, "index") }, "no index or no data"},
		"a listing that breaks off": {func(_ *world, s *worldSite, _ *maintenance.Job) {
			s.double.PageSize = 2
			s.double.Fault = func(c storetest.Call) *storetest.Fault {
				if c.Operation == storetest.List && c.Key == "shop/" && c.Page == 2 {
					return &storetest.Fault{Status: http.StatusInternalServerError, Code: "InternalError"}
				}
				return nil
			}
		}, "list "},
		"a live lock": {func(w *world, s *worldSite, _ *maintenance.Job) {
			s.double.Store("shop/locks/"+strings.Repeat("a", 64), []byte("lock"))
			w.pass(29 * time.Minute)
		}, "its lock was renewed 29m0s ago"},
		"all snapshots": {func(_ *world, _ *worldSite, j *maintenance.Job) { j.Forget = j.Known }, "all 3 known snapshots"},
		"one that stays is not there": {func(_ *world, _ *worldSite, j *maintenance.Job) {
			j.Known = append(slices.Clone(j.Known), strings.Repeat("e", 64))
		}, "is to stay and is not there"},
		"one that stays is not there, and none is over": {func(w *world, s *worldSite, j *maintenance.Job) {
			s.double.Forget("shop/snapshots/" + w.order[0])
			j.Forget = nil
		}, "is to stay and is not there"},
		"one that is not known":       {func(_ *world, _ *worldSite, j *maintenance.Job) { j.Known = j.Known[1:] }, "not among those known"},
		"a name that leads elsewhere": {func(_ *world, _ *worldSite, j *maintenance.Job) { j.Account = "../shop" }, "no name of an account"},
	} {
		t.Run(name, func(t *testing.T) {
			w, s, job := lone(t)
			c.change(w, s, &job)
			before := s.repository()
			if _, err := s.keeper.Run(t.Context(), job); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			if after := s.repository(); !maps.Equal(before, after) {
				t.Error("the repository is another one")
			}
		})
	}
}

// repository is what a site has of it, without marks and trash.
func (s *worldSite) repository() map[string]string {
	held := make(map[string]string)
	for key, content := range s.double.Objects() {
		if strings.HasPrefix(key, "shop/") {
			held[key] = string(content)
		}
	}
	return held
}

func (w *world) drop(s *worldSite, class string) {
	for key := range s.double.Objects() {
		if strings.HasPrefix(key, "shop/"+class+"/") {
			s.double.Forget(key)
		}
	}
}

func TestRun_StaleLock(t *testing.T) {
	w, s, job := lone(t)
	lock := "shop/locks/" + strings.Repeat("a", 64)
	s.double.Store(lock, []byte("lock"))
	w.pass(31 * time.Minute)
	if _, err := s.keeper.Run(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.double.Objects()[lock]; ok {
		t.Error("the lock is still there")
	}
}

// TestRun_Unknown: what the catalogue does not know is kept and told.
func TestRun_Unknown(t *testing.T) {
	w, s, job := lone(t)
	job.Known = []string{w.order[0], w.order[2]}
	result, err := s.keeper.Run(t.Context(), job)
	if err != nil || !slices.Equal(result.Unknown, w.order[1:2]) || !slices.Equal(result.Forgotten, w.order[:1]) {
		t.Errorf("got %+v, %v", result, err)
	}
	if _, ok := s.repository()["shop/snapshots/"+w.order[1]]; !ok {
		t.Error("the unknown snapshot is gone")
	}
	// What was forgotten before is said to be.
	result, err = s.keeper.Run(t.Context(), job)
	if err != nil || !slices.Equal(result.Forgotten, w.order[:1]) || result.Objects != 0 {
		t.Errorf("once more: got %+v, %v", result, err)
	}
}

// greedy is a restic that deletes what it was not told to, or does not find what is broken.
type greedy struct {
	*model
	prune func(ctx context.Context, s *session) error
}

func (g *greedy) Prune(ctx context.Context, repo restic.Repository) error {
	s := g.open(repo)
	defer s.close()
	return g.prune(ctx, s)
}

// TestRun_Undone: whatever a prune does, what it has deleted is back when it was not right.
func TestRun_Undone(t *testing.T) {
	all := func(ctx context.Context, s *session, folder string) error {
		names, err := s.list(ctx, folder)
		for _, name := range names {
			_, failed := s.do(ctx, http.MethodDelete, folder+"/"+name, nil)
			err = errors.Join(err, failed)
		}
		return err
	}
	for name, c := range map[string]struct {
		prune func(ctx context.Context, s *session) error
		want  string
	}{
		"all snapshots": {func(ctx context.Context, s *session) error { return all(ctx, s, "snapshots") }, "is not deleted by this run"},
		"all keys":      {func(ctx context.Context, s *session) error { return all(ctx, s, "keys") }, "is not deleted by this run"},
		"the config": {func(ctx context.Context, s *session) error {
			_, err := s.do(ctx, http.MethodDelete, "config", nil)
			return err
		}, "nothing is deleted here"},
		"all data": {func(ctx context.Context, s *session) error { return all(ctx, s, "data") }, "no index or no data"},
		"a pack": {func(ctx context.Context, s *session) error {
			names, err := s.list(ctx, "data")
			if err == nil {
				_, err = s.do(ctx, http.MethodDelete, "data/"+names[0], nil)
			}
			return err
		}, "what would remain is not good"},
		"it fails": {func(ctx context.Context, s *session) error {
			return errors.Join(all(ctx, s, "index"), errors.New("out of memory"))
		}, "out of memory"},
	} {
		t.Run(name, func(t *testing.T) {
			w, s, job := lone(t)
			s.keeper.Tool = &greedy{w.tool, c.prune}
			before := s.repository()
			if _, err := s.keeper.Run(t.Context(), job); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			if after := s.repository(); !maps.Equal(before, after) {
				t.Error("the repository is another one")
			}
			for key := range s.double.Objects() {
				if strings.HasPrefix(key, ".trash/") || strings.HasPrefix(key, ".tombstones/") {
					t.Errorf("there is %s", key)
				}
			}
		})
	}
}

// TestTend_AfterDeath: a worker dies when a prune has deleted what is needed, and before anybody has looked.
func TestTend_AfterDeath(t *testing.T) {
	w, s, job := lone(t)
	before := s.repository()
	s.keeper.Tool = &greedy{w.tool, func(ctx context.Context, open *session) error {
		names, err := open.list(ctx, "data")
		if err != nil {
			return err
		}
		_, err = open.do(ctx, http.MethodDelete, "data/"+names[0], nil)
		s.mu.Lock()
		s.left = 0
		s.mu.Unlock()
		return err
	}}
	s.dying(1000, func(ctx context.Context) {
		if _, err := s.keeper.Run(ctx, job); err == nil {
			t.Error("it did not die")
		}
	})
	if len(s.repository()) >= len(before) {
		t.Fatal("nothing was deleted")
	}
	if _, err := s.keeper.Tend(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	if after := s.repository(); !maps.Equal(before, after) {
		t.Error("not everything is back")
	}
}

// TestRun_BehindItsBack: what is gone without having come by the trash is told.
func TestRun_BehindItsBack(t *testing.T) {
	w, s, job := lone(t)
	s.keeper.Tool = &greedy{w.tool, func(ctx context.Context, open *session) error {
		names, err := open.list(ctx, "data")
		if err == nil {
			s.double.Forget("shop/data/" + names[0][:2] + "/" + names[0])
		}
		return err
	}}
	if _, err := s.keeper.Run(t.Context(), job); err == nil || !strings.Contains(err.Error(), "is gone, and not in the trash") {
		t.Errorf("got %v", err)
	}
}

// TestRun_Brake: within the grace no more than half of the snapshots go, in one run or in many.
func TestRun_Brake(t *testing.T) {
	w, s, job := lone(t)
	for range 7 {
		w.backup(0)
	}
	job.Known = w.order
	job.Forget = w.order[:9]
	count := func() int { return len(w.files(s, "snapshots")) }
	var braked *maintenance.BrakeError
	result, err := s.keeper.Run(t.Context(), job)
	if !errors.As(err, &braked) || len(result.Forgotten) != 5 || count() != 5 {
		t.Errorf("got %v, forgotten %d, left %d: want the brake, and 5 of 10 left", err, len(result.Forgotten), count())
	}
	if result, err = s.keeper.Run(t.Context(), job); !errors.As(err, &braked) || count() != 5 {
		t.Errorf("once more: got %v, left %d: want the brake, and 5 left", err, count())
	}
	// As many may go as come.
	w.backup(0)
	job.Known = w.order
	if result, err = s.keeper.Run(t.Context(), job); !errors.As(err, &braked) || count() != 5 {
		t.Errorf("after a backup: got %v, left %d: want the brake, and 5 left", err, count())
	}
	w.pass(31 * time.Hour) // the grace of these sites is 30
	if result, err = s.keeper.Run(t.Context(), job); !errors.As(err, &braked) || count() != 3 {
		t.Errorf("after the grace: got %v, left %d, want 3", err, count())
	}
	s.keeper.Brake = 90
	if _, err = s.keeper.Run(t.Context(), job); err != nil || count() != 2 {
		t.Errorf("with another brake: got %v, left %d, want the two that stay", err, count())
	}
}

// TestRun_BrakeBytes: a prune that finds nearly everything to be waste, when nothing was forgotten, is not believed.
func TestRun_BrakeBytes(t *testing.T) {
	_, s, job := lone(t)
	job.Forget = nil
	waste := make([]byte, 10000)
	for i := range waste {
		waste[i] = byte(i)
	}
	sum := sha256.Sum256(waste)
	name := hex.EncodeToString(sum[:])
	s.double.Store("shop/data/"+name[:2]+"/"+name, waste)
	before := s.repository()
	if _, err := s.keeper.Run(t.Context(), job); err == nil || !strings.Contains(err.Error(), "although no snapshot goes") {
		t.Errorf("got %v", err)
	}
	if len(s.repository()) < len(before) {
		t.Error("it is gone")
	}
	s.keeper.Brake = 99
	if _, err := s.keeper.Run(t.Context(), job); err != nil {
		t.Error(err)
	}
}

// TestFollow_Waits: a replica takes nothing away while it holds what the home does not, or while the home is at work.
func TestFollow_Waits(t *testing.T) {
	for name, c := range map[string]struct {
		change func(w *world, home, replica *worldSite)
		moved  bool
		fails  bool
	}{
		"nothing": {func(*world, *worldSite, *worldSite) {}, true, false},
		"a snapshot of its own": {func(w *world, _, replica *worldSite) {
			w.backup(1)
		}, false, false},
		"a run at the home": {func(_ *world, home, _ *worldSite) {
			home.double.Store(".trash/shop/1-20260101T000000-abc/data/aa/"+strings.Repeat("a", 64), nil)
		}, false, false},
		"it is at the home again": {func(w *world, home, replica *worldSite) {
			for key, content := range replica.double.Objects() {
				if strings.HasPrefix(key, "shop/") {
					home.double.Store(key, content)
				}
			}
		}, false, false},
		"an empty home": {func(w *world, home, _ *worldSite) { w.drop(home, "snapshots") }, false, true},
		"a list that is broken": {func(_ *world, home, replica *worldSite) {
			other := "data/aa/" + strings.Repeat("a", 64)
			replica.double.Store("shop/"+other, nil)
			for key, content := range home.double.Objects() {
				if strings.HasPrefix(key, ".tombstones/") {
					home.double.Store(key, []byte(strings.Replace(string(content), `"names":[`, `"names":["`+other+`",`, 1)))
				}
			}
		}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			w, home, job := lone(t)
			replica := w.sites[1]
			pass := func() {
				if _, err := replicator.Pass(t.Context(), home.store, replica.store, "shop/", replicator.Options{}); err != nil {
					t.Fatal(err)
				}
			}
			pass()
			if _, err := home.keeper.Run(t.Context(), job); err != nil {
				t.Fatal(err)
			}
			pass()
			c.change(w, home, replica)
			before := replica.repository()
			lists, err := replica.keeper.Pending(t.Context(), home.store, "shop", 1)
			if err != nil {
				t.Fatal(err)
			}
			result, err := replica.keeper.Follow(t.Context(), home.store, "shop", lists)
			if (err != nil) != c.fails {
				t.Errorf("got %v", err)
			}
			if moved := len(replica.repository()) < len(before); moved != c.moved || moved != (result.Objects > 0) {
				t.Errorf("moved %v (%d objects), want %v", moved, result.Objects, c.moved)
			}
			if lists, err = replica.keeper.Pending(t.Context(), home.store, "shop", 0); err != nil || len(lists) > 0 {
				t.Errorf("%d lists of a later epoch are believed, %v", len(lists), err)
			}
		})
	}
}

// TestFollow_Brake: a replica has a brake of its own, and takes nothing when the home asks for more.
func TestFollow_Brake(t *testing.T) {
	w, home, job := lone(t)
	replica := w.sites[1]
	home.keeper.Brake = 99
	job.Forget = w.order[:2]
	if _, err := replicator.Pass(t.Context(), home.store, replica.store, "shop/", replicator.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := home.keeper.Run(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	lists, err := replica.keeper.Pending(t.Context(), home.store, "shop", 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := replicator.Pass(t.Context(), home.store, replica.store, "shop/", replicator.Options{}); err != nil {
		t.Fatal(err)
	}
	var braked *maintenance.BrakeError
	if _, err := replica.keeper.Follow(t.Context(), home.store, "shop", lists); !errors.As(err, &braked) {
		t.Errorf("got %v, want the brake", err)
	}
	if n := len(w.files(replica, "snapshots")); n != 3 {
		t.Errorf("%d snapshots are left at the replica, want 3", n)
	}
}

// TestFollow_BrokenOff: a store that is full in the middle of it, so that what was moved cannot even go back. The next time
// begins with that: else the snapshots would be gone already, and return later, when their packs no longer do.
func TestFollow_BrokenOff(t *testing.T) {
	for writes, broken := 0, true; broken; writes++ {
		w, home, job := lone(t)
		replica := w.sites[1]
		if _, err := replicator.Pass(t.Context(), home.store, replica.store, "shop/", replicator.Options{}); err != nil {
			t.Fatal(err)
		}
		if _, err := home.keeper.Run(t.Context(), job); err != nil {
			t.Fatal(err)
		}
		follow := func() error {
			lists, err := replica.keeper.Pending(t.Context(), home.store, "shop", 1)
			if err != nil {
				return err
			}
			if _, err := replicator.Pass(t.Context(), home.store, replica.store, "shop/", replicator.Options{}); err != nil {
				return err
			}
			_, err = replica.keeper.Follow(t.Context(), home.store, "shop", lists)
			return err
		}
		var done atomic.Int64
		var room atomic.Bool
		replica.double.Fault = func(c storetest.Call) *storetest.Fault {
			if c.Operation != storetest.Put || room.Load() || done.Add(1) <= int64(writes) {
				return nil
			}
			return &storetest.Fault{Status: http.StatusInsufficientStorage, Code: "InsufficientStorage"}
		}
		broken = follow() != nil
		room.Store(true) // and no other Fault: requests that were broken off may still be served
		if err := follow(); err != nil {
			t.Errorf("broken off after %d writes, then: %v", writes, err)
		}
		if _, err := replica.keeper.Tend(t.Context(), "shop"); err != nil {
			t.Error(err)
		}
		if got, want := replica.repository(), home.repository(); !maps.Equal(got, want) {
			t.Errorf("broken off after %d writes: the replica has %v, want %v", writes, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		}
	}
}

// TestFollow_Order: snapshots, then indexes, then packs; a removed key stays in the trash until another one has opened
// the repository, and not for the grace.
func TestFollow_Order(t *testing.T) {
	w, home, job := lone(t)
	replica := w.sites[1]
	old := ""
	for key := range home.repository() {
		if strings.HasPrefix(key, "shop/keys/") {
			old = key
		}
	}
	if _, err := replicator.Pass(t.Context(), home.store, replica.store, "shop/", replicator.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := home.keeper.Run(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	name, content := w.tool.file(modelFile{})
	home.double.Store("shop/keys/"+name, content)
	home.double.Forget(old)
	list := maintenance.List{Account: "shop", Epoch: 1, Run: "1-20260101T000000-abcdefghij", At: w.now(), Names: []string{strings.TrimPrefix(old, "shop/")}}
	body, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	home.double.Store(fmt.Sprintf(".tombstones/shop/%s-%x.json", list.Run, sum), body)

	lists, err := replica.keeper.Pending(t.Context(), home.store, "shop", 1)
	if err != nil || len(lists) != 2 {
		t.Fatal(lists, err)
	}
	if _, err := replicator.Pass(t.Context(), home.store, replica.store, "shop/", replicator.Options{}); err != nil {
		t.Fatal(err)
	}
	before := len(replica.double.Puts())
	if _, err := replica.keeper.Follow(t.Context(), home.store, "shop", lists); err != nil {
		t.Fatal(err)
	}
	last, moved := 0, map[int]bool{}
	for _, key := range replica.double.Puts()[before:] {
		part := strings.Split(key, "/")
		if len(part) < 4 || part[0] != ".trash" || part[3] == "complete.json" {
			continue
		}
		rank := slices.Index([]string{"snapshots", "index", "data", "keys"}, part[3])
		if rank < last {
			t.Errorf("%s was moved after what it promises", key)
		}
		last, moved[rank] = rank, true
	}
	if len(moved) != 4 {
		t.Errorf("moved of the classes %v, want of all four", moved)
	}
	trashed := func() (found bool) {
		for key := range replica.double.Objects() {
			found = found || strings.HasPrefix(key, ".trash/") && strings.Contains(key, "/keys/")
		}
		return found
	}
	if _, err := replica.keeper.Tend(t.Context(), "shop"); err != nil || !trashed() {
		t.Errorf("the removed key is gone before another one was seen to work (%v)", err)
	}
	w.pass(time.Minute)
	if err := replica.keeper.HasRead(t.Context(), "shop", 1, 1, w.now()); err != nil {
		t.Fatal(err)
	}
	if _, err := replica.keeper.Tend(t.Context(), "shop"); err != nil || trashed() {
		t.Errorf("the removed key is still in the trash (%v)", err)
	}
}

// TestCondense: many lists become one, which names the same, without what is older than a year.
func TestCondense(t *testing.T) {
	w, s, job := lone(t)
	put := func(n int, at time.Time) (name string) {
		name, _ = w.tool.file(modelFile{})
		list := maintenance.List{
			Account: "shop", Epoch: 1, Run: fmt.Sprintf("1-20250101T%06d-abcdefghij", n), At: at, Names: []string{"snapshots/" + name},
		}
		body, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		s.double.Store(fmt.Sprintf(".tombstones/shop/%s-%x.json", list.Run, sha256.Sum256(body)), body)
		return "snapshots/" + name
	}
	want := map[string]bool{"snapshots/" + w.order[0]: true}
	for n := range 49 {
		want[put(n, w.now().Add(-time.Hour))] = true
	}
	put(49, w.now().Add(-500*24*time.Hour))
	if _, err := s.keeper.Run(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	lists, err := w.sites[1].keeper.Pending(t.Context(), s.store, "shop", 1)
	if err != nil || len(lists) != 1 {
		t.Fatalf("%d lists, %v; want one", len(lists), err)
	}
	got := map[string]bool{}
	for _, name := range lists[0].Names {
		if classOf, _, _ := strings.Cut(name, "/"); classOf == "snapshots" {
			got[name] = true
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("it names %d snapshots, want %d", len(got), len(want))
	}
}

func TestHasRead(t *testing.T) {
	_, s, _ := lone(t)
	at := time.Unix(1e9, 0).UTC()
	since := func() time.Time {
		var m maintenance.ReadMark
		if err := json.Unmarshal(s.double.Objects()[".marks/shop/read.json"], &m); err != nil {
			t.Fatal(err)
		}
		return m.Since
	}
	for n, c := range []struct {
		part, parts int
		want        time.Duration // after at; 0: never
	}{{1, 3, 0}, {2, 3, 0}, {2, 3, 0}, {3, 3, time.Hour}, {3, 3, time.Hour}, {1, 2, time.Hour}, {2, 3, time.Hour}, {2, 2, 6 * time.Hour}, {1, 1, 9 * time.Hour}} {
		if err := s.keeper.HasRead(t.Context(), "shop", c.part, c.parts, at.Add(time.Duration(n+1)*time.Hour)); err != nil {
			t.Fatal(err)
		}
		want := time.Time{}
		if c.want > 0 {
			want = at.Add(c.want)
		}
		if got := since(); !got.Equal(want) {
			t.Errorf("%d: after part %d of %d all is read since %v, want %v", n, c.part, c.parts, got, want)
		}
	}
	if err := s.keeper.Doubt(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	if got := since(); !got.IsZero() {
		t.Errorf("after a doubt all is read since %v, want never", got)
	}
}
