package maintenance

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"time"

	"drp/replicator"
)

// Two clocks say how old something is: this machine's, and the store's, which dates each object that it is given. Either
// may be wrong, and may step. So the smaller age counts: whoever has one clock of the two wrong deletes nothing early by it.

// clockName is an object that is written to hear from the store what time it has. No account's name begins with a dot.
const clockName = replicator.MarkRoot + ".clock"

// storeNow is the store's time.
func (k *Keeper) storeNow(ctx context.Context) (time.Time, error) {
	content := []byte(rand.Text()) // never the same: it is written, and not found to be there
	if _, err := k.Store.Put(ctx, clockName, content, sha256.Sum256(content)); err != nil {
		return time.Time{}, fmt.Errorf("ask the store for its time: %w", err)
	}
	o, err := k.Store.Stat(ctx, clockName)
	if err == nil && o.Modified.IsZero() {
		err = fmt.Errorf("%s does not say when an object was written", k.Store)
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("ask the store for its time: %w", err)
	}
	return o.Modified, nil
}

// pastGrace reports whether a complete run has been in the trash for the grace.
func (k *Keeper) pastGrace(ctx context.Context, r *run, o *Outcome) (bool, error) {
	over, ahead, err := k.aged(ctx, o.from(), r.marked)
	if err == nil && ahead {
		err = k.again(ctx, r, o)
	}
	return over, err
}

// aged reports whether the grace is over since a moment that each clock has its own word for. Ahead: one of them is a time that
// has yet to come.
func (k *Keeper) aged(ctx context.Context, mine, theirs time.Time) (over, ahead bool, err error) {
	now := k.now()
	if mine.After(now) {
		return false, true, nil
	}
	if now.Sub(mine) < k.grace() {
		return false, false, nil // then the store's word changes nothing
	}
	if now, err = k.storeNow(ctx); err != nil {
		return false, false, err
	}
	if theirs.After(now.Add(rounding)) {
		return false, true, nil
	}
	return now.Sub(theirs) >= k.grace(), false, nil
}

// rounding is more than listings and answers to single questions differ in what they say of the same moment.
const rounding = time.Minute

// again begins the grace of a run anew that was marked at a time which has yet to come: its clock was wrong, and nobody can
// say how old it is.
func (k *Keeper) again(ctx context.Context, r *run, o *Outcome) error {
	k.log(r.account).Warn("the grace of what a run has deleted begins anew: its mark bears a time that has yet to come, so a clock was wrong",
		"run", r.name, "time", o.from(), "store_time", r.marked)
	o.Again = k.now().UTC()
	return k.putJSON(ctx, r.mark(), o)
}

// quiet refuses while somebody works on a repository: a lock of it is alive. Its owner renews it every 5 minutes.
func (k *Keeper) quiet(ctx context.Context, h *holding) error {
	if len(h.locks) == 0 {
		return nil
	}
	theirs, err := k.storeNow(ctx)
	if err != nil {
		return err
	}
	mine := k.now()
	for _, l := range h.locks {
		age := min(theirs.Sub(l.Modified), mine.Sub(l.Modified))
		if age >= staleLock && !l.Modified.IsZero() {
			continue
		}
		err := fmt.Errorf("something works on the repository: its lock was renewed %s ago", age.Round(time.Second))
		if apart := mine.Sub(theirs).Round(time.Second); apart.Abs() > rounding {
			err = fmt.Errorf("%w (this machine's clock is %s before the store's: set whichever is wrong)", err, apart)
		}
		return err
	}
	return nil
}
