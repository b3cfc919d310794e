package orchestrator

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// chores are what this leader's workers are given to do. It is memory: the next leader looks anew, and gives what it finds
// to be most urgent.
type chores struct {
	mu     sync.Mutex
	survey *survey
	given  map[state.SiteName][]chore
}

// take has a new survey count from now on.
func (c *chores) take(s *survey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.survey = s
}

func (c *chores) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.survey, c.given = nil, nil
}

// of are the chores of a site's worker now: those that it was given and has not ended, then the most urgent of the others.
func (c *chores) of(n now, site state.SiteName) []chore {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.survey == nil || held(n.view) || n.view.Level() < protectionLevel {
		return nil
	}
	var chosen []chore
	room := map[bool]int{true: choresAtOnce, false: choresAtOnce} // of maintenance, of verification
	for _, old := range c.given[site] {
		if next, ok := n.stillDue(site, old); ok && room[old.kind == ""] > 0 {
			chosen = append(chosen, next)
			room[old.kind == ""]--
		}
	}
	for _, queue := range [][]chore{n.askedChores(site), n.trashChores(site), c.survey.maintain[site], c.survey.verify[site]} {
		for _, waiting := range queue {
			if room[waiting.kind == ""] == 0 {
				break
			}
			if slices.ContainsFunc(chosen, waiting.same) {
				continue
			}
			next, ok := n.stillDue(site, waiting)
			if !ok || next.kind == "" && n.kept(n.view.RepositoryNamed(next.repository)).blocked(next) {
				continue
			}
			chosen = append(chosen, next)
			room[waiting.kind == ""]--
		}
	}
	if c.given == nil {
		c.given = map[state.SiteName][]chore{}
	}
	c.given[site] = chosen
	return append(slices.Clip(chosen), n.removals(site)...)
}

// keyJobs are what a site's worker is to do about keys now.
func (c *chores) keyJobs(n now, site state.SiteName, open opener) []wire.KeyJob {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.survey == nil {
		return nil
	}
	return n.keyJobs(site, c.survey.keys.duties[site], open)
}

// stillDue is a chore as it is now. One that proves a snapshot goes on with that one, for as long as it is not over.
func (n now) stillDue(site state.SiteName, old chore) (chore, bool) {
	repo := n.view.RepositoryNamed(old.repository)
	if repo == nil {
		return chore{}, false
	}
	if old.kind == state.Checked && n.irregular(repo, site) {
		return n.stillForTrash(site, old.repository)
	}
	r := n.kept(repo)
	if r == nil {
		return chore{}, false
	}
	if old.kind == "" {
		next, ok := r.maintenance()
		return next, ok && repo.Home.Site == site
	}
	if !slices.Contains(r.sites(), site) {
		return chore{}, false
	}
	for _, next := range r.verifications(site) {
		if next.kind != old.kind {
			continue
		}
		if s := n.view.Snapshot(repo.Account, old.snapshot); s != nil && s.ForgetAt.IsZero() {
			if _, there := s.At(site); there {
				next.snapshot = old.snapshot
			}
		}
		return next, true
	}
	return chore{}, false
}

// giveChores puts chores into what a worker should do, with the passwords that they take.
func giveChores(v *state.View, site state.SiteName, all []chore, open opener, known *missing, d *wire.WorkerDesired) {
	for _, c := range all {
		repo := v.RepositoryNamed(c.repository)
		if repo == nil {
			continue
		}
		if c.remove {
			if present := v.Repository(repo.Account); present != nil {
				d.Remove = append(d.Remove, wire.RemoveJob{Account: repo.Row(), Successor: present.Row()})
			}
			continue
		}
		password := ""
		if c.kind != state.Scrubbed {
			var ok bool
			if password, ok = open.password(repo); !ok {
				continue
			}
		}
		var over, stay []state.SnapshotID
		for _, s := range v.SnapshotsIn(repo) {
			if !s.ForgetAt.IsZero() {
				over = append(over, s.ID)
			} else if _, here := s.At(site); here {
				stay = append(stay, s.ID)
			}
		}
		if c.kind != "" {
			d.Verify = append(d.Verify, wire.VerifyJob{
				Account: repo.Row(), Kind: c.kind, Password: password, Snapshot: c.snapshot, Part: c.part, Parts: c.parts,
				Copies: otherCopies(v, repo, site, known), Known: stay})
			continue
		}
		d.Maintain = append(d.Maintain, wire.MaintainJob{
			Account: repo.Row(), Home: repo.Home, Password: password, Forget: over, Known: slices.Concat(over, stay)})
	}
}

// otherCopies are at the sites but this one that hold a snapshot of a repository, its home's first.
func otherCopies(v *state.View, repo *state.Repository, but state.SiteName, known *missing) []wire.RepositoryCopy {
	var copies []wire.RepositoryCopy
	for _, site := range v.Sites() {
		if site.Name == but || site.Store == nil || !known.of(v, repo, site.Name).expected {
			continue
		}
		c := wire.RepositoryCopy{Site: site.Name, Store: *site.Store}
		if site.Name == repo.Home.Site {
			copies = slices.Insert(copies, 0, c)
		} else {
			copies = append(copies, c)
		}
	}
	return copies
}

// keepUp marks what is over and surveys what repositories need, until the leadership ends. It goes on beside the loop: a look
// at every snapshot of the platform must not hold up a failover. What is marked as over stays so: nothing is, as long as nobody can
// tell how late it is.
func (t *term) keepUp(ctx context.Context, since time.Time) {
	defer t.chores.reset()
	defer t.missing.reset()
	defer t.asks.reset()
	var surveyed time.Time
	var forget []state.AccountName
	var clock clockWatch
	for {
		n := t.look(since, &clock)
		if n.at.Sub(surveyed) >= surveyEvery(n) {
			s := surveyOf(n)
			t.chores.take(s)
			surveyed, forget = n.at, s.forget
			t.moveKeys(ctx, n, s.keys.moves)
		}
		if n.clocks == "" {
			count := min(len(forget), forgetAtOnce)
			t.markOver(ctx, n, forget[:count])
			forget = forget[count:]
		}
		timer := time.NewTimer(upkeepLook)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

const upkeepLook = 2 * time.Second

// surveyEvery is longer where a survey is.
func surveyEvery(n now) time.Duration {
	return upkeepLook + time.Duration(len(n.view.Repositories())/2000)*time.Second
}

func (t *term) markOver(ctx context.Context, n now, accounts []state.AccountName) {
	var group errgroup.Group
	group.SetLimit(proposalsAtOnce)
	for _, account := range accounts {
		for _, p := range marks(n, account) {
			key := p.key()
			if t.refusals.rests(key, n.at) {
				continue
			}
			group.Go(func() error {
				if refused, _ := t.report(ctx, p.name, p.payload); refused {
					t.refusals.note(key, n.at)
				}
				return nil
			})
		}
	}
	_ = group.Wait() // every error was logged where it arose
}
