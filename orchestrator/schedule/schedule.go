// Package schedule says when a policy's backups are due.
//
// A line is five cron fields (minute, hour, day of month, month, day of week), a name such as @hourly, or
// "@every 15s". It is read in a time zone. What happens around the changes to and from summer time:
//
//   - A line that names its hours is read off the wall clock, and each of its slots happens once a day: one that
//     falls into the hour that is left out happens at the moment after it, one in the hour that is repeated
//     happens the first time only.
//   - A line whose hour is * goes by real time: every hour has its slots, the repeated one too.
//   - @every knows no wall clock. Its slots are the multiples of the interval since 1970-01-01 00:00 UTC, so that every leader
//     computes the same ones.
//
// Many accounts share a line. Spread moves all slots of a schedule by an offset that depends on the account's name
// alone, so that they do not start in the same second.
package schedule

import (
	"fmt"
	"hash/fnv"
	"math/bits"
	"strings"
	"time"
	_ "time/tzdata" // a coordinator must not lose its time zones with a package of the system

	"github.com/robfig/cron/v3"

	"drp/runbooks/strictyaml"
)

// Limits of "@every".
const (
	shortest = time.Second
	longest  = 366 * 24 * time.Hour
)

// maxSpread bounds how far a cron line's slots are moved: 03:00 stays a time in the night.
const maxSpread = 10 * time.Minute

// Schedule is a line that was read. It is a value, and safe to share. The zero Schedule has no slots.
type Schedule struct {
	line   string
	every  time.Duration // @every, or zero
	spec   *cron.SpecSchedule
	zone   *time.Location
	gap    time.Duration // of a cron line: see shortestGap
	offset time.Duration // see Spread
}

// Error says why a line or a time zone cannot be used.
type Error struct {
	Line, Zone   string
	Message, Fix string
	OfZone       bool // the zone is at fault, not the line
}

func (e *Error) Error() string {
	s := fmt.Sprintf("schedule %q: %s", e.Line, e.Message)
	if e.OfZone {
		s = fmt.Sprintf("time zone %q: %s", e.Zone, e.Message)
	}
	if e.Fix != "" {
		s += "; " + e.Fix
	}
	return s
}

// Parse reads a line in an IANA time zone; an empty zone is UTC. Its errors are *Error.
func Parse(line, zone string) (Schedule, error) {
	location, err := loadZone(zone)
	if err != nil {
		return Schedule{}, &Error{Line: line, Zone: zone, OfZone: true, Message: "unknown", Fix: `write it as in "Europe/Paris"`}
	}
	fail := func(message, fix string) (Schedule, error) {
		return Schedule{}, &Error{Line: line, Zone: zone, Message: message, Fix: fix}
	}
	s := Schedule{line: strings.Join(strings.Fields(line), " "), zone: location}
	switch {
	case s.line == "":
		return fail("empty", `write five fields, as in "0 3 * * *", or "@every 1h"`)
	case strings.HasPrefix(s.line, "TZ=") || strings.HasPrefix(s.line, "CRON_TZ="):
		// The parser would take these, and panics on some; a policy has a field for it.
		return fail("a time zone does not belong into the line", `write it as "time_zone"`)
	case strings.HasPrefix(s.line, "@every"):
		text := strings.TrimPrefix(strings.TrimPrefix(s.line, "@every"), " ")
		if s.every, err = strictyaml.ParseDuration(text); err != nil {
			return fail("no duration after @every", `write it as in "@every 15m"`)
		}
		if s.every < shortest || s.every > longest || s.every%time.Second != 0 {
			return fail("the interval is not a whole number of seconds from 1s to 366d", `write it as in "@every 15m"`)
		}
		return s, nil
	}
	parsed, err := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor).Parse(withSunday(s.line))
	if err != nil {
		message, _, _ := strings.Cut(err.Error(), ": strconv.")
		return fail(message, `write five fields (minute, hour, day, month, weekday), as in "0 3 * * *", or "@every 1h"`)
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return fail("not a line of cron", `write five fields, as in "0 3 * * *"`)
	}
	for _, field := range []uint64{spec.Minute, spec.Hour, spec.Dom, spec.Month, spec.Dow} {
		if field&^starBit == 0 {
			return fail("a field is empty", `write five fields, as in "0 3 * * *"`)
		}
	}
	spec.Location = time.UTC // wall clocks are computed here, see wall.go
	s.spec = spec
	if s.nextWall(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return fail("this day never comes", "check the day and the month")
	}
	s.gap = s.shortestGap()
	return s, nil
}

