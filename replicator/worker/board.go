package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"drp/replicator"
	"drp/replicator/maintenance"
)

// mostSnapshots bounds one PassReport: what the leader makes of it has to fit into one entry of the log.
const mostSnapshots = 400

// board is what is to be done, what is being done, and what there is to tell. It does nothing by itself.
type board struct {
	revision uint64
	fresh    bool                   // nothing is known to be in the store
	tellFill bool                   // the leader asks how full the store is
	initial  map[string]*initialJob // by account
	copies   map[route]*copyJob
	order    []route // of copies, as the leader gave them
	outbox   []PassReport
	// making and passing are what is under way, by account: also what nobody wants any more and has not ended yet.
	making  map[string]bool
	passing map[string]*pass
	// rooms bound passes from sites that have kept others out, and yieldAt is when a pass may next have to make room.
	rooms   map[string]room
	yieldAt time.Time
	// sick are sources of which the last pass could not read. One pass at a time asks them, and leaves the room to others.
	sick map[string]bool

	shares shares

	upkeep  upkeep
	keys    keyBoard
	erase   eraseBoard
	follows followBoard
	turns   *turns // of whoever works on an account, also inside of a job
}

// route is what a copy job is known by.
type route struct{ account, from string }

type initialJob struct {
	want     InitialJob
	cancel   context.CancelFunc // not nil: under way
	dropped  bool               // no longer wanted; its end is of no interest
	done     bool
	told     bool // the leader has been told that it is done
	failures int
	next     time.Time // not before
}

type copyJob struct {
	want    CopyJob
	cancel  context.CancelFunc
	dropped bool
	held    map[string]bool // snapshots that a pass found to be here
	// Both count in a row. repeats are passes for snapshots that were held and reported before: the leader forgot.
	failures, repeats int
	next              time.Time // not before
	nextRepeat        time.Time
	yielded           bool // it is broken off, so that another one has room
}

func newBoard() *board {
	return &board{
		initial: make(map[string]*initialJob), copies: make(map[route]*copyJob),
		making: make(map[string]bool), passing: make(map[string]*pass), rooms: make(map[string]room), sick: make(map[string]bool),
		upkeep: newUpkeep(), keys: newKeyBoard(), erase: newEraseBoard(), turns: &turns{},
	}
}

// want takes over what is to be done from now on. What is under way and no longer wanted is broken off.
func (b *board) want(d Desired) {
	b.revision, b.fresh, b.tellFill = d.Revision, d.New, d.Fill
	b.upkeep.want(d)
	b.keys.want(d.Keys)
	b.erase.want(d.Erase)
	b.turns.leave(b.erase.accounts())
	b.follows.want(d)
	named := make(map[string]bool)
	for _, want := range d.Initial {
		named[want.Account] = true
		j := b.initial[want.Account]
		if j == nil || j.want != want {
			j.drop()
			b.initial[want.Account] = &initialJob{want: want}
		}
	}
	for account, j := range b.initial {
		if !named[account] {
			j.drop()
			delete(b.initial, account)
		}
	}
	b.order = b.order[:0]
	copies := make(map[route]*copyJob)
	for _, want := range d.Copy {
		at := route{want.Account, want.From}
		if copies[at] != nil {
			continue
		}
		j := b.copies[at]
		if j == nil || j.want.Store != want.Store || j.want.Home != want.Home {
			j.drop()
			j = &copyJob{held: make(map[string]bool)}
		}
		j.want = want // a pass under way goes on; what is new needs another one
		copies[at] = j
		b.order = append(b.order, at)
	}
	for at, j := range b.copies {
		if copies[at] == nil {
			j.drop()
		}
	}
	b.copies = copies
}

func (j *initialJob) drop() {
	if j != nil && j.cancel != nil {
		j.dropped = true
		j.cancel()
	}
}

func (j *copyJob) drop() {
	if j != nil && j.cancel != nil {
		j.dropped = true
		j.cancel()
	}
}

// due is when a job may begin; false: not until it changes.
func (j *initialJob) due() (time.Time, bool) {
	return j.next, j.cancel == nil && !j.done
}

// A job that names no snapshot wants nothing.
func (j *copyJob) due() (time.Time, bool) {
	if j.cancel != nil || len(j.want.Snapshots) == 0 {
		return time.Time{}, false
	}
	if j.done() {
		return j.nextRepeat, true
	}
	return j.next, true
}

