package worker

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"drp/replicator/maintenance"
)

// TestWorker_Remove: a removal is done once, told until it is taken, done again when it failed and the leader still wants it, and
// runs beside nothing else of its repository.
func TestWorker_Remove(t *testing.T) {
	s := newUpkeepSite()
	var held chan struct{} // of the bubble
	s.worker.remove = func(ctx context.Context, j RemoveJob) (maintenance.Result, error) {
		defer s.enter("remove", j.Account, "copy", "verify", "maintain", "remove")()
		if j.Account == "blog" {
			return maintenance.Result{}, errors.New("too young")
		}
		select {
		case <-held:
		case <-ctx.Done():
			return maintenance.Result{}, ctx.Err()
		}
		return maintenance.Result{Objects: 7, Bytes: 70}, nil
	}
	s.run(t, func(t *testing.T) {
		held = make(chan struct{})
		s.leader.want(Desired{Remove: []RemoveJob{{"shop", "shop~2"}, {"blog", "blog~3"}}, Verify: []VerifyJob{{Account: "shop", Kind: "scrubbed"}}})
		synctest.Wait()
		s.leader.set(nil, true)
		close(held)
		time.Sleep(10 * time.Second)
		s.leader.set(nil, false)
		time.Sleep(15 * time.Second)
		synctest.Wait()
		s.leader.mu.Lock()
		got := slices.Clone(s.leader.removed)
		s.leader.mu.Unlock()
		slices.SortFunc(got, func(a, b Removed) int { return int(a.Objects - b.Objects) })
		for i := range got {
			got[i].ID = ""
		}
		if diff := cmp.Diff([]Removed{{Account: "blog", Error: "too young"}, {Account: "shop", Objects: 7, Bytes: 70}}, got); diff != "" {
			t.Error(diff)
		}
		s.leader.want(Desired{Remove: []RemoveJob{{"blog", "blog~3"}}})
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		again := slices.DeleteFunc(s.started(), func(what string) bool { return what != "remove blog" })
		if len(again) < 2 {
			t.Errorf("what failed was tried %d times", len(again))
		}
		if len(s.broken) > 0 {
			t.Errorf("at once: %v", s.broken)
		}
	})
}

// A removal that is no longer wanted is broken off, and not told.
func TestWorker_RemoveNoLongerWanted(t *testing.T) {
	s := newUpkeepSite()
	broken := false
	s.worker.remove = func(ctx context.Context, _ RemoveJob) (maintenance.Result, error) {
		<-ctx.Done()
		broken = true
		return maintenance.Result{}, ctx.Err()
	}
	s.run(t, func(t *testing.T) {
		s.leader.want(Desired{Remove: []RemoveJob{{"shop", "shop~2"}}})
		synctest.Wait()
		s.leader.want(Desired{})
		time.Sleep(time.Minute)
		synctest.Wait()
		s.leader.mu.Lock()
		defer s.leader.mu.Unlock()
		if !broken || len(s.leader.removed) > 0 {
			t.Errorf("broken off: %v, told: %v", broken, s.leader.removed)
		}
	})
}
