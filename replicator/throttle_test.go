package replicator

import (
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
	_ "time/tzdata" // as drp has it
)

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

const hour = time.Hour

func TestTimetable_At(t *testing.T) {
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	table := Timetable{Default: 100, Zone: paris, Windows: []Window{{From: 8 * hour, To: 20 * hour, PerSecond: 20}, {From: 1 * hour, To: 150 * time.Minute, PerSecond: 50}}}
	for moment, want := range map[string]int64{
		"2026-01-15T06:59:59Z": 100, // winter: an hour ahead of UTC
		"2026-01-15T07:00:00Z": 20,
		"2026-01-15T18:59:59Z": 20,
		"2026-01-15T19:00:00Z": 100,
		"2026-07-15T05:59:59Z": 100, // summer: two
		"2026-07-15T06:00:00Z": 20,
		"2026-07-15T18:00:00Z": 100,
		// The night on which clocks go from 02:00 to 03:00: the window to 02:30 ends with the hour that there is.
		"2026-03-29T00:59:59Z": 50,
		"2026-03-29T01:00:00Z": 100,
		"2026-03-29T06:00:00Z": 20, // and the day begins by the new time
		// The night on which 02:00 to 03:00 happens twice: so does the window's end.
		"2026-10-24T23:00:00Z": 50,
		"2026-10-25T00:29:59Z": 50, // 02:29, summer
		"2026-10-25T00:30:00Z": 100,
		"2026-10-25T01:00:00Z": 50, // 02:00 again
		"2026-10-25T01:30:00Z": 100,
		"2026-10-25T06:59:59Z": 100,
		"2026-10-25T07:00:00Z": 20,
	} {
		at, err := time.Parse(time.RFC3339, moment)
		if err != nil {
			t.Fatal(err)
		}
		if got := table.At(at); got != want {
			t.Errorf("%s: got %d, want %d", moment, got, want)
		}
	}
	night := Timetable{Windows: []Window{{From: 22 * hour, To: 6 * hour, PerSecond: 7}}}
	for clock, want := range map[int]int64{21: 0, 22: 7, 0: 7, 5: 7, 6: 0, 12: 0} {
		if got := night.At(time.Date(2026, 1, 1, clock, 0, 0, 0, time.UTC)); got != want {
			t.Errorf("%d o'clock: got %d, want %d", clock, got, want)
		}
	}
}

func TestWindow_Overlaps(t *testing.T) {
	day, evening, night := Window{From: 8 * hour, To: 20 * hour}, Window{From: 20 * hour, To: 24 * hour}, Window{From: 19 * hour, To: 8 * hour}
	if day.Overlaps(evening) || evening.Overlaps(day) || !day.Overlaps(night) || !night.Overlaps(day) || !night.Overlaps(evening) || !day.Overlaps(day) {
		t.Error("wrong")
	}
}

// TestBandwidth_changes: a bound that changes does so in the middle of a transfer, to a faster one, to none, and to a slower one.
func TestBandwidth_changes(t *testing.T) {
	const kib = 1 << 10
	synctest.Test(t, func(t *testing.T) { // the time is midnight
		table := Timetable{Default: 10 * kib, Windows: []Window{
			{From: time.Minute, To: 2 * time.Minute, PerSecond: 100 * kib},
			{From: 2 * time.Minute, To: 3 * time.Minute, PerSecond: kib},
			{From: 3 * time.Minute, To: 4 * time.Minute},
		}}
		base := throttled(roundTripper(func(*http.Request) (*http.Response, error) {
			return &http.Response{Body: io.NopCloser(io.LimitReader(zeros{}, 8000*kib))}, nil
		}), NewTimedBandwidth(table))
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://store/bucket/key", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := base.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		began, read := time.Now(), int64(0)
		for _, at := range []struct {
			after time.Duration
			want  int64 // KiB
		}{{time.Minute, 600}, {2 * time.Minute, 6600}, {3 * time.Minute, 6660}} {
			for time.Since(began) < at.after {
				n, err := io.CopyN(io.Discard, response.Body, kib)
				if err != nil {
					t.Fatal(err)
				}
				read += n
			}
			if got := read / kib; got < at.want-15 || got > at.want+115 { // a second of the rate before
				t.Errorf("after %s: %d KiB, want %d", at.after, got, at.want)
			}
		}
		time.Sleep(time.Second)
		if n, err := io.Copy(io.Discard, response.Body); err != nil || time.Since(began) > 182*time.Second {
			t.Errorf("without a bound %d bytes took until %s: %v", n, time.Since(began), err)
		}
	})
}
