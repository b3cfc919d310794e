package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"drp/replicator"
	"drp/replicator/maintenance"
)

// upkeepSite is a site whose maintenance and verification are functions of the test.
type upkeepSite struct {
	*site
	mu       sync.Mutex
	begun    []string
	now      map[string]int // jobs under way, by what they do and for whom
	broken   []string       // two at once that must not be
	maintain func(ctx context.Context, j MaintainJob) (maintenance.Result, error)
	verify   func(ctx context.Context, j VerifyJob) error
}

func newUpkeepSite() *upkeepSite {
	s := &upkeepSite{site: newSite(), now: make(map[string]int)}
	s.maintain = func(_ context.Context, j MaintainJob) (maintenance.Result, error) {
		return maintenance.Result{Forgotten: j.Forget, Objects: 2, Bytes: 20}, nil
	}
	s.verify = func(context.Context, VerifyJob) error { return nil }
	s.worker.maintain = func(ctx context.Context, j MaintainJob) (maintenance.Result, error) {
		defer s.enter("maintain", j.Account, "copy", "verify", "maintain")()
		return s.maintain(ctx, j)
	}
	s.worker.verify = func(ctx context.Context, j VerifyJob) error {
		defer s.enter("verify", j.Account, "maintain")()
		return s.verify(ctx, j)
	}
	pass := s.worker.copy
	s.worker.copy = func(ctx context.Context, j CopyJob, fresh bool) (replicator.Report, error) {
		defer s.enter("copy", j.Account, "maintain", "copy")()
		return pass(ctx, j, fresh)
	}
	return s
}

func (s *upkeepSite) enter(what, account string, not ...string) (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range not {
		if s.now[other+" "+account] > 0 {
			s.broken = append(s.broken, fmt.Sprintf("%s beside %s of %s", what, other, account))
		}
	}
	s.now[what+" "+account]++
	s.begun = append(s.begun, what+" "+account)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.now[what+" "+account]--
	}
}

func (s *upkeepSite) started() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.begun)
}

func (s *upkeepSite) reports() (maintained []Maintained, verified []Verified) {
	s.leader.mu.Lock()
	defer s.leader.mu.Unlock()
	return slices.Clone(s.leader.maintained), slices.Clone(s.leader.verified)
}

var par2 = Home{Site: "par2", Epoch: 3}

func TestWorker_Upkeep(t *testing.T) {
	s := newUpkeepSite()
	s.run(t, func(t *testing.T) {
		verify := []VerifyJob{{Account: "shop", Kind: "checked", Part: 1, Parts: 2}, {Account: "blog", Kind: "scrubbed"}}
		s.verify = func(_ context.Context, j VerifyJob) error {
			if j.Account == "blog" {
				return errors.New("an object is broken")
			}
			return nil
		}
		s.leader.want(Desired{Maintain: []MaintainJob{{Account: "shop", Home: par2, Forget: []string{"a"}, Known: []string{"a", "b"}}}, Verify: verify})
		synctest.Wait()
		time.Sleep(20 * time.Second) // the jobs stay in Desired, and are not done again
		synctest.Wait()
		maintained, verified := s.reports()
		for i := range maintained {
			maintained[i].ID = ""
		}
		for i := range verified {
			verified[i].ID, verified[i].BeganAgo = "", 0
		}
		slices.SortFunc(verified, func(a, b Verified) int { return len(a.Error) - len(b.Error) })
		if want := []Maintained{{Account: "shop", Home: par2, Forgotten: []string{"a"}, Objects: 2, Bytes: 20}}; !cmp.Equal(maintained, want) {
			t.Errorf("told %s", cmp.Diff(want, maintained))
		}
		if want := []Verified{
			{Account: "shop", Kind: "checked", Part: 1, Parts: 2},
			{Account: "blog", Kind: "scrubbed", Error: "verify the copy of account blog: an object is broken"},
		}; !cmp.Equal(verified, want) {
			t.Errorf("told %s", cmp.Diff(want, verified))
		}
		if n := len(s.started()); n != 3 {
			t.Errorf("begun: %v", s.started())
		}

		// The leader has forgotten: it is done again, after a while.
		time.Sleep(65 * time.Second)
		synctest.Wait()
		if n := len(s.started()); n != 6 {
			t.Errorf("begun: %v, want each twice", s.started())
		}
		s.leader.want(Desired{})
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if n := len(s.started()); n != 6 {
			t.Errorf("begun: %v after nobody wanted it", s.started())
		}
	})
}

