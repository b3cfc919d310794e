package orchestrator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"drp/raftstore/state"
	"drp/runbooks"
)

// Status is the whole platform on one page.
func (o *Orchestrator) Status(ctx context.Context) (*StatusReport, error) {
	n, err := o.present(ctx)
	if err != nil {
		return nil, err
	}
	return o.statusOf(n), nil
}

// StaleStatus is the same as one coordinator knows it, alone: who was heard when, it knows from the last leader.
func (o *Orchestrator) StaleStatus(s Stale) (*StatusReport, error) {
	n := o.now(o.config.Clock().Add(-s.Mark.Age))
	n.view = s.View
	report := o.statusOf(n)
	report.Stale = &s.Mark
	return report, nil
}

func (o *Orchestrator) statusOf(n now) *StatusReport {
	leader, _ := o.config.Store.Leader()
	report := &StatusReport{At: n.at, Cluster: n.view.Cluster(), Leader: leader, Coordinators: o.coordinators(n, leader), Alarms: o.alarms(n), Pauses: n.view.Pauses()}
	for _, s := range n.view.Sites() {
		report.Sites = append(report.Sites, SiteStatus{
			Site: s.Name, Witness: s.Witness, GatewaySeen: n.seen.gateways[s.Name], WorkerSeen: n.seen.workers[s.Name],
			Store: n.fill(s.Name), Export: o.exports.at(s)})
	}
	full := n.placement("", func(*state.Server) bool { return true })
	for _, s := range n.view.Servers() {
		r := ServerReport{
			Server: s.Name, Site: s.Site, LastContact: n.lastContact(s.Name),
			Accounts: len(n.view.AssignmentsOn(s.Name)), Used: full.used[s.Name], Capacity: s.Capacity,
		}
		if !r.LastContact.IsZero() {
			r.Status = n.silence(r.LastContact)
		}
		report.Servers = append(report.Servers, r)
	}
	for _, a := range n.view.Accounts() {
		report.Accounts = append(report.Accounts, accountStatus(n, a))
	}
	for _, r := range n.view.Runs() {
		if !r.Status.Ended() {
			report.Runs = append(report.Runs, show(n, r))
		}
	}
	return report
}

func accountStatus(n now, a *state.Account) AccountStatus {
	status := AccountStatus{Account: a.Name, Tier: a.Tier}
	if as := n.view.Assignment(a.Name); as != nil {
		status.Server, status.Token = as.Server, as.Token
		if server := n.view.Server(as.Server); server != nil {
			status.Site = server.Site
		}
		if o := n.seen.account(as); o != nil {
			status.Phase, status.Message = o.Phase, o.Message
		}
		if last := n.lastContact(as.Server); n.silence(last) != state.Up {
			// What it said last is no longer known to be true.
			status.Phase, status.Message = "", fmt.Sprintf("server %s has not been heard for %s", as.Server, n.at.Sub(last).Round(time.Second))
		}
	} else if on, ok := n.heldSomewhere()[a.Name]; ok {
		status.Message = fmt.Sprintf("server %s runs it under token %s, which the coordinators know nothing of: it is left alone, and not placed", on.Server, on.Token)
	} else {
		status.Message = "no server that answers has room for it"
	}
	repo := n.view.Repository(a.Name)
	if repo != nil {
		status.Home = repo.Home
	}
	if newest := n.newest(a.Name); newest != nil {
		status.Snapshot, status.Age = newest.ID, n.at.Sub(newest.Start)
		for _, c := range newest.Sites {
			status.CopiedTo = append(status.CopiedTo, c.Site)
		}
		slices.Sort(status.CopiedTo)
	}
	status.Why = exposure(n, a, repo)
	status.Protected = status.Why == ""
	if slow := n.slowBackup(a); status.Message == "" {
		status.Message = slow
	}
	if failure := lastFailure(n, a); failure != "" && status.Message == "" {
		status.Message = strings.TrimPrefix(failure, "; ")
	}
	if e := n.view.Erasure(a.Name); e != nil { // before all else: whoever sees it may know that it is a mistake
		status.Message = strings.TrimSuffix(fmt.Sprintf("to be erased from %s on, as %s ordered; %s", e.NotBefore.UTC().Format(time.RFC3339), e.By, status.Message), "; ")
	}
	return status
}

// newest is the newest snapshot that is not over.
func (n now) newest(a state.AccountName) *state.Snapshot {
	for _, s := range n.view.Snapshots(a) {
		if s.ForgetAt.IsZero() {
			return s
		}
	}
	return nil
}

