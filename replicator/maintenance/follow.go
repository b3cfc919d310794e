package maintenance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"drp/replicator"
)

// Pending reads the home's lists that this site has not followed yet. It has to be called before the pass after which
// Follow is: a pass that begins then brings everything that the home made in place of what it had deleted.
func (k *Keeper) Pending(ctx context.Context, home *replicator.Store, account string, epoch uint64) ([]List, error) {
	if err := checkAccount(account); err != nil {
		return nil, err
	}
	theirs, err := listKeys(ctx, home, account, epoch)
	if err != nil || len(theirs) == 0 {
		return nil, err
	}
	ours, err := listKeys(ctx, k.Store, account, ^uint64(0))
	if err != nil {
		return nil, err
	}
	var lists []List
	for _, key := range theirs {
		if slices.Contains(ours, key) {
			continue
		}
		l, err := readList(ctx, home, account, key)
		if errors.Is(err, errBrokenList) {
			k.log(account).Error("a list of tombstones is not believed", "error", err)
			continue
		}
		if errors.Is(err, replicator.ErrNotFound) {
			continue // written together with others
		}
		if err != nil {
			return nil, err
		}
		lists = append(lists, l)
	}
	return lists, nil
}

// Follow moves into this site's trash what lists of the home name, after a complete pass from there. It holds back as
// long as this site has a snapshot that is not at the home: that one may need what is over for all others. What is
// still, or again, at the home stays.
func (k *Keeper) Follow(ctx context.Context, home *replicator.Store, account string, lists []List) (Result, error) {
	var result Result
	if len(lists) == 0 {
		return result, nil
	}
	// What an earlier one has moved and could not move back is over, too, and would be overlooked.
	if _, err := k.Tend(ctx, account); err != nil {
		return result, err
	}
	if err := k.CheckConfig(ctx, account); err != nil {
		return result, err
	}
	// What a run of the home has taken away and not confirmed may be back in a moment.
	runs, err := runsAt(ctx, home, account)
	if err != nil {
		return result, err
	}
	if slices.ContainsFunc(runs, func(r *run) bool { return !r.complete }) {
		k.log(account).Info("tombstones wait", "reason", "the home's repository is under maintenance")
		return result, nil
	}
	there, err := hold(ctx, home, account)
	if err != nil {
		return result, err
	}
	here, err := hold(ctx, k.Store, account)
	if err != nil {
		return result, err
	}
	for store, h := range map[*replicator.Store]*holding{home: there, k.Store: here} {
		if err := h.whole(); err != nil {
			return result, fmt.Errorf("repository of %s at %s: %w; nothing is deleted", account, store, err)
		}
	}
	if err := k.quiet(ctx, here); err != nil {
		return result, fmt.Errorf("repository of %s at %s: %w; nothing is deleted", account, k.Store, err)
	}
	over := make(map[string]bool)
	for _, l := range lists {
		for _, name := range l.Names {
			if here.has(name) && !there.has(name) {
				over[name] = true
			}
		}
	}
	why := alone(here, there, over)
	if strange := indexesOnly(here, there, over); why == "" && len(strange) > 0 {
		if why, err = k.unsettled(ctx, home, account, runs, here, there, strange); err != nil {
			return result, err
		}
		for _, name := range strange {
			over[name] = true
		}
	}
	if why != "" {
		k.log(account).Info("tombstones wait", "reason", why)
		return result, nil
	}
	names := slices.Collect(maps.Keys(over))
	if err := k.brakeFollow(ctx, account, here, names); err != nil {
		return result, err
	}
	epoch := uint64(0)
	for _, l := range lists {
		epoch = max(epoch, l.Epoch)
	}
	r := &run{account: account, name: k.newRun(epoch)}
	o := Outcome{Account: account, Run: r.name, Epoch: epoch, From: home.String(), Held: here.count("snapshots"), Names: names}
	slices.Sort(o.Names)
	if len(names) > 0 {
		if err := k.follow(ctx, r, &o, here, there); err != nil {
			if errors.Is(err, errUnknown) {
				return result, err
			}
			undoing, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoWithin)
			defer cancel()
			return result, errors.Join(err, k.undo(undoing, account, r.name))
		}
	}
	for _, l := range lists {
		if err := k.putList(ctx, l); err != nil {
			return result, err
		}
	}
	result.Objects, result.Bytes = int64(len(o.Names)), o.Bytes
	return result, k.condense(ctx, account, epoch)
}

