package orchestrator

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"drp/orchestrator/retention"
	"drp/raftstore/state"
)

// What becomes of repositories that others have taken the place of.

// removeAfter leaves a backup that was under way, and gateways that have not heard yet, time to be over.
const removeAfter = time.Hour

// writtenTo is the repository of this name, if backups go to it. Workers' words on others change nothing there.
func (n now) writtenTo(row state.AccountName) *state.Repository {
	repo := n.view.RepositoryNamed(string(row))
	if repo == nil || n.view.IsRetired(repo) {
		return nil
	}
	return repo
}

// removable reports whether all of a retired repository is over, as the account's policy has it.
func (n now) removable(row *state.Retired) bool {
	repo := &row.Repository
	account := n.view.Account(repo.Account)
	if !row.Removing.IsZero() || account == nil || n.at.Sub(row.At) < removeAfter {
		return false
	}
	all := n.view.Snapshots(repo.Account)
	left := within(all, repo)
	if len(left) == 0 {
		return true
	}
	policy := n.view.Policy(account.Policy)
	if policy == nil {
		return false
	}
	over := map[state.SnapshotID]bool{}
	for _, id := range retention.Over(all, account.Parts(), policy, n.at) {
		over[id] = true
	}
	for _, s := range left {
		if !over[s.ID] {
			return false
		}
	}
	return true
}

// removalsDue are the commands for what is over as a whole.
func removalsDue(n now, account state.AccountName) []propose {
	var all []propose
	for _, row := range n.view.RetiredOf(account) {
		if n.removable(row) {
			all = append(all, propose{state.RepositoryRemove, state.RepositoryRemoveData{Account: account, Number: row.Repository.Number}})
		}
	}
	for _, row := range n.view.RemovedOf(account) {
		if n.trashGone(row) {
			all = append(all, propose{state.RepositoryDrop, state.RepositoryDropData{Account: account, Number: row.Repository.Number}})
		}
	}
	return all
}

// trashGone reports whether no site's trash is taken to hold anything of a removed repository any more.
func (n now) trashGone(row *state.Retired) bool { return n.at.Sub(row.Gone) >= state.PasswordKept }

// removals are what a site is to remove now, the first few of them.
func (n now) removals(site state.SiteName) []chore {
	var all []chore
	for _, row := range n.view.Retired() {
		if row.Removing.IsZero() || slices.Contains(row.Removed, site) {
			continue
		}
		if f, failed := row.Errors[site]; failed && n.rests(&f) {
			continue
		}
		if all = append(all, chore{repository: row.Repository.Name(), remove: true}); len(all) == choresAtOnce {
			break
		}
	}
	return all
}

// removalPatience is more than any site's worker takes to be sure that a retired repository may go: its grace is a part of that.
const removalPatience = 30 * day

// removalAlarms tell of what should be gone for long and is still there.
func removalAlarms(n now) []Alarm { return append(stuckRemovals(n), lingering(n)...) }

// lingering are retired repositories that are older than all that their policies keep. A site that has no newer snapshot keeps
// the newest one that it has, for good when no policy has a copy there: and with it the whole repository at every site.
func lingering(n now) []Alarm {
	var first *state.Retired
	count := 0
	for _, row := range n.view.Retired() {
		account := n.view.Account(row.Repository.Account)
		if !row.Removing.IsZero() || account == nil {
			continue
		}
		policy := n.view.Policy(account.Policy)
		if policy == nil || policy.Retention == 0 || n.at.Sub(row.At) <= retention.Longest(policy)+removalPatience {
			continue
		}
		if count++; first == nil || row.At.Before(first.At) {
			first = row
		}
	}
	if first == nil {
		return nil
	}
	return []Alarm{{Kind: alarmRemoval, Since: first.At, Message: fmt.Sprintf(
		"%d retired repositories stay, though their policies keep nothing that old, such as %s: at these sites there is no newer snapshot of its account: %s. Name them in its policy until there is one",
		count, first.Repository.Name(), onlyThere(n, &first.Repository))}}
}

// onlyThere are the sites whose snapshots of an account all lie in one repository.
func onlyThere(n now, repo *state.Repository) string {
	here, newer := map[string]bool{}, map[string]bool{}
	for _, s := range n.view.Snapshots(repo.Account) {
		for _, c := range s.Sites {
			if s.Repository == repo.Number {
				here[string(c.Site)] = true
			} else {
				newer[string(c.Site)] = true
			}
		}
	}
	maps.DeleteFunc(here, func(site string, _ bool) bool { return newer[site] })
	if len(here) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(here)), ", ")
}

// stuckRemovals are under way for long.
func stuckRemovals(n now) []Alarm {
	var stuck []*state.Retired
	for _, row := range n.view.Retired() {
		if !row.Removing.IsZero() && n.at.Sub(row.Removing) > removalPatience {
			stuck = append(stuck, row)
		}
	}
	if len(stuck) == 0 {
		return nil
	}
	row := slices.MinFunc(stuck, func(a, b *state.Retired) int { return a.Removing.Compare(b.Removing) })
	why := "a site has not answered"
	for _, site := range slices.Sorted(maps.Keys(row.Errors)) {
		why = string(site) + ": " + row.Errors[site].Error
	}
	return []Alarm{{Kind: alarmRemoval, Since: row.Removing, Message: fmt.Sprintf(
		"%d retired repositories were to be removed more than %s ago and are not, such as %s: %s", len(stuck), removalPatience, row.Repository.Name(), why)}}
}

// reportedRemovals is what workers say of it.
func reportedRemovals(n now) []action {
	var actions []action
	for key, m := range n.seen.removed {
		account, number, err := state.ParseRepositoryName(string(m.Account))
		if err != nil {
			continue
		}
		actions = append(actions, reported{propose{state.RepositoryRemoved, state.RepositoryRemovedData{
			Account: account, Number: number, Site: key.site, Objects: m.Objects, Bytes: m.Bytes, Error: state.Shorten(m.Error)}},
			key.command(state.RepositoryRemoved), n.at})
	}
	return actions
}
