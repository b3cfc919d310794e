package replicator

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Timetable is a bound by time of day.
type Timetable struct {
	Default int64          // bytes a second outside of all windows; zero: no bound
	Zone    *time.Location // whose wall clock the windows are read off; nil: UTC
	Windows []Window       // no two overlap
}

// Window is a part of each day: from From until To, as a wall clock shows them after midnight. It may go past midnight.
type Window struct {
	From, To  time.Duration
	PerSecond int64 // zero: no bound
}

// has reports whether the wall clock is within the window. Going by what a clock shows, and not by how long ago midnight was,
// a window ends when people's clocks say so on the days on which they are changed, too.
func (w Window) has(clock time.Duration) bool {
	if w.From <= w.To {
		return w.From <= clock && clock < w.To
	}
	return w.From <= clock || clock < w.To
}

// Overlaps reports whether there is a time of day that both windows have.
func (w Window) Overlaps(other Window) bool { return w.has(other.From) || other.has(w.From) }

// At is the bound at a moment, in bytes a second; zero: none.
func (t Timetable) At(now time.Time) int64 {
	if t.Zone == nil {
		now = now.UTC()
	} else {
		now = now.In(t.Zone)
	}
	clock := time.Duration(now.Hour())*time.Hour + time.Duration(now.Minute())*time.Minute + time.Duration(now.Second())*time.Second
	for _, w := range t.Windows {
		if w.has(clock) {
			return w.PerSecond
		}
	}
	return t.Default
}

// slowest is the least bound that there is; zero: none.
func (t Timetable) slowest() int64 {
	least := t.Default
	for _, w := range t.Windows {
		if w.PerSecond > 0 && (least == 0 || w.PerSecond < least) {
			least = w.PerSecond
		}
	}
	return least
}

// Bandwidth bounds what is read. Stores may share one.
type Bandwidth struct {
	table   Timetable
	limiter *rate.Limiter

	mu     sync.Mutex
	looked time.Time // at the table
	now    int64     // bytes a second; zero: no bound
}

// lookEvery is how soon a change of the bound takes effect, in the middle of a transfer too.
const lookEvery = time.Second

// NewBandwidth is a bound of so many bytes a second, at all times.
func NewBandwidth(perSecond int64) *Bandwidth {
	return NewTimedBandwidth(Timetable{Default: perSecond})
}

// NewTimedBandwidth is a bound by time of day.
func NewTimedBandwidth(t Timetable) *Bandwidth {
	// A tenth of a second at once: a reader that waits for its turn is not taken for a store that stopped answering. It
	// never changes: who waits for more than may go at once would fail.
	return &Bandwidth{table: t, limiter: rate.NewLimiter(rate.Inf, int(max(t.slowest()/10, 1<<10)))}
}

// atOnce is how much may be read before the next wait; zero: anything.
func (b *Bandwidth) atOnce(now time.Time) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if since := now.Sub(b.looked); b.looked.IsZero() || since < 0 || since >= lookEvery {
		b.looked = now
		if b.now = b.table.At(now); b.now > 0 && rate.Limit(b.now) != b.limiter.Limit() {
			b.limiter.SetLimitAt(now, rate.Limit(b.now))
		}
	}
	if b.now == 0 {
		return 0
	}
	return b.limiter.Burst()
}

// throttled reads answers no faster than the bound allows.
func throttled(base http.RoundTripper, limit *Bandwidth) http.RoundTripper {
	if limit == nil {
		return base
	}
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		response, err := base.RoundTrip(r)
		if err == nil {
			response.Body = &slowed{ReadCloser: response.Body, ctx: r.Context(), limit: limit}
		}
		return response, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type slowed struct {
	io.ReadCloser
	ctx   context.Context
	limit *Bandwidth
}

func (s *slowed) Read(p []byte) (int, error) {
	most := s.limit.atOnce(time.Now())
	if most == 0 {
		return s.ReadCloser.Read(p)
	}
	n, err := s.ReadCloser.Read(p[:min(len(p), most)])
	if waitErr := s.limit.limiter.WaitN(s.ctx, n); waitErr != nil {
		return n, waitErr
	}
	return n, err
}