// alone says what this site holds that the home does not and that is not over; empty: nothing.
func alone(here, there *holding, over map[string]bool) string {
	for id := range here.snapshots() {
		if name := "snapshots/" + id; !there.has(name) && !over[name] {
			return fmt.Sprintf("snapshot %.8s is here and not at the home", id)
		}
	}
	return ""
}

// indexesOnly are the index files that the home does not hold and no list names: a prune that was broken off here, or at a site
// that this one had its copy from, has left them. They may name packs that go now, and if this site were the home next, backups
// would build on what is gone. All that this site's snapshots need the home's index files name, so these go with the packs.
func indexesOnly(here, there *holding, over map[string]bool) (names []string) {
	for name := range here.objects {
		if classOf(name) == "index" && !there.has(name) && !over[name] {
			names = append(names, name)
		}
	}
	return names
}

// unsettled says why it cannot be told which index files the home has: it may be pruned right now, or was since the pass, or its
// listing has left something out; empty: it can, and the strange ones are not there. A run that has failed since the first listing
// has put its index back, and nothing else tells of it: so whether one goes on is asked before what is there.
func (k *Keeper) unsettled(ctx context.Context, home *replicator.Store, account string, before []*run, here, there *holding, strange []string) (string, error) {
	runs, err := runsAt(ctx, home, account)
	if err != nil {
		return "", err
	}
	if !slices.EqualFunc(before, runs, func(a, b *run) bool { return a.name == b.name && b.complete }) {
		return "the home's repository is under maintenance", nil
	}
	again, err := hold(ctx, home, account)
	if err != nil {
		return "", err
	}
	for _, name := range strange {
		switch _, err := home.Stat(ctx, account+"/"+name); {
		case err == nil:
			return "the home has an index file that it did not list", nil
		case !errors.Is(err, replicator.ErrNotFound):
			return "", err
		}
	}
	for _, h := range []*holding{there, again} {
		for name := range h.objects {
			if classOf(name) == "index" && !here.has(name) {
				return "an index file of the home is not here yet", nil
			}
		}
	}
	for name := range there.objects {
		if classOf(name) == "index" && !again.has(name) {
			return "the home's index has changed", nil
		}
	}
	return "", nil
}

// brakeFollow is the brake of a replica: it does not depend on what the home was allowed.
func (k *Keeper) brakeFollow(ctx context.Context, account string, here *holding, names []string) error {
	snapshots, held := 0, here.count("snapshots")
	after := here.bytes()
	for _, name := range names {
		switch classOf(name) {
		case "snapshots":
			snapshots++
		case "data":
			after -= here.objects[name].Size
		}
	}
	most, err := k.mayGo(ctx, account, held)
	if err != nil {
		return err
	}
	if snapshots > most {
		return fmt.Errorf("follow the home's tombstones: %w", &BrakeError{Account: account, Wanted: snapshots, Brake: k.brake()})
	}
	return k.brakeBytes(snapshots, here.bytes(), after)
}

// follow moves, class by class, and looks whether everything of the home is still here.
func (k *Keeper) follow(ctx context.Context, r *run, o *Outcome, here, there *holding) error {
	if err := each(ctx, o.Names, order, func(ctx context.Context, name string) error {
		return k.toTrash(ctx, r, name)
	}); err != nil {
		return err
	}
	after, err := hold(ctx, k.Store, r.account)
	if err != nil {
		return err
	}
	if err := after.whole(); err != nil {
		return fmt.Errorf("after following the home's tombstones: %w", err)
	}
	if err := k.quiet(ctx, after); err != nil { // who came meanwhile may need what was moved
		return err
	}
	for name := range there.objects {
		if here.has(name) && !after.has(name) {
			return fmt.Errorf("%s is at the home and is no longer here", name)
		}
	}
	for _, name := range o.Names {
		o.Bytes += here.objects[name].Size
	}
	o.Deleted = k.now().UTC()
	return k.mark(ctx, r, o)
}
