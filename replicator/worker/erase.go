package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"drp/replicator/maintenance"
)

const (
	erasuresAtOnce = 2
	eraseLooks     = 24 * time.Hour // most that lies between two looks at an account that waits
)

// eraseBoard is the part of a board that has to do with accounts which have left.
//
// What the leader no longer wants is taken back at the site as well (maintenance.TakeBack), and as long as that was not done no
// erasure begins: who orders, takes back and orders again may not find the wait over.
type eraseBoard struct {
	jobs   map[string]*upkeepJob[EraseJob] // by account
	now    map[string]bool                 // accounts under way, also what nobody wants any more and has not ended yet
	erased []Erased                        // to be told

	back     map[string]bool // accounts that are to be taken back, even if they are wanted again
	unsure   bool            // an earlier worker may have left marks of others
	told     bool            // the leader has said what it wants
	settling bool
	settleAt time.Time // not before
	failures int
}

func newEraseBoard() eraseBoard {
	return eraseBoard{jobs: make(map[string]*upkeepJob[EraseJob]), now: make(map[string]bool), back: make(map[string]bool)}
}

// want takes over which accounts are to be erased.
func (b *eraseBoard) want(all []EraseJob) {
	before := b.jobs
	b.jobs = takeOver(before, all, func(j EraseJob) string { return j.Account }, func(x, y EraseJob) bool { return x == y })
	for account := range before {
		if b.jobs[account] == nil {
			b.back[account] = true
		}
	}
	if !b.told {
		b.told, b.unsure = true, true
	}
	b.erased = slices.DeleteFunc(b.erased, func(e Erased) bool { return b.jobs[e.Account] == nil })
}

// accounts are those that are to be erased.
func (b *eraseBoard) accounts() map[string]bool {
	accounts := make(map[string]bool, len(b.jobs))
	for account := range b.jobs {
		accounts[account] = true
	}
	return accounts
}

func (b *eraseBoard) unsettled() bool { return b.unsure || len(b.back) > 0 }

// settle begins to see to what was taken back, when that is due, and returns the accounts that stay wanted. It waits for the end
// of what was broken off, which may be writing its mark.
func (b *eraseBoard) settle(now time.Time) (stay map[string]bool, begin bool) {
	if !b.unsettled() || b.settling || now.Before(b.settleAt) {
		return nil, false
	}
	stay = b.accounts()
	for account := range b.back {
		if b.now[account] {
			return nil, false
		}
		delete(stay, account)
	}
	b.settling = true
	return stay, true
}

// settled notes that all was seen to but for what stays. No erasure has begun meanwhile.
func (b *eraseBoard) settled(stay map[string]bool, err error, now time.Time) {
	b.settling = false
	if err != nil {
		b.failures++
		b.settleAt = now.Add(backoff(retryFirst, retryMost, b.failures))
		return
	}
	b.failures, b.unsure = 0, false
	maps.DeleteFunc(b.back, func(account string, _ bool) bool { return !stay[account] })
}

// due returns the jobs to begin; each has its turn, and counts as under way.
func (b *eraseBoard) due(now time.Time, t *turns) (begin []*upkeepJob[EraseJob]) {
	if b.unsettled() {
		return nil
	}
	for account, j := range b.jobs {
		if at, due := j.due(); due && !at.After(now) && len(b.now) < erasuresAtOnce && t.beginErase(account) {
			b.now[account] = true
			begin = append(begin, j)
		}
	}
	return begin
}

func (b *eraseBoard) each(f func(time.Time, bool)) {
	for _, j := range b.jobs {
		f(j.due())
	}
	f(b.settleAt, b.unsettled() && !b.settling)
}

// ended notes what came of a job, to be told. Of one account only the newest word counts.
func (b *eraseBoard) ended(j *upkeepJob[EraseJob], work EraseJob, e maintenance.Erasure, err error, now time.Time) (tell Erased, wanted bool) {
	delete(b.now, work.Account)
	if !j.over(now) {
		return Erased{}, false
	}
	if !e.Next.IsZero() {
		j.next = now.Add(min(max(e.Next.Sub(now), restless), eraseLooks))
	}
	tell = Erased{
		ID: rand.Text(), Account: work.Account, Until: e.Until, Repositories: e.Repositories, Objects: e.Objects, Bytes: e.Bytes, Empty: e.Empty,
	}
	if err != nil {
		tell.Error = shorten(err.Error())
	}
	b.erased = append(slices.DeleteFunc(b.erased, func(e Erased) bool { return e.Account == work.Account }), tell)
	return tell, true
}

// forget what the leader has taken.
func (b *eraseBoard) forget(sent Report) {
	b.erased = slices.DeleteFunc(b.erased, func(e Erased) bool {
		return slices.ContainsFunc(sent.Erased, func(s Erased) bool { return s.ID == e.ID })
	})
}

// startErasures begins what is due of them.
func (r *run) startErasures(ctx context.Context, now time.Time) {
	b := &r.board.erase
	if stay, begin := b.settle(now); begin {
		r.jobs.Go(func() {
			err := r.takeBack(ctx, stay)
			r.ended <- func() {
				b.settled(stay, err, time.Now())
				if err != nil && ctx.Err() == nil {
					r.log.Error("cannot take back erasures that are no longer wanted", "error", err)
				}
			}
		})
	}
	for _, j := range b.due(now, r.board.turns) {
		launch(ctx, r, j, r.erase,
			func(work EraseJob) { r.board.turns.endErase(work.Account) },
			func(work EraseJob, e maintenance.Erasure, err error) { r.eraseEnded(j, work, e, err) })
	}
}

func (r *run) eraseEnded(j *upkeepJob[EraseJob], work EraseJob, e maintenance.Erasure, err error) {
	told, wanted := r.board.erase.ended(j, work, e, err, time.Now())
	switch {
	case !wanted:
	case told.Error != "":
		r.log.Error("an account is not erased yet", "account", told.Account, "reason", told.Error)
	case told.Empty.IsZero():
		r.log.Info("an account that is to be erased waits", "account", told.Account, "until", told.Until)
	default:
		r.log.Info("nothing is left of an account", "account", told.Account, "objects", told.Objects, "bytes", told.Bytes)
	}
}

// eraseHere is what an EraseJob does.
func (w *Worker) eraseHere(ctx context.Context, job EraseJob) (maintenance.Erasure, error) {
	if w.Keeper == nil {
		return maintenance.Erasure{}, errors.New("this worker has no restic")
	}
	if err := w.bucket(ctx, false); err != nil {
		return maintenance.Erasure{}, fmt.Errorf("erase account %s: %w", job.Account, err)
	}
	return w.Keeper.Erase(ctx, job.Account)
}

// takeBackHere has all other accounts than those that are wanted wait anew. Where there is no bucket, none waits.
func (w *Worker) takeBackHere(ctx context.Context, wanted map[string]bool) error {
	if w.Keeper == nil {
		return nil
	}
	if there, err := w.Store.HasBucket(ctx); err != nil || !there {
		return err
	}
	return w.Keeper.TakeBack(ctx, func(account string) bool { return wanted[account] })
}
