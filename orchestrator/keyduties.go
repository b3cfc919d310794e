package orchestrator

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

const (
	keyJobsAtOnce  = 8        // about keys, that a worker is given
	keyMakesAtOnce = 2        // of them to make one: two restic processes each, half a second of a processor
	keysSeenEvery  = 30 * day // a site looks again whether the keys of its copies are there and unchanged
)

// keyDuty is what a site is to do about the keys of its copy of one repository.
type keyDuty struct {
	repo       *state.Repository
	row        *state.RepositoryKeys
	make       state.KeyPurpose // at the home: make one; empty: see to those that there are
	recipients []string         // of a break-glass key
	class      int              // lower ones come first
}

// keysOf is what is known of the keys of a repository; nil for one that is left as it is.
func (n now) keysOf(repo *state.Repository) *state.RepositoryKeys {
	if n.view.Level() < protectionLevel || held(n.view) || repo.InitialisedAt.IsZero() || n.view.Account(repo.Account) == nil {
		return nil
	}
	if row := n.view.RepositoryKeys(repo.Name()); row != nil {
		return row
	}
	return &state.RepositoryKeys{Repository: repo.Name(), Account: repo.Account}
}

// keyDuty of a site; false: there is none now.
func (n now) keyDuty(repo *state.Repository, site state.SiteName) (keyDuty, bool) {
	row := n.keysOf(repo)
	if row == nil {
		return keyDuty{}, false
	}
	d := keyDuty{repo: repo, row: row, class: 1}
	if repo.Home.Site == site && !n.rests(row.Failure) {
		if d.make, d.recipients = n.keyToMake(repo, row); d.make != "" {
			if d.make == state.KeyRotation {
				d.class = 0
			}
			return d, true
		}
	}
	if row.Version == 0 || !n.hasCopy(repo, site) {
		return keyDuty{}, false
	}
	seen := row.At(site)
	switch {
	case n.rests(seen.Failure):
		return keyDuty{}, false
	case seen.Version != row.Version || seen.Failure != nil:
		if row.Rotation != nil {
			d.class = 0
		}
		return d, true
	}
	d.class = 2
	return d, n.at.Sub(seen.At) >= keysSeenEvery
}

// hasCopy reports whether a site holds anything of a repository. The keys of one that does not come with its first pass; then
// they are looked at, before the pass may count.
func (n now) hasCopy(repo *state.Repository, site state.SiteName) bool {
	if pass := n.view.Replication(repo.Row(), site); repo.Home.Site == site || pass != nil && pass.Error == "" {
		return true
	}
	return n.missing.of(n.view, repo, site).expected
}

// keyToMake is what key the home of a repository lacks.
func (n now) keyToMake(repo *state.Repository, row *state.RepositoryKeys) (state.KeyPurpose, []string) {
	missing := row.At(repo.Home.Site).Missing
	if r := row.Rotation; r != nil && r.Switched.IsZero() && (r.Key == "" || slices.Contains(missing, r.Key)) {
		return state.KeyRotation, nil
	}
	offline := n.offline()
	if len(offline) == 0 {
		return "", nil // there is nobody to break the glass
	}
	b := row.BreakGlass
	if b == nil || b.Asked != state.RecipientsID(offline) || slices.Contains(missing, b.Key) || slices.Contains(missing, b.File.String()) {
		return state.KeyBreakGlass, offline
	}
	return "", nil
}

// offline are the operators' offline recipients, as the keyring has them.
func (n now) offline() []string {
	keys := n.view.Keys()
	if len(keys) == 0 {
		return nil
	}
	return keys[0].Offline
}

// keyMove is the next step of a change of password that is due, if one is. The new key is at every site before its password is
// given to anybody, and the old ones stay until nobody uses theirs any more, and until the exports of the state at those
// sites hold the new one: a recovery from an older export would have nothing that opens the repository.
func (n now) keyMove(repo *state.Repository) (propose, bool) {
	row := n.keysOf(repo)
	if row == nil || row.Rotation == nil {
		return propose{}, false
	}
	switch r := row.Rotation; {
	case r.Key != "" && r.Switched.IsZero() && n.view.LacksKeys(repo, row) == "":
		return propose{state.KeysSwitch, state.KeysSwitchData{Account: repo.Account, Repository: row.Repository, Version: row.Version}}, true
	case !r.Switched.IsZero() && n.view.UsesOldPassword(repo.Account, r) == "" && n.notExported(repo, r.Switched) == "":
		return propose{state.KeysRetire, state.KeysRetireData{Account: repo.Account, Repository: row.Repository}}, true
	}
	return propose{}, false
}

// notExported names a site that holds a repository and has no export of the state from after a time; empty: there is none.
func (n now) notExported(repo *state.Repository, since time.Time) state.SiteName {
	if n.exported == nil {
		return ""
	}
	for _, site := range n.view.Holders(repo) {
		s, at := n.view.Site(site), n.exported[site]
		if s != nil && s.Store != nil && len(s.Gateways) > 0 && (!at.After(since) || at.After(n.at)) { // one of the future says nothing
			return site
		}
	}
	return ""
}

