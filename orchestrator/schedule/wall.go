package schedule

import (
	"time"
)

// starBit is how the parser marks a field that was written as * .
const starBit = 1 << 63

// A wall clock is held as a time in UTC that shows the same digits. The parser's Next runs on those alone: there
// it meets no summer time, at which it skips and repeats slots.

// wallOf is what a clock in the zone shows at t.
func wallOf(t time.Time, zone *time.Location) time.Time {
	_, offset := t.In(zone).Zone()
	return t.UTC().Add(time.Duration(offset) * time.Second)
}

// nextWall is the first matching wall clock after another; zero: there is none.
func (s Schedule) nextWall(after time.Time) time.Time {
	// Next gives up after five years, but two 29th of February can be eight years apart.
	for range 3 {
		if next := s.spec.Next(after); !next.IsZero() {
			return next
		}
		after = after.AddDate(4, 0, 0)
	}
	return time.Time{}
}

// nextCron is the first slot after a time.
func (s Schedule) nextCron(after time.Time) time.Time {
	if s.spec.Hour&starBit != 0 {
		return s.nextHourly(after)
	}
	for wall := s.nextWall(wallOf(after, s.zone)); !wall.IsZero(); wall = s.nextWall(wall) {
		// Not after: the clock was set back, and this slot happened the first time that it showed this.
		if slot := instant(wall, s.zone); slot.After(after) {
			return slot
		}
	}
	return time.Time{}
}

// nextHourly goes by real time: through the stretches in which the zone's offset is the same, one after the other.
func (s Schedule) nextHourly(after time.Time) time.Time {
	for {
		_, end := after.In(s.zone).ZoneBounds()
		wall := wallOf(after, s.zone)
		next := s.nextWall(wall)
		if next.IsZero() {
			return next
		}
		if slot := after.Add(next.Sub(wall)); end.IsZero() || slot.Before(end) {
			return slot
		}
		// The first moment of the next stretch may itself be a slot.
		if first := wallOf(end, s.zone); s.matches(first) {
			return end
		}
		after = end
	}
}

func (s Schedule) matches(wall time.Time) bool {
	return s.spec.Next(wall.Add(-time.Second)).Equal(wall)
}

// instant is when a clock in the zone shows this for the first time, or the end of the gap that leaves it out.
func instant(wall time.Time, zone *time.Location) time.Time {
	t := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, zone)
	start, end := t.ZoneBounds()
	switch shown := wallOf(t, zone); {
	case shown.After(wall): // in a gap, and t lies beyond it
		return start
	case shown.Before(wall): // in a gap, and t lies before it
		return end
	}
	if start.IsZero() {
		return t
	}
	// With the offset that was valid before: earlier than the change, so the clock showed it then already.
	_, before := start.Add(-time.Second).Zone()
	if first := wall.Add(-time.Duration(before) * time.Second); first.Before(start) {
		return first.In(zone)
	}
	return t
}
