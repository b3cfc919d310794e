package orchestrator

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"drp/raftstore/state"
)

// asks are the accounts of which somebody wants every copy to be looked at now. It is memory of the leader: the next one knows
// nothing of it. Its zero value is ready.
type asks struct {
	mu sync.Mutex
	at map[state.AccountName]time.Time
}

const (
	mostAsked = 100 // accounts that are waited for
	askedFor  = day // then nobody waits any more
	// reportSlack is how much before its true beginning a look is dated at most, since its report may be under way for that long.
	reportSlack = 30 * time.Second
)

// take notes that an account is asked for, and forgets those that are done. What undoes it is nil when too many wait.
func (a *asks) take(account state.AccountName, at time.Time, done func(state.AccountName) bool) (undo func()) {
	for _, one := range a.accounts() {
		if done(one) || at.Sub(a.of(one)) > askedFor {
			a.set(one, time.Time{})
		}
	}
	before := a.of(account)
	if before.IsZero() && len(a.accounts()) >= mostAsked {
		return nil
	}
	a.set(account, at)
	return func() { a.set(account, before) }
}

func (a *asks) set(account state.AccountName, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.at == nil {
		a.at = map[state.AccountName]time.Time{}
	}
	if a.at[account] = at; at.IsZero() {
		delete(a.at, account)
	}
}

// of is when an account was last asked for; zero: it was not.
func (a *asks) of(account state.AccountName) time.Time {
	if a == nil {
		return time.Time{}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.at[account]
}

// accounts are those that were asked for, the first one first.
func (a *asks) accounts() []state.AccountName {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.SortedFunc(maps.Keys(a.at), func(x, y state.AccountName) int {
		return cmp.Or(a.at[x].Compare(a.at[y]), cmp.Compare(x, y))
	})
}

func (a *asks) reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = nil
}

// unanswered reports whether a look was asked for and has not been made since: neither one that is dated then, nor one that failed.
func (r *keptRepository) unanswered(last time.Time, f state.Failure) bool {
	asked := r.asks.of(r.repo.Account)
	return !asked.IsZero() && !r.retired && last.Before(asked.Add(-reportSlack)) && f.At.Before(asked)
}

// askedChores are the looks at a site's copies that were asked for.
func (n now) askedChores(site state.SiteName) (all []chore) {
	for _, account := range n.asks.accounts() {
		all = append(all, n.asked(account, site)...)
	}
	return all
}

func (n now) asked(account state.AccountName, site state.SiteName) []chore {
	repo := n.view.Repository(account)
	if repo == nil {
		return nil
	}
	r := n.kept(repo)
	if r == nil || !slices.Contains(r.sites(), site) {
		return nil
	}
	return slices.DeleteFunc(r.verifications(site), func(c chore) bool { return c.class != asked })
}

// Look is one that was asked for and has not been made.
type Look struct {
	Site state.SiteName         `json:"site"`
	Kind state.VerificationKind `json:"kind"`
}

func (n now) waitingLooks(account state.AccountName) (all []Look) {
	for _, s := range n.view.Sites() {
		for _, c := range n.asked(account, s.Name) {
			all = append(all, Look{s.Name, c.kind})
		}
	}
	return all
}

// VerifyNow has every copy of an account looked at as soon as there is room, in each of the ways. AccountProtection tells what of it waits
// still. The next leader knows nothing of it.
func (o *Orchestrator) VerifyNow(ctx context.Context, by string, account state.AccountName) (time.Time, error) {
	if err := o.knowsProtection("verify"); err != nil {
		return time.Time{}, err
	}
	n, err := o.present(ctx)
	if err != nil {
		return time.Time{}, err
	}
	if n.view.Account(account) == nil {
		return time.Time{}, fmt.Errorf("verify: there is no account %q: %w", account, state.ErrNotFound)
	}
	var r *keptRepository
	if repo := n.view.Repository(account); repo != nil {
		r = n.kept(repo)
	}
	if r == nil || len(r.snapshots) == 0 {
		return time.Time{}, fmt.Errorf("verify %s: it has no snapshot yet, so there is nothing to look at: drp backup now %s: %w", account, account, ErrRefused)
	}
	undo := o.asks.take(account, n.at, func(one state.AccountName) bool { return len(n.waitingLooks(one)) == 0 })
	if undo == nil {
		return time.Time{}, fmt.Errorf("verify %s: %d accounts wait to be looked at already: ask again when some of them are done: %w", account, mostAsked, ErrRefused)
	}
	if err := o.Record(ctx, by, state.AuditNoteData{Action: "verify now", Subject: "account " + string(account), Account: account}); err != nil {
		undo()
		return time.Time{}, err
	}
	return n.at, nil
}
