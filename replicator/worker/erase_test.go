package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"drp/replicator"
	"drp/replicator/keyfiles"
	"drp/replicator/maintenance"
	"drp/replicator/restic"
	"drp/replicator/storetest"
)

// erasureSite is a site whose erasures are functions of the test, too.
type erasureSite struct {
	*upkeepSite
	erase    func(ctx context.Context, account string) (maintenance.Erasure, error)
	takeBack func(stay []string) error
	done     []string // looks, and what was taken back, in their order
}

func newErasureSite() *erasureSite {
	s := &erasureSite{upkeepSite: newUpkeepSite()}
	s.erase = func(context.Context, string) (maintenance.Erasure, error) {
		return maintenance.Erasure{Objects: 7, Bytes: 70, Empty: time.Now()}, nil
	}
	s.takeBack = func([]string) error { return nil }
	s.worker.erase = func(ctx context.Context, j EraseJob) (maintenance.Erasure, error) {
		defer s.enter("erase", j.Account, "copy", "verify", "maintain", "initial", "erase", "take back")()
		s.note("erase " + j.Account)
		return s.erase(ctx, j.Account)
	}
	s.worker.takeBack = func(_ context.Context, stay map[string]bool) error {
		defer s.enter("take back", "shop", "erase")()
		all := slices.Sorted(maps.Keys(stay))
		s.note("take back all but " + strings.Join(all, ","))
		return s.takeBack(all)
	}
	initial := s.worker.initial
	s.worker.initial = func(ctx context.Context, j InitialJob, fresh bool) error {
		defer s.enter("initial", j.Account, "erase")()
		return initial(ctx, j, fresh)
	}
	s.worker.key = func(context.Context, KeyJob) (keyfiles.Made, error) { return keyfiles.Made{}, nil }
	return s
}

func (s *erasureSite) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = append(s.done, what)
}

func (s *erasureSite) did() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.done)
}

func (s *erasureSite) told() []Erased {
	s.leader.mu.Lock()
	defer s.leader.mu.Unlock()
	told := slices.Clone(s.leader.erased)
	for n := range told {
		told[n].ID = ""
	}
	return told
}

func eraseJobs(accounts ...string) (jobs []EraseJob) {
	for _, a := range accounts {
		jobs = append(jobs, EraseJob{Account: a})
	}
	return jobs
}

// TestWorker_Erase: it waits as long as the site says, is done then, told until it is taken, and told again by who still wants it.
func TestWorker_Erase(t *testing.T) {
	s := newErasureSite()
	var until time.Time
	s.erase = func(context.Context, string) (maintenance.Erasure, error) {
		if now := time.Now(); now.Before(until) {
			return maintenance.Erasure{Until: until, Next: until, Repositories: []string{"shop"}}, nil
		}
		return maintenance.Erasure{Objects: 7, Bytes: 70, Empty: time.Now(), Repositories: []string{"shop"}}, nil
	}
	s.run(t, func(t *testing.T) {
		until = time.Now().Add(60 * time.Hour)
		s.leader.want(Desired{Erase: eraseJobs("shop")})
		synctest.Wait()
		want := []Erased{{Account: "shop", Until: until, Repositories: []string{"shop"}}}
		if got := s.told(); !cmp.Equal(got, want) {
			t.Error(cmp.Diff(want, got))
		}
		time.Sleep(60*time.Hour - time.Second)
		synctest.Wait()
		if n := len(s.did()); n != 4 { // once, after one day and after two
			t.Errorf("it was looked at too often or too rarely: %v", s.did())
		}
		s.leader.set(nil, true)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		s.leader.set(nil, false)
		time.Sleep(time.Minute)
		synctest.Wait()
		got := s.told()
		if want := (Erased{Account: "shop", Repositories: []string{"shop"}, Objects: 7, Bytes: 70, Empty: until}); !cmp.Equal(got[len(got)-1], want) {
			t.Error(cmp.Diff(want, got[len(got)-1]))
		}
		time.Sleep(time.Hour) // the leader has forgotten
		synctest.Wait()
		if again := s.told(); len(again) <= len(got) || again[len(again)-1].Empty.IsZero() {
			t.Errorf("told %v", again)
		}
		if len(s.broken) > 0 {
			t.Errorf("at once: %v", s.broken)
		}
	})
}

