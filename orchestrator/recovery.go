package orchestrator

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// A cluster that comes out of a recovery is held: its state may be older than what agents were told last. Until a person
// resumes it, facts are written down (who is heard, what was finished) and nothing is decided; agents keep what they
// hold, gateways let nobody write, workers have nothing to do. Meanwhile each server tells every token that it has ever
// seen. A higher one than the state's, under which a server holds the account, becomes the assignment.

// Recovery is what the coordinators ask of the API beside everyday work.
type Recovery interface {
	// Recovery says how far a held cluster knows the truth again (leader).
	Recovery(ctx context.Context) (*RecoveryReport, error)
	// Resume ends the hold (leader). Refused while a server has not been heard that is not named as given up.
	Resume(ctx context.Context, by string, r ResumeRequest) error
	// ExportState seals the state for a person; the record of it is committed before (leader).
	ExportState(ctx context.Context, by string) (*ExportedState, error)
	// ExportNow puts an export into every site's store, and says how that went at each (leader).
	ExportNow(ctx context.Context, by string) ([]SiteExport, error)
}

// ResumeRequest is a person's word that a recovered cluster may act.
type ResumeRequest struct {
	Cluster string `json:"cluster"` // its UUID, so that a word for one cluster is never taken for another's
	// Without are servers that are given up: whatever they still run is taken for dead.
	Without []state.ServerName `json:"without,omitempty"`
}

// RecoveryReport is what is known of a platform whose coordinators have lost their memory.
type RecoveryReport struct {
	Cluster *state.Cluster `json:"cluster"`
	// Heard servers have told all that they hold and have ever seen, to this leader. Silent ones have not.
	Heard  []state.ServerName `json:"heard"`
	Silent []SilentServer     `json:"silent"`
	// Adopted accounts were taken over from what servers said: the state knew an older assignment of them, or none.
	Adopted []HeldAccount `json:"adopted"`
	// Unknown accounts are held by servers and not in the inventory. They are left alone.
	Unknown []HeldAccount `json:"unknown"`
	// Idle accounts are run by no server that was heard.
	Idle []HeldAccount `json:"idle"`
	// Incarnation is the one that a resume begins.
	Incarnation uint64 `json:"incarnation"`
	// Tasks and Runs were under way at the moment that was recovered. A resume ends them: nothing is replayed.
	Tasks []state.TaskID `json:"tasks"`
	Runs  []state.RunID  `json:"runs"`
	// Erasures were ordered and had not begun. A resume takes them back: nobody can tell whether somebody had done so since.
	Erasures []state.AccountName `json:"erasures"`
}

// SilentServer is one that has not told its memory.
type SilentServer struct {
	Server   state.ServerName `json:"server"`
	Site     state.SiteName   `json:"site"`
	Accounts int              `json:"accounts"` // that the state gives it
	Why      string           `json:"why"`
}

// HeldAccount is an account on a server, under a token.
type HeldAccount struct {
	Account state.AccountName `json:"account"`
	Server  state.ServerName  `json:"server"`
	Token   state.Token       `json:"token"`
	Why     string            `json:"why,omitempty"`
}

func held(v *state.View) bool {
	c := v.Cluster()
	return c != nil && c.Held != nil
}

// facts are the actions that a held cluster may take: they write down what is, and move nothing.
func facts(n now) []action {
	var actions []action
	for _, a := range slices.Concat(statusChanges(n), reportedOutcomes(n)) {
		if r, ok := a.(reported); ok {
			actions = append(actions, r)
		}
		if p, ok := a.(propose); ok && p.name != state.AssignmentFenced && p.name != state.AssignmentStop {
			actions = append(actions, a)
		}
	}
	for _, a := range adoptions(n) {
		actions = append(actions, propose{state.AssignmentAdopt, a})
	}
	return actions
}

// holding reports whether an account is here and not over.
func holding(o wire.ObservedAccount) bool { return o.Phase != wire.Stopped && o.Phase != wire.SetAside }

// adoptions are the accounts that a server holds under a higher token than the state knows. Where two claim the same
// account, the higher token is right: it was made when the lower one was fenced.
func adoptions(n now) []state.AssignmentAdoptData {
	best := map[state.AccountName]state.AssignmentAdoptData{}
	for _, server := range n.view.Servers() {
		report := n.seen.reports[server.Name]
		if report == nil {
			continue
		}
		for _, o := range report.Accounts {
			if !holding(o) || n.view.Account(o.Account) == nil || !n.tokenOf(o.Account).Less(o.Token) || !best[o.Account].Token.Less(o.Token) {
				continue
			}
			best[o.Account] = state.AssignmentAdoptData{Account: o.Account, Server: server.Name, Token: o.Token}
		}
	}
	return sortedValues(best)
}

func sortedValues[K cmp.Ordered, V any](m map[K]V) []V {
	var list []V
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, m[k])
	}
	return list
}

func (n now) tokenOf(a state.AccountName) state.Token {
	if as := n.view.Assignment(a); as != nil {
		return as.Token
	}
	return state.Token{}
}

