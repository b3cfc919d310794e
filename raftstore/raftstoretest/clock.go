package raftstoretest

import (
	"sync"
	"time"
)

// Clock is one node's. What people read of it may be wrong, and may step.
type Clock struct {
	start time.Time

	mu    sync.Mutex
	wrong time.Duration
}

// Set makes the clock wrong by so much from now on.
func (c *Clock) Set(wrong time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrong = wrong
}

// Wall is the time that the node believes.
func (c *Clock) Wall() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.wrong)
}

// Boot is how long the node has run. It is never wrong.
func (c *Clock) Boot() time.Duration { return time.Since(c.start) }
