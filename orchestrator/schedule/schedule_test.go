package schedule

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func parse(t testing.TB, line, zone string) Schedule {
	t.Helper()
	s, err := Parse(line, zone)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func at(t testing.TB, text string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestParse_Refuses(t *testing.T) {
	for _, test := range []struct{ line, zone, want string }{
		{"", "", `schedule "": empty; write five fields, as in "0 3 * * *", or "@every 1h"`},
		{" \t ", "", `schedule " \t ": empty; write five fields, as in "0 3 * * *", or "@every 1h"`},
		{"TZ=0", "", `schedule "TZ=0": a time zone does not belong into the line; write it as "time_zone"`},
		{"CRON_TZ=Europe/Paris 0 3 * * *", "", `schedule "CRON_TZ=Europe/Paris 0 3 * * *": a time zone does not belong into the line; write it as "time_zone"`},
		{"0 0 30 2 *", "", `schedule "0 0 30 2 *": this day never comes; check the day and the month`},
		{"0 0 31 4,6,9,11 *", "", `schedule "0 0 31 4,6,9,11 *": this day never comes; check the day and the month`},
		{", 3 * * *", "", `schedule ", 3 * * *": a field is empty; write five fields, as in "0 3 * * *"`},
		{"0 3 * *", "", `schedule "0 3 * *": expected exactly 5 fields, found 4: [0 3 * *]; write five fields (minute, hour, day, month, weekday), as in "0 3 * * *", or "@every 1h"`},
		{"0 0 3 * * *", "", `schedule "0 0 3 * * *": expected exactly 5 fields, found 6: [0 0 3 * * *]; write five fields (minute, hour, day, month, weekday), as in "0 3 * * *", or "@every 1h"`},
		{"0 24 * * *", "", `schedule "0 24 * * *": end of range (24) above maximum (23): 24; write five fields (minute, hour, day, month, weekday), as in "0 3 * * *", or "@every 1h"`},
		{"x 3 * * *", "", `schedule "x 3 * * *": failed to parse int from x; write five fields (minute, hour, day, month, weekday), as in "0 3 * * *", or "@every 1h"`},
		{"*/0 * * * *", "", `schedule "*/0 * * * *": step of range should be a positive number: */0; write five fields (minute, hour, day, month, weekday), as in "0 3 * * *", or "@every 1h"`},
		{"@fortnightly", "", `schedule "@fortnightly": unrecognized descriptor: @fortnightly; write five fields (minute, hour, day, month, weekday), as in "0 3 * * *", or "@every 1h"`},
		{"@every", "", `schedule "@every": no duration after @every; write it as in "@every 15m"`},
		{"@every -1h", "", `schedule "@every -1h": no duration after @every; write it as in "@every 15m"`},
		{"@every 500ms", "", `schedule "@every 500ms": the interval is not a whole number of seconds from 1s to 366d; write it as in "@every 15m"`},
		{"@every 1500ms", "", `schedule "@every 1500ms": the interval is not a whole number of seconds from 1s to 366d; write it as in "@every 15m"`},
		{"@every 400d", "", `schedule "@every 400d": the interval is not a whole number of seconds from 1s to 366d; write it as in "@every 15m"`},
		{"0 3 * * *", "Europe/Pariss", `time zone "Europe/Pariss": unknown; write it as in "Europe/Paris"`},
		{"0 3 * * *", "Local", `time zone "Local": unknown; write it as in "Europe/Paris"`},
		{"0 3 * * *", "../../etc/passwd", `time zone "../../etc/passwd": unknown; write it as in "Europe/Paris"`},
	} {
		t.Run(test.line+" "+test.zone, func(t *testing.T) {
			_, err := Parse(test.line, test.zone)
			var typed *Error
			if !errors.As(err, &typed) {
				t.Fatalf("got %v, want an *Error", err)
			}
			if got := err.Error(); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestWithSunday(t *testing.T) {
	for line, want := range map[string]string{
		"0 3 * * 7":           "0 3 * * 0",
		"0 3 * * 5-7":         "0 3 * * 5,6,0",
		"0 3 * * 1-7/2":       "0 3 * * 1,3,5,0",
		"0 3 * * fri-Sun":     "0 3 * * 5,6,0",
		"0 3 * * mon,sat-7":   "0 3 * * mon,6,0",
		"0 3 * * 7-7":         "0 3 * * 0",
		"0 3 * * 0-7":         "0 3 * * 0,1,2,3,4,5,6,0",
		"0 3 7 7 sun":         "0 3 7 7 sun",
		"0 3 * * sun-tue":     "0 3 * * sun-tue",
		"0 3 * * 0-6":         "0 3 * * 0-6",
		"0 3 * * *":           "0 3 * * *",
		"0 3 * * 8":           "0 3 * * 8",
		"0 3 * * 7/2":         "0 3 * * 7/2",
		"0 3 * * 5-7/0":       "0 3 * * 5-7/0",
		"0 3 * * 5-7/x":       "0 3 * * 5-7/x",
		"0 3 * * x-7":         "0 3 * * x-7",
		"0 3 * *":             "0 3 * *",
		"@weekly":             "@weekly",
		"*/7 7 7 7-7 mon-wed": "*/7 7 7 7-7 mon-wed",
	} {
		if got := withSunday(line); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

func TestSchedule_Next(t *testing.T) {
	for _, test := range []struct {
		name, line, zone, after string
		want                    []string
	}{
		{"every 15 s is anchored at the epoch", "@every 15s", "", "2026-11-23T14:00:07.5Z", []string{"2026-11-23T14:00:15Z", "2026-11-23T14:00:30Z"}},
		{"every 7 s too", "@every 7s", "", "1970-01-01T00:00:08Z", []string{"1970-01-01T00:00:14Z", "1970-01-01T00:00:21Z"}},
		{"every 1 d", "@every 1d", "Europe/Paris", "2026-11-23T14:00:00Z", []string{"2026-11-24T00:00:00Z"}},
		{"a slot is not after itself", "0 3 * * *", "", "2026-11-23T03:00:00Z", []string{"2026-11-24T03:00:00Z"}},
		{"the weekend, with a Sunday that ends the week", "0 3 * * fri-sun", "", "2026-11-26T14:00:00Z",
			[]string{"2026-11-27T03:00:00Z", "2026-11-28T03:00:00Z", "2026-11-29T03:00:00Z", "2026-12-04T03:00:00Z"}},
		{"hourly", "@hourly", "Europe/Paris", "2026-11-23T03:00:01Z", []string{"2026-11-23T04:00:00Z", "2026-11-23T05:00:00Z"}},
		{"in winter", "30 1 * * *", "Europe/Paris", "2026-01-10T00:00:00Z", []string{"2026-01-10T00:30:00Z"}},
		{"in summer", "30 1 * * *", "Europe/Paris", "2026-07-10T00:00:00Z", []string{"2026-07-10T23:30:00Z"}},
		{"March: what is left out happens after the gap", "30 2 * * *", "Europe/Paris", "2026-03-28T00:00:00Z",
			[]string{"2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
		{"March: several slots in the gap are one", "*/15 2 * * *", "Europe/Paris", "2026-03-29T00:00:00Z",
			[]string{"2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"}},
		{"March: the slot at the end of the gap is not doubled", "0 2,3 * * *", "Europe/Paris", "2026-03-29T00:00:00Z",
			[]string{"2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z", "2026-03-30T01:00:00Z"}},
		{"October: what is repeated happens the first time", "30 2 * * *", "Europe/Paris", "2026-10-24T12:00:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		{"October: asked between the two", "30 2 * * *", "Europe/Paris", "2026-10-25T01:15:00Z", []string{"2026-10-26T01:30:00Z"}},
		{"March: a line of every hour goes by real time", "0 * * * *", "Europe/Paris", "2026-03-28T23:30:00Z",
			[]string{"2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"}},
		{"October: a line of every hour goes by real time", "*/30 * * * *", "Europe/Paris", "2026-10-24T23:45:00Z",
			[]string{"2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"}},
		{"a midnight that is left out", "0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00Z", []string{"2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"}},
		{"29 February", "0 0 29 2 *", "", "2096-03-01T00:00:00Z", []string{"2104-02-29T00:00:00Z"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := parse(t, test.line, test.zone)
			next := at(t, test.after)
			for _, w := range test.want {
				next = s.Next(next)
				if want := at(t, w); !next.Equal(want) {
					t.Fatalf("got %v, want %v", next, want)
				}
			}
		})
	}
}

// A clock is watched minute by minute: a matching time that it shows, or jumps over, for the first time is a slot.
func TestSchedule_NextAgreesWithAClock(t *testing.T) {
	lines := []string{"30 2 * * *", "*/15 2,3 * * *", "0 */2 * * *", "5 0 * * 1", "0 0 * * *", "15 23 28-31 * *", "7 * * * *", "*/20 * * * 0", "59 1 * * *"}
	for _, clock := range []struct{ zone, from string }{
		{"Europe/Paris", "2026-03-26T00:00:00Z"}, {"Europe/Paris", "2026-10-23T00:00:00Z"},
		{"Australia/Lord_Howe", "2026-04-02T00:00:00Z"}, {"Australia/Lord_Howe", "2026-10-01T00:00:00Z"},
		{"America/Sao_Paulo", "2018-11-01T00:00:00Z"}, {"America/Sao_Paulo", "2019-02-14T00:00:00Z"},
		{"Africa/Cairo", "2026-04-22T00:00:00Z"}, {"Pacific/Apia", "2011-12-28T00:00:00Z"}, {"UTC", "2026-02-26T00:00:00Z"},
	} {
		for _, line := range lines {
			t.Run(fmt.Sprintf("%s %s %s", clock.zone, clock.from[:10], line), func(t *testing.T) {
				s := parse(t, line, clock.zone)
				from := at(t, clock.from)
				to := from.AddDate(0, 0, 5)
				var want []time.Time
				seen := wallOf(from, s.zone)
				for now := from.Add(time.Minute); !now.After(to); now = now.Add(time.Minute) {
					wall := wallOf(now, s.zone)
					if s.spec.Hour&starBit != 0 {
						if s.matches(wall) {
							want = append(want, now)
						}
						continue
					}
					if next := s.nextWall(seen); wall.After(seen) && !next.After(wall) {
						want = append(want, now)
					}
					if wall.After(seen) {
						seen = wall
					}
				}
				var got []time.Time
				for slot := s.Next(from); !slot.After(to); slot = s.Next(slot) {
					got = append(got, slot)
				}
				if len(got) != len(want) {
					t.Fatalf("got %d slots %v\nwant %d %v", len(got), got, len(want), want)
				}
				for i := range got {
					if !got[i].Equal(want[i]) {
						t.Errorf("slot %d: got %v, want %v", i, got[i], want[i])
					}
				}
			})
		}
	}
}

func TestSchedule_Latest(t *testing.T) {
	for _, test := range []struct{ name, line, from, now, want string }{
		{"nothing due", "0 3 * * *", "2026-11-23T03:00:00Z", "2026-11-23T14:00:00Z", ""},
		{"due at this moment", "0 3 * * *", "2026-11-22T03:00:00Z", "2026-11-23T03:00:00Z", "2026-11-23T03:00:00Z"},
		{"a week missed is caught up by one", "0 3 * * *", "2026-11-16T03:00:00Z", "2026-11-23T14:00:00Z", "2026-11-23T03:00:00Z"},
		{"never backed up", "0 0 29 2 *", "0001-01-01T00:00:00Z", "2026-11-23T14:00:00Z", "2024-02-29T00:00:00Z"},
		{"years of minutes", "* * * * *", "2001-01-01T00:00:00Z", "2026-11-23T14:00:30Z", "2026-11-23T14:00:00Z"},
		{"every 15 s", "@every 15s", "2026-11-23T13:00:00Z", "2026-11-23T14:00:29.9Z", "2026-11-23T14:00:15Z"},
		{"every 15 s, served", "@every 15s", "2026-11-23T14:00:15Z", "2026-11-23T14:00:29.9Z", ""},
		{"a clock that was set back", "@every 15s", "2026-11-23T15:00:00Z", "2026-11-23T14:00:00Z", ""},
		{"never backed up, every 15 s", "@every 15s", "0001-01-01T00:00:00Z", "2026-11-23T14:00:01Z", "2026-11-23T14:00:00Z"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, ok := parse(t, test.line, "").Latest(at(t, test.from), at(t, test.now))
			if test.want == "" {
				if ok {
					t.Errorf("got %v, want none", got)
				}
				return
			}
			if !ok || !got.Equal(at(t, test.want)) {
				t.Errorf("got %v %v, want %v", got, ok, test.want)
			}
		})
	}
}

// Latest and Next say the same, whatever the spread.
func TestSchedule_LatestAgreesWithNext(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		line := rapid.SampledFrom([]string{"@every 15s", "@every 7m", "*/15 * * * *", "30 2 * * *", "0 3 * * 1", "0,1 4 1 * *"}).Draw(t, "line")
		s, err := Parse(line, rapid.SampledFrom([]string{"", "Europe/Paris", "Australia/Lord_Howe"}).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		s = s.Spread(rapid.StringN(0, 8, 16).Draw(t, "name"))
		from := time.Unix(rapid.Int64Range(1_700_000_000, 1_800_000_000).Draw(t, "from"), 0)
		now := from.Add(time.Duration(rapid.Int64Range(0, int64(2*time.Hour)).Draw(t, "gap")))
		var want time.Time
		for slot := s.Next(from); !slot.After(now); slot = s.Next(slot) {
			want = slot
		}
		got, ok := s.Latest(from, now)
		if ok != !want.IsZero() || !got.Equal(want) {
			t.Fatalf("got %v %v, want %v", got, ok, want)
		}
	})
}

func TestSchedule_Spread(t *testing.T) {
	for _, test := range []struct {
		line  string
		limit time.Duration
	}{
		{"@every 15s", 15 * time.Second},
		{"@every 24h", 24 * time.Hour},
		{"* * * * *", 30 * time.Second},
		{"*/5 * * * *", 150 * time.Second},
		{"0,1 3 * * *", 30 * time.Second},
		{"0 0,23 * * *", 10 * time.Minute},
		{"59 23 * * *", 10 * time.Minute},
		{"@monthly", 10 * time.Minute},
	} {
		t.Run(test.line, func(t *testing.T) {
			s := parse(t, test.line, "")
			start := at(t, "2026-11-23T14:00:00Z")
			base := s.Next(start)
			offsets := map[time.Duration]int{}
			const accounts = 1000
			var largest time.Duration
			for i := range accounts {
				spread := s.Spread(fmt.Sprintf("account%d", i))
				if again := s.Spread(fmt.Sprintf("account%d", i)); again != spread {
					t.Fatal("the same name got two offsets")
				}
				offset := spread.Next(base.Add(spread.offset - 1)).Sub(base)
				if offset < 0 || offset >= test.limit {
					t.Fatalf("offset %v is outside of [0, %v)", offset, test.limit)
				}
				offsets[offset]++
				largest = max(largest, offset)
			}
			if largest < test.limit*9/10 {
				t.Errorf("largest offset %v leaves the end of %v unused", largest, test.limit)
			}
			seconds := int(test.limit / time.Second)
			for offset, n := range offsets {
				if fair := accounts/seconds + 1; n > 3*fair+6 {
					t.Errorf("%d of %d accounts start at %v", n, accounts, offset)
				}
			}
		})
	}
	t.Run("every second cannot be spread", func(t *testing.T) {
		s := parse(t, "@every 1s", "").Spread("guestbook")
		if got, want := s.Next(at(t, "2026-11-23T14:00:00Z")), at(t, "2026-11-23T14:00:01Z"); !got.Equal(want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"0 3 * * *", "@every 15s", "TZ=0", "CRON_TZ=", "0 0 29 2 *", "*/7 1-5 * jan-mar mon", "@hourly", "? ? ? ? ?"} {
		f.Add(seed, "Europe/Paris")
	}
	after := time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, line, zone string) {
		s, err := Parse(line, zone)
		if err != nil {
			return
		}
		next := s.Next(after)
		if !next.After(after) {
			t.Errorf("Next gave %v, not after %v", next, after)
		}
		if got, ok := s.Latest(after, next); !ok || !got.Equal(next) {
			t.Errorf("Latest gave %v %v, want %v", got, ok, next)
		}
	})
}
