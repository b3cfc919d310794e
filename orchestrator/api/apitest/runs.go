package apitest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"drp/orchestrator"
	"drp/raftstore/state"
	"drp/runbooks"
)

// Start is when everything begins.
var Start = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

// StartRun records a run that waits for its confirmation.
func (b *Brain) StartRun(_ context.Context, by string, r orchestrator.StartRequest) (*state.Run, error) {
	if err := b.note("StartRun", by, "%s %v", r.Runbook, r.Parameters); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if run := b.find(r.ID); run != nil {
		return run, nil
	}
	if b.Plan != nil && r.PlanHash != "" && r.PlanHash != b.Plan.Hash {
		return nil, fmt.Errorf("start run: the plan has changed since it was shown: %w", orchestrator.ErrRefused)
	}
	run := &state.Run{
		ID: r.ID, Runbook: r.Runbook, Parameters: r.Parameters, By: by, Created: Start, Status: state.RunWaiting, PlanHash: r.PlanHash,
		Source: sourceOf(r.Runbook),
		Steps: []state.RunStep{
			{ID: "confirm", Type: "confirm", Status: state.StepRunning, Started: Start, Message: "waiting for a person to confirm the plan"},
			{ID: "fence", Type: "fence", Status: state.StepPending},
			{ID: "verify", Type: "verify", Status: state.StepPending},
		},
	}
	b.runs = append([]*state.Run{run}, b.runs...)
	return clone(run), nil
}

func (b *Brain) find(id state.RunID) *state.Run {
	for _, r := range b.runs {
		if r.ID == id {
			return r
		}
	}
	return nil
}

// Confirmed reports, for a Hook, whether a run has been confirmed.
func (b *Brain) Confirmed() bool {
	return slices.ContainsFunc(b.runs, func(r *state.Run) bool { return !r.ConfirmedAt.IsZero() })
}

func clone(r *state.Run) *state.Run {
	c := *r
	c.Steps = slices.Clone(r.Steps)
	for i := range c.Steps {
		c.Steps[i].Items = slices.Clone(c.Steps[i].Items)
	}
	return &c
}

// ConfirmRun lets the run go on.
func (b *Brain) ConfirmRun(_ context.Context, by string, id state.RunID, hash string, down []state.ServerName) error {
	if err := b.note("ConfirmRun", by, "%s %v", hash, down); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.find(id)
	switch {
	case r == nil:
		return fmt.Errorf("there is no run %q: %w", id, state.ErrNotFound)
	case r.Status != state.RunWaiting || r.PlanHash != hash:
		return fmt.Errorf("run %s does not wait for this confirmation: %w", id, state.ErrConflict)
	}
	r.Status, r.ConfirmedBy, r.ConfirmedAt = state.RunRunning, by, Start.Add(5*time.Second)
	for _, server := range down {
		r.Down = append(r.Down, state.DownWord{Server: server, By: by, At: r.ConfirmedAt})
	}
	return nil
}

// CancelRun ends a run that waits.
func (b *Brain) CancelRun(_ context.Context, by string, id state.RunID) error {
	if err := b.note("CancelRun", by, ""); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.find(id)
	if r == nil {
		return fmt.Errorf("there is no run %q: %w", id, state.ErrNotFound)
	}
	r.Status, r.Finished = state.RunCancelled, Start.Add(time.Minute)
	return nil
}

// Run shows a run as it is, and then moves it on by one step when it was confirmed.
func (b *Brain) Run(_ context.Context, id state.RunID) (*state.Run, error) {
	if err := b.note("Run", "", ""); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.find(id)
	if r == nil {
		return nil, fmt.Errorf("there is no run %q: %w", id, state.ErrNotFound)
	}
	shown := clone(r)
	if r.Status == state.RunRunning && !(b.Stuck && r.Step == 1 && r.Steps[1].Status == state.StepRunning) {
		b.advance(r)
	}
	return shown, nil
}

func (b *Brain) advance(r *state.Run) {
	step := &r.Steps[r.Step]
	at := Start.Add(10 * time.Second)
	if step.Status == state.StepPending {
		step.Status, step.Started = state.StepRunning, at
		for _, a := range b.Plan.Accounts {
			step.Items = append(step.Items, state.RunItem{Account: a.Account, Status: state.StepRunning, Server: a.To, Message: "restoring: 10%"})
		}
		return
	}
	step.Status, step.Finished, step.Message = state.StepDone, at, "done"
	for i := range step.Items {
		item := &step.Items[i]
		item.Status, item.Message, item.At = state.StepDone, "", at
		if step.Type == "verify" {
			item.RPO, item.RTO, item.Message = 12*time.Second, time.Duration(20+i)*time.Second, "answers, seen from par3"
		}
	}
	if r.Step < len(r.Steps)-1 {
		r.Step++
		return
	}
	r.Status, r.Finished = state.RunDone, Start.Add(30*time.Second)
	if b.Finish != nil {
		b.Finish(r)
	}
}

// Runs are all runs, newest first.
func (b *Brain) Runs(context.Context) ([]*state.Run, error) {
	if err := b.note("Runs", "", ""); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]*state.Run, len(b.runs))
	for i, r := range b.runs {
		all[i] = clone(r)
	}
	return all, nil
}

func sourceOf(runbook string) string {
	b, err := runbooks.Lookup(runbook)
	if err != nil {
		return ""
	}
	return b.Source
}
