package maintenance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"drp/replicator/gateway"
	"drp/replicator/restic"
)

// Job is what to do at a repository's home.
type Job struct {
	Account  string
	Epoch    uint64 // of the home
	Password string
	Forget   []string // ids of snapshots that are over
	Known    []string // of all that should be here, Forget included; any other is kept
}

// String keeps the password out of logs.
func (j Job) String() string {
	return fmt.Sprintf("maintain %s, epoch %d: forget %d", j.Account, j.Epoch, len(j.Forget))
}

// Result is what came of a run.
type Result struct {
	Forgotten      []string // of Job.Forget: no longer in the repository
	Objects, Bytes int64    // in the trash of this run
	Unknown        []string // snapshots of the repository that are not known
}

// undoWithin bounds how long a run that failed works on moving things back; the next one goes on.
const undoWithin = 15 * time.Minute

// Run forgets, prunes and checks. With an error nothing is gone but what was before: everything that it had deleted
// is back, or will be by the next Tend.
func (k *Keeper) Run(ctx context.Context, j Job) (Result, error) {
	var result Result
	if err := checkAccount(j.Account); err != nil {
		return result, err
	}
	if _, err := k.Tend(ctx, j.Account); err != nil {
		return result, err
	}
	if err := k.CheckConfig(ctx, j.Account); err != nil {
		return result, err
	}
	before, err := hold(ctx, k.Store, j.Account)
	if err != nil {
		return result, err
	}
	if err := before.whole(); err != nil {
		return result, fmt.Errorf("repository of %s at %s: %w; nothing is deleted", j.Account, k.Store, err)
	}
	forget, braked, err := k.choose(ctx, j, before, &result)
	if err != nil {
		return result, err
	}
	if err := k.unlock(ctx, before); err != nil {
		return result, err
	}
	r := &run{account: j.Account, name: k.newRun(j.Epoch)}
	o, err := k.delete(ctx, j, r, forget, before)
	if err == nil && len(o.Names) > 0 {
		err = k.complete(ctx, r, o)
		if errors.Is(err, errUnknown) {
			return result, err
		}
	}
	if err != nil {
		undoing, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoWithin)
		defer cancel()
		if failed := k.undo(undoing, j.Account, r.name); failed != nil {
			return result, fmt.Errorf("%w; and not everything that was deleted is back yet: %w", err, failed)
		}
		return result, k.blame(ctx, j, result.Unknown, fmt.Errorf("%w; everything that was deleted is back", err))
	}
	result.Forgotten = append(result.Forgotten, forget...)
	slices.Sort(result.Forgotten)
	result.Objects, result.Bytes = int64(len(o.Names)), o.Bytes
	if err := k.condense(ctx, j.Account, j.Epoch); err != nil {
		return result, err
	}
	return result, braked
}

// choose returns what of Forget is to go now. What is not there any more is forgotten already. Braked says what the
// brake has held.
func (k *Keeper) choose(ctx context.Context, j Job, before *holding, result *Result) (forget []string, braked, err error) {
	known, here := make(map[string]bool, len(j.Known)), before.snapshots()
	for _, id := range j.Known {
		known[id] = true
	}
	held := 0 // known, and here
	for id := range here {
		if known[id] {
			held++
		} else {
			result.Unknown = append(result.Unknown, id)
		}
	}
	slices.Sort(result.Unknown)
	var wanted, gone []string
	for _, id := range j.Forget {
		switch {
		case !known[id]:
			return nil, nil, fmt.Errorf("snapshot %.8s of %s is to be forgotten and is not among those known: nothing is deleted", id, j.Account)
		case slices.Contains(wanted, id):
		case here[id]:
			wanted = append(wanted, id)
		default:
			gone = append(gone, id)
		}
	}
	if err := k.disown(ctx, j, gone); err != nil {
		return nil, nil, err
	}
	result.Forgotten = gone
	// What is over was chosen by what the catalogue believes to remain; and a prune would take the packs of what only its listing, or
	// one file, lacks.
	for _, id := range j.Known {
		if !here[id] && !slices.Contains(j.Forget, id) {
			return nil, nil, fmt.Errorf("snapshot %.8s of %s is to stay and is not there: nothing is deleted until a look at this copy has brought it back from another site, or it is over", id, j.Account)
		}
	}
	if len(wanted) == 0 {
		return nil, nil, nil
	}
	if len(wanted) >= held {
		return nil, nil, fmt.Errorf("all %d known snapshots of %s are to be forgotten: nothing is deleted", held, j.Account)
	}
	most, err := k.mayGo(ctx, j.Account, held)
	if err != nil {
		return nil, nil, err
	}
	if len(wanted) > most {
		braked = &BrakeError{Account: j.Account, Wanted: len(wanted), Allowed: most, Brake: k.brake()}
		wanted = wanted[:most]
	}
	return wanted, braked, nil
}

