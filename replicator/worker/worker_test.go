package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"drp/replicator"
)

// leader is a Leader that answers as the real one does: when what it desires differs from what the worker has, or
// after the wait.
type leader struct {
	mu      sync.Mutex
	desired Desired
	changed chan struct{}
	down    error
	lose    bool // takes a report and loses its own answer
	syncs   int
	passes  []PassReport
	ready   []Initialised
	heard   map[string]bool

	maintained []Maintained
	verified   []Verified
	removed    []Removed
	keyed      []Keyed
	erased     []Erased
	fill       *Fill // as it was last told
}

func newLeader() *leader {
	return &leader{changed: make(chan struct{}), heard: make(map[string]bool)}
}

func (l *leader) Sync(ctx context.Context, r Report) (Desired, error) {
	l.mu.Lock()
	l.syncs++
	l.fill = r.Fill
	if l.down != nil {
		defer l.mu.Unlock()
		return Desired{}, l.down
	}
	for _, p := range r.Passes {
		if !l.heard[p.ID] {
			l.heard[p.ID] = true
			l.passes = append(l.passes, p)
		}
	}
	for _, m := range r.Maintained {
		if !l.heard[m.ID] {
			l.heard[m.ID] = true
			l.maintained = append(l.maintained, m)
		}
	}
	for _, v := range r.Verified {
		if !l.heard[v.ID] {
			l.heard[v.ID] = true
			l.verified = append(l.verified, v)
		}
	}
	for _, m := range r.Removed {
		if !l.heard[m.ID] {
			l.heard[m.ID] = true
			l.removed = append(l.removed, m)
		}
	}
	for _, k := range r.Keyed {
		if !l.heard[k.ID] {
			l.heard[k.ID] = true
			l.keyed = append(l.keyed, k)
		}
	}
	for _, e := range r.Erased {
		if !l.heard[e.ID] {
			l.heard[e.ID] = true
			l.erased = append(l.erased, e)
		}
	}
	for _, i := range r.Ready {
		if !slices.Contains(l.ready, i) {
			l.ready = append(l.ready, i)
		}
	}
	if l.lose {
		defer l.mu.Unlock()
		return Desired{}, errors.New("connection reset")
	}
	timer := time.NewTimer(r.Wait)
	defer timer.Stop()
	for {
		d, changed := l.desired, l.changed
		l.mu.Unlock()
		if d.Revision != r.Revision {
			return d, nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return d, nil
		case <-ctx.Done():
			return Desired{}, ctx.Err()
		}
		l.mu.Lock()
	}
}

// want sets what the leader desires.
func (l *leader) want(d Desired) {
	l.mu.Lock()
	defer l.mu.Unlock()
	d.Revision = l.desired.Revision + 1
	l.desired = d
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *leader) set(down error, lose bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down, l.lose = down, lose
}

func (l *leader) told() []PassReport {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.passes)
}

// outcomes are the passes told, in short.
func (l *leader) outcomes() (out []string) {
	for _, p := range l.told() {
		out = append(out, fmt.Sprintf("%s<-%s %v %s", p.Account, p.From, p.Snapshots, p.Error))
	}
	return out
}

// site is a worker whose passes and repositories are functions of the test.
type site struct {
	leader *leader
	worker *Worker

	mu      sync.Mutex
	pass    func(ctx context.Context, j CopyJob) (replicator.Report, error)
	passes  []string // begun
	now     map[string]int
	most    int // passes at once
	twice   bool
	created []string
}

func newSite() *site {
	s := &site{leader: newLeader(), now: make(map[string]int)}
	s.pass = func(_ context.Context, j CopyJob) (replicator.Report, error) {
		return replicator.Report{Snapshots: j.Snapshots, Objects: 3, Bytes: 30}, nil
	}
	s.worker = &Worker{
		Site: "par2", Leader: s.leader,
		initial: func(_ context.Context, j InitialJob, _ bool) error {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.created = append(s.created, j.Account)
			return nil
		},
		copy: func(ctx context.Context, j CopyJob, _ bool) (replicator.Report, error) {
			s.mu.Lock()
			s.passes = append(s.passes, j.Account+"<-"+j.From)
			s.now[j.Account]++
			s.twice = s.twice || s.now[j.Account] > 1
			s.most = max(s.most, len(s.now))
			pass := s.pass
			s.mu.Unlock()
			defer func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				if s.now[j.Account]--; s.now[j.Account] == 0 {
					delete(s.now, j.Account)
				}
			}()
			return pass(ctx, j)
		},
	}
	return s
}

