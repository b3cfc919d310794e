package retention

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"drp/raftstore/state"
)

const day = 24 * time.Hour

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// made is a catalogue of snapshots of these times, all of them at par1.
func made(times ...time.Time) []*state.Snapshot {
	var all []*state.Snapshot
	for i, t := range times {
		all = append(all, &state.Snapshot{ID: state.SnapshotID(fmt.Sprintf("%03d", i)), Start: t, Sites: []state.Copy{{Site: "par1"}}})
	}
	return all
}

// left are the times of those that are not over.
func left(all []*state.Snapshot, p state.Policy, now time.Time) []string {
	over := Over(all, nil, &p, now)
	var times []string
	for _, s := range all {
		if !slices.Contains(over, s.ID) {
			times = append(times, s.Start.Format("2006-01-02T15:04"))
		}
	}
	slices.Sort(times)
	slices.Reverse(times)
	return times
}

func same(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("kept %v\nwant %v", got, want)
	}
}

func TestOver(t *testing.T) {
	var hourly []time.Time
	for h := range 24 * 120 {
		hourly = append(hourly, noon.Add(-time.Duration(h)*time.Hour))
	}
	t.Run("no retention keeps all", func(t *testing.T) {
		if got := Over(made(hourly...), nil, &state.Policy{Keep: &state.Keep{Daily: 1}}, noon); len(got) != 0 {
			t.Errorf("%d are over, want none", len(got))
		}
	})
	t.Run("retention alone", func(t *testing.T) {
		same(t, left(made(hourly...), state.Policy{Retention: 3 * time.Hour}, noon), []string{"2026-11-23T12:00", "2026-11-23T11:00", "2026-11-23T10:00"})
	})
	t.Run("days, weeks and months", func(t *testing.T) {
		p := state.Policy{Retention: 2 * time.Hour, Keep: &state.Keep{Daily: 3, Weekly: 3, Monthly: 3}}
		same(t, left(made(hourly...), p, noon), []string{
			"2026-11-23T12:00", "2026-11-23T11:00", // younger
			"2026-11-23T10:00",                     // the newest older one: of its day, week and month
			"2026-11-22T23:00", "2026-11-21T23:00", // days; the first is the end of its week, too
			"2026-11-15T23:00",                     // week
			"2026-10-31T23:00", "2026-09-30T23:00", // months
		})
	})
	t.Run("only days that have one count", func(t *testing.T) {
		p := state.Policy{Retention: day, Keep: &state.Keep{Daily: 2}}
		same(t, left(made(noon, noon.Add(-40*day), noon.Add(-40*day-time.Hour), noon.Add(-90*day), noon.Add(-91*day)), p, noon),
			[]string{"2026-11-23T12:00", "2026-10-14T12:00", "2026-08-25T12:00"})
	})
	t.Run("in the policy's time zone", func(t *testing.T) {
		// 23:30 UTC is the next day in Paris.
		late := time.Date(2026, 11, 20, 23, 30, 0, 0, time.UTC)
		all := made(noon, late, late.Add(-time.Hour))
		p := state.Policy{Retention: day, Keep: &state.Keep{Daily: 5}}
		same(t, left(all, p, noon), []string{"2026-11-23T12:00", "2026-11-20T23:30"})
		p.TimeZone = "Europe/Paris"
		same(t, left(all, p, noon), []string{"2026-11-23T12:00", "2026-11-20T23:30", "2026-11-20T22:30"})
	})
	t.Run("weeks of ISO 8601 go over the turn of the year", func(t *testing.T) {
		now := time.Date(2027, 2, 1, 0, 0, 0, 0, time.UTC)
		all := made(now, time.Date(2027, 1, 2, 0, 0, 0, 0, time.UTC), time.Date(2026, 12, 29, 0, 0, 0, 0, time.UTC), time.Date(2026, 12, 27, 0, 0, 0, 0, time.UTC))
		p := state.Policy{Retention: day, Keep: &state.Keep{Weekly: 5}}
		same(t, left(all, p, now), []string{"2027-02-01T00:00", "2027-01-02T00:00", "2026-12-27T00:00"})
	})
	t.Run("a time in the future is never over, and stands for no day", func(t *testing.T) {
		p := state.Policy{Retention: time.Hour, Keep: &state.Keep{Daily: 1}}
		same(t, left(made(noon.Add(30*day), noon.Add(-3*time.Hour), noon.Add(-30*time.Hour), noon.Add(-31*time.Hour)), p, noon),
			[]string{"2026-12-23T12:00", "2026-11-23T09:00"})
	})
	t.Run("a time in the future does not stand for the newest", func(t *testing.T) {
		p := state.Policy{Retention: time.Hour}
		same(t, left(made(noon.Add(day), noon.Add(-3*time.Hour), noon.Add(-4*time.Hour)), p, noon), []string{"2026-11-24T12:00", "2026-11-23T09:00"})
	})
	t.Run("the newest of each site stays, however old", func(t *testing.T) {
		all := made(noon, noon.Add(-10*day), noon.Add(-20*day), noon.Add(-30*day))
		all[2].Sites = append(all[2].Sites, state.Copy{Site: "par2"}) // replication has lagged since
		all[3].Sites = append(all[3].Sites, state.Copy{Site: "par2"}, state.Copy{Site: "par9"})
		p := state.Policy{Retention: day, Replicas: []state.SiteName{"par2"}}
		same(t, left(all, p, noon), []string{"2026-11-23T12:00", "2026-11-03T12:00", "2026-10-24T12:00"})
	})
	t.Run("what is marked keeps nothing", func(t *testing.T) {
		all := made(noon, noon.Add(-10*day), noon.Add(-10*day-time.Hour))
		all[1].ForgetAt = noon
		p := state.Policy{Retention: day, Keep: &state.Keep{Daily: 1}}
		if got := Over(all, nil, &p, noon); len(got) != 0 {
			t.Errorf("over: %v, want the second one of its day to take the place of the marked one", got)
		}
	})
	t.Run("an unknown time zone keeps all", func(t *testing.T) {
		if got := Over(made(hourly...), nil, &state.Policy{Retention: time.Hour, TimeZone: "Mars/Olympus"}, noon); len(got) != 0 {
			t.Errorf("%d are over, want none", len(got))
		}
	})
	t.Run("oldest first", func(t *testing.T) {
		got := Over(made(noon, noon.Add(-2*day), noon.Add(-3*day)), nil, &state.Policy{Retention: day}, noon)
		if want := []state.SnapshotID{"002", "001"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

// The last good dump of a database stays at each site that holds it, however old it is.
func TestOver_Parts(t *testing.T) {
	const shop = "postgresql/shop"
	good, failed := []state.Part{{Name: shop}}, []state.Part{{Name: shop, Error: "the engine is down"}}
	at := func(days int, parts []state.Part, sites ...state.SiteName) *state.Snapshot {
		s := &state.Snapshot{ID: state.SnapshotID(fmt.Sprint(days)), Start: noon.Add(-time.Duration(days) * day), Parts: parts}
		for _, site := range sites {
			s.Sites = append(s.Sites, state.Copy{Site: site})
		}
		return s
	}
	all := []*state.Snapshot{
		at(0, failed, "par1", "par2"), at(40, failed, "par1", "par2"), at(50, good, "par1"), at(60, good, "par1", "par2"), at(70, good, "par1", "par2"),
	}
	p := &state.Policy{Retention: day}
	if got, want := Over(all, []string{shop}, p, noon), []state.SnapshotID{"70", "40"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := Over(all, nil, p, noon), []state.SnapshotID{"70", "60", "50", "40"}; !slices.Equal(got, want) {
		t.Errorf("the database has left the account: got %q, want %q", got, want)
	}
}
