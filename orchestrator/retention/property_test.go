package retention

import (
	"flag"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"drp/raftstore/state"
)

// catalogue is an account over the years: what each site really holds, and how sites come and go.
type catalogue struct {
	t    *rapid.T
	at   time.Time
	all  []*state.Snapshot
	home state.SiteName
	lost map[state.SiteName]bool
	p    state.Policy
	over int
}

var sites = []state.SiteName{"par1", "par2", "par3"}

func (c *catalogue) backUp(start time.Time) {
	if c.lost[c.home] {
		return
	}
	c.all = append(c.all, &state.Snapshot{
		ID: state.SnapshotID(fmt.Sprintf("%05d", len(c.all))), Start: start, Sites: []state.Copy{{Site: c.home, CopiedAt: c.at}}})
}

// copyTo is a pass: what the home holds of the newest n is at another site then.
func (c *catalogue) copyTo(site state.SiteName, n int) {
	if c.lost[site] || c.lost[c.home] {
		return
	}
	for _, s := range c.newest()[:min(n, len(c.all))] {
		_, there := s.At(c.home)
		if _, here := s.At(site); there && !here && s.ForgetAt.IsZero() {
			s.Sites = append(s.Sites, state.Copy{Site: site, CopiedAt: c.at})
		}
	}
}

func (c *catalogue) newest() []*state.Snapshot {
	sorted := slices.Clone(c.all)
	slices.SortStableFunc(sorted, func(a, b *state.Snapshot) int { return b.Start.Compare(a.Start) })
	return sorted
}

// best is the newest one that a site holds and that can be restored.
func (c *catalogue) best(site state.SiteName) *state.Snapshot {
	for _, s := range c.newest() {
		if _, there := s.At(site); there && s.ForgetAt.IsZero() && !s.Start.After(c.at) {
			return s
		}
	}
	return nil
}

func (c *catalogue) policy() {
	c.p.Retention = rapid.SampledFrom([]time.Duration{0, time.Hour, day, 7 * day, 30 * day}).Draw(c.t, "retention")
	c.p.TimeZone = rapid.SampledFrom([]string{"", "Europe/Paris", "Pacific/Auckland"}).Draw(c.t, "zone")
	c.p.Keep = nil
	if rapid.Bool().Draw(c.t, "keep") {
		few := rapid.IntRange(0, 4)
		c.p.Keep = &state.Keep{Daily: few.Draw(c.t, "daily"), Weekly: few.Draw(c.t, "weekly"), Monthly: few.Draw(c.t, "monthly")}
	}
	c.p.Replicas = sites[:rapid.IntRange(0, 3).Draw(c.t, "replicas")]
}

// forget marks what is over, and holds what must never happen.
func (c *catalogue) forget() {
	before := map[state.SiteName]*state.Snapshot{}
	for _, site := range sites {
		before[site] = c.best(site)
	}
	_, daysBefore := c.older()
	over := Over(c.all, nil, &c.p, c.at)
	gone := map[state.SnapshotID]bool{}
	for _, id := range over {
		gone[id] = true
	}
	c.over += len(over)
	for _, s := range c.all {
		if !gone[s.ID] {
			continue
		}
		switch {
		case !s.ForgetAt.IsZero():
			c.t.Fatalf("%s is marked, and over once more", s.ID)
		case c.p.Retention == 0:
			c.t.Fatalf("%s is over without a retention", s.ID)
		case c.at.Sub(s.Start) < c.p.Retention: // those of the future too
			c.t.Fatalf("%s is %s old, the retention is %s", s.ID, c.at.Sub(s.Start), c.p.Retention)
		}
		for _, copied := range s.Sites {
			better := slices.ContainsFunc(c.all, func(o *state.Snapshot) bool {
				_, there := o.At(copied.Site)
				return there && !gone[o.ID] && o.ForgetAt.IsZero() && !o.Start.Before(s.Start)
			})
			if !better {
				c.t.Fatalf("%s is over, and site %s keeps nothing as new", s.ID, copied.Site)
			}
		}
	}
	for _, s := range c.all {
		if gone[s.ID] {
			s.ForgetAt = c.at
		}
	}
	for _, site := range sites {
		if got := c.best(site); got != before[site] {
			c.t.Fatalf("the newest that site %s holds was %v, and is %v", site, before[site], got)
		}
	}
	c.periods(daysBefore)
	if again := Over(c.all, nil, &c.p, c.at); len(again) != 0 {
		c.t.Fatalf("at the same moment %v are over then", again)
	}
}

// older are those that can be restored and are older than the retention, and the days that they are of: counted in another
// way than the package does.
func (c *catalogue) older() (n, days int) {
	zone, err := time.LoadLocation(c.p.TimeZone)
	if err != nil {
		c.t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, s := range c.all {
		if s.ForgetAt.IsZero() && c.at.Sub(s.Start) >= c.p.Retention {
			n++
			seen[s.Start.In(zone).Format(time.DateOnly)] = true
		}
	}
	return n, len(seen)
}

// periods holds that no more is kept than was asked for, and the days that were.
func (c *catalogue) periods(daysBefore int) {
	if c.p.Retention == 0 {
		return
	}
	keep := state.Keep{}
	if c.p.Keep != nil {
		keep = *c.p.Keep
	}
	kept, days := c.older()
	if most := keep.Daily + keep.Weekly + keep.Monthly + len(sites); kept > most {
		c.t.Fatalf("%d are kept beyond the retention, want %d at most", kept, most)
	}
	if want := min(keep.Daily, daysBefore); days < want {
		c.t.Fatalf("%d days are kept, want %d", days, want)
	}
}

var sequences = flag.Int("sequences", 20_000, "how many TestOver_neverTheLastGoodCopy tries")

// Whatever becomes of sites, copies, homes, policies and clocks: no site loses the newest that it holds.
func TestOver_neverTheLastGoodCopy(t *testing.T) {
	if err := flag.Set("rapid.checks", strconv.Itoa(*sequences)); err != nil {
		t.Fatal(err)
	}
	over := 0
	rapid.Check(t, func(rt *rapid.T) {
		c := &catalogue{t: rt, at: noon, home: "par1", lost: map[state.SiteName]bool{}}
		c.policy()
		for range rapid.IntRange(5, 40).Draw(rt, "length") {
			site := rapid.SampledFrom(sites).Draw(rt, "site")
			switch rapid.IntRange(0, 12).Draw(rt, "event") {
			case 0:
				c.lost[site] = !c.lost[site]
			case 1: // a failover: to a site that holds something
				if c.best(site) != nil && !c.lost[site] {
					c.home = site
				}
			case 2:
				c.policy()
			case 3: // under a clock that is wrong
				c.backUp(c.at.Add(time.Duration(rapid.IntRange(-40, 40).Draw(rt, "wrong")) * day))
			case 4, 5:
				c.copyTo(site, rapid.IntRange(1, 20).Draw(rt, "lag"))
			case 6:
				c.forget()
			default:
				c.backUp(c.at)
			}
			c.at = c.at.Add(time.Duration(rapid.IntRange(0, 40*24).Draw(rt, "hours")) * time.Hour / 8)
		}
		c.forget()
		over += c.over
	})
	if over == 0 {
		t.Error("nothing was ever over, so nothing was shown")
	}
	t.Logf("%d sequences, in which %d snapshots were over", *sequences, over)
}