func (s *site) setPass(f func(ctx context.Context, j CopyJob) (replicator.Report, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pass = f
}

func (s *site) begun() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.passes)
}

// run runs the worker in a bubble until f returns.
func (s *site) run(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s.leader.changed = make(chan struct{}) // of this bubble
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.worker.Run(ctx) }()
		synctest.Wait()
		f(t)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if s.twice {
			t.Error("two passes of one account ran at once")
		}
	})
}

func job(account, from string, snapshots ...string) CopyJob {
	return CopyJob{Account: account, From: from, Home: Home{Site: from, Epoch: 1}, Snapshots: snapshots}
}

func TestWorker_Copy(t *testing.T) {
	s := newSite()
	s.run(t, func(t *testing.T) {
		s.leader.want(Desired{Copy: []CopyJob{job("shop", "par1", "s1")}})
		synctest.Wait()
		want := []string{"shop<-par1 [s1] "}
		if got := s.leader.outcomes(); !cmp.Equal(got, want) {
			t.Errorf("told: got %v, want %v, at once", got, want)
		}
		s.leader.want(Desired{})
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := s.leader.outcomes(); !cmp.Equal(got, want) {
			t.Errorf("told: got %v, want %v", got, want)
		}
		if s.leader.syncs > 150 { // one each 30 s
			t.Errorf("%d polls in an hour", s.leader.syncs)
		}
	})
}

func TestWorker_Initial(t *testing.T) {
	s := newSite()
	fail := 2
	s.worker.initial = func(_ context.Context, j InitialJob, _ bool) error {
		if fail--; fail >= 0 {
			return errors.New("store is down")
		}
		return nil
	}
	s.run(t, func(t *testing.T) {
		home := Home{Site: "par2", Epoch: 1}
		s.leader.want(Desired{Initial: []InitialJob{{Account: "shop", Home: home, Password: "p"}}})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if want := []Initialised{{"shop", home}}; !cmp.Equal(s.leader.ready, want) {
			t.Errorf("ready: got %v, want %v", s.leader.ready, want)
		}
		// A leader that forgot hears it again, without haste.
		before := s.leader.syncs
		s.leader.mu.Lock()
		s.leader.ready = nil
		s.leader.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(s.leader.ready) != 1 || s.leader.syncs > before+4 {
			t.Errorf("ready: got %v after %d polls", s.leader.ready, s.leader.syncs-before)
		}
	})
}

func TestWorker_ReportsUntilTaken(t *testing.T) {
	for name, c := range map[string]struct {
		down error
		lose bool
	}{
		"the leader is away":            {down: errors.New("no route to host")},
		"the leader's answers get lost": {lose: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite()
			s.run(t, func(t *testing.T) {
				release := make(chan struct{})
				s.setPass(func(_ context.Context, j CopyJob) (replicator.Report, error) {
					<-release
					return replicator.Report{Snapshots: j.Snapshots}, nil
				})
				s.leader.want(Desired{Copy: []CopyJob{job("shop", "par1", "s1")}})
				synctest.Wait()
				s.leader.set(c.down, c.lose)
				close(release)
				time.Sleep(5 * time.Minute)
				before := len(s.begun())
				s.leader.set(nil, false)
				time.Sleep(leaderMost)
				synctest.Wait()
				got := s.leader.told()
				if len(got) == 0 || !cmp.Equal(got[0].Snapshots, []string{"s1"}) {
					t.Errorf("told: got %v", got)
				}
				// The leader still wants it: it is done again now and then, not in a circle.
				if before > 12 {
					t.Errorf("%d passes in five minutes", before)
				}
			})
		})
	}
}