// done reports whether everything that is wanted was found to be here: the leader forgot.
func (j *copyJob) done() bool {
	return !slices.ContainsFunc(j.want.Snapshots, func(id string) bool { return !j.held[id] })
}

// stale is 1 for a job that has failed, or was done before.
func (j *copyJob) stale() int {
	if j.failures > 0 || j.done() {
		return 1
	}
	return 0
}

// next is the first moment after now at which a job becomes due.
func (b *board) next(now time.Time) (first time.Time, ok bool) {
	consider := func(at time.Time, due bool) {
		if due && at.After(now) && (!ok || at.Before(first)) {
			first, ok = at, true
		}
	}
	for _, j := range b.initial {
		consider(j.due())
	}
	for _, j := range b.copies {
		consider(j.due())
	}
	b.upkeep.each(consider)
	b.keys.each(consider)
	b.erase.each(consider)
	b.follows.each(consider)
	consider(b.yieldAt, true)
	return first, ok
}

// dueInitial returns the jobs to begin: one for each account, limit in all. They count as under way.
func (b *board) dueInitial(now time.Time, limit int) (begin []*initialJob) {
	for account, j := range b.initial {
		if at, due := j.due(); due && !at.After(now) && !b.making[account] && len(b.making) < limit && b.turns.begin(account, copying) {
			b.making[account] = true
			begin = append(begin, j)
		}
	}
	return begin
}

// dueCopies returns the jobs to begin: one pass for each account, limit in all; each tier has its share, and of each those
// come first that have not failed, and were not done before. They count as under way.
func (b *board) dueCopies(now time.Time, limit int) (begin []*copyJob) {
	running := b.running()
	waiting := make(map[int][]*copyJob) // by rank
	for _, at := range b.order {
		j := b.copies[at]
		if t, ok := j.due(); ok && !t.After(now) {
			waiting[j.want.Rank] = append(waiting[j.want.Rank], j)
		}
	}
	for rank, due := range waiting {
		slices.SortStableFunc(due, func(x, y *copyJob) int { return x.stale() - y.stale() })
		waiting[rank] = due
	}
	for len(b.passing) < limit {
		rank := b.shares.next(waiting)
		j := b.beginFirst(waiting[rank], running, now)
		if j == nil {
			if delete(waiting, rank); len(waiting) == 0 {
				break
			}
			continue
		}
		b.shares.begun(rank)
		begin = append(begin, j)
	}
	return begin
}

// initialEnded notes the end of a job. Abandoned: nobody wants it any more.
func (b *board) initialEnded(j *initialJob, work InitialJob, err error, now time.Time) (abandoned bool) {
	j.cancel = nil
	delete(b.making, work.Account)
	b.turns.end(work.Account, copying)
	if j.dropped || b.initial[work.Account] != j {
		return true
	}
	if err != nil {
		j.failures++
		j.next = now.Add(backoff(retryFirst, retryMost, j.failures))
		return false
	}
	j.done = true
	return false
}

// copyEnded notes the end of a pass and returns what will be told of it.
func (b *board) copyEnded(j *copyJob, work CopyJob, report replicator.Report, err error, now time.Time) (tell []PassReport, abandoned bool) {
	j.cancel = nil
	delete(b.passing, work.Account)
	b.turns.end(work.Account, copying)
	b.follows.passed(work, err, now)
	if j.dropped || b.copies[route{work.Account, work.From}] != j {
		return nil, true
	}
	if j.yielded {
		if j.yielded = false; err != nil && !errors.Is(err, errFollow) {
			j.next = now.Add(yieldWait)
			return nil, false
		}
	}
	var incomplete *replicator.IncompleteError
	b.sick[work.From] = err != nil && !errors.As(err, &incomplete) && !errors.Is(err, replicator.ErrNoRepository) &&
		!errors.Is(err, replicator.ErrConfigDiffers) && !errors.Is(err, replicator.ErrChanged) &&
		!errors.Is(err, errBucketLost) && !errors.Is(err, errFollow) && !errors.Is(err, maintenance.ErrErased)

	there := make(map[string]bool, len(report.Snapshots))
	for _, id := range report.Snapshots {
		there[id] = true
	}
	var copied, absent []string
	for _, id := range j.want.Snapshots { // those that were added meanwhile may have come along
		if there[id] {
			copied = append(copied, id)
		}
	}
	for _, id := range work.Snapshots {
		if !there[id] {
			absent = append(absent, id)
		}
	}
	repeated := len(copied) > 0
	for _, id := range copied {
		repeated = repeated && j.held[id]
		j.held[id] = true
	}

	sentence := describe(work, report, absent, err)
	base := PassReport{Account: work.Account, From: work.From}
	if len(copied) > 0 || sentence == "" {
		for first := true; first || len(copied) > 0; first = false {
			n := min(len(copied), mostSnapshots)
			p := base
			p.ID, p.Snapshots = rand.Text(), copied[:n]
			if copied = copied[n:]; len(copied) == 0 {
				p.Objects, p.Bytes = report.Objects, report.Bytes
			}
			tell = append(tell, p)
		}
	}
	if sentence != "" {
		p := base
		p.ID, p.Error = rand.Text(), sentence
		if len(tell) == 0 {
			p.Objects, p.Bytes = report.Objects, report.Bytes
		}
		tell = append(tell, p)
	}
	b.tell(tell)

	j.next = now
	if err != nil || len(absent) > 0 {
		j.failures++
		j.next = now.Add(backoff(retryFirst, retryMost, j.failures))
	} else {
		j.failures = 0
	}
	j.repeats++
	if !repeated {
		j.repeats = 1
	}
	j.nextRepeat = now.Add(backoff(repeatFirst, retryMost, j.repeats))
	return tell, false
}

