package orchestrator

import (
	"crypto/x509"
	"sync"
	"time"

	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// Revocations is the list as a state has it, without what has expired by itself.
func Revocations(v *state.View, now time.Time) identity.Revocations {
	var list identity.Revocations
	for _, x := range v.Revocations() {
		r := identity.Revoked{Role: identity.Role(x.Role), Holder: x.Holder, Serial: x.Serial, Before: x.Before}
		if !r.Outlived(now) {
			list = append(list, r)
		}
	}
	return list
}

// Revoked is a coordinator's own list, as new as its state. It is asked with each request, and read from the state when
// that has changed.
type Revoked struct {
	view  func() *state.View
	mu    sync.Mutex
	index uint64
	known bool
	list  identity.Revocations
}

// NewRevoked makes one over a state.
func NewRevoked(view func() *state.View) *Revoked { return &Revoked{view: view} }

// Check returns identity.ErrRevoked for a certificate that counts no more.
func (r *Revoked) Check(c *x509.Certificate) error {
	v := r.view()
	r.mu.Lock()
	if index := v.Index(); !r.known || index != r.index {
		r.list, r.index, r.known = Revocations(v, time.Now()), index, true
	}
	list := r.list
	r.mu.Unlock()
	return list.Check(c)
}
