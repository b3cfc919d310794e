package orchestrator

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// opener unseals the password of an account's repository, and the environment of a program. One that cannot be opened is
// reported by it, and is a fault of that account alone: all others of the server or site go on.
type opener struct {
	password    func(*state.Repository) (password string, ok bool)
	environment func(*state.Account, *state.Program) (environment map[string]string, ok bool)
}

// account is what a server gets of an account: its environments in clear when it is to run, and none otherwise.
func (open opener) account(a *state.Account, run bool) (state.Account, bool) {
	given := a.WithOwnPrograms()
	for _, p := range given.Programs() {
		var environment map[string]string
		if run {
			var ok bool
			if environment, ok = open.environment(a, p); !ok {
				return state.Account{}, false
			}
		}
		p.Environment, p.SealedEnvironment, p.Variables = environment, nil, nil
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
			want.Restore = &a.Restore.Snapshot
			open.restore(v, a, account, &want)
		}
		d.Accounts = append(d.Accounts, want)
	}
	for _, o := range report.Accounts {
		if stop, ok := stopErased(v, o); ok {
			d.Accounts = append(d.Accounts, stop)
			continue
		}
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
		access, ok := repositoryAccess(v, a, repositoryOf(v, t), open)
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

// repositoryOf is the one that a task is about: what is restored lies where its snapshot does, what is backed up goes to
// the present one.
func repositoryOf(v *state.View, t *state.Task) *state.Repository {
	if t.Restore == nil {
		return v.Repository(t.Account)
	}
	if s := v.Snapshot(t.Account, t.Restore.Snapshot); s != nil {
		return v.RepositoryOf(s)
	}
	return nil
}

// restore says from which repositories a home is rebuilt: each snapshot is opened by the one alone that it lies in.
func (open opener) restore(v *state.View, a *state.Assignment, account *state.Account, want *wire.DesiredAccount) {
	from := v.Snapshot(a.Account, a.Restore.Snapshot)
	if from == nil {
		return // the agent says what it lacks
	}
	if access, ok := repositoryAccess(v, a, v.RepositoryOf(from), open); ok {
		want.Repository = &access
	}
	for name, s := range olderParts(v, account, a.Restore) {
		if want.Parts == nil {
			want.Parts = map[string]state.SnapshotID{}
		}
		if want.Parts[name] = ""; s == nil {
			continue
		}
		want.Parts[name] = s.ID
		if s.Repository == from.Repository {
			continue
		}
		if access, ok := repositoryAccess(v, a, v.RepositoryOf(s), open); ok {
			if want.Elsewhere == nil {
				want.Elsewhere = map[string]wire.RepositoryAccess{}
			}
			want.Elsewhere[name] = access
		}
	}
}

// olderParts says where the parts are that a restored snapshot does not hold.
func olderParts(v *state.View, account *state.Account, from *state.RestorePoint) map[string]*state.Snapshot {
	return state.OlderParts(v.Snapshots(account.Name), account.Parts(), from)
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

// repositoryAccess leads to one of an account's repositories, through the gateways of the server's own site: a server never talks to another site's.
func repositoryAccess(v *state.View, a *state.Assignment, repo *state.Repository, open opener) (wire.RepositoryAccess, bool) {
	server := v.Server(a.Server)
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
			access.URLs = append(access.URLs, "rest:"+strings.TrimSuffix(g, "/")+"/"+repo.Name()+"/"+a.Token.String()+"/")
		}
	}
	return access, true
}

// gatewayView lets each server at the repositories of what it is assigned, at its own site: the present one of an account, and
// a retired one, to read it, for as long as it restores from there. While the cluster is held
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
				Account: repo.Row(), Server: a.Server, Token: a.Token,
				Write: repo.Home.Site == site && !a.Stop && !held(v), Daily: dailyLimit(v.Account(a.Account)),
			})
			for _, name := range retiredRead(v, a) {
				view.Grants = append(view.Grants, wire.Grant{Account: state.AccountName(name), Server: a.Server, Token: a.Token})
			}
		}
	}
	view.Revision = revision(view)
	return view
}