// TestWorker_BeganAgo: what came to a copy while it was looked at, and while nobody could be told, was not seen.
func TestWorker_BeganAgo(t *testing.T) {
	s := newUpkeepSite()
	s.run(t, func(t *testing.T) {
		s.verify = func(context.Context, VerifyJob) error {
			time.Sleep(3 * time.Hour)
			return nil
		}
		s.leader.want(Desired{Verify: []VerifyJob{{Account: "shop", Kind: "scrubbed"}}})
		time.Sleep(time.Hour)
		s.leader.set(errors.New("no route"), false)
		time.Sleep(4 * time.Hour)
		s.leader.set(nil, false)
		time.Sleep(time.Minute)
		_, verified := s.reports()
		if len(verified) != 1 {
			t.Fatalf("told %+v", verified)
		}
		if got, least := verified[0].BeganAgo, 5*time.Hour+syncWithin; got < least || got > least+leaderMost {
			t.Errorf("it began %s before it was told, want %s or a little more", got, least)
		}
	})
}

// TestWorker_UpkeepReportsUntilTaken: a report that got lost is sent again, under the same ID.
func TestWorker_UpkeepReportsUntilTaken(t *testing.T) {
	s := newUpkeepSite()
	s.run(t, func(t *testing.T) {
		s.leader.want(Desired{Maintain: []MaintainJob{{Account: "shop", Home: par2, Forget: []string{"a"}}}, Verify: []VerifyJob{{Account: "shop", Kind: "scrubbed"}}})
		s.leader.set(nil, true)
		time.Sleep(15 * time.Second)
		s.leader.set(nil, false)
		time.Sleep(12 * time.Second) // it is not done again so soon
		synctest.Wait()
		if maintained, verified := s.reports(); len(maintained) != 1 || len(verified) != 1 {
			t.Errorf("counted %d runs and %d verifications, want one of each", len(maintained), len(verified))
		}
	})
}

