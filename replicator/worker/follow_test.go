package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"drp/replicator"
	"drp/replicator/maintenance"
	"drp/replicator/storetest"
)

// unfollowed is a site whose passes are complete, and what is over at the home cannot be taken away after them.
func unfollowed(follow func(lists []maintenance.List) error) (s *site, tries func() int) {
	s = newSite()
	s.setPass(func(_ context.Context, j CopyJob) (replicator.Report, error) {
		return replicator.Report{Snapshots: j.Snapshots}, &followError{followUp{job: j, lists: []maintenance.List{{Run: "r1"}}}, errors.New("a lock is alive")}
	})
	n := 0
	s.worker.follow = func(_ context.Context, j CopyJob, lists []maintenance.List) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		n++
		if j.Account != "shop" || j.From != "par1" || len(lists) != 1 || lists[0].Run != "r1" {
			return fmt.Errorf("got %+v, %+v", j, lists)
		}
		return follow(lists)
	}
	return s, func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return n
	}
}

// TestWorker_FollowAgain: what could not be taken away after a pass is tried again without another pass, though the leader wants
// nothing more; and it is told when it is done.
func TestWorker_FollowAgain(t *testing.T) {
	fail := 3
	s, tries := unfollowed(func([]maintenance.List) error {
		if fail--; fail >= 0 {
			return errors.New("the store is down")
		}
		return nil
	})
	s.run(t, func(t *testing.T) {
		s.leader.want(Desired{Copy: []CopyJob{job("shop", "par1", "s1")}})
		synctest.Wait()
		s.leader.want(Desired{})
		time.Sleep(time.Hour)
		synctest.Wait()
		want := []string{"shop<-par1 [s1] ", "shop<-par1 [] copy account shop from site par1: the copy is complete, but what is over there stays here: a lock is alive", "shop<-par1 [] "}
		if got := s.leader.outcomes(); !cmp.Equal(got, want) {
			t.Errorf("told: got %q, want %q", got, want)
		}
		if got := s.begun(); len(got) != 1 || tries() != 4 {
			t.Errorf("%d passes and %d tries, want one and 4", len(got), tries())
		}
		time.Sleep(24 * time.Hour)
		if tries() != 4 {
			t.Error("it is done again after it was done")
		}
	})
}

// What the leader says meanwhile can make it a thing of the past; so can a day.
func TestWorker_FollowNoMore(t *testing.T) {
	never := func([]maintenance.List) error { return errors.New("the store is down") }
	moved := job("shop", "par3", "s2")
	for name, d := range map[string]Desired{
		"the home moved":          {Copy: []CopyJob{moved}},
		"the home is here":        {Maintain: []MaintainJob{{Account: "shop", Home: Home{Site: "par2", Epoch: 2}}}},
		"it is removed":           {Remove: []RemoveJob{{Account: "shop", Successor: "shop~2"}}},
		"it is erased":            {Erase: []EraseJob{{Account: "shop"}}},
		"it is made here anew":    {Initial: []InitialJob{{Account: "shop", Home: Home{Site: "par2", Epoch: 2}}}},
		"a day is over":           {},
		"another account is kept": {Maintain: []MaintainJob{{Account: "blog"}}},
	} {
		t.Run(name, func(t *testing.T) {
			s, tries := unfollowed(never)
			s.worker.maintain = func(context.Context, MaintainJob) (maintenance.Result, error) { return maintenance.Result{}, nil }
			s.worker.erase = func(context.Context, EraseJob) (maintenance.Erasure, error) { return maintenance.Erasure{}, nil }
			s.worker.takeBack = func(context.Context, map[string]bool) error { return nil }
			s.worker.remove = func(context.Context, RemoveJob) (maintenance.Result, error) { return maintenance.Result{}, nil }
			s.run(t, func(t *testing.T) {
				s.leader.want(Desired{Copy: []CopyJob{job("shop", "par1", "s1")}})
				synctest.Wait()
				s.setPass(func(_ context.Context, j CopyJob) (replicator.Report, error) {
					return replicator.Report{Snapshots: j.Snapshots}, nil
				})
				s.leader.want(Desired{})
				time.Sleep(10 * time.Minute)
				before := tries()
				if before < 2 {
					t.Fatalf("%d tries in ten minutes", before)
				}
				s.leader.want(d)
				synctest.Wait()
				s.leader.want(Desired{})
				if slices.Contains([]string{"a day is over", "another account is kept"}, name) {
					time.Sleep(2 * time.Hour)
					if tries() == before {
						t.Error("it is given up at once")
					}
					time.Sleep(24 * time.Hour)
					before = tries()
				}
				time.Sleep(24 * time.Hour)
				if got := tries(); got != before {
					t.Errorf("%d more tries", got-before)
				}
			})
		})
	}
}

