package worker

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"drp/replicator/maintenance"
	"drp/replicator/restic"
	"drp/replicator/verify"
)

const (
	upkeepAtOnce = 2           // of maintenance, and as many of verification: each is a restic process
	againFirst   = time.Minute // wait before a job is done again that the leader should know to be over
	againMost    = time.Hour
	mostUnknown  = 100 // snapshots that one report names
	mostTrash    = 32  // accounts whose trash it tells of
)

// upkeep is the part of a board that has to do with the maintenance and verification of what is here.
type upkeep struct {
	maintain map[string]*upkeepJob[MaintainJob] // by account
	verify   map[verifyKey]*upkeepJob[VerifyJob]
	order    []verifyKey // as the leader gave them
	remove   map[string]*upkeepJob[RemoveJob]
	busy     struct{ maintain, verify int } // removals count as maintenance

	maintained []Maintained // to be told
	verified   []finding
	removed    []Removed
	trash      map[string]maintenance.Waits // what waits, by account
}

// finding is what came of a look at a copy.
type finding struct {
	Verified
	began time.Time
}

type verifyKey struct{ account, kind, snapshot string }

// upkeepJob is one job. It is done once, and again only when the leader still wants it a good while after.
type upkeepJob[J any] struct {
	want    J
	cancel  context.CancelFunc // not nil: under way
	dropped bool               // no longer wanted; its end is of no interest
	ends    int
	next    time.Time // not before
}

func newUpkeep() upkeep {
	return upkeep{maintain: make(map[string]*upkeepJob[MaintainJob]), verify: make(map[verifyKey]*upkeepJob[VerifyJob]), remove: make(map[string]*upkeepJob[RemoveJob])}
}

func (j *upkeepJob[J]) drop() {
	if j != nil && j.cancel != nil {
		j.dropped = true
		j.cancel()
	}
}

func (j *upkeepJob[J]) due() (time.Time, bool) { return j.next, j.cancel == nil }

// over notes the end of a job; false: nobody wanted it any more.
func (j *upkeepJob[J]) over(now time.Time) bool {
	j.cancel = nil
	if j.dropped {
		return false
	}
	j.ends++
	j.next = now.Add(backoff(againFirst, againMost, j.ends))
	return true
}

// want takes over what is to be done. Maintenance that is under way goes on when only its snapshots are others: each
// backup adds one to those that are known.
func (u *upkeep) want(d Desired) {
	maintain := make(map[string]*upkeepJob[MaintainJob])
	for _, want := range d.Maintain {
		j := u.maintain[want.Account]
		switch {
		case maintain[want.Account] != nil:
			continue
		case j == nil || j.want.Home != want.Home || j.want.Password != want.Password:
			j.drop()
			j = &upkeepJob[MaintainJob]{}
		case slices.ContainsFunc(want.Forget, func(id string) bool { return !slices.Contains(j.want.Forget, id) }):
			j.ends, j.next = 0, time.Time{}
		}
		j.want = want
		maintain[want.Account] = j
	}
	for account, j := range u.maintain {
		if maintain[account] == nil {
			j.drop()
		}
	}
	u.maintain = maintain

	verify := make(map[verifyKey]*upkeepJob[VerifyJob])
	u.order = u.order[:0]
	for _, want := range d.Verify {
		at := verifyKey{want.Account, want.Kind, want.Snapshot}
		if verify[at] != nil {
			continue
		}
		j := u.verify[at]
		if j == nil || !j.want.same(want) {
			j.drop()
			j = &upkeepJob[VerifyJob]{}
		}
		j.want = want // its snapshots may be others
		verify[at] = j
		u.order = append(u.order, at)
	}
	for at, j := range u.verify {
		if verify[at] == nil {
			j.drop()
		}
	}
	u.verify = verify
	u.wantRemoved(d.Remove)
}

// dueMaintain returns the jobs to begin; each has its turn, and counts as under way.
func (u *upkeep) dueMaintain(now time.Time, limit int, t *turns) (begin []*upkeepJob[MaintainJob]) {
	for account, j := range u.maintain {
		if at, due := j.due(); due && !at.After(now) && u.busy.maintain < limit && t.begin(account, deleting) {
			u.busy.maintain++
			begin = append(begin, j)
		}
	}
	return begin
}

