package api

import (
	"errors"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"drp/raftstore/identity"
)

// ErrTooMany: the routes that are open to anybody take only so many requests. Nothing was done.
var ErrTooMany = errors.New("too many requests of this kind; try again in a minute")

const (
	strangerBurst = 30 // from one address; a newcomer needs two
	strangerEvery = 2 * time.Second
	allBurst      = 100 // from all of them together
	allEvery      = 200 * time.Millisecond
	mostSources   = 4096
	maxStranger   = 32 << 10 // bytes of a request
	maxNobody     = 1 << 10  // where anybody may ask as often as he likes
)

// limiter lets strangers ask now and then. Tokens cannot be guessed at any rate; this bounds what guessing costs us.
type limiter struct {
	mu      sync.Mutex
	all     bucket
	sources map[netip.Prefix]bucket
}

// bucket fills by one request in each interval. Its only field is when it was, or would have been, empty.
type bucket struct{ empty time.Time }

func (b *bucket) take(now time.Time, burst int, every time.Duration) bool {
	if oldest := now.Add(-time.Duration(burst) * every); b.empty.Before(oldest) {
		b.empty = oldest
	}
	next := b.empty.Add(every)
	if next.After(now) {
		return false
	}
	b.empty = next
	return true
}

func (b bucket) full(now time.Time, burst int, every time.Duration) bool {
	return !b.empty.After(now.Add(-time.Duration(burst) * every))
}

func (l *limiter) allow(r *http.Request, now time.Time) bool {
	if _, local := r.Context().Value(socketPeerKey{}).(socketPeer); local {
		return true
	}
	var source netip.Prefix
	if at, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		source = identity.SourceOf(at.Addr())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.sources) >= mostSources {
		for k, b := range l.sources {
			if b.full(now, strangerBurst, strangerEvery) {
				delete(l.sources, k)
			}
		}
		if len(l.sources) >= mostSources {
			return false
		}
	}
	if l.sources == nil {
		l.sources = map[netip.Prefix]bucket{}
	}
	own := l.sources[source]
	allowed := own.take(now, strangerBurst, strangerEvery)
	l.sources[source] = own
	return allowed && l.all.take(now, allBurst, allEvery)
}
