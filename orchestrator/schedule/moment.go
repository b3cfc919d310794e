package schedule

import "time"

// Moment answers for many accounts that share a line what Spread and Latest say at one moment: it looks for the slots once.
type Moment struct {
	schedule Schedule
	now      time.Time
	slots    []time.Time // of a cron line, before they are spread: all that can be the newest of somebody, in order
}

// At prepares a moment.
func (s Schedule) At(now time.Time) *Moment {
	m := &Moment{schedule: s, now: now}
	if s.spec == nil {
		return m
	}
	before := now.Add(-maxSpread)
	slot, ok := s.Latest(before.Add(-20*longest), before)
	if !ok {
		slot = s.Next(before)
	}
	for ; !slot.After(now); slot = s.Next(slot) {
		m.slots = append(m.slots, slot)
	}
	return m
}

// Latest is what Spread(name).Latest(from, now) is.
func (m *Moment) Latest(name string, from time.Time) (due time.Time, ok bool) {
	spread := m.schedule.Spread(name)
	if m.schedule.spec == nil {
		return spread.Latest(from, m.now)
	}
	for i := len(m.slots) - 1; i >= 0; i-- {
		if slot := m.slots[i].Add(spread.offset); !slot.After(m.now) {
			return slot, slot.After(from)
		}
	}
	return time.Time{}, false
}
