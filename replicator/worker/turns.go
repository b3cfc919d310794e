package worker

import (
	"strings"
	"sync"
)

// turn is what somebody does with an account's repository at this site.
type turn int

const (
	copying  turn = iota // adds objects
	reading              // looks whether all is good
	deleting             // or puts back: nothing else may run beside it
)

// turns keep apart, repository by repository, what must not run at once; and all of an account's repositories from its erasure.
// Its zero value is ready.
type turns struct {
	mu  sync.Mutex
	now map[string]*[deleting + 1]int
	// leaving are accounts of which nothing begins any more: they are to be erased. erasing are those that it is done to now.
	leaving, erasing map[string]bool
}

// accountOf is the account that a repository is of: a later one is called ACCOUNT~N.
func accountOf(repository string) string {
	account, _, _ := strings.Cut(repository, "~")
	return account
}

// leave says which accounts are to be erased from now on.
func (t *turns) leave(accounts map[string]bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leaving = accounts
}

// beginErase reports false as long as anything is done to a repository of the account. It is called by who knows that no other
// erasure of it is under way.
func (t *turns) beginErase(account string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for repository := range t.now {
		if accountOf(repository) == account {
			return false
		}
	}
	if t.erasing == nil {
		t.erasing = make(map[string]bool)
	}
	t.erasing[account] = true
	return true
}

func (t *turns) endErase(account string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.erasing, account)
}

// begin reports false when it is not this one's turn.
func (t *turns) begin(account string, what turn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if of := accountOf(account); t.leaving[of] || t.erasing[of] {
		return false
	}
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
