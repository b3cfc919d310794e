package raftstore

import (
	"slices"
	"sync"
	"time"
)

// Times of what is heard.
const (
	answering    = 3 * time.Second  // heard so recently: it answers
	heardOf      = 10 * time.Second // heard so recently: what it said counts
	silentAfter  = 15 * time.Second
	wedgedAfter  = 30 * time.Second // behind and without progress
	promoteAfter = 10 * time.Second
	maxHeard     = 32 // names
)

// heard is what one other coordinator said last.
type heard struct {
	hello
	at       time.Time     // when
	clock    time.Duration // theirs − ours, when we asked last
	progress time.Time     // when its log last grew, or had all that was committed
	healthy  time.Time     // since when it has been so without a break; zero: it is not
	starts   starts        // used under the lock of peers alone
}

// peers are what was heard of all others.
type peers struct {
	mu   sync.Mutex
	list map[string]*heard
	// committed are our commit indexes of the last looks, newest last: whoever has the oldest of them is caught up.
	committed []uint64
	fresh     freshness
}

func newPeers() *peers { return &peers{list: map[string]*heard{}} }

// hear takes in a hello. Clock is their clock − ours, where it was measured.
func (p *peers) hear(h *hello, now time.Time, clock *time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.list[h.Name]
	if o == nil {
		if len(p.list) >= maxHeard {
			return
		}
		o = &heard{progress: now}
		p.list[h.Name] = o
	}
	if h.Last > o.Last || h.Last >= p.caughtUp() {
		o.progress = now
	}
	o.hello, o.at = *h, now
	o.starts.hear(h.Start, now)
	if clock != nil {
		o.clock = *clock
	}
}

// caughtUp is what a node has to have to be called up to date.
func (p *peers) caughtUp() uint64 {
	if len(p.committed) == 0 {
		return 0
	}
	return p.committed[0]
}

// look notes our commit index, and for how long each has been healthy.
func (p *peers) look(now time.Time, committed uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.list {
		switch {
		case now.Sub(o.at) > answering, o.Quarantined != "", o.Joining, o.Last < p.caughtUp():
			o.healthy = time.Time{}
		case o.healthy.IsZero():
			o.healthy = now
		}
	}
	p.committed = append(p.committed, committed)
	if len(p.committed) > 3 {
		p.committed = p.committed[1:]
	}
}

// of returns a copy of what one said last, or nil.
func (p *peers) of(name string) *heard {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.list[name]
	if o == nil {
		return nil
	}
	c := *o
	return &c
}

// forget drops those that are none of these.
func (p *peers) forget(but []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name := range p.list {
		if !slices.Contains(but, name) {
			delete(p.list, name)
		}
	}
}

// quorumHeard is the newest moment at which a quorum of voters was known to have heard of no later term.
func (p *peers) quorumHeard(now time.Time, term uint64, self string, voters []string) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	var times []time.Time
	for _, name := range voters {
		switch o := p.list[name]; {
		case name == self:
			times = append(times, now)
		case o != nil && o.Term <= term:
			times = append(times, o.at)
		default:
			times = append(times, time.Time{})
		}
	}
	slices.SortFunc(times, func(a, b time.Time) int { return b.Compare(a) })
	quorum := len(voters)/2 + 1
	if len(times) < quorum {
		return time.Time{}
	}
	return times[quorum-1]
}
