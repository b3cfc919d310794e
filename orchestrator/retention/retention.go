// Package retention says which snapshots of an account are over. It only reads the catalogue; nothing is deleted here.
package retention

import (
	"slices"
	"time"
	_ "time/tzdata" // a coordinator must not lose its time zones with a package of the system

	"drp/raftstore/state"
)

// Over are the snapshots whose time is over, oldest first. Kept are:
//
//   - all of them, when the policy has no retention, or a time zone that nobody knows;
//   - each that is younger than the retention, and each that bears a time in the future: a wrong clock wrote that;
//   - the newest one that a site holds, of every site, whether the policy names it or not: it may be all that is left of
//     the account one day. The same holds for each part: where dumps of a database have failed for a month, the last good
//     one stays;
//   - of those older than the retention the newest one of each of the last Daily days, Weekly weeks (as ISO 8601 counts
//     them) and Monthly months that have one, in the policy's time zone.
//
// Those that are marked already are no longer counted: they keep nothing from being over, and are not named again.
func Over(all []*state.Snapshot, parts []string, p *state.Policy, now time.Time) []state.SnapshotID {
	if p.Retention <= 0 {
		return nil
	}
	zone, err := time.LoadLocation(p.TimeZone)
	if err != nil {
		return nil
	}
	usable := make([]*state.Snapshot, 0, len(all)) // newest first
	for _, s := range all {
		if s.ForgetAt.IsZero() && !s.Start.After(now) {
			usable = append(usable, s)
		}
	}
	slices.SortStableFunc(usable, func(a, b *state.Snapshot) int { return b.Start.Compare(a.Start) })

	var rules []*rule
	if p.Keep != nil {
		rules = []*rule{{left: p.Keep.Daily, period: dayOf}, {left: p.Keep.Weekly, period: weekOf}, {left: p.Keep.Monthly, period: monthOf}}
	}
	var over []state.SnapshotID
	served := map[held]bool{} // of which the newest one has been seen
	for _, s := range usable {
		keep := false
		for _, c := range s.Sites {
			for _, part := range s.Whole(parts) {
				keep = keep || !served[held{c.Site, part}]
				served[held{c.Site, part}] = true
			}
		}
		if now.Sub(s.Start) < p.Retention {
			continue
		}
		for _, r := range rules { // each of them has to see it
			keep = r.keeps(s.Start.In(zone)) || keep
		}
		if !keep {
			over = append(over, s.ID)
		}
	}
	slices.Reverse(over)
	return over
}

// Longest is how old a snapshot can get by a policy that does not keep all of them for ever, where there is one each day.
func Longest(p *state.Policy) time.Duration {
	const day = 24 * time.Hour
	if p.Keep == nil {
		return p.Retention
	}
	return max(p.Retention, time.Duration(p.Keep.Daily)*day, time.Duration(p.Keep.Weekly)*7*day, time.Duration(p.Keep.Monthly)*31*day)
}

// held is one part of an account at one site; no part stands for the files.
type held struct {
	site state.SiteName
	part string
}

// rule keeps the first one that it sees of each period, for as many periods as are left.
type rule struct {
	left   int
	period func(time.Time) [3]int
	last   [3]int
	begun  bool
}

func (r *rule) keeps(t time.Time) bool {
	period := r.period(t)
	if r.begun && period == r.last {
		return false
	}
	if r.left == 0 {
		return false
	}
	r.begun, r.last, r.left = true, period, r.left-1
	return true
}

func dayOf(t time.Time) [3]int {
	year, month, day := t.Date()
	return [3]int{year, int(month), day}
}

func weekOf(t time.Time) [3]int {
	year, week := t.ISOWeek()
	return [3]int{year, week}
}

func monthOf(t time.Time) [3]int { return [3]int{t.Year(), int(t.Month())} }
