// Package worker is the loop of a site's worker: it asks the leader what the site lacks, creates repositories and
// pulls copies, and tells what came of it.
//
// At its site it also forgets, prunes and verifies what the leader names.
//
// It keeps nothing on disk. What it forgets by dying, the stores know: the next pass finds what is there.
package worker

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"drp/replicator"
	"drp/replicator/keyfiles"
	"drp/replicator/maintenance"
	"drp/replicator/verify"
)

const (
	initialsAtOnce = 2                // each is a restic process with 70 MB for its key
	retryFirst     = 2 * time.Second  // wait after the first failure of a job
	retryMost      = 5 * time.Minute  // and after many
	repeatFirst    = 15 * time.Second // wait before a job is done again that the leader should know to be done
	leaderFirst    = 500 * time.Millisecond
	leaderMost     = 10 * time.Second
	restless       = time.Second      // between two polls that a leader answers at once without any news
	syncWithin     = 30 * time.Second // a leader answers, beyond what it may wait
)

// Worker is the worker of one site. Site, Store and Leader are needed; without Initialiser it creates nothing.
type Worker struct {
	Site        string
	Store       *replicator.Store // this site's, with the key that writes
	Sources     map[string]Key    // of the other sites' stores; they should be able to read only
	Initialiser Initialiser
	Leader      Leader
	Concurrency int                   // passes at once; 4 when zero
	Bandwidth   *replicator.Bandwidth // of what is read from the other sites together; nil: no bound
	Poll        time.Duration         // how long the leader may think; 30 s when zero
	Logger      *slog.Logger
	// Capacity of this site's store, in bytes. Zero: how full it is is not looked at.
	Capacity int64
	// Keeper deletes what is over, and Verifier verifies copies, of this site's store. Without them nothing is deleted or
	// verified here. UpkeepAtOnce bounds how many jobs of each are done at once; 2 when zero.
	Keeper       *maintenance.Keeper
	Verifier     *verify.Verifier
	UpkeepAtOnce int
	Smith        *keyfiles.Smith // makes keys of repositories whose home is here; nil: none are made

	// How another site's store is opened: replicator.Open, unless a test has another way.
	mends mends
	open  func(replicator.StoreConfig) (*replicator.Store, error)

	// What a job does. Set by Run, unless a test has.
	initial func(ctx context.Context, job InitialJob, fresh bool) error
	copy    func(ctx context.Context, job CopyJob, fresh bool) (replicator.Report, error)

	maintain func(ctx context.Context, job MaintainJob) (maintenance.Result, error)
	verify   func(ctx context.Context, job VerifyJob) error
	remove   func(ctx context.Context, job RemoveJob) (maintenance.Result, error)
	key      func(ctx context.Context, job KeyJob) (keyfiles.Made, error)
	erase    func(ctx context.Context, job EraseJob) (maintenance.Erasure, error)
	takeBack func(ctx context.Context, wanted map[string]bool) error
	follow   func(ctx context.Context, job CopyJob, lists []maintenance.List) error
	used     func(ctx context.Context) (int64, error)
}

// Key is who we are at a store.
type Key struct{ Access, Secret string }

// Run works until ctx ends, then lets its jobs end and returns nil.
func (w *Worker) Run(ctx context.Context) error {
	if w.Site == "" || w.Store == nil && (w.copy == nil || w.initial == nil) || w.Leader == nil {
		return errors.New("run worker: it needs a site, a store and a leader")
	}
	r := &run{
		Worker:  w,
		log:     cmp.Or(w.Logger, slog.New(slog.DiscardHandler)),
		board:   newBoard(),
		ended:   make(chan func()),
		answers: make(chan answer),
	}
	if r.initial = w.initial; r.initial == nil {
		r.initial = w.create
	}
	if r.copy = w.copy; r.copy == nil {
		r.copy = w.copier(r.board.turns, r.log)
	}
	if r.maintain = w.maintain; r.maintain == nil {
		r.maintain = w.maintainHere
	}
	if r.verify = w.verify; r.verify == nil {
		r.verify = w.verifyHere
	}
	if r.remove = w.remove; r.remove == nil {
		r.remove = w.removeHere
	}
	if r.key = w.key; r.key == nil {
		r.key = w.keyHere
	}
	if r.erase = w.erase; r.erase == nil {
		r.erase = w.eraseHere
	}
	if r.takeBack = w.takeBack; r.takeBack == nil {
		r.takeBack = w.takeBackHere
	}
	if r.follow = w.follow; r.follow == nil {
		r.follow = w.followHere
	}
	if r.used = w.used; r.used == nil {
		r.used = func(ctx context.Context) (int64, error) { return w.Store.Used(ctx) }
	}
	if w.Verifier != nil {
		if err := w.Verifier.ClearScratch(); err != nil {
			r.log.Error("what an earlier worker has left is still there", "error", err)
		}
	}
	return r.loop(ctx)
}

