package orchestrator

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"drp/orchestrator/schedule"
	"drp/raftstore/state"
)

// A failed backup is tried again after a minute, then after two, four … but no later than its next slot.
const (
	firstRetry = time.Minute
	lastRetry  = time.Hour
)

// dueBackups gives each account that runs its backup when the schedule says so, as far as servers and sites have room for
// them. Slots that were missed are made up for by one backup.
func dueBackups(n now) []action {
	var actions []action
	slots := n.backupSlots()
	for _, w := range slots.choose(n.waitingBackups(slots.busy), n.hasStored) {
		actions = append(actions, propose{state.TaskCreate, state.TaskCreateData{Task: newBackup(w.assignment, w.due, n.at, "")}})
	}
	return actions
}

// waitingBackup is one that is due.
type waitingBackup struct {
	account    *state.Account
	assignment *state.Assignment
	site       state.SiteName // where its server is
	due        time.Time
	first      bool    // nothing of the account is in its present repository yet
	urgency    float64 // how long ago its newest snapshot was begun, in objectives, by the weight of its tier
}

// tierWeight is how much more a tier counts than the next one. With tiers strictly one after the other, the lowest would never
// be backed up where there is too little room for all.
const tierWeight = 4

// waitingBackups are those that could begin now, most urgent first, then by name.
func (n now) waitingBackups(busy map[state.AccountName]bool) []waitingBackup {
	policies := map[state.PolicyName]*state.Policy{}
	schedules := map[state.PolicyName]*schedule.Moment{}
	for _, p := range n.view.Policies() {
		if s, err := schedule.Parse(p.Schedule, p.TimeZone); err == nil {
			policies[p.Name], schedules[p.Name] = p, s.At(n.at)
		}
	}
	pauses, servers := n.pauses(), n.answering()
	var waiting []waitingBackup
	for _, account := range n.view.Accounts() {
		s, ok := schedules[account.Policy]
		if !ok || busy[account.Name] {
			continue
		}
		status := n.view.BackupStatus(account.Name)
		due, ok := n.due(account.Name, status, s)
		if !ok {
			continue
		}
		a := n.view.Assignment(account.Name)
		if n.whyNoBackup(account.Name, a, servers) != "" {
			continue
		}
		w := waitingBackup{account: account, assignment: a, site: servers[a.Server].Site, due: due}
		if pauses.of(account.Name, a.Server, w.site) != nil {
			continue
		}
		w.first, w.urgency = n.overdue(policies[account.Policy], a, status)
		w.urgency *= math.Pow(tierWeight, float64(-account.Tier.Rank()))
		waiting = append(waiting, w)
	}
	slices.SortFunc(waiting, func(a, b waitingBackup) int {
		return cmp.Or(cmp.Compare(b.urgency, a.urgency), cmp.Compare(a.account.Name, b.account.Name))
	})
	return waiting
}

// answering are the servers that answer.
func (n now) answering() map[state.ServerName]*state.Server {
	servers := map[state.ServerName]*state.Server{}
	for _, s := range n.view.Servers() {
		if n.answers(s.Name) {
			servers[s.Name] = s
		}
	}
	return servers
}

// whyNoBackup is empty when there can be one: the account runs, its server answers, and its repository exists at its home.
func (n now) whyNoBackup(name state.AccountName, a *state.Assignment, answering map[state.ServerName]*state.Server) string {
	repo := n.view.Repository(name)
	switch {
	case held(n.view):
		return "the cluster was recovered and does nothing before a person says so: drp recover status, then drp recover resume"
	case a == nil:
		return "it has no server yet"
	case repo == nil || repo.InitialisedAt.IsZero():
		return "its repository is still being made"
	case a.Stop || a.Fenced != nil:
		return "it was stopped on " + string(a.Server)
	case a.ReadyAt.IsZero():
		return "it is still being started on " + string(a.Server)
	case answering[a.Server] == nil:
		return "server " + string(a.Server) + " does not answer"
	}
	return ""
}

func (n now) due(name state.AccountName, status *state.BackupStatus, s *schedule.Moment) (time.Time, bool) {
	if status == nil {
		// The first backup does not wait for a slot: until it is there, everything would be lost.
		return n.at, true
	}
	if status.Due.After(n.at) || status.Finished.After(n.at) {
		return n.at, true // a wrong clock was here: it must not keep backups away until its time has come
	}
	if due, ok := s.Latest(string(name), status.Due); ok {
		return due, true
	}
	if status.Failures > 0 {
		wait := min(firstRetry<<min(status.Failures-1, 6), lastRetry)
		if !n.at.Before(status.Finished.Add(wait)) {
			return status.Due, true
		}
	}
	return time.Time{}, false
}

// noObjective stands for the objective of a policy that has none, when accounts are put into an order.
const noObjective = day

// overdue is how long ago what is stored of an account was begun, in objectives; first, that nothing is.
func (n now) overdue(p *state.Policy, a *state.Assignment, status *state.BackupStatus) (first bool, objectives float64) {
	since := a.ReadyAt
	if status != nil && status.Error == "" {
		since = status.Started
	} else {
		all := n.view.Snapshots(a.Account)
		if len(all) > 0 {
			since = all[0].Start
		}
		first = n.storesFirst(a.Account, all)
	}
	return first, float64(n.at.Sub(since)) / float64(cmp.Or(p.RPO, noObjective))
}

