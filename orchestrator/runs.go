package orchestrator

import (
	"fmt"
	"slices"
	"time"

	"drp/raftstore/state"
	"drp/runbooks"
)

// A run that was never finished being recorded is given up: its leader or its client died, and nothing has happened.
const prepareWithin = time.Minute

// A step looks at the state and says what is still to do for it. It has no effect of its own: effects are commands
// whose preconditions Apply checks, so a step that is looked at twice, or by the next leader, does nothing twice.
type step func(n now, r *state.Run, s bound) outcome

// bound is a step with its arguments.
type bound struct {
	runbooks.Step
	arguments map[string]string
	started   time.Time // zero: the run has not come to it yet
}

type outcome struct {
	actions []action
	done    bool
	failed  string // for a person; ends the run
	waiting bool   // for a person
	message string
}

// steps are the types of steps that a runbook may have.
var steps = map[string]step{
	runbooks.Confirm:      confirmStep,
	runbooks.Fence:        fenceStep,
	runbooks.Assign:       assignStep,
	runbooks.Rebuild:      rebuildStep,
	runbooks.Verify:       verifyStep,
	runbooks.RestoreFiles: restoreFilesStep,
}

// runSteps moves every run on, each by at most one transition.
func runSteps(n now) []action {
	var actions []action
	for _, r := range n.view.Runs() {
		if r.Status.Ended() {
			continue
		}
		if r.Status == state.RunPreparing {
			if n.at.Sub(r.Created) > prepareWithin {
				actions = append(actions, moveRun(r, state.RunCancelled, r.Step, r.Steps, "it was never completely recorded; nothing was done"))
			}
			continue
		}
		actions = append(actions, runStep(n, r)...)
	}
	return actions
}

func runStep(n now, r *state.Run) []action {
	book, err := runbooks.Parse(r.Runbook, []byte(r.Source))
	if err != nil || len(book.Steps) != len(r.Steps) {
		return []action{moveRun(r, state.RunFailed, r.Step, r.Steps, fmt.Sprintf("its runbook cannot be read: %v", err))}
	}
	spec, current := book.Steps[r.Step], r.Steps[r.Step]
	do, ok := steps[spec.Type]
	if !ok {
		return []action{endStep(n, r, state.StepFailed, fmt.Sprintf("this drp does not know steps of type %q", spec.Type))}
	}
	if current.Status == state.StepPending {
		return []action{beginStep(n, r, spec)}
	}
	arguments, err := book.Arguments(spec, r.Parameters)
	if err != nil {
		return []action{endStep(n, r, state.StepFailed, err.Error())}
	}
	s := bound{spec, arguments, current.Started}
	out := do(n, r, s)
	if spec.Type != runbooks.Confirm {
		out.actions = append(out.actions, runAhead(n, r, book)...)
	}
	switch {
	case out.failed != "":
		return append(out.actions, endStep(n, r, state.StepFailed, out.failed))
	case out.done:
		return append(out.actions, endStep(n, r, state.StepDone, out.message))
	case n.late(s) && !timesOutByAccount(spec.Type):
		return append(out.actions, endStep(n, r, state.StepFailed, fmt.Sprintf("not done within %s: %s", spec.Timeout, out.message)))
	case out.message != current.Message || out.waiting != (r.Status == state.RunWaiting):
		return append(out.actions, sayStep(r, out))
	}
	return out.actions
}

// runAhead lets accounts that have passed the present step go on by themselves: one that cannot be stopped must not keep
// all others down. A step looks only at accounts which have passed the one before, and is done when all have passed it.
func runAhead(n now, r *state.Run, book *runbooks.Runbook) []action {
	var actions []action
	for i := r.Step + 1; i < len(book.Steps) && timesOutByAccount(book.Steps[i].Type); i++ {
		actions = append(actions, steps[book.Steps[i].Type](n, r, bound{Step: book.Steps[i]}).actions...)
	}
	return actions
}

// timesOutByAccount: these steps end single accounts as failed when their time is over, and go on with the others.
func timesOutByAccount(kind string) bool {
	switch kind {
	case runbooks.Fence, runbooks.Assign, runbooks.Rebuild, runbooks.Verify:
		return true
	}
	return false
}

func beginStep(n now, r *state.Run, spec runbooks.Step) action {
	next := slices.Clone(r.Steps)
	next[r.Step].Status, next[r.Step].Started = state.StepRunning, n.at
	status := state.RunRunning
	if spec.Type == runbooks.Confirm && r.ConfirmedAt.IsZero() {
		status = state.RunWaiting
	}
	return moveRun(r, status, r.Step, next, "")
}

func sayStep(r *state.Run, out outcome) action {
	next := slices.Clone(r.Steps)
	next[r.Step].Message = out.message
	status := state.RunRunning
	if out.waiting {
		status = state.RunWaiting
	}
	return moveRun(r, status, r.Step, next, "")
}

func endStep(n now, r *state.Run, status state.StepStatus, message string) action {
	next := slices.Clone(r.Steps)
	next[r.Step].Status, next[r.Step].Finished, next[r.Step].Message = status, n.at, message
	switch {
	case status == state.StepFailed:
		return moveRun(r, state.RunFailed, r.Step, next, fmt.Sprintf("step %s: %s", next[r.Step].ID, message))
	case r.Step+1 < len(next):
		return moveRun(r, state.RunRunning, r.Step+1, next, "")
	}
	if lost := failedAccounts(n.view, r.ID); lost > 0 {
		return moveRun(r, state.RunFailed, r.Step, next, fmt.Sprintf("%d of %d accounts did not come back", lost, len(n.view.RunAccounts(r.ID))))
	}
	return moveRun(r, state.RunDone, r.Step, next, "")
}

func moveRun(r *state.Run, status state.RunStatus, step int, all []state.RunStep, failure string) action {
	return propose{state.RunUpdate, state.RunUpdateData{
		Run: r.ID, ExpectStep: r.Step, ExpectStatus: r.Steps[r.Step].Status,
		Status: status, Step: step, Steps: all, Error: failure,
	}}
}

// failedAccounts are those that did not come back. One that left for good meanwhile was not to.
func failedAccounts(v *state.View, id state.RunID) int {
	lost := 0
	for _, a := range v.RunAccounts(id) {
		if a.Status == state.StepFailed && !a.Erased() {
			lost++
		}
	}
	return lost
}
