package orchestrator

import (
	"time"

	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// Revocations is the list as this coordinator knows it, without what has expired by itself.
func Revocations(v *state.View, now time.Time) identity.Revocations {
	var list identity.Revocations
	for _, x := range v.Revocations() {
		r := identity.Revocation{Role: identity.Role(x.Role), Holder: x.Holder, Serial: x.Serial, Before: x.Before}
		if !r.Outlived(now) {
			list = append(list, r)
		}
	}
	return list
}
