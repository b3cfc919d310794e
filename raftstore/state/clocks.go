package state

import "time"

// Clocks of leaders and agents may be wrong. What they say is kept within what is known to be possible, so that no wrong
// time outlives the clock that it came from.

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// between moves a time into [first, last]; where the two are the wrong way round, to last.
func between(t, first, last time.Time) time.Time { return earlier(later(t, first), last) }
