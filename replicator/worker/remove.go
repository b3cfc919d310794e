package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"drp/replicator/maintenance"
)

// wantRemoved takes over which repositories are to go.
func (u *upkeep) wantRemoved(jobs []RemoveJob) {
	u.remove = takeOver(u.remove, jobs, func(j RemoveJob) string { return j.Account }, func(a, b RemoveJob) bool { return a == b })
}

// dueRemovals returns the jobs to begin; each has its turn, and counts as under way.
func (u *upkeep) dueRemovals(now time.Time, limit int, t *turns) (begin []*upkeepJob[RemoveJob]) {
	for account, j := range u.remove {
		if at, due := j.due(); due && !at.After(now) && u.busy.maintain < limit && t.begin(account, deleting) {
			u.busy.maintain++
			begin = append(begin, j)
		}
	}
	return begin
}

// removeEnded notes what came of a job, to be told. Of one repository only the newest word counts.
func (u *upkeep) removeEnded(j *upkeepJob[RemoveJob], work RemoveJob, r maintenance.Result, err error, now time.Time) (tell Removed, wanted bool) {
	u.busy.maintain--
	if !j.over(now) {
		return Removed{}, false
	}
	tell = Removed{ID: rand.Text(), Account: work.Account, Objects: r.Objects, Bytes: r.Bytes}
	if err != nil {
		tell.Error = shorten(err.Error())
	}
	u.removed = append(slices.DeleteFunc(u.removed, func(m Removed) bool { return m.Account == work.Account }), tell)
	return tell, true
}

// startRemovals begins what is due of them.
func (r *run) startRemovals(ctx context.Context, now time.Time, limit int) {
	for _, j := range r.board.upkeep.dueRemovals(now, limit, r.board.turns) {
		launch(ctx, r, j, r.remove,
			func(work RemoveJob) { r.board.turns.end(work.Account, deleting) },
			func(work RemoveJob, result maintenance.Result, err error) { r.removeEnded(j, work, result, err) })
	}
}

func (r *run) removeEnded(j *upkeepJob[RemoveJob], work RemoveJob, result maintenance.Result, err error) {
	m, wanted := r.board.upkeep.removeEnded(j, work, result, err, time.Now())
	switch {
	case !wanted:
	case m.Error != "":
		r.log.Warn("repository is not removed yet", "account", m.Account, "reason", m.Error)
	default:
		r.log.Info("repository removed", "account", m.Account, "successor", work.Successor, "objects", m.Objects, "bytes", m.Bytes)
	}
}

// removeHere is what a RemoveJob does.
func (w *Worker) removeHere(ctx context.Context, job RemoveJob) (maintenance.Result, error) {
	if w.Keeper == nil {
		return maintenance.Result{}, errors.New("this worker has no restic")
	}
	if err := w.ready(ctx, job.Account, false); err != nil {
		return maintenance.Result{}, fmt.Errorf("remove repository %s: %w", job.Account, err)
	}
	return w.Keeper.Remove(ctx, job.Account, job.Successor)
}
