package worker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"drp/replicator"
)

// slowly is a site to which passes from par1 never end, and from any other site at once.
func slowly() *site {
	s := newSite()
	s.setPass(func(ctx context.Context, j CopyJob) (replicator.Report, error) {
		if j.From == "par1" {
			<-ctx.Done()
			return replicator.Report{}, fmt.Errorf("copy: %w", context.Cause(ctx))
		}
		return replicator.Report{Snapshots: j.Snapshots}, nil
	})
	return s
}

func jobsFrom(from string, count int) (jobs []CopyJob) {
	for n := range count {
		jobs = append(jobs, job(fmt.Sprint(from, "-", n), from, "s1"))
	}
	return jobs
}

// from is how many passes from a site are under way.
func (s *site) from(site string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for account := range s.now {
		if strings.HasPrefix(account, site+"-") {
			n++
		}
	}
	return n
}

func (s *site) told(from string) (n int) {
	for _, p := range s.leader.told() {
		if p.From == from {
			n++
		}
	}
	return n
}

func (s *site) toldOf(account string) bool {
	return slices.ContainsFunc(s.leader.told(), func(p PassReport) bool { return p.Account == account })
}

// TestWorker_SlowSource: passes from a site that gives a kilobyte in a second hold all the room, and those from others go on.
func TestWorker_SlowSource(t *testing.T) {
	s := slowly()
	s.run(t, func(t *testing.T) {
		slow := jobsFrom("par1", 8)
		s.leader.want(Desired{Copy: slow})
		synctest.Wait()
		time.Sleep(time.Hour)
		if got := s.from("par1"); got != 4 || len(s.begun()) != 4 {
			t.Fatalf("%d passes from the slow site, want all the room, and none of them broken off", got)
		}
		s.leader.want(Desired{Copy: append(slices.Clone(slow), jobsFrom("par3", 1)...)})
		time.Sleep(time.Second)
		if s.told("par3") != 1 {
			t.Fatal("a pass from another site does not begin beside passes that have run for an hour")
		}
		// From then on there is room for whoever else comes.
		for n := range 50 {
			s.leader.want(Desired{Copy: append(slices.Clone(slow), job(fmt.Sprint("par3-", n+1), "par3", "s1"))})
			time.Sleep(time.Second)
			if s.told("par3") != n+2 || s.from("par1") != 3 {
				t.Errorf("%d passes from the other site are told and not %d, and %d from the slow one are under way", s.told("par3"), n+2, s.from("par1"))
			}
		}
		if got := s.told("par1"); got != 0 {
			t.Errorf("%d reports of passes that only made room: %v", got, s.leader.outcomes())
		}
		// Who waits no more keeps no room.
		s.leader.want(Desired{Copy: slow})
		time.Sleep(2 * time.Hour)
		if got := s.from("par1"); got != 4 {
			t.Errorf("%d passes when nobody else wants room, want 4", got)
		}
	})
}

// TestWorker_SlowSources: passes from several sites that give next to nothing hold all the room together, whether one has the most of
// it or each as much as the other. Whoever is fast goes on beside them, as far as there is room at all, and none of the slow ones is
// left out for it.
func TestWorker_SlowSources(t *testing.T) {
	for name, c := range map[string]struct {
		slow  map[string]int // passes that wait, by site
		fast  []string
		least int // room: passes at once
	}{
		"two alike":         {map[string]int{"par1": 4, "par2": 4}, []string{"par3"}, 4},
		"one with the most": {map[string]int{"par1": 9, "par2": 1}, []string{"par3"}, 4},
		"two fast ones":     {map[string]int{"par1": 4, "par2": 4}, []string{"par3", "par4"}, 4},
		"three":             {map[string]int{"par1": 4, "par2": 4, "par5": 4}, []string{"par3", "par4"}, 6},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite()
			s.worker.Concurrency = c.least
			s.setPass(func(ctx context.Context, j CopyJob) (replicator.Report, error) {
				if c.slow[j.From] > 0 {
					<-ctx.Done()
					return replicator.Report{}, fmt.Errorf("copy: %w", context.Cause(ctx))
				}
				return replicator.Report{Snapshots: j.Snapshots}, nil
			})
			s.run(t, func(t *testing.T) {
				var slow []CopyJob
				for _, site := range slices.Sorted(maps.Keys(c.slow)) {
					slow = append(slow, jobsFrom(site, c.slow[site])...)
				}
				underWay := func() (n int) {
					for site := range c.slow {
						n += s.from(site)
					}
					return n
				}
				s.leader.want(Desired{Copy: slow})
				synctest.Wait()
				time.Sleep(time.Hour)
				if got := underWay(); got != c.least {
					t.Fatalf("%d passes from slow sites, want all the room", got)
				}
				// Each fast site is served at once when a pass from it comes, again and again.
				for n := range 50 {
					jobs := slices.Clone(slow)
					for _, site := range c.fast {
						jobs = append(jobs, job(fmt.Sprint(site, "-", n), site, "s1"))
					}
					s.leader.want(Desired{Copy: jobs})
					time.Sleep(yieldAfter)
					for _, site := range c.fast {
						if account := fmt.Sprint(site, "-", n); !s.toldOf(account) {
							t.Errorf("round %d: no pass of %s is told beside slow ones", n, account)
						}
					}
					for site := range c.slow {
						if s.from(site) == 0 {
							t.Errorf("round %d: %s has no room any more", n, site)
						}
					}
				}
				// Together they keep all the room but what is kept free for those that are fast.
				if got := underWay(); got < c.least-len(c.fast) {
					t.Errorf("%d passes from slow sites are under way: more was taken from them than others need", got)
				}
				for site := range c.slow {
					if s.told(site) != 0 {
						t.Errorf("reports of passes from %s that only made room: %v", site, s.leader.outcomes())
					}
				}
				s.leader.want(Desired{Copy: slow})
				time.Sleep(2 * capFor)
				if got := underWay(); got != c.least {
					t.Errorf("%d passes when nobody else wants room, want %d", got, c.least)
				}
			})
		})
	}
}

