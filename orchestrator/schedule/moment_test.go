package schedule

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever the line, the zone and the moment (changes of summer time are among them): it is what Latest says.
func TestMoment_Latest(t *testing.T) {
	found := 0
	rapid.Check(t, func(t *rapid.T) {
		line := rapid.SampledFrom([]string{"@every 15m", "@every 7h", "*/15 * * * *", "30 2 * * *", "0 3 * * *", "*/2 * * * *", "0 0 29 2 *", "15 1,2,3 * * 0", "@hourly", "5 4 1 * *"}).Draw(t, "line")
		zone := rapid.SampledFrom([]string{"", "Europe/Paris", "Pacific/Auckland", "Australia/Lord_Howe"}).Draw(t, "zone")
		s, err := Parse(line, zone)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.IntRange(0, 2*366*24*3600).Draw(t, "now")) * time.Second)
		if rapid.Bool().Draw(t, "summer time") {
			now = time.Date(2026, 10, 25, 0, 0, 0, 0, time.UTC).Add(time.Duration(rapid.IntRange(0, 4*3600).Draw(t, "near")) * time.Second)
		}
		m := s.At(now)
		for _, name := range []string{"guestbook", "shop", rapid.StringN(1, 12, -1).Draw(t, "name")} {
			from := now.Add(-time.Duration(rapid.IntRange(-3600, 3*24*3600).Draw(t, "from")) * time.Second)
			got, gotOK := m.Latest(name, from)
			want, wantOK := s.Spread(name).Latest(from, now)
			if gotOK != wantOK || wantOK && !got.Equal(want) {
				t.Fatalf("%s %s in (%s, %s] for %s: got %s %t, want %s %t", line, zone, from, now, name, got, gotOK, want, wantOK)
			}
			if wantOK {
				found++
			}
		}
	})
	if found == 0 {
		t.Error("no slot was ever found, so nothing was shown")
	}
}
