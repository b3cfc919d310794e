package storecheck

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"

	"drp/replicator"
)

// clean removes everything that may have been written, versions too. The store's listings may lie, so all names that were
// used go as well.
func (p *prober) clean(ctx context.Context) error {
	names, err := p.list(ctx, "")
	if err != nil {
		err = fmt.Errorf("look for them: %w", err)
	}
	p.mu.Lock()
	for key := range p.written {
		names = append(names, key)
	}
	p.mu.Unlock()
	slices.Sort(names)
	names = slices.Compact(names)
	removed := p.removeAll(ctx, names)
	if removed != nil && p.retains {
		if p.wait(ctx, p.retention+time.Second) == nil { // a bucket without versions refuses it until then
			removed = p.removeAll(ctx, names)
		}
	}
	err = errors.Join(err, removed)
	if left, listErr := p.list(ctx, ""); listErr == nil && len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("%d objects are listed still", len(left)))
	}
	if err != nil {
		return fmt.Errorf("remove the probes below %s/%s: some may be there still, remove them by hand: %w", p.store, p.prefix, err)
	}
	return nil
}

// removeAll removes objects, what a bucket with versions keeps of them, and uploads in parts.
func (p *prober) removeAll(ctx context.Context, names []string) error {
	objects := &failures{what: "objects"}
	p.together(len(names), func(n int) { objects.add(gone(p.remove(ctx, names[n]))) })
	kept, err := p.kept(ctx)
	keys := slices.Collect(maps.Keys(kept))
	versions := &failures{what: "versions"}
	p.together(len(keys), func(n int) {
		for _, id := range slices.Backward(kept[keys[n]]) { // of one object one after the other, the oldest first: see the erasure
			versions.add(gone(p.core.RemoveObject(ctx, p.Store.Bucket, keys[n], minio.RemoveObjectOptions{VersionID: id})))
		}
	})
	return errors.Join(objects.err(), err, versions.err(), p.abortAll(ctx))
}

// together does something for each of many, some at once.
func (p *prober) together(many int, do func(n int)) {
	var group errgroup.Group
	group.SetLimit(atOnce)
	for n := range many {
		group.Go(func() error { do(n); return nil })
	}
	_ = group.Wait() // none fails
}

// kept are the ids of all versions, by key, the newest first. Where they cannot be listed they are those that are known, with an error
// if there are more: then the markers of deletions stay.
func (p *prober) kept(ctx context.Context) (map[string][]string, error) {
	kept := make(map[string][]string)
	list, err := p.store.Versions(ctx, p.prefix, true)
	for _, v := range list {
		kept[v.Key] = append(kept[v.Key], v.ID)
	}
	if err == nil {
		return kept, nil
	}
	if !p.gaveVersions() {
		if _, ok := answered(err); ok || errors.Is(err, replicator.ErrListing) {
			return nil, nil // a store that has no versions need not know how to list them
		}
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, ids := range p.versions {
		kept[key] = slices.Clone(ids)
		slices.Reverse(kept[key])
	}
	return kept, fmt.Errorf("the bucket keeps versions, and they cannot be listed: the markers of what was deleted stay: %w", err)
}

// abortAll gives up the uploads that were begun, and those of which the store's answer was lost.
func (p *prober) abortAll(ctx context.Context) error {
	p.mu.Lock()
	all := maps.Clone(p.uploads)
	p.mu.Unlock()
	failed := &failures{what: "uploads in parts"}
	if list, err := p.store.Unfinished(ctx, p.prefix); err == nil { // those that are known need no listing
		for _, u := range list {
			all[u.ID] = u.Key
		}
	}
	for id, key := range all {
		failed.add(p.store.Abort(ctx, replicator.Upload{Key: key, ID: id}))
	}
	return failed.err()
}

// failures are what could not be removed of one kind: the first reason stands for all.
type failures struct {
	what string

	mu    sync.Mutex
	count int
	first error
}

func (f *failures) add(err error) {
	if err == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count++; f.first == nil {
		f.first = err
	}
}

func (f *failures) err() error {
	if f.first == nil {
		return nil
	}
	return fmt.Errorf("%d %s: %w", f.count, f.what, f.first)
}
