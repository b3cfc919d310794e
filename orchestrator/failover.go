package orchestrator

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"drp/raftstore/state"
)

// planFailover says what a failover of scope would do at this moment. It refuses where one would be wrong. Accounts that
// a run has taken up already are left to it, unless that run is own.
func planFailover(n now, scope Scope, own state.RunID) (*Plan, error) {
	servers, err := scopeServers(n.view, scope)
	if err != nil {
		return nil, err
	}
	plan := &Plan{Scope: scope, At: n.at}
	inScope := map[state.ServerName]bool{}
	for _, s := range servers {
		inScope[s.Name] = true
		ps := PlanServer{Server: s.Name, LastContact: n.lastContact(s.Name), Accounts: len(n.view.AssignmentsOn(s.Name))}
		if n.maybeAlive(s.Name) {
			ps.Status = state.Up
			plan.Answering = append(plan.Answering, ps)
			continue
		}
		ps.Status = n.judge(ps.LastContact)
		plan.Silent = append(plan.Silent, ps)
	}
	accounts := n.lostAccounts(inScope, len(plan.Silent) > 0)
	switch {
	case len(accounts) == 0 && len(plan.Silent) == 0:
		return nil, fmt.Errorf("fail over %s: %s: %w", scope, n.whyAlive(plan.Answering), ErrRefused)
	case len(accounts) == 0:
		return nil, fmt.Errorf("fail over %s: no account runs there: %w", scope, ErrRefused)
	}
	planAccounts(n, plan, inScope, accounts, own)
	plan.Hash = plan.hash()
	return plan, nil
}

// maybeAlive reports whether a server has to be treated as alive: it answered a short while ago, or this leader is too
// new to know.
func (n now) maybeAlive(s state.ServerName) bool {
	last := n.lastContact(s)
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
			return nil, fmt.Errorf("plan failover: there is no server %q; there are %s: %w", scope.Server, names(v.Servers(), func(s *state.Server) state.ServerName { return s.Name }), state.ErrNotFound)
		}
		return []*state.Server{s}, nil
	}
	if v.Site(scope.Site) == nil {
		return nil, fmt.Errorf("plan failover: there is no site %q; there are %s: %w", scope.Site, names(v.Sites(), func(s *state.Site) state.SiteName { return s.Name }), state.ErrNotFound)
	}
	servers := v.ServersAt(scope.Site)
	if len(servers) == 0 {
		return nil, fmt.Errorf("plan failover: site %s has no servers, so there is nothing to bring back: %w", scope.Site, ErrRefused)
	}
	return servers, nil
}

// names lists what there is, for a person who typed what there is not.
func names[R any, N ~string](rows []R, name func(R) N) string {
	if len(rows) == 0 {
		return "none"
	}
	list := make([]N, len(rows))
	for i, r := range rows {
		list[i] = name(r)
	}
	return join(list)
}

// join is strings.Join for names.
func join[N ~string](list []N) string {
	parts := make([]string, len(list))
	for i, n := range list {
		parts[i] = string(n)
	}
	return strings.Join(parts, ", ")
}

// whyAlive says why none of these servers counts as lost.
func (n now) whyAlive(servers []PlanServer) string {
	heard := describeContacts(n, servers)
	if slices.ContainsFunc(servers, func(s PlanServer) bool { return n.at.Sub(s.LastContact) <= unknownAfter }) {
		return fmt.Sprintf("all of its servers still answer, or did so a moment ago (%s); a server counts as lost after %s, and a failover is for what is lost", heard, unknownAfter)
	}
	listened := n.at.Sub(n.since)
	return fmt.Sprintf("its servers were last heard by the leader before this one (%s), which has listened for %s: ask again in %s", heard,
		listened.Round(time.Second), (unknownAfter - listened + time.Second).Round(time.Second))
}

func describeContacts(n now, servers []PlanServer) string {
	var list []string
	for _, s := range servers {
		silent := n.at.Sub(s.LastContact).Round(time.Second)
		list = append(list, fmt.Sprintf("%s %s ago", s.Server, silent))
	}
	return strings.Join(list, ", ")
}

// lostAccounts are those of the scope that need another server, in order of recovery: all of them when a part of it is
// silent. When all of it answers, those that a run stopped there, or brought there and could not start, and then left
// behind: nobody else would ever bring them back. Not those that were stopped to be erased: of a silent server, though, they need
// somebody's word that it is down, as all others do.
func (n now) lostAccounts(inScope map[state.ServerName]bool, silent bool) []*state.Account {
	var accounts []*state.Account
	for _, a := range n.view.Accounts() {
		as := n.view.Assignment(a.Name)
		if as == nil || !inScope[as.Server] {
			continue
		}
		if silent || (as.Stop || as.Fenced != nil || (as.Run != "" && as.ReadyAt.IsZero())) && !n.toBeErased(a.Name) {
			accounts = append(accounts, a)
		}
	}
	slices.SortStableFunc(accounts, byRecovery)
	return accounts
}

