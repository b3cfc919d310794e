package raftstore

import (
	"slices"
	"time"
)

// A data directory that is copied and started a second time is a second vote under one name. Each process draws a word at
// its start and says it with each hello. A restart brings a new word, and the old one is never heard again; where it is,
// two processes live.
const (
	// turnsAfter is for what an ended process said and is read late: its hellos may lie in our buffers, and what lies there
	// is older than any exchange may last.
	turnsAfter = exchangeTimeout + 2*time.Second
	turns      = 2
	twinsFor   = time.Minute // after either was last heard
	maxStarts  = 8           // the oldest makes room
)

// starts are the processes that were heard under one name.
type starts struct {
	list   []start
	turned time.Time // when an old one was last heard after a newer one
	turns  int
}

type start struct {
	word        string
	first, last time.Time
}

// hear takes in a hello's word. Older coordinators have none.
func (s *starts) hear(word string, now time.Time) {
	if word == "" {
		return
	}
	at := slices.IndexFunc(s.list, func(x start) bool { return x.word == word })
	if at < 0 {
		if len(s.list) >= maxStarts {
			s.list = slices.Delete(s.list, 0, 1)
		}
		s.list = append(s.list, start{word, now, now})
		return
	}
	s.list[at].last = now
	for _, newer := range s.list {
		if newer.first.After(s.list[at].first) && now.Sub(newer.first) > turnsAfter && now.Sub(newer.last) < twinsFor {
			s.turned, s.turns = now, s.turns+1
			return
		}
	}
}

// twins reports whether two of them live.
func (s *starts) twins(now time.Time) bool {
	if now.Sub(s.turned) > twinsFor {
		s.turns = 0
	}
	return s.turns >= turns
}

// twins reports whether two processes answer under a name.
func (p *peers) twins(name string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.list[name]
	return o != nil && o.starts.twins(now)
}
