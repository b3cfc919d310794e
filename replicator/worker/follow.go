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

// errFollow: the copy is complete, and what the home has deleted is still here.
var errFollow = errors.New("the copy is complete, but what is over there stays here")

// followUp is what a complete pass has left to do: to take away here what these lists of the home name.
type followUp struct {
	job   CopyJob
	lists []maintenance.List
	until time.Time // then the next pass sees to it
}

// followFor is for how long it is tried without another pass. The home may move meanwhile, of which a worker need not hear.
const followFor = 24 * time.Hour

// followError is a failure of that.
type followError struct {
	left followUp
	err  error
}

func (e *followError) Error() string   { return fmt.Sprintf("%v: %v", errFollow, e.err) }
func (e *followError) Unwrap() []error { return []error{errFollow, e.err} }

// followBoard is the part of a board that has to do with it. The leader wants nothing more of a pass whose snapshots are here, and
// asks for the next one when there is a new snapshot.
type followBoard struct {
	jobs map[string]*upkeepJob[followUp] // by account
	busy bool
}

// passed notes how a pass has ended.
func (b *followBoard) passed(work CopyJob, err error, now time.Time) {
	var left *followError
	switch old := b.jobs[work.Account]; {
	case errors.As(err, &left):
		if b.jobs == nil {
			b.jobs = make(map[string]*upkeepJob[followUp])
		}
		left.left.until = now.Add(followFor)
		b.jobs[work.Account] = &upkeepJob[followUp]{want: left.left, next: now.Add(backoff(againFirst, againMost, 1)), ends: 1}
	case err == nil && old != nil && old.want.job.From == work.From:
		delete(b.jobs, work.Account)
	}
}

// want forgets what the leader's word has made a thing of the past: another home, or other work at the repository.
func (b *followBoard) want(d Desired) {
	for account, j := range b.jobs {
		past := slices.ContainsFunc(d.Copy, func(c CopyJob) bool { return c.Account == account && c.Home != j.want.job.Home }) ||
			slices.ContainsFunc(d.Maintain, func(m MaintainJob) bool { return m.Account == account }) ||
			slices.ContainsFunc(d.Remove, func(r RemoveJob) bool { return r.Account == account }) ||
			slices.ContainsFunc(d.Initial, func(i InitialJob) bool { return i.Account == account }) ||
			slices.ContainsFunc(d.Erase, func(e EraseJob) bool { return e.Account == accountOf(account) })
		if past {
			j.drop()
			delete(b.jobs, account)
		}
	}
}

func (b *followBoard) each(f func(time.Time, bool)) {
	for _, j := range b.jobs {
		f(j.due())
	}
}

// due returns the job to begin, if one is: one at a time. It has its turn.
func (b *followBoard) due(now time.Time, t *turns) *upkeepJob[followUp] {
	for account, j := range b.jobs {
		if now.After(j.want.until) && j.cancel == nil {
			delete(b.jobs, account)
			continue
		}
		if at, due := j.due(); due && !at.After(now) && !b.busy && t.begin(account, deleting) {
			b.busy = true
			return j
		}
	}
	return nil
}

// ended notes how it went. What has worked is told as the complete pass that it now is.
func (b *followBoard) ended(j *upkeepJob[followUp], work followUp, err error, now time.Time) (tell []PassReport, wanted bool) {
	b.busy = false
	wanted = j.over(now) && b.jobs[work.job.Account] == j
	if !wanted || err != nil {
		return nil, wanted
	}
	delete(b.jobs, work.job.Account)
	return []PassReport{{ID: rand.Text(), Account: work.job.Account, From: work.job.From}}, true
}

// startFollow begins what is due of it.
func (r *run) startFollow(ctx context.Context, now time.Time) {
	j := r.board.follows.due(now, r.board.turns)
	if j == nil {
		return
	}
	work := j.want
	jobContext, cancel := context.WithCancel(ctx)
	j.cancel = cancel
	r.jobs.Go(func() {
		defer cancel()
		err := r.follow(jobContext, work.job, work.lists)
		r.board.turns.end(work.job.Account, deleting)
		r.ended <- func() { r.followEnded(j, work, err) }
	})
}

func (r *run) followEnded(j *upkeepJob[followUp], work followUp, err error) {
	tell, wanted := r.board.follows.ended(j, work, err, time.Now())
	r.board.tell(tell)
	switch {
	case !wanted:
	case err != nil:
		r.log.Warn("what is over at the home is still here", "account", work.job.Account, "from", work.job.From, "error", err)
	default:
		r.log.Info("what is over at the home is gone here, too", "account", work.job.Account, "from", work.job.From)
	}
}

// followHere does after a pass what the home's lists ask for.
func (w *Worker) followHere(ctx context.Context, job CopyJob, lists []maintenance.List) error {
	source, err := w.source(job.From, job.Store)
	if err != nil {
		return err
	}
	defer source.Close()
	if err := w.ready(ctx, job.Account, false); err != nil {
		return err
	}
	_, err = w.Keeper.Follow(ctx, source, job.Account, lists)
	return err
}
