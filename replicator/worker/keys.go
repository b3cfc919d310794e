package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"drp/replicator"
	"drp/replicator/keyfiles"
	"drp/replicator/restic"
)

// keysAtOnce bounds jobs about keys: making one takes two restic processes.
const keysAtOnce = 2

// keyBoard is the part of a board that has to do with the keys of what is here.
type keyBoard struct {
	jobs map[string]*upkeepJob[KeyJob] // by repository
	// busy are the repositories at whose keys somebody works, also for a job that nobody wants any more: its restic takes a while to
	// end, and two at once would make two keys.
	busy  map[string]bool
	keyed []Keyed // to be told
}

func newKeyBoard() keyBoard {
	return keyBoard{jobs: make(map[string]*upkeepJob[KeyJob]), busy: make(map[string]bool)}
}

// want takes over what is to be done.
func (b *keyBoard) want(all []KeyJob) {
	b.jobs = takeOver(b.jobs, all, func(j KeyJob) string { return j.Account }, func(x, y KeyJob) bool { return reflect.DeepEqual(x, y) })
}

// turn is what a job does to a repository: what takes keys away has it for itself, so that a pass or a check does not find less
// than it began with.
func (j KeyJob) turn() turn {
	if len(j.Remove) > 0 {
		return deleting
	}
	return copying
}

// due returns the jobs to begin; each has its turn, and counts as under way.
func (b *keyBoard) due(now time.Time, t *turns) (begin []*upkeepJob[KeyJob]) {
	for account, j := range b.jobs {
		if j.want.Make != "" && b.untold(account) {
			continue // or a worker without a leader would make one key after the other
		}
		if at, due := j.due(); due && !at.After(now) && !b.busy[account] && len(b.busy) < keysAtOnce && t.begin(account, j.want.turn()) {
			b.busy[account] = true
			begin = append(begin, j)
		}
	}
	return begin
}

// untold reports whether the leader does not know yet what came of a repository's keys.
func (b *keyBoard) untold(account string) bool {
	return slices.ContainsFunc(b.keyed, func(k Keyed) bool { return k.Account == account })
}

func (b *keyBoard) each(f func(time.Time, bool)) {
	for _, j := range b.jobs {
		f(j.due())
	}
}

// ended notes what came of a job, to be told.
func (b *keyBoard) ended(j *upkeepJob[KeyJob], work KeyJob, made keyfiles.Made, err error, now time.Time) (tell Keyed, wanted bool) {
	delete(b.busy, work.Account)
	wanted = j.over(now)
	if !wanted && (work.Make == "" || err != nil) {
		return Keyed{}, false // a key that was made is told all the same: the leader may have got impatient
	}
	tell = Keyed{
		ID: rand.Text(), Account: work.Account, Home: work.Home, Make: work.Make, Version: work.Version,
		Error: sentence("keys of "+work.Account, err),
	}
	var missing *keyfiles.MissingError
	if errors.As(err, &missing) {
		tell.Missing = missing.Names
	}
	if err == nil && work.Make != "" {
		tell.Key, tell.Old, tell.Asked, tell.Sealed, tell.File = made.Key, made.Old, work.Recipients, made.Sealed, made.File
	}
	b.keyed = append(b.keyed, tell)
	return tell, wanted
}

// report adds what there is to tell: of one repository one thing at a time, in the order in which they were.
func (b *keyBoard) report(r *Report) {
	seen := make(map[string]bool)
	for _, k := range b.keyed {
		if !seen[k.Account] {
			seen[k.Account] = true
			r.Keyed = append(r.Keyed, k)
		}
	}
}

// told forgets what the leader has taken.
func (b *keyBoard) told(sent Report) {
	b.keyed = slices.DeleteFunc(b.keyed, func(k Keyed) bool {
		return slices.ContainsFunc(sent.Keyed, func(s Keyed) bool { return s.ID == k.ID })
	})
}

// startKeys begins what is due of keys.
func (r *run) startKeys(ctx context.Context, now time.Time) {
	for _, j := range r.board.keys.due(now, r.board.turns) {
		launch(ctx, r, j, r.key,
			func(work KeyJob) { r.board.turns.end(work.Account, work.turn()) },
			func(work KeyJob, made keyfiles.Made, err error) { r.keysEnded(j, work, made, err) })
	}
}

