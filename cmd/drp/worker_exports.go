package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"drp/orchestrator/export"
	"drp/replicator"
)

// thinEvery is how often a worker looks for exports of the state that are over.
const thinEvery = time.Hour

// keepExportsThin takes exports that are over from a site's store until ctx ends. The site's worker does it and nobody else: it
// alone has a key that deletes there.
func keepExportsThin(ctx context.Context, t *export.Thinner, log *slog.Logger) {
	tick := time.NewTicker(thinEvery)
	defer tick.Stop()
	for {
		gone, err := t.Thin(ctx)
		if len(gone) > 0 {
			log.Info("exports that were over are deleted", "exports", len(gone), "first", gone[0], "last", gone[len(gone)-1])
		}
		if err != nil && ctx.Err() == nil {
			log.Error("exports that are over stay in the store", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// storeShelf is where exports lie in a site's own bucket.
type storeShelf struct{ store *replicator.Store }

// maxManifest is many times what a manifest has, with a certificate and its chain in it.
const maxManifest = 1 << 20

// Objects implements export.Shelf.
func (s storeShelf) Objects(ctx context.Context) (map[string]time.Time, error) {
	objects, err := s.store.List(ctx, exportsInStore)
	if err != nil {
		return nil, err
	}
	times := map[string]time.Time{}
	for _, o := range objects {
		times[strings.TrimPrefix(o.Key, exportsInStore)] = o.Modified
	}
	return times, nil
}

// Get implements export.Shelf.
func (s storeShelf) Get(ctx context.Context, name string) ([]byte, error) {
	o, err := s.store.Stat(ctx, exportsInStore+name)
	if err != nil {
		return nil, err
	}
	if o.Size > maxManifest {
		return nil, fmt.Errorf("read %s: %w: it has %d bytes, and no manifest has more than %d", o.Key, export.ErrDamaged, o.Size, maxManifest)
	}
	return s.store.Get(ctx, o.Key, o.Size)
}

// Delete implements export.Shelf.
func (s storeShelf) Delete(ctx context.Context, name string) error {
	return s.store.Discard(ctx, exportsInStore+name)
}