// Passes that have just begun may end by themselves: they are let run for a while.
func TestWorker_SlowSource_NotAtOnce(t *testing.T) {
	s := slowly()
	s.worker.Poll = time.Hour // nothing else wakes it
	s.run(t, func(t *testing.T) {
		s.leader.want(Desired{Copy: append(jobsFrom("par1", 8), jobsFrom("par3", 1)...)})
		time.Sleep(yieldAfter - time.Second)
		if s.told("par3") != 0 || s.from("par1") != 4 {
			t.Error("a pass was broken off early")
		}
		time.Sleep(2 * time.Second)
		if s.told("par3") != 1 {
			t.Error("nothing wakes the worker when it is time")
		}
	})
}

// With less room than sites each has its turn, though that of the slow one has another account that waits.
func TestWorker_SlowSource_OneAtATime(t *testing.T) {
	s := slowly()
	s.worker.Concurrency = 1
	s.run(t, func(t *testing.T) {
		s.leader.want(Desired{Copy: append(jobsFrom("par1", 2), jobsFrom("par3", 1)...)})
		time.Sleep(yieldAlone - time.Second)
		if s.told("par3") != 0 || s.from("par1") != 1 {
			t.Error("the only pass of a site was broken off early")
		}
		time.Sleep(time.Minute)
		if s.told("par3") == 0 {
			t.Error("the other site has no turn")
		}
		time.Sleep(2 * capAlone)
		if s.from("par1") != 1 {
			t.Error("the slow site has no turn any more")
		}
	})
}

// No pass makes room for what could not begin anyway, nor for a site that has a pass already.
func TestBoard_YieldForNobody(t *testing.T) {
	now := time.Now()
	full := func(other ...CopyJob) *board {
		b := newBoard()
		b.want(Desired{Copy: append(jobsFrom("par1", 2), other...)})
		for _, j := range b.dueCopies(now, 2) {
			j.cancel = func() {}
		}
		return b
	}
	late := now.Add(time.Hour)
	if full(jobsFrom("par3", 1)...).yield(late, 2) == nil {
		t.Fatal("none makes room for one that waits")
	}
	b := full(jobsFrom("par3", 1)...)
	if !b.turns.begin("par3-0", deleting) {
		t.Fatal("no turn")
	}
	if b.yield(late, 2) != nil {
		t.Error("one makes room for an account at which something else works")
	}
	if b = full(job("par1-0", "par3", "s1")); b.yield(late, 2) != nil {
		t.Error("one makes room for the same account from another site")
	}
	if b = full(jobsFrom("par1", 9)[2:]...); b.yield(late, 2) != nil {
		t.Error("one makes room for another from the same site")
	}
	if b = full(jobsFrom("par3", 1)...); b.yield(late, 3) != nil {
		t.Error("one makes room though there is room")
	}
	b = full(jobsFrom("par3", 1)...)
	b.yield(late, 2)
	if b.yield(late, 2) != nil {
		t.Error("two make room for one")
	}
}
