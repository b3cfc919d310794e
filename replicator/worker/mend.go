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
func (w *Worker) mend(ctx context.Context, job VerifyJob, lost []string, damage error) error {
	prefix, err := prefixOf(job.Account)
	repair := w.remedy(job, prefix, lost, damage)
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
		repaired, err := w.mendFrom(ctx, c, repair, log.With("account", job.Account))
		if n := len(repaired.Written); n > 0 {
			done = append(done, fmt.Sprintf("%d objects were repaired from %s", n, c.Site))
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("repair it from %s: %w", c.Site, err))
		} else if n := len(repaired.Unhealed); n > 0 {
			failed = append(failed, fmt.Errorf("%s has no good copy of %d objects, such as %s", c.Site, n, repaired.Unhealed[0]))
		} else {
			failed = nil
			break
		}
	}
	if len(done) > 0 {
		damage = fmt.Errorf("%w; %s", damage, strings.Join(done, ", "))
	}
	return errors.Join(append([]error{damage}, failed...)...)
}

// remedy repairs this site's copy from another one.
type remedy func(ctx context.Context, source *replicator.Store, o replicator.Options) (replicator.Repaired, error)

// remedy is what helps against a damage: nil when nothing does, or it was tried of late.
func (w *Worker) remedy(job VerifyJob, prefix string, lost []string, damage error) remedy {
	switch {
	case len(lost) > 0: // only those: whatever else may be missing the next look finds
		return func(ctx context.Context, source *replicator.Store, o replicator.Options) (replicator.Repaired, error) {
			keys := make([]string, len(lost))
			for i, id := range lost {
				keys[i] = prefix + "snapshots/" + id
			}
			return replicator.Repair(ctx, source, w.Store, prefix, keys, o)
		}
	case errors.Is(damage, restic.ErrWrongPassword): // a key file is missing: those are brought back, and nothing is read
		return func(ctx context.Context, source *replicator.Store, o replicator.Options) (replicator.Repaired, error) {
			removed, err := keyfiles.Removed(ctx, w.Store, strings.TrimSuffix(prefix, "/"))
			if err != nil {
				return replicator.Repaired{}, err
			}
			return replicator.MendKeys(ctx, source, w.Store, prefix, removed, o)
		}
	case (errors.Is(damage, verify.ErrDamaged) || errors.Is(damage, restic.ErrFailed)) && len(job.Copies) > 0 && w.mends.due(job, time.Now()):
		return func(ctx context.Context, source *replicator.Store, o replicator.Options) (replicator.Repaired, error) {
			return replicator.Mend(ctx, source, w.Store, prefix, o)
		}
	}
	return nil
}

// mendFrom repairs from one copy.
func (w *Worker) mendFrom(ctx context.Context, from Copy, repair remedy, log *slog.Logger) (replicator.Repaired, error) {
	source, err := w.source(from.Site, from.Store)
	if err != nil {
		return replicator.Repaired{}, err
	}
	defer source.Close()
	return repair(ctx, source, replicator.Options{Workers: 2, Logger: log})
}