// retiredRead are the names of the retired repositories from which a server is restoring an account, or files of it.
func retiredRead(v *state.View, a *state.Assignment) []string {
	if len(v.RetiredOf(a.Account)) == 0 {
		return nil
	}
	var names []string
	reads := func(s *state.Snapshot) {
		if s == nil {
			return
		}
		if repo := v.RepositoryOf(s); repo != nil && v.IsRetired(repo) && !slices.Contains(names, repo.Name()) {
			names = append(names, repo.Name())
		}
	}
	if account := v.Account(a.Account); account != nil && a.Restore != nil && a.ReadyAt.IsZero() {
		reads(v.Snapshot(a.Account, a.Restore.Snapshot))
		for _, s := range olderParts(v, account, a.Restore) {
			reads(s)
		}
	}
	for _, t := range v.TasksOf(a.Account) {
		if t.Status == state.TaskPending && t.Token == a.Token && t.Restore != nil {
			reads(v.Snapshot(a.Account, t.Restore.Snapshot))
		}
	}
	slices.Sort(names)
	return names
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
func workerDesired(v *state.View, site state.SiteName, all []chore, open opener, known *missing) wire.WorkerDesired {
	d := wire.WorkerDesired{}
	if d.Incarnation, d.Recovering = speaking(v); d.Recovering {
		d.Revision = revision(d)
		return d
	}
	d.NewSite, d.Fill = true, true
	var behind []lag
	for _, repo := range v.AllRepositories() {
		account := v.Account(repo.Account)
		if account == nil {
			continue
		}
		if repo.Home.Site == site && repo.InitialisedAt.IsZero() && !v.IsRetired(repo) {
			if password, ok := open.password(repo); ok {
				d.Initial = append(d.Initial, wire.InitialJob{Account: repo.Row(), Home: repo.Home, Password: password})
			}
		}
		lacks := known.of(v, repo, site)
		d.NewSite = d.NewSite && !lacks.expected && (repo.Home.Site != site || repo.InitialisedAt.IsZero())
		if holds(v, account, repo, site) {
			for _, j := range lacks.copies(v, repo, site) {
				j.Rank = account.Tier.Rank()
				behind = append(behind, lagOf(v, repo, site, j))
			}
		}
	}
	d.Copy = mostExposedFirst(behind)
	giveChores(v, site, all, open, known, &d)
	d.Erase = eraseJobs(v, site)
	d.Revision = revision(d)
	return d
}

// holds reports whether a site has to hold a copy: the home does, and every replica of the policy.
func holds(v *state.View, account *state.Account, repo *state.Repository, site state.SiteName) bool {
	if repo.Home.Site == site {
		return true
	}
	policy := v.Policy(account.Policy)
	return policy != nil && slices.Contains(policy.Replicas, site)
}

// lag is what a site lacks of a repository.
type lag struct {
	wire.CopyJob
	older int       // 0: the newest snapshot is among it
	held  time.Time // when the newest one that is here was begun
}

func lagOf(v *state.View, repo *state.Repository, site state.SiteName, job wire.CopyJob) lag {
	l := lag{CopyJob: job, older: 1}
	newest := true
	for _, s := range v.SnapshotsIn(repo) { // newest first
		if !s.ForgetAt.IsZero() {
			continue
		}
		if newest && slices.Contains(job.Snapshots, s.ID) {
			l.older = 0
		}
		newest = false
		if _, here := s.At(site); here {
			l.held = s.Start
			break
		}
	}
	return l
}

// mostExposedFirst is the order in which a site catches up: the highest tier, then repositories of which it lacks the newest
// snapshot, then those of which the newest that it has is the oldest. Nothing of it goes by the time of day, which would
// make every answer another one. The worker gives the lower tiers their share.
func mostExposedFirst(behind []lag) []wire.CopyJob {
	slices.SortStableFunc(behind, func(a, b lag) int {
		return cmp.Or(cmp.Compare(a.Rank, b.Rank), cmp.Compare(a.older, b.older), a.held.Compare(b.held))
	})
	var jobs []wire.CopyJob
	for _, l := range behind {
		jobs = append(jobs, l.CopyJob)
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
