package replicator_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

// TestStore_ahead: a listing that was broken off never looks like a whole one.
func TestStore_ahead(t *testing.T) {
	s := newShelf(t, 1)
	const objects = 2500
	for n := range objects {
		s.source.Store(fmt.Sprintf("many/%04d", n), nil)
	}
	all := 0
	for _, err := range s.from.Ahead(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all++
	}
	if all < objects {
		t.Errorf("%d objects of %d and more", all, objects)
	}
	for range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var last error
		told := 0
		for _, err := range s.from.Ahead(ctx) {
			cancel()
			last = err
			told++
		}
		if !errors.Is(last, context.Canceled) && told < all {
			t.Fatalf("after %d of %d objects: %v, want that the context ended", told, all, last)
		}
	}
}
