package orchestrator

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"drp/orchestrator/inventory"
	"drp/raftstore/state"
	"drp/runbooks"
)

// accountsPerCommand keeps the commands that record a run well below the log's limit for one entry.
const accountsPerCommand = 64

// Apply takes inventory files whole or not at all. The files themselves come here, so that every fault has its place.
func (o *Orchestrator) Apply(ctx context.Context, by, id string, files []inventory.File, dryRun bool) ([]string, error) {
	// From here on nothing is sealed anew: what is compared with the state is what is committed.
	o.secrets.committing.RLock()
	defer o.secrets.committing.RUnlock()
	view, err := o.View(ctx)
	if err != nil {
		return nil, err
	}
	doc, err := inventory.Parse(files)
	if err != nil {
		return nil, err
	}
	known := inventory.KnownOf(view)
	if err := inventory.Check(doc, known); err != nil {
		return nil, err
	}
	if err := inventory.Allocate(doc, known); err != nil {
		return nil, err
	}
	if err := o.sealEnvironments(view, doc.Data.Accounts); err != nil {
		return nil, err
	}
	if id == "" {
		id = uuid.NewString()
	}
	if dryRun {
		result, err := view.Preview(state.NewCommand(state.InventoryApply, id, o.config.Clock(), by, doc.Data))
		if err != nil {
			return nil, err
		}
		return result.Notes, result.Err
	}
	result, err := o.proposeAs(ctx, id, by, state.InventoryApply, doc.Data)
	if err != nil {
		return nil, err
	}
	return result.Notes, nil
}

// PlanFailover says what a failover would do now. It changes nothing.
func (o *Orchestrator) PlanFailover(ctx context.Context, scope Scope) (*Plan, error) {
	n, err := o.present(ctx)
	if err != nil {
		return nil, err
	}
	return planFailover(n, scope, "")
}

// present is a now whose state is linearizable: for decisions that a person sees.
func (o *Orchestrator) present(ctx context.Context) (now, error) {
	since, err := o.leading()
	if err != nil {
		return now{}, err
	}
	view, err := o.View(ctx)
	if err != nil {
		return now{}, err
	}
	n := o.now(since)
	n.view = view
	return n, nil
}

// StartRun records a run of a runbook. For a failover it also records its plan, and refuses when that is not the one
// that was shown. The same id twice is the same run.
func (o *Orchestrator) StartRun(ctx context.Context, by string, request StartRequest) (*state.Run, error) {
	n, err := o.present(ctx)
	if err != nil {
		return nil, err
	}
	if request.ID == "" {
		request.ID = newRunID(request.Runbook)
	}
	if r := n.view.Run(request.ID); r != nil && r.Status != state.RunPreparing {
		return o.Run(ctx, r.ID)
	}
	book, err := runbooks.Lookup(request.Runbook)
	if err != nil {
		return nil, fmt.Errorf("start run: %w: %w", err, state.ErrNotFound)
	}
	parameters, err := book.Bind(request.Parameters)
	if err != nil {
		return nil, fmt.Errorf("start run of %s: %w: %w", book.Name, err, state.ErrInvalid)
	}
	if err := checkParameters(n.view, book, parameters); err != nil {
		return nil, fmt.Errorf("start run of %s: %w", book.Name, err)
	}
	run := state.Run{
		ID: request.ID, Runbook: book.Name, Source: book.Source, Parameters: parameters, By: by,
		Created: n.at, Status: state.RunRunning,
	}
	for _, s := range book.Steps {
		run.Steps = append(run.Steps, state.RunStep{ID: s.ID, Type: s.Type, Status: state.StepPending})
	}
	scope, err := scopeOf(book, parameters)
	if err != nil {
		return nil, fmt.Errorf("start run of %s: %w", book.Name, err)
	}
	if err := o.recordRun(ctx, n, by, run, request.PlanHash, scope); err != nil {
		return nil, err
	}
	return o.Run(ctx, run.ID)
}

