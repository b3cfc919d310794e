package orchestrator

import (
	"cmp"
	"slices"
	"time"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// now is everything that a decision rests on. It is a value: the same one gives the same actions.
type now struct {
	view  *state.View
	seen  glance
	at    time.Time
	since time.Time // when this leader began to lead: silence is counted from here at the earliest
	// sites have a coordinator that can fetch a check; own is this one's.
	sites []state.SiteName
	own   state.SiteName
	// exported is when the newest export of the state in a site's store was made; nil: this leader exports nothing anywhere.
	exported map[state.SiteName]time.Time
	// clocks says why nobody can tell how late it is: the coordinators' clocks differ. Empty: they agree.
	clocks  string
	missing *missing // what sites lack, as far as it is remembered; may be nil
	asks    *asks    // of which accounts every copy is to be looked at now; may be nil
	// free counts what this look has given out already; see room.
	free *placement
	held *heldOnce
}

// room is where accounts can go, with what this look has promised and what runs under way were promised.
func (n now) room() *placement {
	if n.free.servers == nil {
		*n.free = *n.placement("", func(s *state.Server) bool { return n.answers(s.Name) })
	}
	return n.free
}

// An action is what the loop carries out. Each can be carried out twice without harm.
type action interface{ isAction() }

// propose commits a command. Apply refuses it when the state has moved on.
type propose struct {
	name    state.Name
	payload any
}

// reported is a proposal that rests on a report which may come more than once: it counts once.
type reported struct {
	propose
	id string
	at time.Time // of the look that it is from: what the report says of times is meant from there
}

// createRepository seals a new password and commits it.
type createRepository struct {
	account state.AccountName
	site    state.SiteName
}

// probe has a check fetched from a site.
type probe struct {
	key  probeKey
	from state.SiteName
	ask  wire.Probe
}

func (propose) isAction()          {}
func (reported) isAction()         {}
func (createRepository) isAction() {}
func (probe) isAction()            {}

// decide is the whole policy of the leader.
func decide(n now) []action {
	if held(n.view) {
		return facts(n)
	}
	var actions []action
	for _, part := range []func(now) []action{
		statusChanges, reportedOutcomes, firstPlacements, dueBackups, runSteps, endedTasks, dueErasures,
	} {
		actions = append(actions, part(n)...)
	}
	return actions
}

// statusChanges writes down who fell silent and who came back.
func statusChanges(n now) []action {
	var actions []action
	for _, s := range n.view.Servers() {
		last := n.lastContact(s.Name)
		if last.IsZero() {
			continue // never seen: nothing to say yet
		}
		status := n.judge(last)
		if row := n.view.ServerStatus(s.Name); row == nil || row.Status != status {
			actions = append(actions, propose{state.ServerSeen, state.ServerSeenData{Server: s.Name, Status: status, LastContact: last}})
		}
	}
	return actions
}

// judge is what decisions rest on: a new leader gives everybody the time to find it.
func (n now) judge(last time.Time) state.Status {
	if n.since.After(last) {
		last = n.since
	}
	return n.silence(last)
}

// silence is what a person is shown.
func (n now) silence(last time.Time) state.Status {
	switch silent := n.at.Sub(last); {
	case silent > downAfter:
		return state.Down
	case silent > unknownAfter:
		return state.Unknown
	}
	return state.Up
}

// answers reports whether a server's agent is in contact with this leader.
func (n now) answers(s state.ServerName) bool {
	_, heard := n.seen.reports[s]
	return heard && n.judge(n.lastContact(s)) == state.Up
}

// reportedOutcomes turns what agents and workers say into commands.
func reportedOutcomes(n now) []action {
	var actions []action
	twice := doubled(n)
	for _, server := range n.view.Servers() {
		report := n.seen.reports[server.Name]
		if report == nil {
			continue
		}
		for _, t := range report.Tasks {
			if task := n.view.Task(t.Task); task != nil && task.Status == state.TaskPending && task.Server == server.Name {
				if t.Damaged {
					actions = append(actions, doubted(n, task, t.Error)...)
				}
				actions = append(actions, propose{state.TaskFinish, state.TaskFinishData{
					Task: t.Task, Error: state.Shorten(t.Error), Detail: state.Shorten(t.Detail), Snapshot: shortened(n.view, task.Account, t.Snapshot)}})
			}
		}
		for _, o := range report.Accounts {
			a := n.view.Assignment(o.Account)
			if a == nil || a.Server != server.Name || a.Token != o.Token || a.Fenced != nil {
				continue
			}
			switch {
			case !a.Stop && !holding(o):
				// Its agent stopped it for good under this very token, at the word of a leader whose record of it was lost.
				actions = append(actions, propose{state.AssignmentStop, state.AssignmentStopData{Account: a.Account, Token: a.Token}})
			case a.Stop && !holding(o) && twice[a.Account]: // the other one is told to stop first
			case a.Stop && !holding(o):
				actions = append(actions, propose{state.AssignmentFenced, state.AssignmentFencedData{
					Account: a.Account, Token: a.Token, Method: state.AgentStopped, By: string(server.Name)}})
			case !a.Stop && o.Phase == wire.Running && a.ReadyAt.IsZero():
				actions = append(actions, propose{state.AssignmentReady, state.AssignmentReadyData{Account: a.Account, Token: a.Token}})
			}
		}
	}
	for _, p := range n.seen.passes {
		actions = append(actions, propose{state.ReplicationRecord, state.ReplicationRecordData{
			Account: p.Account, From: p.From, To: p.To, Snapshots: p.Snapshots[:min(len(p.Snapshots), passSnapshots)],
			Objects: p.Objects, Bytes: p.Bytes, Error: state.Shorten(p.Error)}})
	}
	actions = append(actions, reportedUpkeep(n)...)
	actions = append(actions, reportedKeys(n)...)
	for r := range n.seen.ready {
		if repo := n.writtenTo(r.Account); repo != nil && repo.Home == r.Home && repo.InitialisedAt.IsZero() {
			actions = append(actions, propose{state.RepositoryReady, state.RepositoryReadyData{Account: repo.Account, Home: r.Home}})
		}
	}
	return actions
}

// doubted counts what a backup has met as a failed check of its repository at the home: the check that follows soon finds out, and
// has it repaired. The next backup may well be good, and rest on what is not there.
func doubted(n now, task *state.Task, why string) []action {
	repo := n.view.Repository(task.Account)
	if task.Kind != state.TaskBackup || repo == nil || n.view.Level() < protectionLevel {
		return nil
	}
	if v := n.view.Verification(repo.Row(), repo.Home.Site); v != nil {
		if _, known := v.Errors[state.Checked]; known {
			return nil
		}
	}
	return []action{propose{state.VerificationRecord, state.VerificationRecordData{
		Account: repo.Row(), Site: repo.Home.Site, Kind: state.Checked, Part: 1, Parts: 1, Error: state.Shorten("a backup has met damage: " + why)}}}
}

// reportedUpkeep is what workers did to repositories, and found in copies. Only a home's own worker speaks for it.
func reportedUpkeep(n now) []action {
	var actions []action
	if n.view.Level() < protectionLevel {
		return nil
	}
	for key, m := range n.seen.maintained {
		repo := n.writtenTo(m.Account)
		if m.Home.Site != key.site || repo == nil {
			continue
		}
		unknown := slices.DeleteFunc(slices.Clone(m.Unknown), func(id state.SnapshotID) bool {
			return n.view.Snapshot(repo.Account, id) != nil // recorded since the job was given
		})
		actions = append(actions, reported{propose{state.MaintenanceRecord, state.MaintenanceRecordData{
			Account: repo.Account, Home: m.Home, Forgotten: m.Forgotten[:min(len(m.Forgotten), passSnapshots)], Objects: m.Objects, Bytes: m.Bytes,
			Unknown: unknown[:min(len(unknown), mostUnknown)], Error: state.Shorten(m.Error)}}, key.command(state.MaintenanceRecord), n.at})
	}
	for key, v := range n.seen.verified {
		actions = append(actions, reported{propose{state.VerificationRecord, state.VerificationRecordData{
			Account: v.Account, Site: key.site, Kind: v.Kind, Snapshot: v.Snapshot, Part: v.Part, Parts: v.Parts,
			Error: state.Shorten(v.Error), BeganAgo: v.BeganAgo + max(0, n.at.Sub(v.at))}}, key.command(state.VerificationRecord), n.at})
	}
	actions = append(actions, reportedErasures(n)...)
	return append(actions, reportedRemovals(n)...)
}

// mostUnknown bounds how many snapshots that nobody knows one report names.
const mostUnknown = 100

// passSnapshots bounds what one command says of a pass; workers send no more. What is cut is copied by the next pass.
const passSnapshots = 400

// shortened keeps what an agent says within what one command can hold; what is unusable the state refuses.
func shortened(v *state.View, of state.AccountName, s *state.Snapshot) *state.Snapshot {
	if s == nil {
		return nil
	}
	short := &state.Snapshot{
		ID: state.SnapshotID(state.Shorten(string(s.ID))), Start: s.Start, Finished: s.Finished,
		View: state.Shorten(s.View), Files: s.Files, Bytes: s.Bytes,
	}
	if v.Level() >= state.LevelParts { // below it nothing of the kind is recorded
		var own []string
		if account := v.Account(of); account != nil {
			own = account.Parts()
		}
		short.Parts, short.Copied = state.ShortenParts(s.Parts, own), s.Copied
	}
	return short
}

// firstPlacements gives every new account a repository and then a server.
func firstPlacements(n now) []action {
	var waiting []*state.Account
	for _, a := range n.view.Accounts() {
		if n.view.Assignment(a.Name) == nil {
			waiting = append(waiting, a)
		}
	}
	if len(waiting) == 0 {
		return nil
	}
	slices.SortStableFunc(waiting, byRecovery)
	taken := n.heldSomewhere()
	free := n.room()
	var actions []action
	for _, a := range waiting {
		if _, ok := taken[a.Name]; ok {
			continue // shown by status: it runs already, and an empty home would take its place
		}
		if n.toBeErased(a.Name) {
			continue
		}
		site := a.Site
		repo := n.view.Repository(a.Name)
		if repo != nil {
			site = repo.Home.Site
		}
		server, reason := free.choose(site, a)
		if reason != "" {
			continue // shown by status: no server
		}
		if repo == nil {
			actions = append(actions, createRepository{a.Name, n.view.Server(server).Site})
			continue
		}
		actions = append(actions, propose{state.Assign, state.AssignData{Account: a.Name, Server: server}})
	}
	return actions
}

// byRecovery is the order in which accounts come back.
func byRecovery(a, b *state.Account) int {
	return cmp.Or(cmp.Compare(a.Tier.Rank(), b.Tier.Rank()), cmp.Compare(a.Name, b.Name))
}

// endedTasks lets go of tasks whose run has ended: the run's step keeps what they said. One that is still under way
// ends with its run.
func endedTasks(n now) []action {
	var actions []action
	for _, t := range n.view.Tasks() {
		if t.Run == "" {
			continue
		}
		switch r := n.view.Run(t.Run); {
		case r != nil && !r.Status.Ended():
		case t.Status == state.TaskPending:
			actions = append(actions, propose{state.TaskFinish, state.TaskFinishData{Task: t.ID, Error: "its run has ended"}})
		default:
			actions = append(actions, propose{state.TaskForget, state.TaskForgetData{Task: t.ID}})
		}
	}
	return actions
}
