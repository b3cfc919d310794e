package replicator

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// Budget bounds the bytes of objects that all passes which share it hold in memory at once.
type Budget struct {
	size int64
	free *semaphore.Weighted
}

// NewBudget returns a budget of so many bytes. One object that is larger than all of it still passes, alone.
func NewBudget(bytes int64) *Budget {
	return &Budget{size: bytes, free: semaphore.NewWeighted(bytes)}
}

// take waits until n bytes are free. A nil budget has no bound.
func (b *Budget) take(ctx context.Context, n int64) (give func(), err error) {
	if b == nil {
		return func() {}, nil
	}
	n = min(n, b.size)
	if err := b.free.Acquire(ctx, n); err != nil {
		return nil, err
	}
	return func() { b.free.Release(n) }, nil
}