// scopeOf is what a runbook fences; the zero Scope when it is not about a failover.
func scopeOf(book *runbooks.Runbook, bound map[string]string) (Scope, error) {
	for _, s := range book.Steps {
		if s.Type != runbooks.Fence {
			continue
		}
		arguments, err := book.Arguments(s, bound)
		if err != nil {
			return Scope{}, err
		}
		return Scope{Site: state.SiteName(arguments["site"]), Server: state.ServerName(arguments["server"])}, nil
	}
	return Scope{}, nil
}

func (o *Orchestrator) recordRun(ctx context.Context, n now, by string, run state.Run, shown string, scope Scope) error {
	var plan *Plan
	if scope != (Scope{}) {
		var err error
		if plan, err = planFailover(n, scope, run.ID); err != nil {
			return err
		}
		if shown != "" && shown != plan.Hash {
			return fmt.Errorf("start run of %s: the plan has changed since it was shown (a server fell silent, came back or filled up): look at it again: %w", run.Runbook, ErrRefused)
		}
		if begun := n.view.Run(run.ID); begun != nil && begun.PlanHash != plan.Hash {
			return fmt.Errorf("start run %s: it was begun with another plan than the present one: start a new one: %w", run.ID, ErrRefused)
		}
		run.Status, run.PlanHash = state.RunPreparing, plan.Hash
	}
	_, err := o.propose(ctx, by, state.RunCreate, state.RunCreateData{Run: run})
	if err != nil && !(errors.Is(err, state.ErrConflict) && n.view.Run(run.ID) != nil) {
		return fmt.Errorf("start run of %s: %w", run.Runbook, err)
	}
	if plan == nil {
		return nil
	}
	for chunk := range slices.Chunk(runAccounts(n, run.ID, plan), accountsPerCommand) {
		if _, err := o.propose(ctx, by, state.RunAccounts, state.RunAccountsData{Run: run.ID, Accounts: chunk}); err != nil {
			return fmt.Errorf("record plan of run %s: %w", run.ID, err)
		}
	}
	_, err = o.propose(ctx, by, state.RunUpdate, state.RunUpdateData{
		Run: run.ID, ExpectStep: 0, ExpectStatus: state.StepPending, Status: state.RunRunning, Steps: run.Steps})
	return err
}

// runAccounts has what the plan brings back, and as failed what it cannot: a failover never forgets an account.
func runAccounts(n now, id state.RunID, plan *Plan) []state.RunAccount {
	var rows []state.RunAccount
	for _, a := range plan.Accounts {
		rows = append(rows, state.RunAccount{
			Run: id, Account: a.Account, Order: len(rows), From: a.From, Token: a.Token, To: a.To,
			Restore: state.RestorePoint{Snapshot: a.Snapshot, Site: a.ReadAt}, Start: a.Start,
			LastContact: n.lastContact(a.From), Status: state.StepPending,
		})
	}
	for _, a := range plan.NotFit {
		rows = append(rows, state.RunAccount{
			Run: id, Account: a.Account, Order: len(rows), From: a.From, At: n.at, Message: a.Reason, Status: state.StepFailed,
		})
	}
	return rows
}

func newRunID(runbook string) state.RunID {
	return state.RunID(runbook + "-" + strings.ToLower(rand.Text()[:6]))
}

// checkParameters holds parameters against the state: does what they name exist?
func checkParameters(v *state.View, book *runbooks.Runbook, bound map[string]string) error {
	for _, p := range book.Parameters {
		value, ok := bound[p.Name]
		if !ok {
			continue
		}
		found := true
		switch p.Type {
		case "account":
			found = v.Account(state.AccountName(value)) != nil
		case "site":
			found = v.Site(state.SiteName(value)) != nil
		case "server":
			found = v.Server(state.ServerName(value)) != nil
		}
		if !found {
			return fmt.Errorf("there is no %s %q: %w", p.Type, value, state.ErrNotFound)
		}
	}
	return nil
}