// TestWorker_UpkeepTurns: maintenance runs beside nothing else of its account, verification beside copies; other
// accounts go on, and what waited gets its turn.
func TestWorker_UpkeepTurns(t *testing.T) {
	s := newUpkeepSite()
	s.run(t, func(t *testing.T) {
		take := func(ctx context.Context) error {
			select {
			case <-time.After(10 * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		s.maintain = func(ctx context.Context, j MaintainJob) (maintenance.Result, error) {
			return maintenance.Result{Forgotten: j.Forget}, take(ctx)
		}
		s.verify = func(ctx context.Context, _ VerifyJob) error { return take(ctx) }
		s.setPass(func(ctx context.Context, j CopyJob) (replicator.Report, error) {
			return replicator.Report{Snapshots: j.Snapshots}, take(ctx)
		})
		d := Desired{}
		for _, account := range []string{"a", "b", "c", "d", "e"} {
			d.Maintain = append(d.Maintain, MaintainJob{Account: account, Home: par2})
			d.Verify = append(d.Verify, VerifyJob{Account: account, Kind: "scrubbed"}, VerifyJob{Account: account, Kind: "checked", Part: 1, Parts: 1})
			d.Copy = append(d.Copy, job(account, "par1", "1"))
		}
		s.leader.want(d)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		s.mu.Lock()
		n := map[string]int{}
		for what, count := range s.now {
			n[what[:4]] += count
		}
		s.mu.Unlock()
		if n["main"] > 2 || n["veri"] > 2 {
			t.Errorf("at once: %v, want 2 of maintenance and verification", n)
		}
		time.Sleep(4 * time.Minute)
		synctest.Wait()
		maintained, verified := s.reports()
		accounts := map[string]bool{}
		for _, m := range maintained {
			accounts[m.Account] = true
		}
		kinds := map[string]bool{}
		for _, v := range verified {
			kinds[v.Account+v.Kind] = true
		}
		if len(accounts) != 5 || len(kinds) != 10 || len(s.leader.told()) < 5 {
			t.Errorf("done: maintained %v, verified %v, passes %d", accounts, kinds, len(s.leader.told()))
		}
	})
	if len(s.broken) > 0 {
		t.Errorf("ran at once: %v", s.broken)
	}
}

// TestWorker_UpkeepNoLongerWanted: what leaves Desired, or gets another home, is broken off and not told. What is only
// known of more snapshots goes on.
func TestWorker_UpkeepNoLongerWanted(t *testing.T) {
	s := newUpkeepSite()
	s.run(t, func(t *testing.T) {
		ended := make(chan error, 10)
		s.maintain = func(ctx context.Context, _ MaintainJob) (maintenance.Result, error) {
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return maintenance.Result{}, ctx.Err()
		}
		s.verify = func(ctx context.Context, _ VerifyJob) error {
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return ctx.Err()
		}
		d := Desired{
			Maintain: []MaintainJob{{Account: "shop", Home: par2, Forget: []string{"a"}, Known: []string{"a", "b"}}},
			Verify:   []VerifyJob{{Account: "blog", Kind: "scrubbed"}},
		}
		s.leader.want(d)
		synctest.Wait()
		d.Maintain = []MaintainJob{{Account: "shop", Home: par2, Forget: []string{"a"}, Known: []string{"a", "b", "c"}}}
		s.leader.want(d)
		synctest.Wait()
		if len(ended) > 0 {
			t.Fatal("a snapshot more broke it off")
		}
		d.Maintain = []MaintainJob{{Account: "shop", Home: Home{Site: "par2", Epoch: 4}, Forget: []string{"a"}}}
		s.leader.want(d)
		synctest.Wait()
		if len(ended) != 1 {
			t.Fatal("another epoch did not break it off")
		}
		s.leader.want(Desired{})
		synctest.Wait()
		if len(ended) != 3 {
			t.Errorf("%d jobs were broken off, want 3", len(ended))
		}
		if maintained, verified := s.reports(); len(maintained)+len(verified) > 0 {
			t.Errorf("told %v, %v", maintained, verified)
		}
	})
}

// TestUpkeep_Known: what a run did not do is done at once when it is asked for, and what it did is not done again.
func TestUpkeep_Known(t *testing.T) {
	now := time.Unix(1e9, 0)
	u, turns := newUpkeep(), &turns{}
	begin := func(forget ...string) bool {
		u.want(Desired{Maintain: []MaintainJob{{Account: "shop", Home: par2, Forget: forget}}})
		due := u.dueMaintain(now, 2, turns)
		for _, j := range due {
			u.maintainEnded(j, j.want, maintenance.Result{}, nil, now)
			turns.end("shop", deleting)
		}
		return len(due) > 0
	}
	for n, c := range []struct {
		forget []string
		want   bool
	}{{[]string{"a"}, true}, {[]string{"a"}, false}, {[]string{"a", "b"}, true}, {[]string{"b"}, false}, {nil, false}} {
		if got := begin(c.forget...); got != c.want {
			t.Errorf("%d: forget %v begun: %v, want %v", n, c.forget, got, c.want)
		}
	}
}

// TestUpkeep_NewestWord: of two ends of one kind the leader hears the later one alone; it could take them in any order.
func TestUpkeep_NewestWord(t *testing.T) {
	now := time.Unix(1e9, 0)
	u, turns := newUpkeep(), &turns{}
	for _, err := range []error{nil, errors.New("a pack is broken")} {
		now = now.Add(2 * againMost)
		u.want(Desired{Verify: []VerifyJob{{Account: "shop", Kind: "checked", Part: 1, Parts: 1}, {Account: "blog", Kind: "checked", Part: 1, Parts: 1}}})
		for _, j := range u.dueVerify(now, 2, turns) {
			u.verifyEnded(j, j.want, err, now, now)
			turns.end(j.want.Account, reading)
		}
	}
	var r Report
	u.report(&r, now)
	if len(r.Verified) != 2 || r.Verified[0].Error == "" || r.Verified[1].Error == "" {
		t.Errorf("got %+v, want the later word about each account alone", r.Verified)
	}
}

func TestWorker_MaintainElsewhere(t *testing.T) {
	w := &Worker{Site: "par1", Keeper: &maintenance.Keeper{}}
	if _, err := w.maintainHere(t.Context(), MaintainJob{Account: "shop", Home: par2}); err == nil {
		t.Error("a worker of par1 deletes in a repository whose home is par2")
	}
	w.Keeper = nil
	if _, err := w.maintainHere(t.Context(), MaintainJob{Account: "shop", Home: par2}); err == nil {
		t.Error("a worker without restic said that it is done")
	}
}

func TestTurns(t *testing.T) {
	turns := &turns{}
	want := func(what turn, ok bool) {
		t.Helper()
		if got := turns.begin("shop", what); got != ok {
			t.Errorf("begin %d: %v, want %v", what, got, ok)
		}
	}
	want(copying, true)
	want(deleting, false)
	if !turns.swap("shop") {
		t.Error("the only copier may not delete")
	}
	want(reading, false)
	turns.swapBack("shop")
	want(reading, true)
	if turns.swap("shop") {
		t.Error("deletes while somebody reads")
	}
	turns.end("shop", reading)
	turns.end("shop", copying)
	want(deleting, true)
	want(copying, false)
	if !turns.begin("blog", deleting) {
		t.Error("another account waits")
	}
}