// storesFirst reports whether nothing is in the account's present repository yet: then a backup sends everything.
func (n now) storesFirst(account state.AccountName, all []*state.Snapshot) bool {
	repo := n.view.Repository(account)
	return repo == nil || len(within(all, repo)) == 0
}

// newBackup makes a task that is named after account, slot and moment, so that two leaders never make one slot's twice.
func newBackup(a *state.Assignment, due, at time.Time, by string) state.Task {
	id := "backup-" + string(a.Account) + "-" + a.Token.String() + "-" + at.UTC().Format("20060102T150405.000Z")
	if by != "" {
		id += "-" + by
	}
	return state.Task{
		ID: state.TaskID(id), Kind: state.TaskBackup, Account: a.Account, Server: a.Server, Token: a.Token,
		Created: at, Due: due, Status: state.TaskPending,
	}
}

// backupSlots are how many backups may run, and how many do.
type backupSlots struct {
	servers map[state.ServerName]*slots
	sites   map[state.SiteName]*slots
	busy    map[state.AccountName]bool
}

type slots struct {
	most, taken int
	first       int // of those taken: by backups of accounts whose repository holds nothing yet
}

// backupSlots count what runs. What a server that does not answer was asked for takes nothing from its site.
func (n now) backupSlots() backupSlots {
	b := backupSlots{servers: map[state.ServerName]*slots{}, sites: map[state.SiteName]*slots{}, busy: map[state.AccountName]bool{}}
	for _, s := range n.view.Sites() {
		b.sites[s.Name] = &slots{most: SiteBackups(s)}
	}
	at := map[state.ServerName]state.SiteName{}
	for _, s := range n.view.Servers() {
		b.servers[s.Name] = &slots{most: ServerBackups(s)}
		if n.answers(s.Name) {
			at[s.Name] = s.Site
		}
	}
	for _, t := range n.view.Tasks() {
		if t.Status != state.TaskPending || t.Kind != state.TaskBackup {
			continue
		}
		b.busy[t.Account] = true
		first := n.storesFirst(t.Account, n.view.Snapshots(t.Account))
		if s := b.servers[t.Server]; s != nil {
			s.take(first)
		}
		if s := b.sites[at[t.Server]]; s != nil {
			s.take(first)
		}
	}
	return b
}

func (s *slots) take(first bool) {
	s.taken++
	if first {
		s.first++
	}
}

func (s *slots) room(first bool) bool { return s.taken < s.most && (!first || s.first < s.most/2) }

// choose says which of those that wait may begin. First backups last long and come in thousands, when accounts are moved
// here or a site is new: while others wait they get half of the places and no more. Beyond that they get what is left
// over, but the last place of a server only when none of its accounts will want it soon: one that is stored would be late
// by the hours that a first one takes.
func (b backupSlots) choose(waiting []waitingBackup, hasStored func(state.ServerName) bool) []waitingBackup {
	var chosen, later []waitingBackup
	begin := func(w waitingBackup) {
		b.servers[w.assignment.Server].take(w.first)
		b.sites[w.site].take(w.first)
		chosen = append(chosen, w)
	}
	for _, w := range waiting {
		switch {
		case b.servers[w.assignment.Server].room(w.first) && b.sites[w.site].room(w.first):
			begin(w)
		case w.first:
			later = append(later, w)
		}
	}
	stored := map[state.ServerName]bool{}
	for _, w := range later {
		name := w.assignment.Server
		server, site := b.servers[name], b.sites[w.site]
		if !server.room(false) || !site.room(false) {
			continue
		}
		if server.taken == server.most-1 && server.first > 0 {
			wanted, known := stored[name]
			if !known {
				wanted = hasStored(name)
				stored[name] = wanted
			}
			if wanted {
				continue
			}
		}
		begin(w)
	}
	return chosen
}

// hasStored reports whether a server runs an account whose last backup was good, and which will so be due again.
func (n now) hasStored(server state.ServerName) bool {
	return slices.ContainsFunc(n.view.AssignmentsOn(server), func(a *state.Assignment) bool {
		status := n.view.BackupStatus(a.Account)
		return status != nil && status.Snapshot != ""
	})
}

// slowBackup says of a backup that takes much longer than the last one did, or half of the account's objective.
func (n now) slowBackup(a *state.Account) string {
	running := n.backupUnderWay(a.Name)
	if running == nil {
		return ""
	}
	var limit, usual time.Duration
	if p := n.view.Policy(a.Policy); p != nil {
		limit = p.RPO / 2
	}
	if b := n.view.BackupStatus(a.Name); b != nil && b.Error == "" {
		usual = b.Finished.Sub(b.Started)
	}
	took := n.at.Sub(running.Created)
	if limit = max(limit, 3*usual); limit == 0 || took <= limit {
		return ""
	}
	if usual == 0 {
		return fmt.Sprintf("its backup has been running for %s", took.Round(time.Second))
	}
	return fmt.Sprintf("its backup has been running for %s; the last one took %s", took.Round(time.Second), usual.Round(time.Second))
}

// backupUnderWay is the account's pending backup; nil: there is none.
func (n now) backupUnderWay(name state.AccountName) *state.Task {
	for _, t := range n.view.TasksOf(name) {
		if t.Kind == state.TaskBackup && t.Status == state.TaskPending {
			return t
		}
	}
	return nil
}