// dueVerify returns the jobs to begin; each has its turn, and counts as under way.
func (u *upkeep) dueVerify(now time.Time, limit int, t *turns) (begin []*upkeepJob[VerifyJob]) {
	for _, key := range u.order {
		j := u.verify[key]
		if at, due := j.due(); due && !at.After(now) && u.busy.verify < limit && t.begin(key.account, reading) {
			u.busy.verify++
			begin = append(begin, j)
		}
	}
	return begin
}

func (u *upkeep) each(f func(time.Time, bool)) {
	for _, j := range u.maintain {
		f(j.due())
	}
	for _, j := range u.verify {
		f(j.due())
	}
	for _, j := range u.remove {
		f(j.due())
	}
}

// maintainEnded notes what came of a job, to be told.
func (u *upkeep) maintainEnded(j *upkeepJob[MaintainJob], work MaintainJob, r maintenance.Result, err error, now time.Time) (tell []Maintained) {
	u.busy.maintain--
	if !j.over(now) {
		return nil
	}
	base := Maintained{Account: work.Account, Home: work.Home}
	rest := r.Forgotten
	for first := true; first || len(rest) > 0; first = false {
		m := base
		n := min(len(rest), mostSnapshots)
		m.ID, m.Forgotten = rand.Text(), rest[:n]
		if rest = rest[n:]; len(rest) == 0 {
			m.Objects, m.Bytes, m.Unknown = r.Objects, r.Bytes, r.Unknown[:min(len(r.Unknown), mostUnknown)]
			m.Error = sentence(fmt.Sprintf("maintain the repository of account %s", work.Account), err)
		}
		tell = append(tell, m)
	}
	u.maintained = append(u.maintained, tell...)
	return tell
}

// verifyEnded notes what came of a job, to be told.
func (u *upkeep) verifyEnded(j *upkeepJob[VerifyJob], work VerifyJob, err error, began, now time.Time) (tell Verified, wanted bool) {
	u.busy.verify--
	if !j.over(now) {
		return Verified{}, false
	}
	tell = Verified{
		ID: rand.Text(), Account: work.Account, Kind: work.Kind, Snapshot: work.Snapshot, Part: work.Part, Parts: work.Parts,
		Error: sentence("verify the copy of account "+work.Account, err),
	}
	// Of one kind only the newest word counts. An older one that was not told yet could come after it.
	u.verified = append(slices.DeleteFunc(u.verified, func(v finding) bool {
		return v.Account == tell.Account && v.Kind == tell.Kind
	}), finding{tell, began})
	return tell, true
}

func sentence(what string, err error) string {
	if err == nil {
		return ""
	}
	return shorten(what + ": " + err.Error())
}

// report adds what there is to tell: of one account one run at a time, in the order in which they were.
func (u *upkeep) report(r *Report, now time.Time) {
	seen := make(map[string]bool)
	for _, m := range u.maintained {
		if !seen[m.Account] {
			seen[m.Account] = true
			r.Maintained = append(r.Maintained, m)
		}
	}
	for _, v := range u.verified {
		v.BeganAgo = now.Sub(v.began) + syncWithin
		r.Verified = append(r.Verified, v.Verified)
	}
	r.Removed = slices.Clone(u.removed)
	for account, w := range u.trash {
		r.Trash = append(r.Trash, Trash{Account: account, Objects: w.Objects, Bytes: w.Bytes, Over: now.Sub(w.Since)})
	}
	slices.SortFunc(r.Trash, func(a, b Trash) int {
		return cmp.Or(cmp.Compare(b.Over, a.Over), cmp.Compare(a.Account, b.Account))
	})
	r.Trash = r.Trash[:min(len(r.Trash), mostTrash)]
}

// told forgets what the leader has taken.
func (u *upkeep) told(sent Report) {
	u.maintained = slices.DeleteFunc(u.maintained, func(m Maintained) bool {
		return slices.ContainsFunc(sent.Maintained, func(s Maintained) bool { return s.ID == m.ID })
	})
	u.verified = slices.DeleteFunc(u.verified, func(v finding) bool {
		return slices.ContainsFunc(sent.Verified, func(s Verified) bool { return s.ID == v.ID })
	})
	u.removed = slices.DeleteFunc(u.removed, func(m Removed) bool {
		return slices.ContainsFunc(sent.Removed, func(s Removed) bool { return s.ID == m.ID })
	})
}

