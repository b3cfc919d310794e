package gateway

import "sync"

// claims are the names that are being written at the moment. Its zero value has none.
type claims struct {
	mu    sync.Mutex
	names map[string]bool
}

// begin reports false when somebody writes this name already.
func (c *claims) begin(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.names[name] {
		return false
	}
	if c.names == nil {
		c.names = map[string]bool{}
	}
	c.names[name] = true
	return true
}

func (c *claims) end(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.names, name)
}
