package worker

import "sync"

// turn is what somebody does with an account's repository at this site.
type turn int

const (
	copying  turn = iota // adds objects
	reading              // looks whether all is good
	deleting             // or puts back: nothing else may run beside it
)

// turns keep apart, account by account, what must not run at once. Its zero value is ready.
type turns struct {
	mu  sync.Mutex
	now map[string]*[deleting + 1]int
}

// begin reports false when it is not this one's turn.
func (t *turns) begin(account string, what turn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.now[account]
	if n == nil {
		n = new([deleting + 1]int)
	}
	if n[deleting] > 0 || what == deleting && n[copying]+n[reading] > 0 {
		return false
	}
	if t.now == nil {
		t.now = make(map[string]*[deleting + 1]int)
	}
	n[what]++
	t.now[account] = n
	return true
}

func (t *turns) end(account string, what turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.now[account]
	if n[what]--; *n == [deleting + 1]int{} {
		delete(t.now, account)
	}
}

// swap makes the only one who copies the one who deletes; false: somebody reads, and it goes on copying.
func (t *turns) swap(account string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.now[account]
	if n == nil || n[copying] != 1 || n[reading] > 0 || n[deleting] > 0 {
		return false
	}
	n[copying], n[deleting] = 0, 1
	return true
}

// swapBack ends what swap began.
func (t *turns) swapBack(account string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.now[account]
	n[copying], n[deleting] = 1, 0
}
