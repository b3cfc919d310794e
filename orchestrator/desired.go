package orchestrator

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// opener unseals the password of an account's repository, and the environment of a service. One that cannot be opened is
// reported by it, and is a fault of that account alone: all others of the server or site go on.
type opener struct {
	password    func(*state.Repository) (password string, ok bool)
	environment func(*state.Account, *state.Service) (environment map[string]string, ok bool)
}

// account is what a server gets of an account: its environments in clear when it is to run, and none otherwise.
func (open opener) account(a *state.Account, run bool) (state.Account, bool) {
	given := *a // rows are shared
	given.Services = make([]state.Service, len(a.Services))
	for i, s := range a.Services {
		var environment map[string]string
		if run {
			var ok bool
			if environment, ok = open.environment(a, &s); !ok {
				return state.Account{}, false
			}
		}
		s.Environment, s.SealedEnvironment, s.Variables = environment, nil, nil
		given.Services[i] = s
	}
	return given, true
}

// agentDesired is what one server should hold. What it reports and should not hold is named too: an account that is
// not named is left as it is.
func agentDesired(v *state.View, report *wire.AgentReport, open opener) (wire.AgentDesired, error) {
	d := wire.AgentDesired{AskEngines: true}
	server, err := knownServer(v, report.Server)
	if err != nil {
		return d, err
	}
	if d.Incarnation, d.Recovering = speaking(v); d.Recovering {
		d.Revision = revision(d)
		return d, nil
	}
	if err := notSuperseded(v, report.Incarnation); err != nil {
		return wire.AgentDesired{}, err
	}
	named := map[state.AccountName]bool{}
	for _, a := range v.AssignmentsOn(server.Name) {
		account := v.Account(a.Account)
		if account == nil {
			continue // taken out of the inventory: left as it is
		}
		named[a.Account] = true
		want := wire.DesiredAccount{Token: a.Token, Run: !a.Stop && a.Fenced == nil, New: a.ReadyAt.IsZero()}
		var ok bool
		if want.Account, ok = open.account(account, want.Run); !ok {
			continue // left as it is: with another environment than its own it would be started again
		}
		if want.Run && want.New && a.Restore != nil {
			want.Restore, want.Parts = &a.Restore.Snapshot, olderParts(v, account, a.Restore)
			if access, ok := repositoryAccess(v, a, open); ok { // else the agent says what it lacks
				want.Repository = &access
			}
		}
		d.Accounts = append(d.Accounts, want)
	}
	for _, o := range report.Accounts {
		a, account := v.Assignment(o.Account), v.Account(o.Account)
		if named[o.Account] || a == nil || account == nil || a.Token.Less(o.Token) {
			continue
		}
		if o.Token == a.Token && (!holding(o) || !a.Stop && a.Fenced == nil) {
			continue // see doubled: it goes on until the account is moved
		}
		named[o.Account] = true
		aside, _ := open.account(account, false)
		d.Accounts = append(d.Accounts, wire.DesiredAccount{Account: aside, Token: a.Token, SetAside: o.Token.Less(a.Token)})
	}
	backups := 0
	for _, t := range oldestFirst(v.TasksOn(server.Name)) {
		a := v.Assignment(t.Account)
		if t.Status != state.TaskPending || a == nil || a.Token != t.Token {
			continue
		}
		if t.Kind == state.TaskBackup && backups == ServerBackups(server) {
			continue // asked for by hand; it waits until one of the others has ended
		}
		access, ok := repositoryAccess(v, a, open)
		if !ok {
			continue
		}
		if t.Kind == state.TaskBackup {
			backups++
		}
		d.Tasks = append(d.Tasks, wire.DesiredTask{Task: *t, Repository: access})
	}
	d.Revision = revision(d)
	return d, nil
}

// oldestFirst keeps what a server is given steady: a task that is new comes behind those that it is at.
func oldestFirst(tasks []*state.Task) []*state.Task {
	slices.SortStableFunc(tasks, func(a, b *state.Task) int { return a.Created.Compare(b.Created) })
	return tasks
}