// run is one Run. All of it belongs to the goroutine of loop; jobs and the poll hand in what they did.
type run struct {
	*Worker
	log     *slog.Logger
	board   *board
	initial func(ctx context.Context, job InitialJob, fresh bool) error
	copy    func(ctx context.Context, job CopyJob, fresh bool) (replicator.Report, error)

	maintain func(ctx context.Context, job MaintainJob) (maintenance.Result, error)
	verify   func(ctx context.Context, job VerifyJob) error
	remove   func(ctx context.Context, job RemoveJob) (maintenance.Result, error)
	key      func(ctx context.Context, job KeyJob) (keyfiles.Made, error)
	erase    func(ctx context.Context, job EraseJob) (maintenance.Erasure, error)
	takeBack func(ctx context.Context, wanted map[string]bool) error
	follow   func(ctx context.Context, job CopyJob, lists []maintenance.List) error
	sweeping bool
	sweepAt  time.Time // not before
	used     func(ctx context.Context) (int64, error)
	gauge    gauge

	jobs    sync.WaitGroup
	ended   chan func()
	answers chan answer

	poll       context.CancelFunc // of the poll in flight; nil: none
	idlePoll   bool               // the poll in flight reports nothing new: it may be broken off
	pollAgain  time.Time          // not before
	pollErrors int
}

// answer is the end of one poll.
type answer struct {
	sent    Report
	urgent  bool
	desired Desired
	err     error
	broken  bool // broken off by us
	took    time.Duration
}

func (r *run) loop(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		r.start(ctx, now)
		r.ask(ctx, now)
		if wake, ok := r.wake(now); ok {
			timer.Reset(max(0, wake.Sub(now)))
		}
		select {
		case <-ctx.Done():
			return r.finish()
		case a := <-r.answers:
			r.take(a)
		case done := <-r.ended:
			done()
		case <-timer.C:
		}
	}
}

// finish waits for what is in flight; ctx has ended.
func (r *run) finish() error {
	idle := make(chan struct{})
	go func() {
		r.jobs.Wait()
		close(idle)
	}()
	for {
		select {
		case <-r.ended:
		case <-r.answers:
		case <-idle:
			return nil
		}
	}
}

// wake is when time alone makes something due that was not due now.
func (r *run) wake(now time.Time) (time.Time, bool) {
	at, ok := r.board.next(now)
	if r.poll == nil && (!ok || r.pollAgain.Before(at)) {
		at, ok = r.pollAgain, true
	}
	if r.Keeper != nil && !r.sweeping && (!ok || r.sweepAt.Before(at)) {
		at, ok = r.sweepAt, true
	}
	if r.Capacity > 0 && !r.gauge.looking && (!ok || r.gauge.next.Before(at)) {
		at, ok = r.gauge.next, true
	}
	return at, ok
}

// ask sends what there is to tell, or waits for what is new. A poll that only waits makes way for a report.
func (r *run) ask(ctx context.Context, now time.Time) {
	report, urgent := r.board.report(now)
	if r.poll != nil {
		if urgent && r.idlePoll {
			r.idlePoll = false
			r.poll()
		}
		return
	}
	if now.Before(r.pollAgain) {
		return
	}
	report.Site = r.Site
	if r.board.tellFill {
		report.Fill = r.gauge.fill(r.Capacity)
	}
	if !urgent {
		report.Wait = cmp.Or(r.Poll, 30*time.Second)
	}
	// A leader that vanished without a word must not hold us.
	polling, cancel := context.WithTimeout(ctx, report.Wait+syncWithin)
	r.poll, r.idlePoll = cancel, !urgent
	r.jobs.Go(func() {
		defer cancel()
		desired, err := r.Leader.Sync(polling, report)
		r.answers <- answer{
			sent: report, urgent: urgent, desired: desired, err: err,
			broken: errors.Is(polling.Err(), context.Canceled), took: time.Since(now),
		}
	})
}

// take takes over what the leader answered.
func (r *run) take(a answer) {
	r.poll = nil
	now := time.Now()
	if a.err != nil {
		if a.broken {
			r.pollAgain = now
			return
		}
		if r.pollErrors == 0 {
			r.log.Warn("the leader does not answer", "error", a.err)
		}
		r.pollErrors++
		r.pollAgain = now.Add(backoff(leaderFirst, leaderMost, r.pollErrors))
		return
	}
	if r.pollErrors > 0 {
		r.log.Info("the leader answers again", "after_attempts", r.pollErrors)
		r.pollErrors = 0
	}
	r.pollAgain = now
	if !a.urgent && a.desired.Revision == a.sent.Revision && a.took < restless {
		r.pollAgain = now.Add(restless)
	}
	r.board.told(a.sent)
	r.board.want(a.desired)
}

