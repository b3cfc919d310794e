package orchestrator

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"drp/raftstore/state"
)

// planFailover says what a failover of scope would do at this moment. It refuses where one would be wrong.
func planFailover(n now, scope Scope) (*Plan, error) {
	servers, err := scopeServers(n.view, scope)
	if err != nil {
		return nil, err
	}
	plan := &Plan{Scope: scope, At: n.at}
	inScope := map[state.ServerName]bool{}
	for _, s := range servers {
		inScope[s.Name] = true
		ps := PlanServer{Server: s.Name, LastContact: n.seen.lastContact(n.view, s.Name), Accounts: len(n.view.AssignmentsOn(s.Name))}
		if n.maybeAlive(s.Name) {
			ps.Status = state.Up
			plan.Answering = append(plan.Answering, ps)
			continue
		}
		ps.Status = n.judge(ps.LastContact)
		plan.Silent = append(plan.Silent, ps)
	}
	if len(plan.Silent) == 0 {
		return nil, fmt.Errorf("fail over %s: all of its servers still answer (%s); a failover is for what is lost: %w",
			scope, describeContacts(n, plan.Answering), ErrRefused)
	}
	if err := planAccounts(n, plan, inScope); err != nil {
		return nil, err
	}
	plan.Hash = plan.hash()
	return plan, nil
}

// maybeAlive reports whether a server has to be treated as alive: it answered a short while ago, or this leader is too
// new to know.
func (n now) maybeAlive(s state.ServerName) bool {
	last := n.seen.lastContact(n.view, s)
	return !last.IsZero() && n.judge(last) == state.Up
}

// String names a scope as a person types it.
func (s Scope) String() string {
	if s.Server != "" {
		return "server " + string(s.Server)
	}
	return "site " + string(s.Site)
}

func scopeServers(v *state.View, scope Scope) ([]*state.Server, error) {
	switch {
	case (scope.Site == "") == (scope.Server == ""):
		return nil, fmt.Errorf("plan failover: name a site or a server: %w", state.ErrInvalid)
	case scope.Server != "":
		s := v.Server(scope.Server)
		if s == nil {
			return nil, fmt.Errorf("plan failover: there is no server %q; there are %s: %w", scope.Server, names(v.Servers()), state.ErrNotFound)
		}
		return []*state.Server{s}, nil
	}
	if v.Site(scope.Site) == nil {
		return nil, fmt.Errorf("plan failover: there is no site %q; there are %s: %w", scope.Site, names(v.Sites()), state.ErrNotFound)
	}
	servers := v.ServersAt(scope.Site)
	if len(servers) == 0 {
		return nil, fmt.Errorf("plan failover: site %s has no servers, so there is nothing to bring back: %w", scope.Site, ErrRefused)
	}
	return servers, nil
}

func names[T interface{ *state.Server | *state.Site }](rows []T) string {
	var list []string
	for _, r := range rows {
		switch r := any(r).(type) {
		case *state.Server:
			list = append(list, string(r.Name))
		case *state.Site:
			list = append(list, string(r.Name))
		}
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

func describeContacts(n now, servers []PlanServer) string {
	var list []string
	for _, s := range servers {
		silent := n.at.Sub(s.LastContact).Round(time.Second)
		list = append(list, fmt.Sprintf("%s %s ago", s.Server, silent))
	}
	return strings.Join(list, ", ")
}

// planAccounts decides for every account of the scope, in order of recovery, where it comes back and from what.
func planAccounts(n now, plan *Plan, inScope map[state.ServerName]bool) error {
	var accounts []*state.Account
	for _, a := range n.view.Accounts() {
		if as := n.view.Assignment(a.Name); as != nil && inScope[as.Server] {
			accounts = append(accounts, a)
		}
	}
	if len(accounts) == 0 {
		return fmt.Errorf("fail over %s: no account runs there: %w", plan.Scope, ErrRefused)
	}
	slices.SortStableFunc(accounts, byRecovery)
	busy := recovering(n.view)
	free := newPlacement(n.view, func(s *state.Server) bool { return !inScope[s.Name] && n.answers(s.Name) })
	for _, account := range accounts {
		as := n.view.Assignment(account.Name)
		refuse := func(reason string) {
			plan.NotFit = append(plan.NotFit, PlanRefusal{account.Name, account.Tier, as.Server, reason})
		}
		if run := busy[account.Name]; run != "" {
			refuse(fmt.Sprintf("run %s already recovers it", run))
			continue
		}
		snapshot, site, server, reason := findRecovery(n, free, account, plan.Scope)
		if reason != "" {
			refuse(reason)
			continue
		}
		plan.Accounts = append(plan.Accounts, PlanAccount{
			Account: account.Name, Tier: account.Tier, From: as.Server, Token: as.Token, To: server,
			Snapshot: snapshot.ID, ReadAt: site, Start: snapshot.Start,
			Loss:      max(0, n.seen.lastContact(n.view, as.Server).Sub(snapshot.Start)),
			Addresses: account.Addresses,
		})
	}
	return nil
}

// recovering maps each account of a run that has not ended to that run.
func recovering(v *state.View) map[state.AccountName]state.RunID {
	busy := map[state.AccountName]state.RunID{}
	for _, r := range v.Runs() {
		if r.Status.Ended() {
			continue
		}
		for _, a := range v.RunAccounts(r.ID) {
			if a.Status == state.StepPending {
				busy[a.Account] = r.ID
			}
		}
	}
	return busy
}

// findRecovery takes the newest snapshot of which a reachable site holds a copy, at a site that has room. An older
// copy at a site with room beats a newer one at a full site: a customer would rather be up.
func findRecovery(n now, free *placement, account *state.Account, scope Scope) (*state.Snapshot, state.SiteName, state.ServerName, string) {
	reason := "it has no snapshot yet"
	tried := map[state.SiteName]bool{}
	for _, snapshot := range n.view.Snapshots(account.Name) { // newest first
		if len(tried) == 0 {
			reason = "no snapshot of it was copied to another site"
		}
		copies := slices.Clone(snapshot.Sites)
		slices.SortFunc(copies, func(a, b state.Copy) int { return cmp.Compare(a.Site, b.Site) })
		for _, c := range copies {
			if (scope.Site != "" && c.Site == scope.Site) || tried[c.Site] {
				continue
			}
			tried[c.Site] = true
			server, lack := free.choose(c.Site, account.Plan)
			if lack == "" {
				return snapshot, c.Site, server, ""
			}
			reason = lack
		}
	}
	return nil, "", "", reason
}

// hash covers what a person agrees to, and nothing that changes while they read: who moves where, from which snapshot,
// who is named as down, what stays behind.
func (p *Plan) hash() string {
	type account struct {
		Account  state.AccountName
		Token    state.Token
		To       state.ServerName
		Snapshot state.SnapshotID
		ReadAt   state.SiteName
	}
	bound := struct {
		Scope    Scope
		Silent   []state.ServerName
		Accounts []account
		NotFit   []state.AccountName
	}{Scope: p.Scope}
	for _, s := range p.Silent {
		bound.Silent = append(bound.Silent, s.Server)
	}
	for _, a := range p.Accounts {
		bound.Accounts = append(bound.Accounts, account{a.Account, a.Token, a.To, a.Snapshot, a.ReadAt})
	}
	for _, r := range p.NotFit {
		bound.NotFit = append(bound.NotFit, r.Account)
	}
	data, err := json.Marshal(bound)
	if err != nil {
		panic("orchestrator: encode plan: " + err.Error()) // plain strings and numbers
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}