// ConfirmRun records a person's word for the plan that they saw. No hash given: for the plan of the run as it is.
func (o *Orchestrator) ConfirmRun(ctx context.Context, by string, id state.RunID, planHash string, down []state.ServerName) error {
	n, err := o.present(ctx)
	if err != nil {
		return err
	}
	r := n.view.Run(id)
	if r == nil {
		return fmt.Errorf("confirm run: there is no run %q: %w", id, state.ErrNotFound)
	}
	if planHash == "" {
		planHash = r.PlanHash
	}
	for _, s := range down {
		if n.answers(s) {
			return fmt.Errorf("confirm run %s: server %s answers, so it is not down: %w", id, s, ErrRefused)
		}
	}
	_, err = o.propose(ctx, by, state.RunConfirm, state.RunConfirmData{Run: id, PlanHash: planHash, By: by, Down: down})
	return err
}

// CancelRun ends a run that was not confirmed yet.
func (o *Orchestrator) CancelRun(ctx context.Context, by string, id state.RunID) error {
	if _, err := o.leading(); err != nil {
		return err
	}
	_, err := o.propose(ctx, by, state.RunCancel, state.RunCancelData{Run: id, By: by})
	return err
}

// BackupNow backs accounts up at once. None is started when one of them cannot be.
func (o *Orchestrator) BackupNow(ctx context.Context, by string, accounts []state.AccountName) ([]state.TaskID, error) {
	n, err := o.present(ctx)
	if err != nil {
		return nil, err
	}
	answering := n.answering()
	for _, name := range accounts {
		if n.view.Account(name) == nil {
			return nil, fmt.Errorf("back up: there is no account %q: %w", name, state.ErrNotFound)
		}
		a := n.view.Assignment(name)
		if why := n.whyNoBackup(name, a, answering); why != "" {
			return nil, fmt.Errorf("back up %s: %s: %w", name, why, ErrRefused)
		}
		if p := n.paused(a); p != nil {
			return nil, fmt.Errorf("back up %s: %s; end it with drp backup resume %s %s: %w", name, pauseText(p), p.Kind, p.Name, ErrRefused)
		}
	}
	var tasks []state.TaskID
	for _, name := range accounts {
		if under := n.backupUnderWay(name); under != nil {
			tasks = append(tasks, under.ID) // it has begun already: that is the one asked for
			continue
		}
		task := newBackup(n.view.Assignment(name), time.Time{}, n.at, uuid.NewString()[:8])
		if _, err := o.propose(ctx, by, state.TaskCreate, state.TaskCreateData{Task: task}); err != nil {
			return tasks, fmt.Errorf("back up %s: %w", name, err)
		}
		tasks = append(tasks, task.ID)
	}
	return tasks, nil
}

const tokenPrefix = "drp_"

// CreateToken makes an API token. It is shown once; the state keeps its SHA-256.
func (o *Orchestrator) CreateToken(ctx context.Context, by, name, role string, validity time.Duration) (string, error) {
	if _, err := o.leading(); err != nil {
		return "", err
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails: crypto/rand ends the program instead
	token := tokenPrefix + base64.RawURLEncoding.EncodeToString(secret)
	sum := sha256.Sum256([]byte(token))
	now := o.config.Clock()
	_, err := o.propose(ctx, by, state.TokenCreate, state.TokenCreateData{Token: state.APIToken{
		Name: name, SHA256: sum[:], Role: role, Created: now, Expires: now.Add(validity)}})
	if err != nil {
		return "", err
	}
	return token, nil
}

// RevokeToken makes a token worthless at once.
func (o *Orchestrator) RevokeToken(ctx context.Context, by, name string) error {
	if _, err := o.leading(); err != nil {
		return err
	}
	_, err := o.propose(ctx, by, state.TokenRevoke, state.TokenRevokeData{Name: name})
	return err
}