// olderParts says where the parts are that a restored snapshot does not hold: in the newest one before it that does.
func olderParts(v *state.View, account *state.Account, from *state.RestorePoint) map[string]state.SnapshotID {
	var older map[string]state.SnapshotID
	found := false
	for _, s := range v.Snapshots(account.Name) { // newest first
		if _, here := s.At(from.Site); (!here || !s.ForgetAt.IsZero()) && s.ID != from.Snapshot {
			continue
		}
		switch {
		case s.ID == from.Snapshot:
			found = true
			for _, p := range s.Lacks(account.Parts()) {
				if older == nil {
					older = map[string]state.SnapshotID{}
				}
				older[p.Name] = ""
			}
		case found:
			for name, id := range older {
				if id == "" && len(s.Lacks([]string{name})) == 0 {
					older[name] = s.ID
				}
			}
		}
	}
	return older
}

// speaking is what every answer to agents, gateways and workers says of who gives it.
func speaking(v *state.View) (incarnation uint64, recovering bool) {
	if c := v.Cluster(); c != nil {
		incarnation = c.Incarnation
	}
	return incarnation, held(v)
}

// knownServer is the server of an agent that calls: nobody else is told anything, nor counted as heard.
func knownServer(v *state.View, name state.ServerName) (*state.Server, error) {
	server := v.Server(name)
	if server == nil {
		return nil, fmt.Errorf("server %q is not in the inventory; add it with drp apply: %w", name, state.ErrNotFound)
	}
	return server, nil
}

// ErrSuperseded: this cluster was recovered, and these coordinators are from before that.
var ErrSuperseded = errors.New("the cluster was recovered, and this coordinator is from before that")

// notSuperseded refuses an agent, gateway or worker that obeys a later incarnation: whatever we know of it is history. A held cluster asks all
// the same, and begins a higher one than that.
func notSuperseded(v *state.View, obeyed uint64) error {
	if c := v.Cluster(); c != nil && c.Held == nil && c.Incarnation < obeyed {
		return fmt.Errorf("%w: the caller obeys incarnation %d, and this is %d. Stop this coordinator, keep its directory, and let it join with an empty one (drp server init --join)",
			ErrSuperseded, obeyed, c.Incarnation)
	}
	return nil
}

// repositoryAccess leads through the gateways of the server's own site: a server never talks to another site's.
func repositoryAccess(v *state.View, a *state.Assignment, open opener) (wire.RepositoryAccess, bool) {
	repo, server := v.Repository(a.Account), v.Server(a.Server)
	if repo == nil || server == nil {
		return wire.RepositoryAccess{}, false
	}
	password, ok := open.password(repo)
	if !ok {
		return wire.RepositoryAccess{}, false
	}
	access := wire.RepositoryAccess{Password: password}
	if site := v.Site(server.Site); site != nil {
		for _, g := range site.Gateways {
			access.URLs = append(access.URLs, "rest:"+strings.TrimSuffix(g, "/")+"/"+string(a.Account)+"/"+a.Token.String()+"/")
		}
	}
	return access, true
}

// gatewayView lets each server at the repositories of what it is assigned, at its own site. While the cluster is held
// nobody writes: who is to write follows from tokens that are not known yet.
func gatewayView(v *state.View, site state.SiteName) wire.GatewayView {
	var view wire.GatewayView
	view.Incarnation, view.Recovering = speaking(v)
	for _, s := range v.ServersAt(site) {
		for _, a := range v.AssignmentsOn(s.Name) {
			repo := v.Repository(a.Account)
			if repo == nil || a.Fenced != nil {
				continue
			}
			view.Grants = append(view.Grants, wire.Grant{
				Account: a.Account, Server: a.Server, Token: a.Token,
				Write: repo.Home.Site == site && !a.Stop && !held(v), Daily: dailyLimit(v.Account(a.Account)),
			})
		}
	}
	view.Revision = revision(view)
	return view
}