// A pass that has taken away itself what was over leaves nothing to be tried again.
func TestWorker_FollowedByTheNextPass(t *testing.T) {
	s, tries := unfollowed(func([]maintenance.List) error { return errors.New("the store is down") })
	s.run(t, func(t *testing.T) {
		s.leader.want(Desired{Copy: []CopyJob{job("shop", "par1", "s1")}})
		synctest.Wait()
		s.setPass(func(_ context.Context, j CopyJob) (replicator.Report, error) {
			return replicator.Report{Snapshots: j.Snapshots}, nil
		})
		s.leader.want(Desired{Copy: []CopyJob{job("shop", "par1", "s2")}})
		time.Sleep(10 * time.Second)
		s.leader.want(Desired{})
		before := tries()
		time.Sleep(2 * time.Hour)
		if got := tries(); got != before {
			t.Errorf("%d more tries", got-before)
		}
	})
}

func TestFollowBoard_Next(t *testing.T) {
	b, now := newBoard(), time.Now()
	b.follows.passed(job("shop", "par1", "s1"), &followError{followUp{job: job("shop", "par1", "s1")}, errors.New("x")}, now)
	if at, ok := b.next(now); !ok || at.After(now.Add(againFirst)) {
		t.Errorf("the next is at %v, %v: nothing would wake the worker", at, ok)
	}
}

// TestCopier_Follow: a copy whose pass is complete and that somebody reads at the time keeps what is over; what the copier says of it
// is enough to take that away later, with what was read before the pass.
func TestCopier_Follow(t *testing.T) {
	home, here := storetest.NewDouble(t), storetest.NewDouble(t)
	named := func(d *storetest.Double, class, content string) string {
		sum := sha256.Sum256([]byte(content))
		name := class + "/" + hex.EncodeToString(sum[:])
		if class == "data" {
			name = "data/" + name[5:7] + "/" + name[5:]
		}
		d.Store("shop/"+name, []byte(content))
		return name
	}
	home.Store("shop/config", []byte("config"))
	here.Store("shop/config", []byte("config"))
	for _, class := range []string{"keys", "data", "index", "snapshots"} {
		named(home, class, "stays in "+class)
	}
	over := named(here, "data", "over")
	list, err := json.Marshal(maintenance.List{Account: "shop", Epoch: 1, Run: "1-20260101T000000-abcdefghij", At: time.Now(), Names: []string{over}})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(list)
	home.Store(".tombstones/shop/1-20260101T000000-abcdefghij-"+hex.EncodeToString(sum[:])+".json", list)
	here.Clock = time.Now
	lock := "shop/locks/" + strings.Repeat("a", 64)
	here.Store(lock, []byte("somebody restores"))

	open := func(d *storetest.Double) *replicator.Store {
		s, err := replicator.Open(replicator.StoreConfig{Endpoint: d.Endpoint, Bucket: d.Bucket, AccessKey: "a", SecretKey: "b", Retries: 1})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}
	w := &Worker{Site: "par2", Store: open(here), Sources: map[string]Key{"par1": {"a", "b"}}}
	w.Keeper = &maintenance.Keeper{Site: "par2", Store: w.Store}
	j := job("shop", "par1")
	j.Store = StoreAddress{Endpoint: home.Endpoint, Bucket: home.Bucket}
	turns := newTurns(t, "shop", copying)
	_, err = w.copier(turns, slog.New(slog.DiscardHandler))(t.Context(), j, false)
	var left *followError
	if !errors.As(err, &left) || !errors.Is(err, errFollow) || !strings.Contains(err.Error(), "its lock was renewed") {
		t.Fatalf("got %v, want what is left to do", err)
	}
	if _, ok := here.Objects()["shop/"+over]; !ok {
		t.Fatal("it was taken away from under a restore")
	}
	if err := w.followHere(t.Context(), left.left.job, left.left.lists); err == nil {
		t.Error("it is taken away while the lock is there")
	}
	here.Forget(lock)
	here.Store(".erased/shop.json", []byte("{}"))
	if err := w.followHere(t.Context(), left.left.job, left.left.lists); !errors.Is(err, maintenance.ErrErased) {
		t.Errorf("its account was erased here: got %v", err)
	}
	here.Forget(".erased/shop.json")
	if err := w.followHere(t.Context(), left.left.job, left.left.lists); err != nil {
		t.Fatal(err)
	}
	if _, ok := here.Objects()["shop/"+over]; ok {
		t.Error("what is over is still here")
	}
}