// TestWorker_OneMorePass: snapshots that are asked for while a pass runs lead to one more pass, at once.
func TestWorker_OneMorePass(t *testing.T) {
	s := newSite()
	s.run(t, func(t *testing.T) {
		release := make(chan struct{})
		s.setPass(func(_ context.Context, j CopyJob) (replicator.Report, error) {
			<-release
			return replicator.Report{Snapshots: j.Snapshots}, nil
		})
		s.leader.want(Desired{Copy: []CopyJob{job("shop", "par1", "s1")}})
		synctest.Wait()
		for _, ids := range [][]string{{"s2", "s1"}, {"s3", "s2", "s1"}} {
			s.leader.want(Desired{Copy: []CopyJob{job("shop", "par1", ids...)}})
			synctest.Wait()
		}
		if got := len(s.begun()); got != 1 {
			t.Errorf("%d passes, want 1", got)
		}
		close(release)
		synctest.Wait()
		if got := len(s.begun()); got != 2 {
			t.Errorf("%d passes, want 2", got)
		}
		want := []string{"shop<-par1 [s1] ", "shop<-par1 [s3 s2 s1] "}
		if got := s.leader.outcomes(); !cmp.Equal(got, want) {
			t.Errorf("told: got %v, want %v", got, want)
		}
	})
}

func TestWorker_Failures(t *testing.T) {
	t.Run("tried again, slower and slower", func(t *testing.T) {
		s := newSite()
		var at []time.Time
		s.setPass(func(context.Context, CopyJob) (replicator.Report, error) {
			at = append(at, time.Now())
			return replicator.Report{}, errors.New("the store of par1 does not answer")
		})
		s.run(t, func(t *testing.T) {
			s.leader.want(Desired{Copy: []CopyJob{job("shop", "par1", "s1")}})
			time.Sleep(time.Hour)
			synctest.Wait()
			if len(at) < 12 || len(at) > 40 {
				t.Errorf("%d passes in an hour", len(at))
			}
			told := s.leader.told()
			if len(told) != len(at) || !strings.Contains(told[0].Error, "par1 does not answer") {
				t.Errorf("%d passes, told %d: %v", len(at), len(told), told)
			}
			for n := range told {
				if len(told[n].Snapshots) > 0 {
					t.Errorf("called copied: %v", told[n].Snapshots)
				}
			}
		})
	})
	t.Run("a snapshot that the source does not have", func(t *testing.T) {
		s := newSite()
		s.setPass(func(context.Context, CopyJob) (replicator.Report, error) {
			return replicator.Report{Snapshots: []string{"s1"}}, nil
		})
		s.run(t, func(t *testing.T) {
			s.leader.want(Desired{Copy: []CopyJob{job("shop", "par1", "s2", "s1")}})
			time.Sleep(time.Second)
			synctest.Wait()
			got := s.leader.outcomes()
			if len(got) != 2 || got[0] != "shop<-par1 [s1] " || !strings.Contains(got[1], "s2") {
				t.Errorf("told: %v", got)
			}
		})
	})
	t.Run("one broken snapshot does not hide the others", func(t *testing.T) {
		s := newSite()
		s.setPass(func(context.Context, CopyJob) (replicator.Report, error) {
			return replicator.Report{Snapshots: []string{"s1"}, Broken: []string{"x"}},
				&replicator.IncompleteError{Broken: []string{"shop/snapshots/s2"}}
		})
		s.run(t, func(t *testing.T) {
			s.leader.want(Desired{Copy: []CopyJob{job("shop", "par1", "s2", "s1")}})
			time.Sleep(time.Second)
			synctest.Wait()
			got := s.leader.outcomes()
			if len(got) != 2 || got[0] != "shop<-par1 [s1] " || !strings.Contains(got[1], "shop/snapshots/s2") {
				t.Errorf("told: %v", got)
			}
		})
	})
	t.Run("a broken object at the source of which the copy is good", func(t *testing.T) {
		s := newSite()
		s.setPass(func(context.Context, CopyJob) (replicator.Report, error) {
			return replicator.Report{Snapshots: []string{"s1"}, Broken: []string{"shop/data/ab/abc"}}, nil
		})
		s.run(t, func(t *testing.T) {
			s.leader.want(Desired{Copy: []CopyJob{job("shop", "par1", "s1")}})
			time.Sleep(time.Second)
			synctest.Wait()
			got := s.leader.outcomes()
			if len(got) != 2 || got[0] != "shop<-par1 [s1] " || !strings.Contains(got[1], "shop/data/ab/abc") {
				t.Errorf("told: %v", got)
			}
		})
	})
}

