package orchestrator

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"drp/orchestrator/erasure"
	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// An account is erased when its waiting time is over: it is stopped, then it leaves the state, and then each site deletes what it
// has, when its own grace is over.

// toBeErased reports whether the waiting time of an account is over, so that it is stopped and started nowhere any more.
func (n now) toBeErased(account state.AccountName) bool {
	e := n.view.Erasure(account)
	return e != nil && e.Waiting() && !n.at.Before(e.NotBefore)
}

// dueErasures stop accounts whose waiting time is over, and begin with those that run nowhere any more.
func dueErasures(n now) []action {
	var actions []action
	for _, e := range n.view.OpenErasures() {
		a := n.view.Assignment(e.Account)
		switch {
		case !n.toBeErased(e.Account):
		case n.standsStill(e) == "":
			actions = append(actions, propose{state.ErasureBegin, state.ErasureBeginData{Account: e.Account}})
		case a != nil && a.Fenced == nil && !a.Stop && n.clocks == "":
			actions = append(actions, propose{state.AssignmentStop, state.AssignmentStopData{Account: a.Account, Token: a.Token}})
		}
	}
	return actions
}

// standsStill says why an erasure whose waiting time is over does not begin; empty: it does.
func (n now) standsStill(e *state.Erasure) string {
	a := n.view.Assignment(e.Account)
	switch {
	case n.clocks != "":
		return "nobody can tell whether its waiting time is over: " + n.clocks
	case a == nil:
		if h, ok := n.heldSomewhere()[e.Account]; ok {
			return fmt.Sprintf("server %s holds it under token %s, and it is assigned to none", h.Server, h.Token)
		}
		return ""
	case a.Fenced != nil:
		return ""
	case n.maybeAlive(a.Server):
		return fmt.Sprintf("server %s has not stopped it yet%s", a.Server, said(n, a))
	}
	return fmt.Sprintf("it is on server %s, which does not answer: drp failover server %s, when that is down", a.Server, a.Server)
}

// stopErased is what a server is told that still holds an account which is being erased: one that was taken for dead, and came back.
// Whoever has had it under a lower token sets its home aside, as ever. Under a higher one it is held where it was moved before a
// recovery of the cluster, by a server that was not heard then: nothing but this would ever stop it. Not what coordinators of
// a later incarnation gave: they know more.
func stopErased(v *state.View, o wire.ObservedAccount) (wire.DesiredAccount, bool) {
	e := v.Erasure(o.Account)
	incarnation, _ := speaking(v)
	if e == nil || e.Waiting() || !holding(o) || o.Token.Incarnation > incarnation {
		return wire.DesiredAccount{}, false
	}
	d := wire.DesiredAccount{Account: state.Account{Name: o.Account}, Token: e.Token, SetAside: o.Token.Less(e.Token)}
	if e.Token.Less(o.Token) {
		d.Token = o.Token
	}
	return d, true
}

// ordered are the accounts of which the erasure has not begun.
func ordered(v *state.View) (accounts []state.AccountName) {
	for _, e := range v.OpenErasures() {
		if e.Waiting() {
			accounts = append(accounts, e.Account)
		}
	}
	return accounts
}

// erasureJobs bounds what a worker is told to erase at a time. The oldest come first, so that none is taken back by a later one.
const erasureJobs = 1000

// eraseJobs are what a site is to erase.
func eraseJobs(v *state.View, site state.SiteName) []wire.EraseJob {
	var open []*state.Erasure
	for _, e := range v.OpenErasures() {
		if slices.ContainsFunc(e.Sites, func(s state.SiteErasure) bool { return s.Site == site && s.Empty.IsZero() }) {
			open = append(open, e)
		}
	}
	slices.SortStableFunc(open, func(a, b *state.Erasure) int { return a.Begun.Compare(b.Begun) })
	var jobs []wire.EraseJob
	for _, e := range open[:min(len(open), erasureJobs)] {
		jobs = append(jobs, wire.EraseJob{Account: e.Account})
	}
	return jobs
}