// tell puts reports into the outbox. Of one route only the newest failure is worth telling.
func (b *board) tell(passes []PassReport) {
	for _, p := range passes {
		b.outbox = slices.DeleteFunc(b.outbox, func(old PassReport) bool {
			return old.Error != "" && old.Account == p.Account && old.From == p.From
		})
		b.outbox = append(b.outbox, p)
	}
}

// report is what there is to tell. Urgent: some of it the leader was never told. Of one route it tells one pass at a
// time: the order in which a leader applies those of one report is its own.
func (b *board) report(now time.Time) (r Report, urgent bool) {
	r.Revision = b.revision
	for account, j := range b.initial {
		if j.done {
			r.Ready = append(r.Ready, Initialised{Account: account, Home: j.want.Home})
			urgent = urgent || !j.told
		}
	}
	seen := make(map[route]bool)
	for _, p := range b.outbox {
		if at := (route{p.Account, p.From}); !seen[at] {
			seen[at] = true
			r.Passes = append(r.Passes, p)
		}
	}
	b.upkeep.report(&r, now)
	b.keys.report(&r)
	r.Erased = slices.Clone(b.erase.erased)
	return r, urgent || len(r.Passes)+len(r.Maintained)+len(r.Verified)+len(r.Removed)+len(r.Keyed)+len(r.Erased) > 0
}

// told forgets what the leader has taken.
func (b *board) told(sent Report) {
	b.upkeep.told(sent)
	b.keys.told(sent)
	b.erase.forget(sent)
	for _, i := range sent.Ready {
		if j := b.initial[i.Account]; j != nil && j.want.Home == i.Home {
			j.told = true
		}
	}
	b.outbox = slices.DeleteFunc(b.outbox, func(p PassReport) bool {
		return slices.ContainsFunc(sent.Passes, func(s PassReport) bool { return s.ID == p.ID })
	})
}

// describe says in a sentence what is wrong with a pass; empty: nothing.
func describe(work CopyJob, report replicator.Report, absent []string, err error) string {
	var s string
	switch {
	case errors.Is(err, replicator.ErrNoRepository):
		s = fmt.Sprintf("site %s has no repository of account %s yet", work.From, work.Account)
	case err != nil:
		s = fmt.Sprintf("copy account %s from site %s: %v", work.Account, work.From, err)
	case len(absent) > 0:
		s = fmt.Sprintf("copy account %s from site %s: the pass was complete, but %d snapshots that were asked for are not at that site: %.8s and others",
			work.Account, work.From, len(absent), absent[0])
		if len(absent) == 1 {
			s = fmt.Sprintf("copy account %s from site %s: the pass was complete, but snapshot %.8s that was asked for is not at that site",
				work.Account, work.From, absent[0])
		}
	case len(report.Broken) > 0:
		s = fmt.Sprintf("copy account %s from site %s: %d objects are broken at that site, %s first; the copy here is good",
			work.Account, work.From, len(report.Broken), report.Broken[0])
	}
	return shorten(s)
}

// shorten cuts a sentence to what fits into the state.
func shorten(s string) string {
	const most = 1000
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