// lostTrack are accounts of which a higher token was seen than any under which a server holds them. Whoever holds that
// token was not heard, or nobody does. They become assignments of a server that has stopped under it, so that no lower
// token is ever given out, and a failover can bring them back.
func lostTrack(n now, adopted []state.AssignmentAdoptData) []state.AssignmentAdoptData {
	best, known := map[state.AccountName]state.AssignmentAdoptData{}, map[state.AccountName]state.Token{}
	over := map[state.AccountName]bool{} // of best: it has stopped there
	for _, a := range adopted {
		known[a.Account] = a.Token
	}
	for _, server := range n.view.Servers() {
		report := n.seen.reports[server.Name]
		if report == nil || report.Memory == nil {
			continue
		}
		for _, seen := range report.Memory.Tokens {
			as, old := n.view.Assignment(seen.Account), best[seen.Account]
			switch {
			case n.view.Account(seen.Account) == nil, !n.tokenOf(seen.Account).Less(seen.Token), !known[seen.Account].Less(seen.Token):
				continue
			case seen.Token.Less(old.Token):
				continue
			case seen.Token == old.Token && over[seen.Account] != seen.Stopped:
				if seen.Stopped {
					continue // the other one was told to run it, and may be about to
				}
			case seen.Token == old.Token && (as == nil || as.Server != server.Name):
				continue // of several witnesses, the server that the state knows
			}
			over[seen.Account] = seen.Stopped
			best[seen.Account] = state.AssignmentAdoptData{Account: seen.Account, Server: server.Name, Token: seen.Token}
		}
	}
	return sortedValues(best)
}

// heard reports whether a server has told this leader everything.
func (n now) heard(s state.ServerName) bool {
	r := n.seen.reports[s]
	return r != nil && r.Memory != nil
}

// incarnation is one above all that anybody has ever seen, so that from here on each token is higher than any before.
func (n now) incarnation() uint64 {
	next := n.view.Cluster().Incarnation
	if n.seen.obeyed > 0 {
		next = max(next, n.seen.obeyed+1)
	}
	for _, r := range n.seen.reports {
		next = max(next, r.Incarnation+1)
		for _, o := range r.Accounts {
			next = max(next, o.Token.Incarnation+1)
		}
		if r.Memory == nil {
			continue
		}
		for _, t := range r.Memory.Tokens {
			next = max(next, t.Token.Incarnation+1)
		}
	}
	for _, a := range n.view.Assignments() {
		next = max(next, a.Token.Incarnation+1)
	}
	return next
}

func recoveryReport(n now) *RecoveryReport {
	r := &RecoveryReport{Cluster: n.view.Cluster(), Incarnation: n.incarnation()}
	for _, s := range n.view.Servers() {
		if n.heard(s.Name) {
			r.Heard = append(r.Heard, s.Name)
			continue
		}
		silent := SilentServer{Server: s.Name, Site: s.Site, Accounts: len(n.view.AssignmentsOn(s.Name)), Why: "its agent has not been heard yet"}
		if n.seen.reports[s.Name] != nil {
			silent.Why = "its agent answers and has not told all that it has seen: its guard does not answer, or its drp is older"
		}
		r.Silent = append(r.Silent, silent)
	}
	for _, a := range n.view.Accounts() {
		as := n.view.Assignment(a.Name)
		if as == nil {
			continue
		}
		if as.Run == "" && as.Restore == nil && !as.At.Before(r.Cluster.Held.Since) { // nothing else makes one in a held cluster
			r.Adopted = append(r.Adopted, HeldAccount{Account: a.Name, Server: as.Server, Token: as.Token})
		}
		if why := n.idle(as); why != "" {
			r.Idle = append(r.Idle, HeldAccount{Account: a.Name, Server: as.Server, Token: as.Token, Why: why})
		}
	}
	for _, s := range n.view.Servers() {
		report := n.seen.reports[s.Name]
		if report == nil {
			continue
		}
		for _, o := range report.Accounts {
			if n.view.Account(o.Account) == nil && holding(o) {
				r.Unknown = append(r.Unknown, HeldAccount{Account: o.Account, Server: s.Name, Token: o.Token, Why: string(o.Phase)})
			}
		}
	}
	for _, t := range n.view.Tasks() {
		if t.Status == state.TaskPending {
			r.Tasks = append(r.Tasks, t.ID)
		}
	}
	for _, run := range n.view.Runs() {
		if !run.Status.Ended() {
			r.Runs = append(r.Runs, run.ID)
		}
	}
	r.Erasures = ordered(n.view)
	return r
}

// idle says why nobody is known to run an account; empty: its server does.
func (n now) idle(as *state.Assignment) string {
	report := n.seen.reports[as.Server]
	switch o := n.seen.account(as); {
	case as.Fenced != nil:
		return "it was fenced, and not assigned to another server yet"
	case report == nil:
		return "its server has not been heard"
	case o == nil:
		return "its server does not hold it under this token"
	case !holding(*o):
		return "it was stopped there under this token, and moved or was to move"
	case o.Phase != wire.Running:
		return string(o.Phase) + " " + o.Message
	}
	return ""
}

