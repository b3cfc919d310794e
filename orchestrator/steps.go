package orchestrator

import (
	"fmt"
	"slices"
	"time"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// confirmStep waits for the person's word, which is a command of its own (run.confirm).
func confirmStep(_ now, r *state.Run, _ bound) outcome {
	if r.ConfirmedAt.IsZero() {
		return outcome{waiting: true, message: "waiting for a person to confirm the plan"}
	}
	message := "confirmed by " + r.ConfirmedBy
	if len(r.Down) > 0 {
		var servers []state.ServerName
		for _, w := range r.Down {
			servers = append(servers, w.Server)
		}
		message += ", who says that these servers are down: " + join(servers)
	}
	return outcome{done: true, message: message}
}

// pending are the accounts of a run that have not ended, each with its present assignment.
func (n now) pending(r *state.Run) func(yield func(*state.RunAccount, *state.Assignment) bool) {
	return func(yield func(*state.RunAccount, *state.Assignment) bool) {
		for _, ra := range n.view.RunAccounts(r.ID) {
			a := n.view.Assignment(ra.Account)
			if ra.Status == state.StepPending && a != nil && !yield(ra, a) {
				return
			}
		}
	}
}

// fenceStep makes sure that nothing runs under the old tokens. A server that answers is told to stop, whatever was
// confirmed: force is never used on a holder that can be asked. One that is silent counts as down only when a person
// said so after it was last heard.
func fenceStep(n now, r *state.Run, s bound) outcome {
	var out outcome
	left, unconfirmed := 0, []state.ServerName{}
	for ra, a := range n.pending(r) {
		if a.Token != ra.Token || a.Fenced != nil {
			continue
		}
		left++
		by, down := n.confirmedDown(r, a.Server)
		switch {
		case n.maybeAlive(a.Server):
			if !a.Stop {
				out.actions = append(out.actions, propose{state.AssignmentStop, state.AssignmentStopData{Account: a.Account, Token: a.Token}})
			}
			if n.late(s) {
				out.actions = append(out.actions, endAccount(n, r, ra, state.StepFailed,
					fmt.Sprintf("server %s answers and has not stopped it within %s%s", a.Server, s.Timeout, said(n, a))))
			}
		case down:
			out.actions = append(out.actions, propose{state.AssignmentFenced, state.AssignmentFencedData{
				Account: a.Account, Token: a.Token, Method: state.ConfirmedDown, By: by}})
		case !slices.Contains(unconfirmed, a.Server):
			unconfirmed = append(unconfirmed, a.Server)
		}
	}
	switch {
	case left == 0:
		out.done, out.message = true, "nothing runs under the old tokens"
	case len(unconfirmed) > 0:
		out.waiting = true
		out.message = fmt.Sprintf("%s fell silent after the confirmation: confirm that it is down (drp run confirm %s), or bring it back", join(unconfirmed), r.ID)
	default:
		out.message = "waiting for servers to stop what they run"
	}
	return out
}

// confirmedDown finds the word of a person who could know: given after the server was last heard.
func (n now) confirmedDown(r *state.Run, server state.ServerName) (by string, ok bool) {
	last := n.lastContact(server)
	for _, w := range r.Down {
		if w.Server == server && w.At.After(last) {
			return w.By, true
		}
	}
	return "", false
}

// assignStep gives each fenced account to its new server under the next generation.
func assignStep(n now, r *state.Run, s bound) outcome {
	var out outcome
	left, message := 0, "every account has a new server"
	for ra, a := range n.pending(r) {
		if a.Run == r.ID {
			continue
		}
		left++
		if a.Token != ra.Token {
			out.actions = append(out.actions, endAccount(n, r, ra, state.StepFailed, "it was given to "+string(a.Server)+" meanwhile"))
			continue
		}
		if a.Fenced == nil {
			continue // its turn has not come
		}
		if ra.Restore.Snapshot == "" && !n.toBeErased(ra.Account) {
			out.actions = append(out.actions, endAccount(n, r, ra, state.StepFailed, "it was to be erased, and is not any more: fail over once more"))
			continue
		}
		to, reason := n.target(ra)
		if reason != "" {
			message = fmt.Sprintf("account %s: %s", ra.Account, reason)
			if n.late(s) {
				out.actions = append(out.actions, endAccount(n, r, ra, state.StepFailed, reason+" within "+s.Timeout.String()))
			}
			continue
		}
		out.actions = append(out.actions, propose{state.Assign, state.AssignData{
			Account: ra.Account, Server: to, Previous: ra.Token, Restore: &ra.Restore, Run: r.ID}})
	}
	out.done, out.message = left == 0, message
	return out
}

// target is the planned server, or another of the same site when that one fell silent since.
func (n now) target(ra *state.RunAccount) (state.ServerName, string) {
	if n.toBeErased(ra.Account) {
		return "", "it is to be erased, and comes back nowhere" // and when that begins, its part of the run ends
	}
	if n.answers(ra.To) {
		return ra.To, ""
	}
	account := n.view.Account(ra.Account)
	if account == nil {
		return "", "it is no longer in the inventory"
	}
	return n.room().choose(ra.Restore.Site, account)
}

// rebuildStep waits until the agents have restored, started and announced every account. They do it because they are
// assigned to; nothing is dispatched here.
func rebuildStep(n now, r *state.Run, s bound) outcome {
	var out outcome
	left := 0
	for ra, a := range n.pending(r) {
		if a.Run == r.ID && !a.ReadyAt.IsZero() {
			continue
		}
		left++
		if reason := n.lostAgain(r, a); reason != "" {
			out.actions = append(out.actions, endAccount(n, r, ra, state.StepFailed, reason))
		} else if a.Run == r.ID && n.late(s) {
			out.actions = append(out.actions, endAccount(n, r, ra, state.StepFailed, "not running within "+s.Timeout.String()+said(n, a)))
		}
	}
	if left == 0 {
		out.done, out.message = true, "every account that could be rebuilt runs"
	}
	return out
}

// lostAgain says that the new server of an account was lost as well. The run lets go of the account then, so that the
// next failover can take it up.
func (n now) lostAgain(r *state.Run, a *state.Assignment) string {
	if a.Run != r.ID || n.judge(n.lastContact(a.Server)) != state.Down {
		return ""
	}
	return fmt.Sprintf("its new server %s was lost as well: drp failover server %s", a.Server, a.Server)
}

// late reports whether the step's time is over. A step that the run has not come to yet has all of its time.
func (n now) late(s bound) bool {
	return s.Timeout > 0 && !s.started.IsZero() && n.at.Sub(s.started) > s.Timeout
}

// said is the last word of the agent on an account.
func said(n now, a *state.Assignment) string {
	if o := n.seen.account(a); o != nil && o.Message != "" {
		return ": " + o.Message
	}
	return ""
}

// verifyStep has each service's check fetched from another site than the one where it runs now, and measures.
func verifyStep(n now, r *state.Run, s bound) outcome {
	var out outcome
	left := 0
	for ra, a := range n.pending(r) {
		left++
		account := n.view.Account(ra.Account)
		if account == nil {
			out.actions = append(out.actions, endAccount(n, r, ra, state.StepFailed, "it is no longer in the inventory"))
			continue
		}
		if a.Run != r.ID || a.ReadyAt.IsZero() {
			continue // its turn has not come
		}
		good, message, asks := n.checks(r, account, a)
		out.actions = append(out.actions, asks...)
		reason := n.lostAgain(r, a)
		switch {
		case !good.IsZero():
			out.actions = append(out.actions, endAccountAt(r, ra, good, message))
		case reason != "":
			out.actions = append(out.actions, endAccount(n, r, ra, state.StepFailed, reason))
		case n.late(s):
			out.actions = append(out.actions, endAccount(n, r, ra, state.StepFailed, "no good answer within "+s.Timeout.String()+": "+message))
		}
	}
	if left == 0 {
		out.done, out.message = true, "every service that has a check answers from another site"
		if waited := r.ConfirmedAt.Sub(r.Created); !r.ConfirmedAt.IsZero() && waited > 0 {
			out.message += fmt.Sprintf("; of the time, %s were spent waiting for a person", waited.Round(time.Second))
		}
	}
	return out
}

// probeAgain is how long a failed check rests before it is fetched again.
const probeAgain = time.Second

// checks returns when the last of the account's checks gave its first good answer; zero while one is missing.
func (n now) checks(r *state.Run, account *state.Account, a *state.Assignment) (good time.Time, message string, asks []action) {
	good, message = a.ReadyAt, "it runs; it has no check to ask"
	if o := n.seen.account(a); o != nil && o.Message != "" {
		message = "it runs; " + o.Message
	}
	server := n.view.Server(a.Server)
	for _, s := range account.Services {
		if s.Check == nil || len(account.Addresses) == 0 || server == nil {
			continue
		}
		key := probeKey{r.ID, account.Name, s.Name}
		result, asked := n.seen.probes[key]
		if asked && result.OK {
			message = "answers, seen from " + result.Site
			if result.At.After(good) {
				good = result.At
			}
			continue
		}
		if asked && n.at.Sub(result.At) < probeAgain {
			return time.Time{}, "service " + s.Name + ": " + result.Message, asks
		}
		asks = append(asks, probe{key, n.vantage(server.Site), wire.Probe{Address: account.Addresses[0], URL: s.Check.HTTP, Timeout: 5 * time.Second}})
		message = "service " + s.Name + " has not been asked yet"
		if asked {
			message = "service " + s.Name + ": " + result.Message
		}
		return time.Time{}, message, asks
	}
	return good, message, asks
}

// vantage is a site from which an account at another site is looked at: this coordinator's own when it is another one.
func (n now) vantage(target state.SiteName) state.SiteName {
	if n.own != target {
		return n.own
	}
	for _, s := range n.sites {
		if s == target {
			continue
		}
		for _, server := range n.view.ServersAt(s) {
			if n.answers(server.Name) {
				return s
			}
		}
		if site := n.view.Site(s); site != nil && site.Witness {
			return s
		}
	}
	return n.own
}

func endAccount(n now, r *state.Run, ra *state.RunAccount, status state.StepStatus, message string) action {
	return propose{state.RunAccountEnd, state.RunAccountEndData{Run: r.ID, Account: ra.Account, Status: status, At: n.at, Message: message}}
}

func endAccountAt(r *state.Run, ra *state.RunAccount, good time.Time, message string) action {
	return propose{state.RunAccountEnd, state.RunAccountEndData{
		Run: r.ID, Account: ra.Account, Status: state.StepDone, At: good, Message: message,
		RPO: max(0, ra.LastContact.Sub(ra.Start)), RTO: max(0, good.Sub(ra.LastContact)),
	}}
}

// restoreFilesStep has the agent of the account bring a folder back, beside the live data.
func restoreFilesStep(n now, r *state.Run, s bound) outcome {
	id := state.TaskID(string(r.ID) + "-" + r.Steps[r.Step].ID)
	if task := n.view.Task(id); task != nil {
		switch task.Status {
		case state.TaskDone:
			return outcome{done: true, message: task.Detail}
		case state.TaskFailed:
			return outcome{failed: task.Error}
		}
		return outcome{message: fmt.Sprintf("%s restores %s of snapshot %s", task.Server, task.Path, task.Restore.Snapshot.Short())}
	}
	account := state.AccountName(s.arguments["account"])
	if e := n.view.Erasure(account); e != nil && !e.Waiting() {
		return outcome{failed: fmt.Sprintf("account %s is being erased", account)}
	}
	for _, other := range n.view.Tasks() {
		if other.Account == account && other.Kind == state.TaskRestoreFiles && other.Status == state.TaskPending {
			return outcome{message: fmt.Sprintf("waiting for another restore of this account to end (run %s)", other.Run)}
		}
	}
	a, repo := n.view.Assignment(account), n.view.Repository(account)
	if a == nil || repo == nil || a.Stop || a.Fenced != nil || a.ReadyAt.IsZero() {
		return outcome{failed: fmt.Sprintf("account %s does not run anywhere now, so there is no home to restore into", account)}
	}
	at, err := time.Parse(time.RFC3339, s.arguments["at"])
	if err != nil {
		return outcome{failed: fmt.Sprintf("parameter at: %v", err)}
	}
	for _, snapshot := range n.view.Snapshots(account) {
		if _, here := snapshot.At(repo.Home.Site); !here || snapshot.Start.After(at) || !snapshot.ForgetAt.IsZero() {
			continue
		}
		return outcome{
			message: "asking " + string(a.Server),
			actions: []action{propose{state.TaskCreate, state.TaskCreateData{Task: state.Task{
				ID: id, Kind: state.TaskRestoreFiles, Account: account, Server: a.Server, Token: a.Token, Run: r.ID, Created: n.at,
				Restore: &state.RestorePoint{Snapshot: snapshot.ID, Site: repo.Home.Site},
				Path:    s.arguments["path"],
				Target:  "restored-" + snapshot.Start.UTC().Format("20060102T150405Z") + "-" + string(r.ID),
				Status:  state.TaskPending,
			}}}},
		}
	}
	return outcome{failed: fmt.Sprintf("account %s has no snapshot as old as %s at %s", account, at.Format(time.RFC3339), repo.Home.Site)}
}