// TestWorker_EraseBegins: it begins when nothing else is done to any repository of the account, and while it is wanted nothing
// else of it begins. Other accounts go on.
func TestWorker_EraseBegins(t *testing.T) {
	s := newErasureSite()
	var held, erasing chan struct{} // of the bubble
	s.erase = func(context.Context, string) (maintenance.Erasure, error) {
		<-erasing
		return maintenance.Erasure{Empty: time.Now()}, nil
	}
	s.verify = func(context.Context, VerifyJob) error { // which does not let itself be broken off
		<-held
		return nil
	}
	s.run(t, func(t *testing.T) {
		held, erasing = make(chan struct{}), make(chan struct{})
		s.leader.want(Desired{Verify: []VerifyJob{{Account: "shop~3", Kind: "scrubbed"}}})
		synctest.Wait()
		home := Home{Site: "par2", Epoch: 1}
		all := Desired{
			Erase:    eraseJobs("shop"),
			Initial:  []InitialJob{{Account: "shop~4", Home: home}, {Account: "shop-4", Home: home}},
			Copy:     []CopyJob{job("shop", "par1", "s1"), job("shop~2", "par1", "s1"), job("shop2", "par1", "s1")},
			Maintain: []MaintainJob{{Account: "shop~5", Home: home}, {Account: "shop5", Home: home}},
			Remove:   []RemoveJob{{"shop~6", "shop~7"}},
			Keys:     []KeyJob{{Account: "shop~8", Version: 1}},
		}
		s.worker.remove = func(context.Context, RemoveJob) (maintenance.Result, error) { return maintenance.Result{}, nil }
		s.leader.want(all)
		time.Sleep(time.Minute)
		synctest.Wait()
		if slices.Contains(s.did(), "erase shop") {
			t.Error("it has begun beside a verification of shop~3")
		}
		close(held)
		time.Sleep(time.Minute)
		synctest.Wait()
		if !slices.Contains(s.did(), "erase shop") {
			t.Error("it has not begun")
		}
		close(erasing)
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, what := range s.started() {
			if _, repository, _ := strings.Cut(what, " "); accountOf(repository) == "shop" && what != "verify shop~3" && what != "erase shop" && what != "take back shop" {
				t.Errorf("begun although shop is to be erased: %s", what)
			}
		}
		for _, want := range []string{"copy shop2", "initial shop-4", "maintain shop5"} {
			if !slices.Contains(s.started(), want) {
				t.Errorf("not begun: %s", want)
			}
		}
		all.Erase = nil
		s.leader.want(all)
		time.Sleep(time.Minute)
		synctest.Wait()
		if !slices.Contains(s.started(), "copy shop") || !slices.Contains(s.started(), "initial shop~4") {
			t.Errorf("when it is no longer wanted, all else begins again: %v", s.started())
		}
		if len(s.broken) > 0 {
			t.Errorf("at once: %v", s.broken)
		}
	})
}

// TestWorker_EraseTakenBack: what the leader no longer wants is broken off, taken back at the site once it has ended, and not begun
// before that again.
func TestWorker_EraseTakenBack(t *testing.T) {
	s := newErasureSite()
	var ends, settles chan struct{} // of the bubble
	fail := true
	s.erase = func(ctx context.Context, account string) (maintenance.Erasure, error) {
		if account == "shop" {
			<-ctx.Done()
			<-ends // it may still write
			return maintenance.Erasure{}, ctx.Err()
		}
		return maintenance.Erasure{Until: time.Now().Add(time.Hour), Next: time.Now().Add(time.Hour)}, nil
	}
	s.takeBack = func([]string) error {
		if settles != nil {
			<-settles
		}
		if fail = !fail; fail {
			return errors.New("the store is down")
		}
		return nil
	}
	s.run(t, func(t *testing.T) {
		ends = make(chan struct{})
		fail = true // the next one works
		s.leader.want(Desired{Erase: eraseJobs("blog", "shop")})
		synctest.Wait()
		did := s.did()
		if slices.Sort(did[1:]); !cmp.Equal(did, []string{"take back all but blog,shop", "erase blog", "erase shop"}) &&
			!cmp.Equal(did, []string{"take back all but ", "erase blog", "erase shop"}) {
			t.Fatalf("at the start: %v", did)
		}
		fail = false // the next one does not work, the one after that does
		s.leader.want(Desired{Erase: eraseJobs("blog"), Copy: []CopyJob{job("shop", "par1", "s1")}})
		time.Sleep(time.Minute)
		synctest.Wait()
		if slices.Contains(s.started(), "copy shop") {
			t.Error("a copy has begun beside an erasure that has not ended")
		}
		s.leader.want(Desired{Erase: eraseJobs("blog", "shop")})
		synctest.Wait()
		if n := len(s.did()); n != 3 {
			t.Errorf("before what was broken off has ended: %v", s.did()[3:])
		}
		settles = make(chan struct{})
		close(ends)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := s.did()[3:]; !cmp.Equal(got, []string{"take back all but blog"}) {
			t.Errorf("while it is taken back: %v", got)
		}
		close(settles)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := s.did()[3:]; !cmp.Equal(got, []string{"take back all but blog", "take back all but blog", "erase shop"}) {
			t.Errorf("then: %v", got)
		}
		for _, e := range s.told() {
			if e.Account == "shop" {
				t.Errorf("what was broken off was told: %+v", e)
			}
		}
		if len(s.broken) > 0 {
			t.Errorf("at once: %v", s.broken)
		}
	})
}

// TestWorker_EraseFails: what fails is told, and tried again.
func TestWorker_EraseFails(t *testing.T) {
	s := newErasureSite()
	s.erase = func(context.Context, string) (maintenance.Erasure, error) {
		if len(s.did()) < 3 {
			return maintenance.Erasure{Objects: 3}, errors.New("the store is down")
		}
		return maintenance.Erasure{Objects: 7, Empty: time.Now()}, nil
	}
	s.run(t, func(t *testing.T) {
		s.leader.want(Desired{Erase: eraseJobs("shop")})
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		told := s.told()
		if told[0].Error != "the store is down" || told[0].Objects != 3 || !told[0].Empty.IsZero() {
			t.Errorf("told %+v first", told[0])
		}
		if last := told[len(told)-1]; last.Error != "" || last.Objects != 7 || last.Empty.IsZero() {
			t.Errorf("told %+v in the end", last)
		}
	})
}