// start begins what is due, as far as there is room.
func (r *run) start(ctx context.Context, now time.Time) {
	for _, j := range r.board.dueInitial(now, initialsAtOnce) {
		work, fresh := j.want, r.board.fresh
		jobContext, cancel := context.WithCancel(ctx)
		j.cancel = cancel
		r.jobs.Go(func() {
			defer cancel()
			err := r.initial(jobContext, work, fresh)
			r.ended <- func() { r.initialEnded(j, work, err) }
		})
	}
	passes := cmp.Or(r.Concurrency, 4)
	for _, j := range r.board.dueCopies(now, passes) {
		work, fresh := j.want, r.board.fresh
		jobContext, cancel := context.WithCancel(ctx)
		j.cancel = cancel
		r.jobs.Go(func() {
			defer cancel()
			report, err := r.copy(jobContext, work, fresh)
			took := time.Since(now)
			r.ended <- func() { r.copyEnded(j, work, report, err, took) }
		})
	}
	if j := r.board.yield(now, passes); j != nil {
		r.log.Info("pass makes room for another site's", "account", j.want.Account, "from", j.want.From)
		j.cancel()
	}
	r.startUpkeep(ctx, now)
	r.startKeys(ctx, now)
	r.startErasures(ctx, now)
	r.startFollow(ctx, now)
	r.startFill(ctx, now)
}

// startUpkeep begins what is due of maintenance and verification.
func (r *run) startUpkeep(ctx context.Context, now time.Time) {
	limit := cmp.Or(r.UpkeepAtOnce, upkeepAtOnce)
	for _, j := range r.board.upkeep.dueMaintain(now, limit, r.board.turns) {
		launch(ctx, r, j, r.maintain,
			func(work MaintainJob) { r.board.turns.end(work.Account, deleting) },
			func(work MaintainJob, result maintenance.Result, err error) { r.maintainEnded(j, work, result, err) })
	}
	for _, j := range r.board.upkeep.dueVerify(now, limit, r.board.turns) {
		launch(ctx, r, j,
			func(ctx context.Context, work VerifyJob) (struct{}, error) { return struct{}{}, r.verify(ctx, work) },
			func(work VerifyJob) { r.board.turns.end(work.Account, reading) },
			func(work VerifyJob, _ struct{}, err error) { r.verifyEnded(j, work, err, now) })
	}
	r.startRemovals(ctx, now, limit)
	if r.Keeper == nil || r.sweeping || now.Before(r.sweepAt) {
		return
	}
	r.sweeping = true
	before := r.board.upkeep.trash
	r.jobs.Go(func() {
		waiting, err := r.sweep(ctx, r.board.turns, before)
		r.ended <- func() {
			r.sweeping, r.sweepAt = false, time.Now().Add(sweepEvery)
			r.board.upkeep.trash = waiting
			if err != nil && ctx.Err() == nil {
				r.log.Error("cannot look after the trash", "error", err)
			}
		}
	})
}

func (r *run) maintainEnded(j *upkeepJob[MaintainJob], work MaintainJob, result maintenance.Result, err error) {
	for _, m := range r.board.upkeep.maintainEnded(j, work, result, err, time.Now()) {
		if m.Error != "" {
			r.log.Error("maintenance failed", "account", m.Account, "error", m.Error)
		} else {
			r.log.Info("maintenance done", "account", m.Account, "forgotten", len(m.Forgotten), "objects", m.Objects, "bytes", m.Bytes)
		}
		if len(m.Unknown) > 0 {
			r.log.Warn("snapshots that the catalogue does not know are kept", "account", m.Account, "first", m.Unknown[0], "count", len(result.Unknown))
		}
	}
}

func (r *run) verifyEnded(j *upkeepJob[VerifyJob], work VerifyJob, err error, began time.Time) {
	v, wanted := r.board.upkeep.verifyEnded(j, work, err, began, time.Now())
	switch {
	case !wanted:
	case v.Error != "":
		r.log.Error("verification failed", "account", v.Account, "kind", v.Kind, "error", v.Error)
	default:
		if !r.board.upkeep.trash[v.Account].Since.IsZero() {
			r.sweepAt = time.Now() // perhaps that was what it waited for
		}
		r.log.Info("verified", "account", v.Account, "kind", v.Kind, "snapshot", v.Snapshot, "part", v.Part, "parts", v.Parts)
	}
}

func (r *run) initialEnded(j *initialJob, work InitialJob, err error) {
	abandoned := r.board.initialEnded(j, work, err, time.Now())
	switch {
	case abandoned:
	case err != nil:
		r.log.Error("cannot create a repository", "account", work.Account, "error", err, "failures", j.failures)
	default:
		r.log.Info("repository ready", "account", work.Account)
	}
}

func (r *run) copyEnded(j *copyJob, work CopyJob, report replicator.Report, err error, took time.Duration) {
	passes, abandoned := r.board.copyEnded(j, work, report, err, time.Now())
	if abandoned {
		return
	}
	for _, p := range passes {
		if p.Error != "" {
			r.log.Error("pass failed", "account", p.Account, "from", p.From, "error", p.Error)
		} else {
			r.log.Info("pass complete", "account", p.Account, "from", p.From, "snapshots", len(p.Snapshots),
				"objects", p.Objects, "bytes", p.Bytes, "took", took.Round(time.Millisecond))
		}
	}
}

// backoff doubles from first to most, and spreads over the upper half: many workers lose one leader or one store at once.
func backoff(first, most time.Duration, failures int) time.Duration {
	d := first
	for range failures - 1 {
		if d *= 2; d >= most {
			d = most
			break
		}
	}
	return d/2 + rand.N(d/2+1)
}
