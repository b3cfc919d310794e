package maintenance

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"drp/replicator"
	"drp/replicator/keyfiles"
)

// Outcome is the mark of a complete run.
type Outcome struct {
	Account string    `json:"account"`
	Run     string    `json:"run"`
	Epoch   uint64    `json:"epoch"`          // of the home, then
	From    string    `json:"from,omitempty"` // the home whose lists were followed; empty: a run of the home itself
	Deleted time.Time `json:"deleted"`        // everything was in the trash by then
	At      time.Time `json:"at"`             // and what remains was found to be good
	// Again is what counts in place of both, where they were found to be in the future.
	Again time.Time `json:"again,omitzero"`
	Held  int       `json:"held"` // snapshots before, for the brake
	// Successor is set when the whole repository was removed: the one that took its place.
	Successor string   `json:"successor,omitempty"`
	Names     []string `json:"names"` // below the repository
	Bytes     int64    `json:"bytes"`
}

// deleted is since when nothing of it was there to be read, and from is when its grace began.
func (o *Outcome) deleted() time.Time { return cmp.Or(o.Again, o.Deleted) }
func (o *Outcome) from() time.Time    { return cmp.Or(o.Again, o.At) }

// run is a part of an account's trash: what one run has moved.
type run struct {
	account, name string
	objects       map[string]int64 // sizes by name below the repository
	locks         []string         // names that its restic has set
	complete      bool             // its mark is there
	marked        time.Time        // since when, by the store's clock
}

func (r *run) folder() string { return replicator.TrashRoot + r.account + "/" + r.name + "/" }
func (r *run) mark() string   { return r.folder() + completeName }

func (r *run) bytes() (sum int64) {
	for _, size := range r.objects {
		sum += size
	}
	return sum
}

// runs lists an account's trash, oldest first.
func (k *Keeper) runs(ctx context.Context, account string) ([]*run, error) {
	return runsAt(ctx, k.Store, account)
}

func runsAt(ctx context.Context, s *replicator.Store, account string) ([]*run, error) {
	prefix := replicator.TrashRoot + account + "/"
	list, err := s.List(ctx, prefix)
	if err != nil {
		return nil, err
	}
	found := make(map[string]*run)
	for _, o := range list {
		name, rest, _ := strings.Cut(strings.TrimPrefix(o.Key, prefix), "/")
		r := found[name]
		if r == nil {
			r = &run{account: account, name: name, objects: make(map[string]int64)}
			found[name] = r
		}
		switch lock, ok := strings.CutPrefix(rest, locksFolder); {
		case ok:
			r.locks = append(r.locks, lock)
		case rest == completeName:
			r.complete, r.marked = true, o.Modified
		default:
			r.objects[rest] = o.Size
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b *run) int { return strings.Compare(timeOf(a.name), timeOf(b.name)) }), nil
}

// timeOf is the part of a run's name that gives its place.
func timeOf(run string) string {
	_, rest, _ := strings.Cut(run, "-")
	return rest
}

// movesAtOnce bounds what one account asks of the store.
const movesAtOnce = 4