// TestWorker_ErasedStaysSo: whatever the leader asks for, nothing of an account that was erased here is made or copied here again.
func TestWorker_ErasedStaysSo(t *testing.T) {
	double := storetest.NewDouble(t)
	store, err := replicator.Open(replicator.StoreConfig{Endpoint: double.Endpoint, Bucket: double.Bucket, AccessKey: "a", SecretKey: "b", Retries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	double.Store(".erased/shop.json", []byte("{}"))
	w := &Worker{
		Site: "par1", Store: store, Sources: map[string]Key{"par2": {"a", "b"}}, Initialiser: refusingInitialiser{t},
		Keeper: &maintenance.Keeper{Store: store}, Verifier: nil,
	}
	home := Home{Site: "par1", Epoch: 1}
	copies := w.copier(&turns{}, slog.New(slog.DiscardHandler))
	for _, name := range []string{"shop", "shop~2"} {
		for what, do := range map[string]func() error{
			"create": func() error { return w.create(t.Context(), InitialJob{Account: name, Home: home}, false) },
			"create in what the leader believes to be new": func() error { return w.create(t.Context(), InitialJob{Account: name, Home: home}, true) },
			"copy": func() error {
				_, err := copies(t.Context(), CopyJob{Account: name, From: "par2", Store: StoreAddress{Endpoint: double.Endpoint, Bucket: double.Bucket}}, false)
				return err
			},
			"keys": func() error {
				_, err := w.keyHere(t.Context(), KeyJob{Account: name, Home: home, Make: MakeBreakGlass})
				return err
			},
			"maintain": func() error {
				_, err := w.maintainHere(t.Context(), MaintainJob{Account: name, Home: home})
				return err
			},
			"remove": func() error {
				_, err := w.removeHere(t.Context(), RemoveJob{Account: name, Successor: "shop~9"})
				return err
			},
		} {
			if err := do(); !errors.Is(err, maintenance.ErrErased) {
				t.Errorf("%s %s: %v", what, name, err)
			}
		}
	}
	if objects := double.Objects(); len(objects) != 1 {
		t.Errorf("written: %v", slices.Sorted(maps.Keys(objects)))
	}
	if err := w.ready(t.Context(), "shop2", false); err != nil {
		t.Error("another account:", err)
	}
}

type refusingInitialiser struct{ t *testing.T }

func (r refusingInitialiser) Init(context.Context, S3Repository, string) error {
	r.t.Error("a repository was made")
	return nil
}

func (r refusingInitialiser) Open(context.Context, S3Repository, string) error {
	r.t.Error("a repository was opened")
	return nil
}

// TestWorker_EraseReal: a worker with a store and restic makes a repository, erases its account, and makes it no more.
func TestWorker_EraseReal(t *testing.T) {
	const password = "correct horse"
	w, l, server := realWorker(t, "par1")
	w.Keeper = &maintenance.Keeper{
		Site: "par1", Store: w.Store, Grace: 2 * time.Second, Scratch: t.TempDir(), Tool: &restic.Runner{Binary: storetest.Binary(t, "restic")},
	}
	work(t, w)
	home := Home{Site: "par1", Epoch: 1}
	ready := func(accounts ...string) {
		t.Helper()
		var jobs []InitialJob
		for _, a := range accounts {
			jobs = append(jobs, InitialJob{Account: a, Home: home, Password: password})
		}
		l.want(Desired{New: true, Initial: jobs})
		eventually(t, "the repositories are ready", func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			return len(l.ready) == len(accounts)
		})
	}
	ready("shop", "shop2")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"shop", "shop2"} {
		server.Repository("drp-par1", name, password).Backup(t, dir)
	}
	l.want(Desired{Erase: eraseJobs("shop")})
	last := func() Erased {
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.erased) == 0 {
			return Erased{}
		}
		return l.erased[len(l.erased)-1]
	}
	eventually(t, "it waits", func() bool { return !last().Until.IsZero() })
	eventually(t, "nothing is left", func() bool { return !last().Empty.IsZero() })
	if e := last(); e.Objects < 6 || e.Bytes == 0 || !cmp.Equal(e.Repositories, []string{"shop"}) || e.Error != "" {
		t.Errorf("told %+v", e)
	}
	if list, err := w.Store.List(t.Context(), "shop/"); err != nil || len(list) > 0 {
		t.Errorf("left: %v, %v", list, err)
	}
	server.Repository("drp-par1", "shop2", password).Check(t)
	if err := w.create(t.Context(), InitialJob{Account: "shop", Home: home, Password: password}, false); !errors.Is(err, maintenance.ErrErased) {
		t.Error(fmt.Errorf("made again: %w", err))
	}
}
