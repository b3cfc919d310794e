package replicator

import (
	"context"
	"iter"
)

// FolderHolding is Folder that holds no more than so many objects of one repository in memory.
func FolderHolding(ctx context.Context, src, dst *Store, most int, each func(Outcome)) (Survey, error) {
	return (&folder{src: src, dst: dst, most: most, each: each}).run(ctx)
}

// Ahead is what a walk through everything is told.
func (s *Store) Ahead(ctx context.Context) iter.Seq2[Object, error] { return s.ahead(ctx, "", "") }