func loadZone(name string) (*time.Location, error) {
	switch name {
	case "":
		return time.UTC, nil
	case "Local": // would differ from one coordinator to the next
		return nil, fmt.Errorf("not a place")
	}
	return time.LoadLocation(name)
}

// String is the line.
func (s Schedule) String() string { return s.line }

// Spread moves the slots by an offset within [0, limit) that the name alone decides. For @every the limit is the interval;
// for a cron line half of the shortest time between two of its slots, and ten minutes at most.
func (s Schedule) Spread(name string) Schedule {
	limit := s.every
	if s.spec != nil {
		limit = min(s.gap/2, maxSpread)
	}
	if limit < time.Second {
		return s
	}
	h := fnv.New64a()
	h.Write([]byte(name))
	// FNV's high bits hardly differ for names that differ in their last letter; a multiplication mixes them.
	mixed := h.Sum64() * 0x9e3779b97f4a7c15
	mixed ^= mixed >> 32
	s.offset = time.Duration(mixed%uint64(limit/time.Second)) * time.Second
	return s
}

// Next is the first slot after a time. It is zero for the zero Schedule only.
func (s Schedule) Next(after time.Time) time.Time {
	after = after.Add(-s.offset)
	switch {
	case s.every > 0:
		slot := floor(after, s.every)
		return slot.Add(s.every).Add(s.offset).UTC()
	case s.spec != nil:
		return s.nextCron(after).Add(s.offset).UTC()
	default:
		return time.Time{}
	}
}

// Latest is the newest slot in (from, now]. However many were missed, that one catches up for all of them.
func (s Schedule) Latest(from, now time.Time) (due time.Time, ok bool) {
	if !from.Before(now) {
		return time.Time{}, false
	}
	if s.every > 0 {
		if due = floor(now.Add(-s.offset), s.every).Add(s.offset).UTC(); due.After(from) {
			return due, true
		}
		return time.Time{}, false
	}
	if s.spec == nil {
		return time.Time{}, false
	}
	if s.Next(from).After(now) { // what nearly always holds, when it is asked of each of many accounts
		return time.Time{}, false
	}
	// Looked for backwards in windows that double, so that a long gap costs no walk through all of its slots.
	for window := time.Hour; ; window *= 2 {
		begin := now.Add(-window)
		last := begin.Before(from) || window > 20*longest
		if begin.Before(from) {
			begin = from
		}
		for slot := s.Next(begin); !slot.IsZero() && !slot.After(now); slot = s.Next(slot) {
			due, ok = slot, true
		}
		if ok || last {
			return due, ok
		}
	}
}

// floor is the newest multiple of an interval since the Unix epoch that is not after t.
func floor(t time.Time, interval time.Duration) time.Time {
	step := int64(interval / time.Second)
	seconds := t.Unix() // rounds down, before 1970 too
	rest := seconds % step
	if rest < 0 {
		rest += step
	}
	return time.Unix(seconds-rest, 0)
}

// shortestGap is the shortest time between two slots, as far as minutes and hours decide it.
func (s Schedule) shortestGap() time.Duration {
	var (
		shortestGap = 24 * time.Hour
		first, last = -1, -1
	)
	for hours := s.spec.Hour &^ starBit; hours != 0; hours &= hours - 1 {
		for minutes := s.spec.Minute &^ starBit; minutes != 0; minutes &= minutes - 1 {
			at := bits.TrailingZeros64(hours)*60 + bits.TrailingZeros64(minutes)
			if first < 0 {
				first = at
			} else {
				shortestGap = min(shortestGap, time.Duration(at-last)*time.Minute)
			}
			last = at
		}
	}
	return min(shortestGap, 24*time.Hour-time.Duration(last-first)*time.Minute)
}