// planAccounts decides for every account where it comes back and from what.
func planAccounts(n now, plan *Plan, inScope map[state.ServerName]bool, accounts []*state.Account, own state.RunID) {
	busy := recovering(n.view, own)
	lost := func(server *state.Server) bool { return len(plan.Silent) > 0 && inScope[server.Name] }
	free := n.placement(own, func(s *state.Server) bool { return !lost(s) && n.answers(s.Name) })
	for _, account := range accounts {
		as := n.view.Assignment(account.Name)
		refuse := func(reason string) {
			plan.NotFit = append(plan.NotFit, PlanRefusal{account.Name, account.Tier, as.Server, reason})
		}
		if run := busy[account.Name]; run != "" {
			refuse(fmt.Sprintf("run %s already recovers it: drp run watch %s, or drp run cancel %s when nobody has confirmed it", run, run, run))
			continue
		}
		if n.toBeErased(account.Name) { // needs no room and no snapshot, but somebody's word that it runs nowhere
			plan.Accounts = append(plan.Accounts, PlanAccount{
				Account: account.Name, Tier: account.Tier, From: as.Server, Token: as.Token, To: as.Server, Addresses: account.Addresses, Erased: true,
			})
			continue
		}
		snapshot, site, server, reason := findRecovery(n, free, account, func(site state.SiteName) bool {
			return len(plan.Silent) > 0 && site == plan.Scope.Site
		})
		if reason != "" {
			refuse(reason)
			continue
		}
		plan.Accounts = append(plan.Accounts, PlanAccount{
			Account: account.Name, Tier: account.Tier, From: as.Server, Token: as.Token, To: server,
			Snapshot: snapshot.ID, ReadAt: site, Start: snapshot.Start,
			Loss:      max(0, n.lastContact(as.Server).Sub(snapshot.Start)),
			Addresses: account.Addresses,
			Older:     planParts(n.view, account, &state.RestorePoint{Snapshot: snapshot.ID, Site: site}),
		})
	}
}

// planParts says what comes from which older snapshot, and what does not come.
func planParts(v *state.View, account *state.Account, from *state.RestorePoint) []PlanPart {
	older := olderParts(v, account, from)
	var parts []PlanPart
	for _, name := range slices.Sorted(maps.Keys(older)) {
		part := PlanPart{Part: name}
		if s := older[name]; s != nil {
			part.Snapshot, part.Start = s.ID, s.Start
		}
		parts = append(parts, part)
	}
	return parts
}

// recovering maps each account of a run that has not ended to that run.
func recovering(v *state.View, own state.RunID) map[state.AccountName]state.RunID {
	busy := map[state.AccountName]state.RunID{}
	for _, r := range v.Runs() {
		if r.Status.Ended() || r.ID == own {
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
func findRecovery(n now, free *placement, account *state.Account, lost func(state.SiteName) bool) (*state.Snapshot, state.SiteName, state.ServerName, string) {
	reason := "it has no snapshot yet"
	tried := map[state.SiteName]bool{}
	for _, snapshot := range n.view.Snapshots(account.Name) { // newest first
		if !snapshot.ForgetAt.IsZero() {
			continue
		}
		if len(tried) == 0 {
			reason = "no snapshot of it was copied to another site"
		}
		copies := slices.Clone(snapshot.Sites)
		slices.SortFunc(copies, func(a, b state.Copy) int { return cmp.Compare(a.Site, b.Site) })
		for _, c := range copies {
			if lost(c.Site) || tried[c.Site] {
				continue
			}
			tried[c.Site] = true
			server, lack := free.choose(c.Site, account)
			if lack == "" {
				return snapshot, c.Site, server, ""
			}
			reason = lack
		}
	}
	return nil, "", "", reason
}

// hash covers what a person agrees to, and nothing that changes while they read: who moves where, who is named as down,
// what stays behind. Not the snapshots: a newer one may be copied while they read, and only makes the loss smaller.
func (p *Plan) hash() string {
	type account struct {
		Account state.AccountName
		Token   state.Token
		To      state.ServerName
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
		bound.Accounts = append(bound.Accounts, account{a.Account, a.Token, a.To})
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
