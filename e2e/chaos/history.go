package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// history is what clients asked and were told, for each account. An account is a register: its plan's memory. Each write
// has a value of its own, and the answer to it says what it replaced, so that it is a read at the same time.
type history struct {
	began time.Time

	mu    sync.Mutex
	ops   map[string][]operation
	acked int // writes
	last  time.Time
}

// operation on one account. A read has no value, and only counts when it was answered.
type operation struct {
	client         int
	call, back     time.Duration
	write          bool
	value          int64 // written
	known          bool  // answered; false: nobody knows whether it was done
	found          int64 // what a read saw, and what a write replaced
	foundSomething bool
}

func newHistory() *history { return &history{began: time.Now(), ops: map[string][]operation{}} }

func (h *history) now() time.Duration { return time.Since(h.began) }

func (h *history) add(account string, o operation) {
	if !o.write && !o.known {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops[account] = append(h.ops[account], o)
	if o.write && o.known {
		h.acked++
		h.last = time.Now()
	}
}

func (h *history) counts() (ops, acked int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, list := range h.ops {
		ops += len(list)
	}
	return ops, h.acked
}

// acknowledged returns when the newest write was acknowledged.
func (h *history) acknowledged() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.last
}

const checkTime = 60 * time.Second // for one account

// verdict of a history.
type verdict struct {
	violations []string // accounts whose history no register could have
	unknown    int      // accounts whose history was too long to judge
}

// check judges the histories of all accounts.
func (h *history) check() verdict {
	h.mu.Lock()
	defer h.mu.Unlock()
	var v verdict
	for account, list := range h.ops {
		switch porcupine.CheckOperationsTimeout(register(), events(list), checkTime) {
		case porcupine.Illegal:
			v.violations = append(v.violations, account)
		case porcupine.Unknown:
			v.unknown++
		}
	}
	return v
}

// events are the operations as porcupine wants them. A write of unknown outcome may take effect at any time after its
// call. One whose value nobody ever saw can be left out: a history that is right with it is right without it. One
// that was seen had taken effect before the first that saw it returned.
func events(list []operation) []porcupine.Operation {
	seen := map[int64]time.Duration{}
	for _, o := range list {
		if !o.known || !o.foundSomething {
			continue
		}
		if first, ok := seen[o.found]; !ok || o.back < first {
			seen[o.found] = o.back
		}
	}
	var ops []porcupine.Operation
	for _, o := range list {
		back := o.back
		if !o.known {
			first, ok := seen[o.value]
			if !ok {
				continue
			}
			back = max(first, o.call) // a value that was seen before it was written is no register's: the model finds it
		}
		ops = append(ops, porcupine.Operation{
			ClientId: o.client, Input: o, Call: int64(o.call), Output: o, Return: int64(back),
		})
	}
	return ops
}

// register is the model: reads see the newest write, and a write says what it replaced.
func register() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return int64(firstValue) },
		Step: func(state, input, _ any) (bool, any) {
			o, now := input.(operation), state.(int64)
			if o.foundSomething && o.found != now {
				return false, now
			}
			if o.write {
				return true, o.value
			}
			return true, now
		},
		DescribeOperation: func(input, _ any) string {
			o := input.(operation)
			if o.write {
				return fmt.Sprintf("write %d, was %d", o.value, o.found)
			}
			return fmt.Sprintf("read %d", o.found)
		},
	}
}
