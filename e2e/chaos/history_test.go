package main

import (
	"testing"
	"time"
)

const second = time.Second

func read(call, back time.Duration, found int64) operation {
	return operation{call: call, back: back, known: true, found: found, foundSomething: true}
}

func write(call, back time.Duration, value, found int64) operation {
	return operation{call: call, back: back, write: true, value: value, known: true, found: found, foundSomething: true}
}

func lost(call time.Duration, value int64) operation {
	return operation{call: call, back: call + second, write: true, value: value}
}

func TestHistory_check(t *testing.T) {
	for _, c := range []struct {
		name string
		ops  []operation
		bad  bool
	}{
		{"one after the other", []operation{write(1, 2, 20, firstValue), read(3, 4, 20)}, false},
		{"a read beside a write may see either", []operation{write(1, 9, 20, firstValue), read(2, 3, firstValue), read(4, 5, 20)}, false},
		{"a stale read", []operation{write(1, 2, 20, firstValue), read(3, 4, firstValue)}, true},
		{"a value that goes and comes again", []operation{write(1, 9, 20, firstValue), read(2, 3, 20), read(4, 5, firstValue)}, true},
		{"an acknowledged write that is lost", []operation{write(1, 2, 20, firstValue), write(3, 4, 21, firstValue)}, true},
		{"two writes that replaced the same", []operation{write(1, 9, 20, firstValue), write(2, 8, 21, firstValue)}, true},
		{"an unknown write that was done", []operation{lost(1, 20), read(3*second, 4*second, 20)}, false},
		{"one that was done late", []operation{lost(1, 20), read(3*second, 4*second, firstValue), read(5*second, 6*second, 20)}, false},
		{"one that was not done", []operation{lost(1, 20), read(3*second, 4*second, firstValue)}, false},
		{"one that was done twice", []operation{
			lost(1, 20), read(2*second, 3*second, 20), write(4*second, 5*second, 21, 20), read(6*second, 7*second, 20)}, true},
		{"a value from nowhere", []operation{read(1, 2, 99)}, true},
		{"a value before its write", []operation{read(1, 2, 20), lost(3, 20)}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHistory()
			for _, o := range c.ops {
				h.add("a", o)
			}
			v := h.check()
			if got := len(v.violations) > 0; got != c.bad || v.unknown > 0 {
				t.Errorf("got violations %v and %d unknown, want wrong = %v", v.violations, v.unknown, c.bad)
			}
		})
	}
}

func TestReplaced(t *testing.T) {
	if got, ok := replaced([]string{"account a3: plan.memory 16777216 → 17825792"}); !ok || got != 16 {
		t.Errorf("got %d, %v, want 16", got, ok)
	}
	if got, ok := replaced([]string{"account a3: tier gold → silver"}); ok {
		t.Errorf("got %d from a sentence without memory", got)
	}
}
