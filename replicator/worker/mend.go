package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"drp/replicator"
	"drp/replicator/keyfiles"
	"drp/replicator/restic"
	"drp/replicator/verify"
)

// mendAgain is how long after a repair for a failed check or proof the next one is tried. Each reads all of the copy, and what is
// wrong need not be damage: whoever has the password can add an index that no repair makes good.
const mendAgain = 24 * time.Hour

// mends are the repairs of late.
type mends struct {
	mu   sync.Mutex
	last map[string]time.Time // by repository; a scrub is a reading itself, and waits for nothing
}

func (m *mends) due(job VerifyJob, now time.Time) bool {
	if job.Kind == "scrubbed" {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if last, ok := m.last[job.Account]; ok && now.Sub(last) < mendAgain {
		return false
	}
	if m.last == nil {
		m.last = make(map[string]time.Time)
	}
	m.last[job.Account] = now
	return true
}

// mend repairs what a look has found to be damaged here from other sites' copies: the replica's from its home's, and the
// home's from a replica's. The look has failed all the same, and the words for it say what was done: that all is good again the
// next one has to find.
func (w *Worker) mend(ctx context.Context, job VerifyJob, repair remedy, damage error) error {
	prefix, err := prefixOf(job.Account)
	if err != nil || repair == nil {
		return damage
	}
	log := w.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	var done []string
	var failed []error
	for _, c := range job.Copies {
		written, unhealed, err := w.mendFrom(ctx, c, prefix, repair, log.With("account", job.Account))
		if written > 0 {
			done = append(done, fmt.Sprintf("%d objects were repaired from %s", written, c.Site))
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("repair it from %s: %w", c.Site, err))
		} else if n := len(unhealed); n > 0 {
			failed = append(failed, fmt.Errorf("%s has no good copy of %d objects, such as %s", c.Site, n, unhealed[0]))
		} else if written > 0 {
			failed = nil
			break
		} // else it lacks the same, or there was nothing to bring: another copy may have more
	}
	if len(done) > 0 {
		damage = fmt.Errorf("%w; %s", damage, strings.Join(done, ", "))
	}
	return errors.Join(append([]error{damage}, failed...)...)
}

// remedy repairs this site's copy from another one. It tells how many objects it wrote, and which it would have.
type remedy func(ctx context.Context, source *replicator.Store, prefix string, o replicator.Options) (written int, unhealed []string, err error)

// bringBack is what helps where snapshots are lost: only those come, and whatever else may be missing the look itself finds.
func (w *Worker) bringBack(lost []string) remedy {
	return func(ctx context.Context, source *replicator.Store, prefix string, o replicator.Options) (int, []string, error) {
		keys := make([]string, len(lost))
		for i, id := range lost {
			keys[i] = prefix + "snapshots/" + id
		}
		r, err := replicator.Repair(ctx, source, w.Store, prefix, keys, o)
		return len(r.Written), r.Unhealed, err
	}
}

// remedy is what helps against a damage: nil when nothing does, or it was tried of late.
func (w *Worker) remedy(job VerifyJob, damage error) remedy {
	switch {
	case errors.Is(damage, restic.ErrWrongPassword): // a key file is missing: those are brought back, and nothing is read
		return func(ctx context.Context, source *replicator.Store, prefix string, o replicator.Options) (int, []string, error) {
			removed, err := keyfiles.Removed(ctx, w.Store, job.Account)
			if err != nil {
				return 0, nil, err
			}
			r, err := replicator.MendKeys(ctx, source, w.Store, prefix, removed, o)
			return len(r.Written), r.Unhealed, err
		}
	case (errors.Is(damage, verify.ErrDamaged) || errors.Is(damage, restic.ErrFailed)) && len(job.Copies) > 0 && w.mends.due(job, time.Now()):
		return func(ctx context.Context, source *replicator.Store, prefix string, o replicator.Options) (int, []string, error) {
			r, err := replicator.Mend(ctx, source, w.Store, prefix, o)
			if err == nil && len(r.Written) == 0 && errors.Is(damage, restic.ErrFailed) {
				return w.takeIn(ctx, source, job.Account, prefix, o)
			}
			return len(r.Written), r.Unhealed, err
		}
	}
	return nil
}

// takeIn brings what another copy has and this one lacks, and what is not over here. That an index was lost no hash shows, only restic, which
// does not find what it named. It is a pass as that from a site that returns: a new index brings all that it may name.
func (w *Worker) takeIn(ctx context.Context, source *replicator.Store, account, prefix string, o replicator.Options) (int, []string, error) {
	var err error
	if o.Skip, err = w.Keeper.Over(ctx, account); err == nil {
		err = w.withKeys(ctx, source, account, &o)
	}
	if err != nil {
		return 0, nil, err
	}
	report, err := replicator.Pass(ctx, source, w.Store, prefix, o)
	return int(report.Objects), nil, err
}

// mendFrom repairs from one copy.
func (w *Worker) mendFrom(ctx context.Context, from Copy, prefix string, repair remedy, log *slog.Logger) (written int, unhealed []string, err error) {
	source, err := w.source(from.Site, from.Store)
	if err != nil {
		return 0, nil, err
	}
	defer source.Close()
	return repair(ctx, source, prefix, replicator.Options{Workers: 2, Logger: log})
}