// delete has restic do the work, and everything that remains read.
func (k *Keeper) delete(ctx context.Context, j Job, r *run, forget []string, before *holding) (Outcome, error) {
	o := Outcome{Account: j.Account, Run: r.name, Epoch: j.Epoch, Held: before.count("snapshots")}
	may := make(map[string]bool)
	for _, id := range forget {
		may["snapshots/"+id] = true
	}
	if len(forget) > 0 {
		if err := k.with(ctx, j, k.trashing(r, func(name string) bool { return may[name] }), func(repo restic.Repository) error {
			return k.Tool.Forget(ctx, repo, forget)
		}); err != nil {
			return o, err
		}
	}
	if err := k.with(ctx, j, k.trashing(r, func(name string) bool {
		return classOf(name) == "index" || classOf(name) == "data"
	}), func(repo restic.Repository) error {
		return k.Tool.Prune(ctx, repo)
	}); err != nil {
		return o, err
	}
	o.Deleted = k.now().UTC()
	after, err := hold(ctx, k.Store, j.Account)
	if err != nil {
		return o, err
	}
	gone, err := k.gone(ctx, r) // and the locks
	if err != nil {
		return o, err
	}
	if err := k.agrees(before, after, gone, may); err != nil {
		return o, err
	}
	o.Names = slices.Sorted(maps.Keys(gone))
	for _, size := range gone {
		o.Bytes += size
	}
	if len(gone) == 0 {
		return o, nil // then there is nothing that a look at what remains could bring back
	}
	if err := k.with(ctx, j, gateway.LocalOptions{Frozen: true}, func(repo restic.Repository) error {
		return k.Tool.Check(ctx, repo, restic.CheckOptions{ReadData: true, NoLock: true})
	}); err != nil {
		return o, fmt.Errorf("what would remain is not good: %w", err)
	}
	return o, k.CheckConfig(ctx, j.Account)
}

// trashing is a door through which what may be deleted goes into a run's trash.
func (k *Keeper) trashing(r *run, may func(name string) bool) gateway.LocalOptions {
	lock := func(ctx context.Context, key string) error {
		return k.note(ctx, r, strings.TrimPrefix(key, r.account+"/"+locksFolder))
	}
	return gateway.LocalOptions{Lock: lock, Delete: func(ctx context.Context, key, name string) error {
		if !may(name) {
			return &gateway.Refused{Reason: name + " is not deleted by this run"}
		}
		return k.toTrash(ctx, r, name)
	}}
}

// with opens a door for one call of restic.
func (k *Keeper) with(ctx context.Context, j Job, o gateway.LocalOptions, do func(restic.Repository) error) error {
	store := k.door
	if store == nil {
		opened, err := gateway.OpenS3(k.Store.Config())
		if err != nil {
			return err
		}
		store = opened
	}
	o.Dir, o.Log = k.Scratch, k.Log
	door, err := gateway.NewLocal(ctx, store, j.Account, o)
	if err != nil {
		return err
	}
	defer door.Close()
	if err := do(restic.Repository{URL: door.URL(), Password: j.Password}); err != nil {
		return fmt.Errorf("%s/%s: %w", k.Store, j.Account, err) // restic knows no more than the door
	}
	return nil
}

// gone is what lies in a run's trash, by name. Its restic has ended: what it has left of locks is removed.
func (k *Keeper) gone(ctx context.Context, r *run) (map[string]int64, error) {
	runs, err := k.runs(ctx, r.account)
	if err != nil {
		return nil, err
	}
	for _, found := range runs {
		if found.name == r.name {
			return found.objects, k.release(ctx, found)
		}
	}
	return nil, nil
}

// agrees holds what is there now against what was there and what lies in the trash: nothing else may be missing.
func (k *Keeper) agrees(before, after *holding, gone map[string]int64, may map[string]bool) error {
	if err := after.whole(); err != nil {
		return fmt.Errorf("after the prune: %w", err)
	}
	for name, o := range before.objects {
		size, trashed := gone[name]
		switch {
		case after.has(name) || trashed && size == o.Size:
		case trashed:
			return fmt.Errorf("%s has %d bytes in the trash and had %d", name, size, o.Size)
		default:
			return fmt.Errorf("%s is gone, and not in the trash", name)
		}
		if classOf(name) == "snapshots" && !after.has(name) && !may[name] {
			return fmt.Errorf("%s is gone and was not to be forgotten", name)
		}
	}
	return k.brakeBytes(len(may), before.bytes(), after.bytes())
}

// errUnknown: the run's mark may have been written or not. Tend finds out.
var errUnknown = errors.New("it is not known whether the store took it")

// mark says that a run is complete.
func (k *Keeper) mark(ctx context.Context, r *run, o *Outcome) error {
	// Nothing may be known to have been read after this deletion that was read before it.
	if _, err := k.readMark(ctx, o.Account, o.Deleted); err != nil {
		return err
	}
	o.At = k.now().UTC()
	if err := k.putJSON(ctx, r.mark(), o); err != nil {
		return fmt.Errorf("mark run %s as complete: %w: %w", r.name, errUnknown, err)
	}
	return nil
}

// complete marks a run. From then on it stands; before, it is undone.
func (k *Keeper) complete(ctx context.Context, r *run, o Outcome) error {
	if err := k.mark(ctx, r, &o); err != nil {
		return err
	}
	if err := k.HasRead(ctx, o.Account, 1, 1, o.Deleted); err != nil {
		k.log(o.Account).Warn("cannot note that all data was read; the trash stays until the next time", "error", err)
	}
	if _, err := k.Tend(ctx, o.Account); err != nil { // publishes, and empties what is old
		k.log(o.Account).Warn("the list of tombstones is not written yet", "error", err)
	}
	return nil
}