// maintainHere is what a MaintainJob does.
func (w *Worker) maintainHere(ctx context.Context, job MaintainJob) (maintenance.Result, error) {
	switch {
	case w.Keeper == nil:
		return maintenance.Result{}, errors.New("this worker has no restic")
	case job.Home.Site != w.Site:
		return maintenance.Result{}, fmt.Errorf("its home is at site %s: nothing is deleted at %s", job.Home.Site, w.Site)
	}
	if err := w.ready(ctx, job.Account, false); err != nil {
		return maintenance.Result{}, err
	}
	return w.Keeper.Run(ctx, maintenance.Job{
		Account: job.Account, Epoch: job.Home.Epoch, Password: job.Password, Forget: job.Forget, Known: job.Known,
	})
}

// verifyWithin bounds one verification: it keeps maintenance of its account waiting.
const verifyWithin = 12 * time.Hour

// verifyHere is what a VerifyJob does.
func (w *Worker) verifyHere(ctx context.Context, job VerifyJob) error {
	ctx, cancel := context.WithTimeout(ctx, verifyWithin)
	defer cancel()
	if w.Keeper == nil || w.Verifier == nil {
		return errors.New("this worker has no restic")
	}
	if _, err := prefixOf(job.Account); err != nil {
		return err
	}
	if err := w.ready(ctx, job.Account, false); err != nil {
		return err
	}
	if err := w.Keeper.CheckConfig(ctx, job.Account); err != nil {
		return err
	}
	lost, over, err := w.Keeper.Lost(ctx, job.Account, job.Known)
	if err != nil {
		return err
	}
	missed := missing(lost, over, len(job.Known))
	if missed != nil {
		missed = errors.Join(missed, w.Keeper.Doubt(ctx, job.Account)) // what they need may lie in the trash
	}
	if len(lost) > 0 {
		missed = w.mend(ctx, job, w.bringBack(lost), missed)
	}
	err = w.look(ctx, job, missed == nil) // at all else, too: it may be that no copy has them any more
	if errors.Is(err, verify.ErrDamaged) || errors.Is(err, restic.ErrFailed) {
		err = errors.Join(err, w.Keeper.Doubt(ctx, job.Account))
	}
	if err = w.mend(ctx, job, w.remedy(job, err), err); missed != nil {
		err = errors.Join(missed, err)
	}
	return err
}

// missing says which snapshots are not here that should be; nil: none.
func missing(lost, over []string, known int) error {
	gone := slices.Concat(lost, over)
	if len(gone) == 0 {
		return nil
	}
	err := fmt.Errorf("%w: %d of %d snapshots that should be here are not, such as %.8s", verify.ErrDamaged, len(gone), known, gone[0])
	if len(over) > 0 {
		err = fmt.Errorf("%w; a list of tombstones here names %d of them as over, which the catalogue does not: they do not come back by themselves", err, len(over))
	}
	return err
}

// look is the look itself. Not all: snapshots were missing when it began, and what it reads does not count as read.
func (w *Worker) look(ctx context.Context, job VerifyJob, all bool) error {
	switch job.Kind {
	case "scrubbed":
		return w.Verifier.Scrub(ctx, job.Account)
	case "checked":
		began, err := w.Verifier.Check(ctx, job.Account, job.Password, job.Part, job.Parts)
		if err != nil || !all {
			return err
		}
		return w.Keeper.HasRead(ctx, job.Account, job.Part, job.Parts, began)
	case "proven":
		return w.Verifier.Prove(ctx, job.Account, job.Password, job.Snapshot)
	}
	return fmt.Errorf("this worker knows no verification %q", job.Kind)
}

// sweepEvery is how often the trash is looked at.
const sweepEvery = time.Hour

// sweep brings to an end what was broken off, and empties what of the trash may go. It returns what waits there. An account
// at which something else works has its turn another time, and what was known to wait before still does.
func (w *Worker) sweep(ctx context.Context, t *turns, before map[string]maintenance.Waits) (map[string]maintenance.Waits, error) {
	accounts, err := w.Keeper.Accounts(ctx)
	if err != nil {
		return before, err
	}
	waiting := make(map[string]maintenance.Waits)
	for _, account := range accounts {
		if ctx.Err() != nil {
			return before, context.Cause(ctx)
		}
		waits := before[account]
		if t.begin(account, deleting) {
			var failed error
			waits, failed = w.Keeper.Tend(ctx, account)
			err = errors.Join(err, failed)
			t.end(account, deleting)
		}
		if !waits.Since.IsZero() {
			waiting[account] = waits
		}
	}
	return waiting, errors.Join(err, w.sweepKeys(ctx, t))
}
