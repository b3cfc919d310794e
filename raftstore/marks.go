package raftstore

import (
	"slices"
	"sync"

	"drp/raftstore/state"
)

const (
	markEvery = 256
	keptMarks = 64
)

// mark is the digest of the state when all entries up to an index were applied, and none after it.
type mark struct {
	Index  uint64       `json:"index"`
	Digest state.Digest `json:"digest"`
}

// marks are the newest ones of this node, at multiples of markEvery. Not each index reaches the state: barriers and
// the like have none of their own. So a mark is known as soon as an entry after it arrives, and says the same on all nodes.
type marks struct {
	mu   sync.Mutex
	list []mark // ascending
}

// cross records the marks from one index up to, and without, another one, between which nothing is applied.
func (m *marks) cross(from, to uint64, digest func() state.Digest) {
	if to == 0 {
		return
	}
	last := (to - 1) / markEvery * markEvery
	first := max((from+markEvery-1)/markEvery*markEvery, markEvery)
	if last < first {
		return
	}
	if last-first > keptMarks*markEvery {
		first = last - keptMarks*markEvery
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	d := digest()
	for n := first; n <= last; n += markEvery {
		if len(m.list) == 0 || m.list[len(m.list)-1].Index < n {
			m.list = append(m.list, mark{n, d})
		}
	}
	if extra := len(m.list) - keptMarks; extra > 0 {
		m.list = slices.Delete(m.list, 0, extra)
	}
}

func (m *marks) all() []mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.list)
}
