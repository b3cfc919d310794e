package guard

import (
	"fmt"

	"drp/raftstore/state"
)

const (
	// basePreference is what a route has that says nothing; an account's is above it.
	basePreference = 100
	// perIncarnation is the room for the generations of one incarnation.
	perIncarnation  = 1 << 24
	maxIncarnations = 255
)

// Preference is the BGP local preference of a route that is announced under a token:
//
//	100 + generation + 2^24 × (incarnation − 1)
//
// So the first incarnation has 100 + generation, and every route of an incarnation beats every route of the ones
// before. A token that does not fit is an error rather than a tie: incarnations go from 1 to 255, generations to
// 16,777,115 (2^24 − 101; the largest preference is then 255 × 2^24 − 1 and fits into the 32 bits of BGP).
func Preference(t state.Token) (uint32, error) {
	if t.Incarnation < 1 || t.Incarnation > maxIncarnations {
		return 0, fmt.Errorf("%w: incarnation of token %s is not between 1 and %d", ErrBadRequest, t, maxIncarnations)
	}
	if t.Generation >= perIncarnation-basePreference {
		return 0, fmt.Errorf("%w: generation of token %s is above %d", ErrBadRequest, t, perIncarnation-basePreference-1)
	}
	return basePreference + uint32(t.Generation) + uint32(t.Incarnation-1)*perIncarnation, nil
}