func (r *run) keysEnded(j *upkeepJob[KeyJob], work KeyJob, made keyfiles.Made, err error) {
	k, wanted := r.board.keys.ended(j, work, made, err, time.Now())
	switch {
	case !wanted:
	case k.Error != "":
		r.log.Error("keys are not as they should be", "account", k.Account, "make", k.Make, "error", k.Error)
	case k.Make != "":
		r.log.Info("key made", "account", k.Account, "purpose", k.Make, "key", k.Key)
	default:
		r.log.Info("keys are as they should be", "account", k.Account, "version", k.Version)
	}
}

// keyHere is what a KeyJob does.
func (w *Worker) keyHere(ctx context.Context, job KeyJob) (keyfiles.Made, error) {
	var made keyfiles.Made
	if _, err := prefixOf(job.Account); err != nil {
		return made, err
	}
	if err := w.ready(ctx, job.Account, false); err != nil {
		return made, err
	}
	if job.Make != "" {
		return w.makeKey(ctx, job)
	}
	task := keyfiles.Task{Name: job.Account, Have: job.Have, File: job.File, Remove: job.Remove}
	var source *replicator.Store
	if job.Home.Site != w.Site {
		opened, err := w.source(job.Home.Site, job.Store)
		if err != nil {
			return made, err
		}
		defer opened.Close()
		source = opened
	}
	return made, keyfiles.SeeTo(ctx, source, w.Store, task)
}

func (w *Worker) makeKey(ctx context.Context, job KeyJob) (keyfiles.Made, error) {
	switch {
	case w.Smith == nil:
		return keyfiles.Made{}, errors.New("this worker has no restic")
	case job.Home.Site != w.Site:
		return keyfiles.Made{}, fmt.Errorf("its home is at site %s: no key is made at %s", job.Home.Site, w.Site)
	}
	c := w.Store.Config()
	repo := address(S3Repository{
		Endpoint: c.Endpoint, Bucket: c.Bucket, Region: c.Region, Prefix: job.Account, AccessKey: c.AccessKey, SecretKey: c.SecretKey,
	}, job.Password)
	switch job.Make {
	case MakeBreakGlass:
		return w.Smith.Make(ctx, repo, job.Account, job.Recipients)
	case MakeRotation:
		return w.Smith.Rotate(ctx, repo, job.Account, job.Next)
	}
	return keyfiles.Made{}, fmt.Errorf("this worker makes no key %q", job.Make)
}

// source opens another site's store, to read.
func (w *Worker) source(site string, at StoreAddress) (*replicator.Store, error) {
	key, ok := w.Sources[site]
	if !ok {
		return nil, fmt.Errorf("this worker's configuration has no key for the store of site %s", site)
	}
	open := w.open
	if open == nil {
		open = replicator.Open
	}
	return open(replicator.StoreConfig{
		Endpoint: at.Endpoint, Bucket: at.Bucket, Region: at.Region, AccessKey: key.Access, SecretKey: key.Secret, Bandwidth: w.Bandwidth,
	})
}

// sweepKeys deletes for good what of keys has been on its way out for the grace.
func (w *Worker) sweepKeys(ctx context.Context, t *turns) error {
	names, err := w.Keeper.GoingKeys(ctx)
	for _, name := range names {
		if ctx.Err() == nil && t.begin(name, deleting) {
			err = errors.Join(err, w.Keeper.TendKeys(ctx, name))
			t.end(name, deleting)
		}
	}
	return err
}

// withKeys brings the break-glass password along before a pass, and has it leave out keys that were removed here.
func (w *Worker) withKeys(ctx context.Context, source *replicator.Store, name string, o *replicator.Options) error {
	if err := keyfiles.Carry(ctx, source, w.Store, name); err != nil {
		return err
	}
	removed, err := keyfiles.Removed(ctx, w.Store, name)
	if err != nil || len(removed) == 0 {
		return err
	}
	before := o.Skip
	o.Skip = func(listed []string) map[string]bool {
		skip := maps.Clone(removed)
		if before != nil {
			maps.Copy(skip, before(listed))
		}
		return skip
	}
	return nil
}

var _ keyfiles.Tool = (*restic.Runner)(nil)