// reportedErasures is what workers say of it.
func reportedErasures(n now) []action {
	var actions []action
	for key, m := range n.seen.erased {
		if e := n.view.Erasure(m.Account); e == nil || e.Waiting() {
			continue
		}
		var names []string
		for _, r := range m.Repositories[:min(len(m.Repositories), mostUnknown)] {
			names = append(names, state.Shorten(string(r)))
		}
		actions = append(actions, reported{propose{state.ErasureSite, state.ErasureSiteData{
			Account: m.Account, Site: key.site, Until: m.Until, Repositories: names, Objects: m.Objects, Bytes: m.Bytes,
			Empty: m.Empty, Error: state.Shorten(m.Error)}}, key.command(state.ErasureSite), n.at})
	}
	return actions
}

const (
	alarmErasure = "erasure"

	erasureStopsWithin = day      // an account whose waiting time is over
	erasureFails       = day      // a site that says why it does not go on
	erasurePatience    = 14 * day // beyond a site's grace
	erasureUsual       = 20       // orders at once; more may be a mistake, or somebody's who must not give any
)

// erasureAlarms are one for each kind of trouble.
func erasureAlarms(n now) []Alarm {
	var open int
	var first time.Time
	standing, late, failing := trouble{}, trouble{}, trouble{}
	for _, e := range n.view.OpenErasures() {
		if open++; first.IsZero() || e.Ordered.Before(first) {
			first = e.Ordered
		}
		if n.toBeErased(e.Account) && n.at.Sub(e.NotBefore) > erasureStopsWithin {
			if why := n.standsStill(e); why != "" {
				standing.add(e.NotBefore, fmt.Sprintf("account %s: %s", e.Account, why))
			}
		}
		for _, s := range e.Sites {
			due := cmp.Or(s.Until, e.Begun)
			switch what := fmt.Sprintf("account %s at site %s: %s", e.Account, s.Site, erasure.Stands(s)); {
			case !s.Empty.IsZero():
			case !s.Failing.IsZero() && n.at.Sub(s.Failing) > erasureFails:
				failing.add(s.Failing, what)
			case n.at.Sub(due) > erasurePatience:
				late.add(due, what)
			}
		}
	}
	var alarms []Alarm
	alarm := func(since time.Time, format string, args ...any) {
		alarms = append(alarms, Alarm{Kind: alarmErasure, Since: since, Message: fmt.Sprintf(format, args...)})
	}
	if standing.count > 0 {
		alarm(standing.since, "%d accounts were to be erased more than %s ago and are not, since they may still run, such as %s", standing.count, erasureStopsWithin, standing.example)
	}
	if failing.count > 0 {
		alarm(failing.since, "%d erasures at sites stand still for more than %s, such as of %s", failing.count, erasureFails, failing.example)
	}
	if late.count > 0 {
		alarm(late.since, "%d erasures at sites are not done, more than %s after the site could have begun, such as of %s", late.count, erasurePatience, late.example)
	}
	if open > erasureUsual {
		alarm(first, "%d accounts are being erased, or are to be: see drp account erasure for who ordered that; drp account erase ACCOUNT --cancel takes one back that has not begun. Where it has begun, each site's grace is left: stop its worker",
			open)
	}
	return alarms
}

// trouble is one kind of it, with the oldest case as its example.
type trouble struct {
	count   int
	since   time.Time
	example string
}

func (t *trouble) add(since time.Time, what string) {
	if t.count++; t.count == 1 || since.Before(t.since) {
		t.since, t.example = since, what
	}
}

// stage says how far an erasure is, for a person.
func (n now) stage(e *state.Erasure) string {
	switch {
	case !e.Done.IsZero():
		return "done"
	case !e.Waiting():
		return strings.Join(erasure.Missing(e), "; ")
	case !n.toBeErased(e.Account):
		return "ordered; nothing changes before " + e.NotBefore.UTC().Format(time.RFC3339)
	}
	return cmp.Or(n.standsStill(e), "it begins now")
}