// Of its disk an account can store so many times as much in a day, and a little for what is not on its disk.
const (
	dailyDisks = 3
	dailyRest  = 1 << 30
)

// dailyLimit is what an account's server can store in a day: more than any backup needs, and too little to fill a store with.
func dailyLimit(a *state.Account) int64 {
	if a == nil || a.Plan.Disk <= 0 {
		return 0
	}
	return dailyDisks*a.Plan.Disk + dailyRest
}

// workerDesired is what a site lacks: repositories to create, snapshots that other sites hold, and chores.
func workerDesired(v *state.View, site state.SiteName, all []chore, open opener) wire.WorkerDesired {
	d := wire.WorkerDesired{}
	if d.Incarnation, d.Recovering = speaking(v); d.Recovering {
		d.Revision = revision(d)
		return d
	}
	d.NewSite = true
	for _, repo := range v.Repositories() {
		account := v.Account(repo.Account)
		if account == nil {
			continue
		}
		if repo.Home.Site == site && repo.InitialisedAt.IsZero() {
			if password, ok := open.password(repo); ok {
				d.Initial = append(d.Initial, wire.InitialJob{Account: repo.Account, Home: repo.Home, Password: password})
			}
		}
		d.NewSite = d.NewSite && !expected(v, repo, site)
		if holds(v, account, repo, site) {
			d.Copy = append(d.Copy, copyJobs(v, account, repo, site)...)
		}
	}
	giveChores(v, site, all, open, &d)
	d.Revision = revision(d)
	return d
}

// expected reports whether anything of a repository should be in a site's store already.
func expected(v *state.View, repo *state.Repository, site state.SiteName) bool {
	if repo.Home.Site == site && !repo.InitialisedAt.IsZero() {
		return true
	}
	return slices.ContainsFunc(v.Snapshots(repo.Account), func(s *state.Snapshot) bool {
		_, there := s.At(site)
		return there
	})
}

// holds reports whether a site has to hold a copy: the home does, and every replica of the policy.
func holds(v *state.View, account *state.Account, repo *state.Repository, site state.SiteName) bool {
	if repo.Home.Site == site {
		return true
	}
	policy := v.Policy(account.Policy)
	return policy != nil && slices.Contains(policy.Replicas, site)
}

// copyJobs says from where to pull what is missing here: from the home what the home has, from another site what only
// that one has (a site that came back holds snapshots which its successor never saw).
func copyJobs(v *state.View, account *state.Account, repo *state.Repository, site state.SiteName) []wire.CopyJob {
	missing := map[state.SiteName][]state.SnapshotID{}
	for _, s := range v.Snapshots(account.Name) { // newest first
		if _, here := s.At(site); here || !s.ForgetAt.IsZero() {
			continue
		}
		if _, home := s.At(repo.Home.Site); home {
			missing[repo.Home.Site] = append(missing[repo.Home.Site], s.ID)
		} else if len(s.Sites) > 0 {
			missing[s.Sites[0].Site] = append(missing[s.Sites[0].Site], s.ID)
		}
	}
	var jobs []wire.CopyJob
	for _, source := range v.Sites() {
		ids := missing[source.Name]
		if len(ids) == 0 || source.Store == nil || source.Name == site {
			continue
		}
		jobs = append(jobs, wire.CopyJob{Account: account.Name, From: source.Name, Store: *source.Store, Home: repo.Home, Snapshots: ids})
	}
	return jobs
}

// revision tells one desired value from another. It is not a secret and not a proof; it only saves a message.
func revision(desired any) uint64 {
	h := fnv.New64a()
	if err := json.NewEncoder(h).Encode(desired); err != nil {
		panic("orchestrator: encode desired: " + err.Error()) // plain values
	}
	return h.Sum64() | 1 // never 0, which means "nothing taken over yet"
}