// keySurvey is what one look at the keys of all repositories has found.
type keySurvey struct {
	duties map[state.SiteName][]state.AccountName // most urgent first
	moves  []state.AccountName
}

func keySurveyOf(n now) keySurvey {
	found := map[state.SiteName][]keyDuty{}
	s := keySurvey{duties: map[state.SiteName][]state.AccountName{}}
	sites := n.view.Sites()
	for _, repo := range n.view.Repositories() {
		if _, due := n.keyMove(repo); due {
			s.moves = append(s.moves, repo.Account)
		}
		for _, site := range sites {
			if d, due := n.keyDuty(repo, site.Name); due {
				found[site.Name] = append(found[site.Name], d)
			}
		}
	}
	for site, all := range found {
		slices.SortFunc(all, func(a, b keyDuty) int {
			return cmp.Or(cmp.Compare(a.class, b.class), strings.Compare(a.row.Repository, b.row.Repository))
		})
		for _, d := range all[:min(len(all), queueLength)] {
			s.duties[site] = append(s.duties[site], d.repo.Account)
		}
	}
	return s
}

// keyJobs are what a site's worker is given of it: the first few that are still due, with the passwords that they take.
func (n now) keyJobs(site state.SiteName, queue []state.AccountName, open opener) []wire.KeyJob {
	var jobs []wire.KeyJob
	makes := 0
	for _, account := range queue {
		repo := n.view.Repository(account)
		if repo == nil || len(jobs) == keyJobsAtOnce {
			continue
		}
		d, due := n.keyDuty(repo, site)
		if !due || d.make != "" && makes == keyMakesAtOnce {
			continue
		}
		job, ok := n.keyJob(site, d, open)
		if !ok {
			continue
		}
		if job.Make != "" {
			makes++
		}
		jobs = append(jobs, job)
	}
	return jobs
}

func (n now) keyJob(site state.SiteName, d keyDuty, open opener) (job wire.KeyJob, ok bool) {
	job = wire.KeyJob{Account: state.AccountName(d.row.Repository), Home: d.repo.Home, Make: d.make, Recipients: d.recipients}
	if d.make != "" {
		if job.Password, ok = open.password(d.repo); ok && d.make == state.KeyRotation {
			job.Next, ok = open.password(&state.Repository{Account: d.repo.Account, SealedPassword: d.row.Rotation.Sealed})
		}
		return job, ok
	}
	job.Version, job.Have, job.Remove = d.row.Version, d.row.Have(), d.row.Remove
	if d.row.BreakGlass != nil {
		job.File = d.row.BreakGlass.File
	}
	if site == d.repo.Home.Site {
		return job, true
	}
	home := n.view.Site(d.repo.Home.Site)
	if home == nil || home.Store == nil {
		return job, false
	}
	job.Store = home.Store
	return job, true
}

// reportedKeys is what workers made and found of keys. Only a home's own worker makes any.
func reportedKeys(n now) []action {
	if n.view.Level() < protectionLevel {
		return nil
	}
	var actions []action
	for key, k := range n.seen.keyed {
		account, _, err := state.ParseRepositoryName(string(k.Account))
		if err != nil {
			continue
		}
		switch {
		case k.Make == "":
			actions = append(actions, reported{propose{state.KeysSeen, state.KeysSeenData{
				Account: account, Repository: string(k.Account), Site: key.site, Version: k.Version, Missing: k.Missing,
				Error: state.Shorten(k.Error)}}, key.command(state.KeysSeen), n.at})
		case k.Home.Site == key.site:
			actions = append(actions, reported{propose{state.KeysMade, state.KeysMadeData{
				Account: account, Repository: string(k.Account), Home: k.Home, Purpose: k.Make, Key: k.Key, Old: k.Old,
				Asked: k.Asked, Sealed: k.Sealed, File: k.File, Error: state.Shorten(k.Error)}}, key.command(state.KeysMade), n.at})
		}
	}
	return actions
}

// moveKeys commits the next steps of changes of passwords. Each look decides anew from the present state.
func (t *term) moveKeys(ctx context.Context, n now, accounts []state.AccountName) {
	var group errgroup.Group
	group.SetLimit(proposalsAtOnce)
	for _, account := range accounts {
		repo := n.view.Repository(account)
		p, due := n.keyMove(repo)
		key := p.key()
		if !due || t.refusals.rests(key, n.at) {
			continue
		}
		group.Go(func() error {
			if refused, _ := t.report(ctx, p.name, p.payload); refused {
				t.refusals.note(key, n.at)
			}
			return nil
		})
	}
	_ = group.Wait() // every error was logged where it arose
}
