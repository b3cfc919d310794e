package orchestrator

import (
	"fmt"
	"slices"
	"time"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// What was deleted at a site is kept until all that remains there was read with the key. Where a policy has a copy, the
// rounds of checks see to it. Where none has one any more nobody would ever look, and the trash of an old home or replica
// would lie there for good. At an old home the leader has the whole copy checked at once. A worker's word alone gets it no
// password: of any other site, and when the check fails, an alarm tells.

const (
	trashRead  = 7 * day // one reading is believed for so long before another is asked for
	trashLimit = 7 * day // beyond the grace, where no policy has a copy
)

// irregular reports that no round of checks ever comes to a site's copy of an account.
func (n now) irregular(repo *state.Repository, site state.SiteName) bool {
	r := n.kept(repo)
	return r == nil || !slices.Contains(r.sites(), site) || r.newestAt(site) == nil
}

// hadPassword reports that a site has had the password of a repository before: by the policy, or because a server there has
// made one of its snapshots.
func (n now) hadPassword(repo *state.Repository, site state.SiteName) bool {
	if r := n.kept(repo); r != nil && slices.Contains(r.sites(), site) {
		return true
	}
	return slices.ContainsFunc(within(n.view.Snapshots(repo.Account), repo), func(s *state.Snapshot) bool {
		server := n.view.Server(s.Server)
		return server != nil && server.Site == site
	})
}

// forTrash is the check that a site's trash of an account waits for, if nobody else asks for one.
func (n now) forTrash(site state.SiteName, t wire.Trash) (chore, bool) {
	repo := n.view.RepositoryNamed(string(t.Account))
	if repo == nil || repo.InitialisedAt.IsZero() || !n.irregular(repo, site) || !n.hadPassword(repo, site) {
		return chore{}, false
	}
	c := chore{repository: repo.Name(), kind: state.Checked, part: 1, parts: 1, urgent: n.trashSince(site, t), class: 1}
	if v := n.view.Verification(repo.Row(), site); v != nil {
		if f, failed := v.Errors[state.Checked]; failed && n.rests(&f) {
			return chore{}, false
		}
		if v.ReadSince.After(c.urgent) && n.at.Sub(v.ReadSince) < trashRead {
			return chore{}, false // its worker has yet to empty it
		}
	}
	return c, true
}

// trashSince is when the grace ended, by this clock.
func (n now) trashSince(site state.SiteName, t wire.Trash) time.Time {
	return n.seen.trash[site].at.Add(-t.Over)
}

// stillForTrash is forTrash for a repository.
func (n now) stillForTrash(site state.SiteName, repository string) (chore, bool) {
	for _, t := range n.seen.trash[site].waiting {
		if string(t.Account) == repository {
			return n.forTrash(site, t)
		}
	}
	return chore{}, false
}

// trashChores is the check that a site's trash has waited for the longest: one at a time, before all others.
func (n now) trashChores(site state.SiteName) []chore {
	for _, t := range n.seen.trash[site].waiting {
		if c, ok := n.forTrash(site, t); ok {
			return []chore{c}
		}
	}
	return nil
}

const alarmTrash = "trash"

// trashAlarms are one for each site whose trash waits for longer than it should.
func trashAlarms(n now) (alarms []Alarm) {
	for _, site := range n.view.Sites() {
		var worst *wire.Trash
		var accounts int
		var bytes int64
		for i, t := range n.seen.trash[site.Name].waiting {
			if n.at.Sub(n.trashSince(site.Name, t)) <= n.trashLimit(site.Name, t.Account) {
				continue
			}
			accounts++
			bytes += t.Bytes
			if worst == nil {
				worst = &n.seen.trash[site.Name].waiting[i]
			}
		}
		if worst == nil {
			continue
		}
		why := "no check has read all of its copy there since"
		if v := n.view.Verification(worst.Account, site.Name); v != nil && v.Errors[state.Checked].Error != "" {
			why = "its copy there cannot be checked: " + v.Errors[state.Checked].Error
		}
		since := n.trashSince(site.Name, *worst)
		alarms = append(alarms, Alarm{Kind: alarmTrash, Since: since, Message: fmt.Sprintf(
			"the trash of site %s keeps %d MiB of %d accounts beyond its grace, such as that of account %s for %s: %s. It goes when a check of the whole copy has succeeded; where no policy has a copy any more, name the site in one for a while",
			site.Name, bytes>>20, accounts, worst.Account, n.at.Sub(since).Round(time.Hour), why)})
	}
	return alarms
}

// trashLimit is how long beyond the grace the trash may wait: where checks come in rounds, for one that begins then.
func (n now) trashLimit(site state.SiteName, account state.AccountName) time.Duration {
	repo := n.view.RepositoryNamed(string(account))
	if repo == nil || n.irregular(repo, site) {
		return trashLimit
	}
	return ReadWithin(n.kept(repo).policy)
}
