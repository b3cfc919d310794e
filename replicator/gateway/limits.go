package gateway

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// allowances count what was stored for each account in the last day. A stolen server cannot delete anything; without this it
// could still fill the store, and end everybody's backups. Each gateway counts for itself, and anew after a start. The zero
// value has counted nothing.
type allowances struct {
	mu       sync.Mutex
	accounts map[string]*day
}

// day has the bytes of each of the last 24 hours, by the hour of the uptime clock.
type day struct {
	hours [24]int64
	last  int64 // the hour that was counted last
}

func (d *day) at(hour int64) *int64 {
	for h := max(d.last+1, hour-int64(len(d.hours))+1); h <= hour; h++ {
		d.hours[h%int64(len(d.hours))] = 0
	}
	d.last = max(d.last, hour)
	return &d.hours[hour%int64(len(d.hours))]
}

func (d *day) sum() int64 {
	var all int64
	for _, bytes := range d.hours {
		all += bytes
	}
	return all
}

// take counts an object that is about to be stored. What was not stored after all is given back.
func (a *allowances) take(account string, size, limit int64, now time.Duration) (giveBack func(), err error) {
	hour := int64(now / time.Hour)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.accounts == nil {
		a.accounts = map[string]*day{}
	}
	d := a.accounts[account]
	if d == nil {
		d = &day{last: hour}
		a.accounts[account] = d
	}
	count := d.at(hour)
	if stored := d.sum(); limit > 0 && stored+size > limit {
		return nil, &refusal{http.StatusInsufficientStorage, fmt.Sprintf(
			"account %s has stored %d bytes in the last 24 hours, and this object has %d: its limit is %d", account, stored, size, limit)}
	}
	*count += size
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if hour > d.last-int64(len(d.hours)) {
			d.hours[hour%int64(len(d.hours))] -= size
		}
	}, nil
}

// slots bound the requests that are under way to the store: more would only wait there, each with its memory. The zero
// value is ready.
type slots struct {
	once sync.Once
	free chan struct{}
}

// enter waits for a place, and then has the caller leave it.
func (s *slots) enter(ctx context.Context, limit int, patience time.Duration) (leave func(), err error) {
	s.once.Do(func() { s.free = make(chan struct{}, limit) })
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case s.free <- struct{}{}:
		return func() { <-s.free }, nil
	case <-timer.C:
		return nil, &refusal{http.StatusServiceUnavailable, "too much to do here: try again"}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (g *Gateway) enter(ctx context.Context) (leave func(), err error) {
	return g.slots.enter(ctx, cmp.Or(g.AtOnce, 256), cmp.Or(g.HoldFor, 20*time.Second))
}