// exposure says why an account is not protected: its newest snapshot that every replica site holds has to be younger
// than the policy's objective, and each copy has to be checked, read and proven within its limits. Empty: it is protected.
func exposure(n now, a *state.Account, repo *state.Repository) string {
	policy := n.view.Policy(a.Policy)
	switch {
	case policy == nil:
		return fmt.Sprintf("its policy %s does not exist", a.Policy)
	case policy.RPO == 0:
		return fmt.Sprintf("its policy %s sets no objective (rpo)", a.Policy)
	case repo == nil || repo.InitialisedAt.IsZero() && len(n.view.RetiredOf(a.Name)) == 0:
		return "it has no repository yet"
	}
	needed := slices.DeleteFunc(slices.Clone(policy.Replicas), func(s state.SiteName) bool { return s == repo.Home.Site })
	missing := repo.Home.Site
	for _, s := range n.view.Snapshots(a.Name) { // newest first
		if !s.ForgetAt.IsZero() {
			continue
		}
		missing = ""
		for _, site := range append([]state.SiteName{repo.Home.Site}, needed...) {
			if _, ok := s.At(site); !ok && missing == "" {
				missing = site
			}
		}
		if missing != "" {
			continue
		}
		age := n.at.Sub(s.Start)
		if age < 0 {
			return "its newest snapshot bears a time that has not come yet: a coordinator's clock was wrong"
		}
		if age > policy.RPO {
			return fmt.Sprintf("the newest snapshot that every site holds is %s old, the objective is %s", age.Round(time.Second), policy.RPO) + lastFailure(n, a)
		}
		if why := lackingParts(s, a); why != "" {
			return why
		}
		return unverified(n, a)
	}
	if len(n.view.Snapshots(a.Name)) == 0 {
		return "it has no snapshot yet" + lastFailure(n, a)
	}
	return fmt.Sprintf("no snapshot was copied to %s yet", missing) + replicationFailure(n, repo, missing)
}

// lackingParts says what a snapshot does not hold of the account, and why. Empty: it is whole.
func lackingParts(s *state.Snapshot, a *state.Account) string {
	var lacking []string
	for _, p := range s.Lacks(a.Parts()) {
		lacking = append(lacking, p.Name+": "+p.Error)
	}
	if len(lacking) == 0 {
		return ""
	}
	return "its newest snapshot lacks " + strings.Join(lacking, "; ")
}

func lastFailure(n now, a *state.Account) string {
	if b := n.view.BackupStatus(a.Name); b != nil && b.Error != "" {
		return "; the last backup failed: " + b.Error
	}
	return ""
}

func replicationFailure(n now, repo *state.Repository, site state.SiteName) string {
	if r := n.view.Replication(repo.Row(), site); r != nil && r.Error != "" {
		return ": " + r.Error
	}
	return ""
}

// Run is one run, complete.
func (o *Orchestrator) Run(ctx context.Context, id state.RunID) (*state.Run, error) {
	n, err := o.present(ctx)
	if err != nil {
		return nil, err
	}
	r := n.view.Run(id)
	if r == nil {
		return nil, fmt.Errorf("there is no run %q; see drp run status: %w", id, state.ErrNotFound)
	}
	return show(n, r), nil
}

// Runs are all runs, newest first, complete.
func (o *Orchestrator) Runs(ctx context.Context) ([]*state.Run, error) {
	n, err := o.present(ctx)
	if err != nil {
		return nil, err
	}
	var all []*state.Run
	for _, r := range n.view.Runs() {
		all = append(all, show(n, r))
	}
	return all, nil
}

// show fills the items of each step that has begun from what is known of each account.
func show(n now, r *state.Run) *state.Run {
	shown := *r
	shown.Steps = slices.Clone(r.Steps)
	accounts := n.view.RunAccounts(r.ID)
	for i := range shown.Steps {
		s := &shown.Steps[i]
		if s.Status == state.StepPending {
			continue
		}
		for _, ra := range accounts {
			if item, ok := showItem(n, r, s.Type, ra); ok {
				s.Items = append(s.Items, item)
			}
		}
	}
	return &shown
}

func showItem(n now, r *state.Run, step string, ra *state.RunAccount) (state.RunItem, bool) {
	a := n.view.Assignment(ra.Account)
	item := state.RunItem{Account: ra.Account, Status: state.StepRunning, Server: ra.To}
	ours := a != nil && a.Run == r.ID
	if ours {
		item.Server = a.Server
	}
	switch step {
	case runbooks.Fence:
		item.Server = ra.From
		switch {
		case a != nil && a.Token == ra.Token && a.Fenced != nil:
			item.Status, item.At, item.Message = state.StepDone, a.Fenced.At, string(a.Fenced.Method)+" by "+a.Fenced.By
		case ours:
			item.Status, item.At = state.StepDone, a.At
		}
	case runbooks.Assign:
		if ours {
			item.Status, item.At, item.Message = state.StepDone, a.At, "token "+a.Token.String()
		}
	case runbooks.Rebuild:
		switch {
		case ours && !a.ReadyAt.IsZero():
			item.Status, item.At, item.Message = state.StepDone, a.ReadyAt, "running"
		case ours:
			if o := n.seen.account(a); o != nil {
				item.Message = string(o.Phase)
				if o.Message != "" {
					item.Message += ": " + o.Message
				}
			}
		}
	case runbooks.Verify:
		if ra.Status == state.StepDone {
			item.Status, item.At, item.Message, item.RPO, item.RTO = ra.Status, ra.At, ra.Message, ra.RPO, ra.RTO
		} else if account := n.view.Account(ra.Account); ours && account != nil && !a.ReadyAt.IsZero() {
			_, item.Message, _ = n.checks(r, account, a)
		}
	default:
		return item, false
	}
	if ra.Status == state.StepFailed && item.Status != state.StepDone {
		item.Status, item.At, item.Message = ra.Status, ra.At, ra.Message
		if ra.Erased() {
			item.Status, item.Erased = state.StepDone, true
		}
	}
	return item, true
}
