package state

import (
	"maps"
	"slices"
)

func applyRunCreate(c *change, d RunCreateData) (bool, error) {
	r := d.Run
	if err := checkRunID(r.ID); err != nil {
		return false, err
	}
	switch {
	case r.Status != RunPreparing && r.Status != RunRunning && r.Status != RunWaiting:
		return false, refuse(ErrInvalid, "run %s: a new run is preparing, running or waiting, not %q", r.ID, r.Status)
	case r.Step < 0 || r.Step >= len(r.Steps):
		return false, refuse(ErrInvalid, "run %s stands at step %d of %d", r.ID, r.Step, len(r.Steps))
	case r.ConfirmedBy != "" || !r.ConfirmedAt.IsZero() || len(r.Down) > 0:
		return false, refuse(ErrInvalid, "run %s: a run is confirmed after it was made, not with it", r.ID)
	}
	for _, other := range runTable.list(c.Txn) {
		if other.ID == r.ID {
			return false, refuse(ErrConflict, "there is a run %s already", r.ID)
		}
		if !other.Status.Ended() && other.Runbook == r.Runbook && maps.Equal(other.Parameters, r.Parameters) {
			return false, refuse(ErrConflict, "run %s does the same and has not ended", other.ID)
		}
	}
	if r.Created.IsZero() {
		r.Created = c.at
	}
	r.Steps = withoutItems(r.Steps)
	runTable.put(c.Txn, &r)
	return true, nil
}

// withoutItems drops what is derived when a run is shown.
func withoutItems(steps []RunStep) []RunStep {
	steps = slices.Clone(steps)
	for i := range steps {
		steps[i].Items = nil
	}
	return steps
}

// live returns a run that has not ended.
func (c *change) live(id RunID) (*Run, error) {
	r := runTable.get(c.Txn, string(id))
	if r == nil {
		return nil, refuse(ErrNotFound, "there is no run %s", id)
	}
	if r.Status.Ended() {
		return nil, refuse(ErrConflict, "run %s has ended: %s", id, r.Status)
	}
	return r, nil
}

// applyRunUpdate moves a run on from where the proposer saw it. It never goes back: no step happens twice.
func applyRunUpdate(c *change, d RunUpdateData) (bool, error) {
	old, err := c.live(d.Run)
	if err != nil {
		return false, err
	}
	if at := old.Steps[old.Step].Status; old.Step != d.ExpectStep || at != d.ExpectStatus {
		return false, refuse(ErrConflict, "run %s stands at step %d (%s), and not at step %d (%s)",
			d.Run, old.Step, at, d.ExpectStep, d.ExpectStatus)
	}
	switch {
	case len(d.Steps) != len(old.Steps):
		return false, refuse(ErrInvalid, "run %s has %d steps, and not %d", d.Run, len(old.Steps), len(d.Steps))
	case d.Step < old.Step || d.Step >= len(d.Steps):
		return false, refuse(ErrInvalid, "run %s cannot go from step %d to step %d of %d", d.Run, old.Step, d.Step, len(d.Steps))
	case d.Status != RunRunning && d.Status != RunWaiting && !d.Status.Ended():
		return false, refuse(ErrInvalid, "run %s: there is no status %q", d.Run, d.Status)
	}
	next := *old
	next.Status, next.Step, next.Steps, next.Error = d.Status, d.Step, withoutItems(d.Steps), d.Error
	if d.Status.Ended() {
		next.Finished = c.at
	}
	runTable.put(c.Txn, &next)
	return true, nil
}

// applyRunConfirm records a person's word for exactly the plan that they saw. The run goes on. A server that falls silent
// later needs another word: what was confirmed before stays.
func applyRunConfirm(c *change, d RunConfirmData) (bool, error) {
	old, err := c.live(d.Run)
	if err != nil {
		return false, err
	}
	if old.Status != RunWaiting && old.ConfirmedBy == d.By && old.PlanHash == d.PlanHash && saidDown(old.Down, d) {
		return false, nil // the same word twice
	}
	switch {
	case d.By == "":
		return false, refuse(ErrInvalid, "run %s: a confirmation says by whom it is", d.Run)
	case old.Status != RunWaiting:
		return false, refuse(ErrConflict, "run %s does not wait for a confirmation: %s", d.Run, old.Status)
	case old.PlanHash != d.PlanHash:
		return false, refuse(ErrConflict, "run %s has another plan than the one that was confirmed: look at it again", d.Run)
	}
	for _, server := range d.Down {
		if _, err := c.server(server); err != nil {
			return false, err
		}
	}
	next := *old
	next.Status = RunRunning
	if old.ConfirmedAt.IsZero() {
		next.ConfirmedAt, next.ConfirmedBy = c.at, d.By
	}
	next.Down = slices.Clone(old.Down)
	for _, server := range d.Down {
		next.Down = append(next.Down, DownWord{Server: server, By: d.By, At: c.at})
	}
	runTable.put(c.Txn, &next)
	return true, nil
}

func applyRunCancel(c *change, d RunCancelData) (bool, error) {
	old, err := c.live(d.Run)
	if err != nil {
		return false, err
	}
	if old.ConfirmedBy != "" {
		return false, refuse(ErrConflict, "run %s was confirmed by %s and is under way: it cannot be cancelled", d.Run, old.ConfirmedBy)
	}
	next := *old
	next.Status, next.Finished, next.Error = RunCancelled, c.at, "cancelled by "+d.By
	runTable.put(c.Txn, &next)
	return true, nil
}

// saidDown reports whether a confirmation says of servers only what its author has said already.
func saidDown(words []DownWord, d RunConfirmData) bool {
	for _, server := range d.Down {
		if !slices.ContainsFunc(words, func(w DownWord) bool { return w.Server == server && w.By == d.By }) {
			return false
		}
	}
	return true
}
