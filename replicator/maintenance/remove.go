package maintenance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"drp/replicator"
	"drp/replicator/keyfiles"
)

// removedMark says that a repository was moved into the trash as a whole, because a later one of its account took its place.
type removedMark struct {
	Successor string    `json:"successor"`
	At        time.Time `json:"at"`
}

func removedMarkKey(name string) string { return replicator.MarkRoot + name + "/removed.json" }

// Remove moves a whole repository into the trash: one that is read and no longer written, and of which everything is over. It
// does not believe that of the leader alone. A repository that holds snapshots only goes when a later one of the same account
// is whole here, holds snapshots, and has been here for longer than the grace. Done again it finds nothing left to do.
func (k *Keeper) Remove(ctx context.Context, name, successor string) (Result, error) {
	var result Result
	if err := checkAccount(name); err != nil {
		return result, err
	}
	if !isLater(successor, name) {
		return result, fmt.Errorf("remove repository %s: %q is no later one of that account; nothing is deleted", name, successor)
	}
	if _, err := k.Tend(ctx, name); err != nil {
		return result, err
	}
	here, err := hold(ctx, k.Store, name)
	if err != nil {
		return result, err
	}
	if here.config {
		if err := k.CheckConfig(ctx, name); err != nil {
			return result, err
		}
	}
	if here.count("snapshots") > 0 {
		if err := k.succeeds(ctx, successor); err != nil {
			return result, fmt.Errorf("remove repository %s at %s: %w; nothing is deleted", name, k.Store, err)
		}
	}
	if err := k.unlock(ctx, here); err != nil {
		return result, err
	}
	names := slices.Collect(maps.Keys(here.objects))
	if here.config {
		names = append(names, configName)
	}
	if len(names) == 0 {
		return result, nil
	}
	r := &run{account: name, name: k.newRun(0)}
	o := Outcome{Account: name, Run: r.name, Successor: successor, Held: here.count("snapshots"), Names: names}
	slices.Sort(o.Names)
	if err := k.remove(ctx, r, &o, here); err != nil {
		if errors.Is(err, errUnknown) {
			return result, err
		}
		undoing, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoWithin)
		defer cancel()
		return result, errors.Join(err, k.undo(undoing, name, r.name))
	}
	result.Objects, result.Bytes = int64(len(o.Names)), o.Bytes
	return result, nil
}

func (k *Keeper) remove(ctx context.Context, r *run, o *Outcome, here *holding) error {
	if err := each(ctx, o.Names, order, func(ctx context.Context, name string) error {
		return k.toTrash(ctx, r, name)
	}); err != nil {
		return err
	}
	left, err := hold(ctx, k.Store, r.account)
	if err != nil {
		return err
	}
	if left.config || len(left.objects) > 0 {
		return fmt.Errorf("repository %s at %s is still being written", r.account, k.Store)
	}
	for _, name := range o.Names {
		o.Bytes += here.objects[name].Size
	}
	o.Deleted = k.now().UTC()
	o.At = o.Deleted
	if err := k.putJSON(ctx, r.mark(), o); err != nil {
		return fmt.Errorf("mark run %s as complete: %w: %w", r.name, errUnknown, err)
	}
	return k.noteRemoved(ctx, o)
}

// noteRemoved writes down for good what took a repository's place.
func (k *Keeper) noteRemoved(ctx context.Context, o *Outcome) error {
	var mark removedMark
	key := removedMarkKey(o.Account)
	if found, err := k.getJSON(ctx, key, &mark); found || err != nil {
		return err
	}
	return k.putJSON(ctx, key, removedMark{Successor: o.Successor, At: o.At})
}

// succeeds says why a repository cannot take the place of an earlier one at this site yet.
func (k *Keeper) succeeds(ctx context.Context, successor string) error {
	later, err := hold(ctx, k.Store, successor)
	if err != nil {
		return err
	}
	if err := later.whole(); err != nil {
		return fmt.Errorf("repository %s is to take its place: %w", successor, err)
	}
	if err := k.CheckConfig(ctx, successor); err != nil {
		return err
	}
	theirs, err := k.storeNow(ctx)
	if err != nil {
		return err
	}
	if age := min(theirs.Sub(later.since), k.now().Sub(later.since)); age < k.grace() {
		return fmt.Errorf("repository %s takes its place, and has been here for %s only, and not for the grace of %s",
			successor, age.Round(time.Second), k.grace())
	}
	return nil
}

// isLater reports whether a name is that of a later repository of the same account.
func isLater(name, than string) bool {
	account, number := numbered(name)
	other, before := numbered(than)
	return accountForm.MatchString(name) && account == other && number > before
}

// numbered takes the name of a repository apart: ACCOUNT, or ACCOUNT~N.
func numbered(name string) (account string, number int) {
	account, rest, _ := strings.Cut(name, "~")
	number, _ = strconv.Atoi(rest) // none: the first one
	return account, number
}

// replaced reports whether what took a removed repository's place was found to be good since: whole, with all of its data
// read. One that was removed itself had a later one in its place.
func (k *Keeper) replaced(ctx context.Context, o *Outcome) (bool, error) {
	if o.Held == 0 {
		return true, nil // no snapshot was in it
	}
	for name := o.Successor; ; {
		var mark removedMark
		gone, err := k.getJSON(ctx, removedMarkKey(name), &mark)
		if err != nil {
			return false, err
		}
		if gone && isLater(mark.Successor, name) {
			name = mark.Successor
			continue
		}
		there, err := hold(ctx, k.Store, name)
		if err != nil || there.whole() != nil {
			return false, err
		}
		read, err := k.readMark(ctx, name, k.now())
		return err == nil && !read.Since.Before(o.deleted()), err
	}
}

// removedOver reports whether a run's part of a removed repository's trash may go. What was written there late was moved away late,
// and stays for as long as anything else. One that was broken off is undone: the whole removal is done again.
func (k *Keeper) removedOver(ctx context.Context, r *run) (bool, error) {
	if err := k.release(ctx, r); err != nil {
		return false, err
	}
	if !r.complete {
		return false, k.undo(ctx, r.account, r.name)
	}
	var o Outcome
	if _, err := k.getJSON(ctx, r.mark(), &o); err != nil {
		return false, err
	}
	if over, err := k.pastGrace(ctx, r, &o); err != nil || !over {
		return false, err
	}
	if o.Successor == "" {
		return true, nil // a prune from before
	}
	return k.replaced(ctx, &o)
}

// emptyRemoved deletes for good what is left of a removed repository: of its trash each run whose own time is over; and when that
// was all, what was noted about it, and the sealed password of a key that is no more.
func (k *Keeper) emptyRemoved(ctx context.Context, name string, runs []*run) error {
	left := false
	for _, r := range runs {
		over, err := k.removedOver(ctx, r)
		if err != nil {
			return err
		}
		if !over {
			left = true
			continue
		}
		if err := k.empty(ctx, r); err != nil {
			return err
		}
	}
	if left {
		return nil
	}
	keys, err := listKeys(ctx, k.Store, name, ^uint64(0))
	if err != nil {
		return err
	}
	notes, err := k.Store.List(ctx, keyfiles.RemovedFolder(name))
	if err != nil {
		return err
	}
	for _, o := range notes {
		keys = append(keys, o.Key)
	}
	for _, key := range append(keys, replicator.MarkRoot+name+"/config.json", readMarkKey(name), keyfiles.BreakGlassKey(name)) {
		if err := k.Store.Discard(ctx, key); err != nil {
			return err
		}
	}
	return nil
}