// Recovery implements API.
func (o *Orchestrator) Recovery(ctx context.Context) (*RecoveryReport, error) {
	n, err := o.present(ctx)
	if err != nil {
		return nil, err
	}
	if !held(n.view) {
		return nil, fmt.Errorf("the cluster is not held: nothing is being recovered: %w", ErrRefused)
	}
	return recoveryReport(n), nil
}

// Resume ends what was pending when the coordinators were lost, gives up what nobody can tell any more, and lets the
// cluster act in a new incarnation. Each part may be repeated: when this coordinator dies on the way, the person asks again.
func (o *Orchestrator) Resume(ctx context.Context, by string, request ResumeRequest) error {
	n, err := o.present(ctx)
	if err != nil {
		return err
	}
	if err := checkResume(n, request); err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	adopted := adoptions(n)
	for _, data := range slices.Concat(adopted, lostTrack(n, adopted)) {
		if _, err := o.propose(ctx, o.system(), state.AssignmentAdopt, data); err != nil {
			return fmt.Errorf("resume: take over account %s from %s: %w", data.Account, data.Server, err)
		}
	}
	const why = "the coordinators were lost and recovered meanwhile; nothing is replayed"
	for _, t := range n.view.Tasks() {
		if t.Status != state.TaskPending {
			continue
		}
		if _, err := o.propose(ctx, by, state.TaskFinish, state.TaskFinishData{Task: t.ID, Error: why}); err != nil {
			return fmt.Errorf("resume: end task %s: %w", t.ID, err)
		}
	}
	for _, r := range n.view.Runs() {
		if r.Status.Ended() {
			continue
		}
		if err := o.endRun(ctx, by, n, r, why); err != nil {
			return fmt.Errorf("resume: end run %s: %w", r.ID, err)
		}
	}
	for _, account := range ordered(n.view) {
		if _, err := o.propose(ctx, by, state.ErasureCancel, state.ErasureCancelData{Account: account}); err != nil {
			return fmt.Errorf("resume: take back the erasure of account %s: %w", account, err)
		}
	}
	if len(request.Without) > 0 {
		note := state.AuditNoteData{Action: "resume without servers", Detail: join(request.Without)}
		if _, err := o.propose(ctx, by, state.AuditNote, note); err != nil {
			return fmt.Errorf("resume: record what is given up: %w", err)
		}
	}
	if err := o.claimIncarnation(ctx, n); err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	if _, err := o.propose(ctx, by, state.ClusterResume, state.ClusterResumeData{Incarnation: n.incarnation()}); err != nil {
		return fmt.Errorf("resume: %w", err)
	}
	return nil
}

// endRun ends a run and those of its accounts that it has not brought to an end. What it stopped and did not bring back,
// the next failover takes up.
func (o *Orchestrator) endRun(ctx context.Context, by string, n now, r *state.Run, why string) error {
	for _, a := range n.view.RunAccounts(r.ID) {
		if a.Status != state.StepPending {
			continue
		}
		end := state.RunAccountEndData{Run: r.ID, Account: a.Account, Status: state.StepFailed, At: n.at, Message: why}
		if _, err := o.propose(ctx, by, state.RunAccountEnd, end); err != nil {
			return err
		}
	}
	steps := slices.Clone(r.Steps)
	expect := steps[r.Step].Status
	steps[r.Step].Status, steps[r.Step].Finished, steps[r.Step].Message = state.StepFailed, n.at, why
	_, err := o.propose(ctx, by, state.RunUpdate, state.RunUpdateData{
		Run: r.ID, ExpectStep: r.Step, ExpectStatus: expect, Status: state.RunFailed, Step: r.Step, Steps: steps, Error: why})
	return err
}

func checkResume(n now, request ResumeRequest) error {
	cluster := n.view.Cluster()
	if !held(n.view) {
		return fmt.Errorf("the cluster is not held: %w", ErrRefused)
	}
	if request.Cluster != cluster.UUID {
		return fmt.Errorf("this is cluster %s, and not %q: %w", cluster.UUID, request.Cluster, ErrRefused)
	}
	for _, s := range request.Without {
		switch {
		case n.view.Server(s) == nil:
			return fmt.Errorf("there is no server %q; there are %s: %w", s, names(n.view.Servers(), func(s *state.Server) state.ServerName { return s.Name }), state.ErrNotFound)
		case n.heard(s):
			return fmt.Errorf("server %s has been heard: it is not to be given up: %w", s, ErrRefused)
		}
	}
	var missing []state.ServerName
	for _, s := range n.view.Servers() {
		if !n.heard(s.Name) && !slices.Contains(request.Without, s.Name) {
			missing = append(missing, s.Name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("these servers have not told what they hold: %s. Wait for them; or name each that is lost for good with --without: what it still runs would be taken for dead, and run a second time elsewhere: %w", join(missing), ErrRefused)
	}
	return nil
}
