package gateway

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Grant lets one server at one account's repository, under one token.
type Grant struct {
	Account string
	Server  string
	Token   string // INCARNATION.GENERATION
	Write   bool   // false: it may only read
	Daily   int64  // bytes that it may store in 24 hours; zero: any
}

// View is who may do what. It is whole: a grant that is not in it is gone.
type View struct {
	Grants []Grant
	At     time.Time // when the request that it answers was *sent*, by this process's clock
}

type grantKey struct{ account, server, token string }

// views keeps the newest view. Its zero value has none.
type views struct {
	mu      sync.Mutex
	known   bool
	write   map[grantKey]bool
	daily   map[grantKey]int64
	asked   time.Time
	at      time.Duration // the same moment on the uptime clock, or a little before
	changed chan struct{} // closed by the next set; nil until somebody waits
}

// uptime counts on while the machine sleeps, which Go's monotonic clock does not: a view must not stay fresh over a
// suspend.
func uptime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(fmt.Sprintf("gateway: read CLOCK_BOOTTIME: %v", err)) // there since Linux 2.6.39
	}
	return time.Duration(t.Nano())
}

// SetView replaces the view. One that was asked for before the present one is ignored: answers may overtake another.
func (g *Gateway) SetView(v View) {
	at := g.uptime() - max(0, time.Since(v.At))
	write, daily := make(map[grantKey]bool, len(v.Grants)), make(map[grantKey]int64, len(v.Grants))
	for _, x := range v.Grants {
		k := grantKey{x.Account, x.Server, x.Token}
		write[k] = write[k] || x.Write
		daily[k] = x.Daily
	}
	s := &g.views
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known && v.At.Before(s.asked) {
		return
	}
	s.known, s.asked, s.at, s.write, s.daily = true, v.At, at, write, daily
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// limit is how much may be stored under a grant in a day.
func (s *views) limit(server string, t target) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.daily[grantKey{t.account, server, t.token}]
}

// need is what a request wants to do.
type need int

const (
	toRead   need = iota
	toUnlock      // delete a lock: needs a grant to write; loses nothing, so a view that is good enough to read will do
	toWrite
)

// judge decides on the newest view alone. Nil: it may.
func (g *Gateway) judge(server string, t target, n need) *refusal {
	s := &g.views
	s.mu.Lock()
	known, at := s.known, s.at
	write, granted := s.write[grantKey{t.account, server, t.token}]
	s.mu.Unlock()

	age := g.uptime() - at
	switch {
	case !known:
		return &refusal{http.StatusServiceUnavailable, "no view of the grants yet"}
	case n != toWrite && age > cmp.Or(g.ReadFor, 15*time.Minute), n == toWrite && age > cmp.Or(g.FreshFor, time.Minute):
		status := http.StatusServiceUnavailable
		if n == toUnlock {
			status = http.StatusForbidden // restic would try for minutes after its snapshot is safe
		}
		return &refusal{status, fmt.Sprintf("view of the grants is %s old", age.Round(time.Second))}
	case !granted:
		return &refusal{http.StatusForbidden, "no grant for this account, server and token"}
	case !write && n != toRead:
		return &refusal{http.StatusForbidden, "grant is for reading"}
	}
	return nil
}

// admit is judge with patience: a server may know of its new assignment a moment before this gateway does, and restic
// takes a 403 as final.
func (g *Gateway) admit(ctx context.Context, server string, t target, n need) *refusal {
	timer := time.NewTimer(cmp.Or(g.SettleFor, 3*time.Second))
	defer timer.Stop()
	for {
		changed := g.views.next()
		no := g.judge(server, t, n)
		if no == nil {
			return nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return no
		case <-ctx.Done():
			return no
		}
	}
}

// next is closed when the view changes; it has to be taken before the view is looked at.
func (s *views) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}
