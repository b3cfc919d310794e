package orchestrator

import (
	"fmt"
	"time"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

const (
	// fullWithin is how soon a store has to be full for an alarm, and fullShare how full. To have more disks takes weeks.
	fullWithin = 30 * day
	fullShare  = 90 // percent
	// fillSpan is the shortest time from which a forecast is made. A day has its own rhythm.
	fillSpan = day
)

// StoreFill is how full a site's store is, as its worker last looked.
type StoreFill struct {
	At       time.Time `json:"at"`
	Used     int64     `json:"used"`     // bytes
	Capacity int64     `json:"capacity"` // bytes, by the worker's configuration
	// PerDay is by how many bytes it grew in a day, over the last two weeks at most. Nil: not known yet.
	PerDay *int64 `json:"per_day,omitempty"`
	// FullIn says when it is full, if it goes on like that, counted from At. Nil: not known, or it does not grow.
	FullIn *time.Duration `json:"full_in_ns,omitempty"`
}

// forecast is nil when nothing is known.
func forecast(f *wire.Fill) *StoreFill {
	if f == nil || f.Capacity <= 0 {
		return nil
	}
	s := &StoreFill{At: f.At, Used: f.Used, Capacity: f.Capacity}
	if f.Used >= f.Capacity {
		s.FullIn = new(time.Duration)
	}
	span := f.At.Sub(f.Then)
	if span < fillSpan {
		return s
	}
	perDay := float64(f.Used-f.UsedThen) / (float64(span) / float64(day))
	whole := int64(perDay)
	s.PerDay = &whole
	if perDay > 0 && s.FullIn == nil {
		days := float64(f.Capacity-f.Used) / perDay
		in := time.Duration(min(days, 36500) * float64(day)) // a century says enough
		s.FullIn = &in
	}
	return s
}

// String is a sentence without the site.
func (s *StoreFill) String() string {
	text := fmt.Sprintf("%d%% full", int64(float64(s.Used)/float64(s.Capacity)*100))
	switch {
	case s.FullIn != nil && *s.FullIn == 0:
		return "full"
	case s.FullIn != nil:
		return fmt.Sprintf("%s, full in %d days", text, *s.FullIn/day)
	case s.PerDay != nil:
		return text + ", not growing"
	}
	return text + ", growth not known yet"
}

// pressing reports whether somebody has to see to more room.
func (s *StoreFill) pressing() bool {
	return s.FullIn != nil && *s.FullIn < fullWithin || float64(s.Used) >= fullShare/100.0*float64(s.Capacity)
}

// fill is how full a site's store is; nil: nobody knows.
func (n now) fill(site state.SiteName) *StoreFill { return forecast(n.seen.fills[site]) }

// SiteStore is how full the store of a site is.
type SiteStore struct {
	Site state.SiteName `json:"site"`
	Fill *StoreFill     `json:"fill"`
}

func storesOf(n now) []SiteStore {
	var all []SiteStore
	for _, s := range n.view.Sites() {
		if f := n.fill(s.Name); f != nil {
			all = append(all, SiteStore{s.Name, f})
		}
	}
	return all
}

// fillAlarms are of stores that will be full before there can be more room.
func fillAlarms(n now) []Alarm {
	var all []Alarm
	for _, s := range storesOf(n) {
		if s.Fill.pressing() {
			all = append(all, Alarm{Kind: alarmStore, Since: s.Fill.At, Message: fmt.Sprintf("the store of site %s is %s: give it more room, or let policies keep less", s.Site, s.Fill)})
		}
	}
	return all
}