func TestWorker_AtOnce(t *testing.T) {
	s := newSite()
	s.worker.Concurrency = 3
	s.setPass(func(_ context.Context, j CopyJob) (replicator.Report, error) {
		time.Sleep(time.Minute)
		return replicator.Report{Snapshots: j.Snapshots}, nil
	})
	s.run(t, func(t *testing.T) {
		var d Desired
		for n := range 9 {
			account := fmt.Sprint("a", n)
			d.Copy = append(d.Copy, job(account, "par1", "s-"+account), job(account, "par3", "t-"+account))
		}
		s.leader.want(d)
		time.Sleep(6*time.Minute + time.Second)
		synctest.Wait()
		if got := len(s.begun()); got < 18 {
			t.Errorf("%d passes in six minutes, want 18", got)
		}
		if s.most != 3 {
			t.Errorf("%d passes at once, want 3", s.most)
		}
	})
}

// TestWorker_SickSource: a site that hangs does not take the room of the others.
func TestWorker_SickSource(t *testing.T) {
	s := newSite()
	s.worker.Concurrency = 2
	s.setPass(func(_ context.Context, j CopyJob) (replicator.Report, error) {
		if j.From == "dead" {
			time.Sleep(time.Minute)
			return replicator.Report{}, errors.New("i/o timeout")
		}
		time.Sleep(time.Second)
		return replicator.Report{Snapshots: j.Snapshots}, nil
	})
	s.run(t, func(t *testing.T) {
		var d Desired
		for n := range 20 {
			d.Copy = append(d.Copy, job(fmt.Sprint("d", n), "dead", "s"))
		}
		for n := range 20 {
			d.Copy = append(d.Copy, job(fmt.Sprint("l", n), "alive", "s"))
		}
		s.leader.want(d)
		time.Sleep(90 * time.Second)
		synctest.Wait()
		good := 0
		for _, p := range s.leader.told() {
			if p.From == "alive" && p.Error == "" {
				good++
			}
		}
		if good < 20 {
			t.Errorf("%d of 20 passes of the living site are complete after 90 s", good)
		}
	})
}

// TestWorker_NoLongerWanted: a pass that nobody wants any more is broken off, and the next one waits for its end.
func TestWorker_NoLongerWanted(t *testing.T) {
	s := newSite()
	s.run(t, func(t *testing.T) {
		s.setPass(func(ctx context.Context, j CopyJob) (replicator.Report, error) {
			if j.From == "par1" {
				<-ctx.Done()
				time.Sleep(time.Second) // it takes a while to end
				return replicator.Report{}, ctx.Err()
			}
			return replicator.Report{Snapshots: j.Snapshots}, nil
		})
		s.leader.want(Desired{Copy: []CopyJob{job("shop", "par1", "s1")}})
		synctest.Wait()
		s.leader.want(Desired{Copy: []CopyJob{job("shop", "par3", "s1")}})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got, want := s.leader.outcomes(), []string{"shop<-par3 [s1] "}; !cmp.Equal(got, want) {
			t.Errorf("told: got %v, want %v", got, want)
		}
	})
}

func TestWorker_ManySnapshots(t *testing.T) {
	s := newSite()
	s.run(t, func(t *testing.T) {
		var ids []string
		for n := range 1000 {
			ids = append(ids, fmt.Sprint("s", n))
		}
		s.leader.want(Desired{Copy: []CopyJob{job("shop", "par1", ids...)}})
		synctest.Wait()
		var got []string
		var objects int64
		for _, p := range s.leader.told() {
			if len(p.Snapshots) > mostSnapshots {
				t.Errorf("%d snapshots in one report", len(p.Snapshots))
			}
			got, objects = append(got, p.Snapshots...), objects+p.Objects
		}
		if !cmp.Equal(got, ids) || objects != 3 {
			t.Errorf("told of %d snapshots and %d objects, want 1000 and 3", len(got), objects)
		}
	})
}

// TestWorker_RestlessLeader: a leader that answers at once without news is not asked in a circle.
func TestWorker_RestlessLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		syncs := 0
		w := &Worker{Site: "par2", Leader: syncFunc(func(context.Context, Report) (Desired, error) {
			syncs++
			return Desired{}, nil
		}), copy: newSite().worker.copy, initial: newSite().worker.initial}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := w.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if syncs > 70 {
			t.Errorf("%d polls in a minute", syncs)
		}
	})
}

type syncFunc func(context.Context, Report) (Desired, error)

func (f syncFunc) Sync(ctx context.Context, r Report) (Desired, error) { return f(ctx, r) }