// each does something to every name of one class, and then to those of the next.
func each(ctx context.Context, names []string, order []string, do func(context.Context, string) error) error {
	for _, class := range order {
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(movesAtOnce)
		for _, name := range names {
			if classOf(name) != class {
				continue
			}
			group.Go(func() error {
				if err := ctx.Err(); err != nil {
					return err
				}
				return do(ctx, name)
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// toTrash takes one object out of the repository.
func (k *Keeper) toTrash(ctx context.Context, r *run, name string) error {
	return k.Store.Move(ctx, r.account+"/"+name, r.folder()+name)
}

// undo moves everything of a run back, what is promised before what promises it.
func (k *Keeper) undo(ctx context.Context, account, name string) error {
	runs, err := k.runs(ctx, account)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(runs, func(r *run) bool { return r.name == name })
	if i < 0 {
		return nil
	}
	r := runs[i]
	if err := k.release(ctx, r); err != nil || r.complete { // its mark was written after all
		return err
	}
	names := slices.Collect(maps.Keys(r.objects))
	back := slices.Clone(order)
	slices.Reverse(back)
	if err := each(ctx, names, back, func(ctx context.Context, name string) error {
		return k.Store.Move(ctx, r.folder()+name, r.account+"/"+name)
	}); err != nil {
		return fmt.Errorf("move back what run %s has deleted: %w", name, err)
	}
	k.log(account).Warn("everything that a run has deleted is back", "run", name, "objects", len(names))
	return nil
}

// Waits is what of an account's trash would go if all data of the copy were read once more.
type Waits struct {
	Objects, Bytes int64
	Since          time.Time // the end of the grace of the oldest part; zero: nothing waits
}

// Tend brings what was broken off to an end, and empties what of the trash may go: it was deleted longer than the
// grace ago, and all data was read with the key since.
func (k *Keeper) Tend(ctx context.Context, account string) (Waits, error) {
	var waits Waits
	if err := checkAccount(account); err != nil {
		return waits, err
	}
	runs, err := k.runs(ctx, account)
	if err != nil || len(runs) == 0 {
		return waits, err
	}
	marks, err := k.readMark(ctx, account, k.now())
	if err != nil {
		return waits, err
	}
	for _, r := range runs {
		if removed, err := k.tendRun(ctx, r, runs, marks, &waits); err != nil || removed {
			return waits, err
		}
	}
	return waits, nil
}

// tendRun is for one run of all. Removed: it took the whole repository out of use, and what it did is for all of them.
func (k *Keeper) tendRun(ctx context.Context, r *run, all []*run, marks ReadMark, waits *Waits) (removed bool, err error) {
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
	if o.Successor == "" {
		if err := k.publish(ctx, o); err != nil {
			return false, err
		}
	}
	now := k.now()
	switch {
	case o.from().After(now) || o.deleted().After(now):
		return false, k.again(ctx, r, &o)
	case o.Successor != "":
		return true, k.tendRemoved(ctx, r, &o, all)
	case marks.Since.Before(o.deleted()):
		waits.add(r, o.from().Add(k.grace()), now)
		return false, nil
	}
	if err := k.dropKeys(ctx, r); err != nil {
		return false, err
	}
	if over, err := k.pastGrace(ctx, r, &o); err != nil || !over {
		return false, err
	}
	return false, k.empty(ctx, r)
}

func (w *Waits) add(r *run, since, now time.Time) {
	if since.After(now) {
		return
	}
	w.Objects += int64(len(r.objects))
	w.Bytes += r.bytes()
	if w.Since.IsZero() || since.Before(w.Since) {
		w.Since = since
	}
}

// tendRemoved empties the trash of a removed repository: the grace of its removal is over, and what took its place is good.
func (k *Keeper) tendRemoved(ctx context.Context, r *run, o *Outcome, runs []*run) error {
	if err := k.noteRemoved(ctx, o); err != nil {
		return err
	}
	if over, err := k.removedOver(ctx, r); err != nil || !over {
		return err
	}
	return k.emptyRemoved(ctx, o.Account, runs)
}

// empty deletes a run's part of the trash for good, its mark last: without it, the rest would be moved back.
func (k *Keeper) empty(ctx context.Context, r *run) error {
	if err := each(ctx, slices.Collect(maps.Keys(r.objects)), order, func(ctx context.Context, name string) error {
		return k.Store.Discard(ctx, r.folder()+name)
	}); err != nil {
		return err
	}
	k.log(r.account).Info("trash emptied", "run", r.name, "objects", len(r.objects), "bytes", r.bytes())
	return k.Store.Discard(ctx, r.mark())
}

// dropKeys: a key that was removed is kept only until another one has opened the repository: its password has to stop
// working. Nobody ever had that of a break-glass key: such a one stays as long as all else.
func (k *Keeper) dropKeys(ctx context.Context, r *run) error {
	for name, size := range r.objects {
		if classOf(name) != "keys" {
			continue
		}
		if file, err := k.keyFile(ctx, r.folder()+name, size); err != nil {
			return err
		} else if keyfiles.IsBreakGlass(file) {
			continue
		}
		if err := k.Store.Discard(ctx, r.folder()+name); err != nil {
			return err
		}
		delete(r.objects, name)
	}
	return nil
}

// keyFile is what lies there, if that can be the file of a key.
func (k *Keeper) keyFile(ctx context.Context, key string, size int64) ([]byte, error) {
	if size > mostKeyFile {
		return nil, nil
	}
	return k.Store.Get(ctx, key, size)
}

const mostKeyFile = 64 << 10 // bytes; they have some hundred

// note writes down that a run's restic sets a lock, before it does.
func (k *Keeper) note(ctx context.Context, r *run, lock string) error {
	content := []byte(lock)
	_, err := k.Store.Put(ctx, r.folder()+locksFolder+lock, content, sha256.Sum256(content))
	return err
}

// release removes locks of a run that is over. Its restic is dead, or has no door any more: it can do nothing. Left where
// they are, they would keep backups out.
func (k *Keeper) release(ctx context.Context, r *run) error {
	for _, lock := range r.locks {
		for _, key := range []string{r.account + "/" + locksFolder + lock, r.folder() + locksFolder + lock} {
			if err := k.Store.Discard(ctx, key); err != nil {
				return err
			}
		}
	}
	r.locks = nil
	return nil
}

// Accounts are those with something in the trash.
func (k *Keeper) Accounts(ctx context.Context) ([]string, error) {
	return k.namesBelow(ctx, replicator.TrashRoot)
}

// namesBelow are the repositories with something below a root. There may be millions of objects, of a few names each.
func (k *Keeper) namesBelow(ctx context.Context, root string) ([]string, error) {
	found := make(map[string]bool)
	for o, err := range k.Store.Walk(ctx, root) {
		if err != nil {
			return nil, err
		}
		if name, _, ok := strings.Cut(strings.TrimPrefix(o.Key, root), "/"); ok && !found[name] && accountForm.MatchString(name) {
			found[strings.Clone(name)] = true
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}
