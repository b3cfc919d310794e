package replicator

import (
	"context"
	"iter"
)

// ahead is objects, with the store asked for the next page while this one is still being used. Of several that are walked side
// by side each store then answers while the others do.
func (s *Store) ahead(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	const page = 1000
	type result struct {
		object Object
		err    error
	}
	return func(yield func(Object, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		results, left := make(chan result, page), make(chan struct{})
		defer func() {
			close(left)
			cancel()
			for range results { // until the request is over
			}
		}()
		go func() {
			defer close(results)
			for o, err := range s.objects(ctx, prefix, after) {
				select {
				case results <- result{o, err}:
				case <-left: // and no sooner: that the context ended is the last result, or it would look like the end of the list
					return
				}
			}
		}()
		for r := range results {
			if !yield(r.object, r.err) {
				return
			}
		}
	}
}
