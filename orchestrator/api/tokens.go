package api

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"drp/raftstore/identity"
)

// callerToken is the name in callers of those who show a token.
const callerToken = "token/"

// powers are roles that can do what an operator's token can, or more.
var powers = []identity.Role{identity.Operator, identity.Support, identity.Coordinator}

// outlivesToken refuses whoever shows a token an enrolment of people or coordinators: the certificate would be renewed from
// month to month, when the token has long expired or was revoked. As every ErrForbidden the attempt is recorded.
func (s *Server) outlivesToken(ctx context.Context, role identity.Role) error {
	if caller := callerOf(ctx); !strings.HasPrefix(caller.Name, callerToken) || !slices.Contains(powers, role) {
		return nil
	}
	return fmt.Errorf("%w: a token enrols no %s: its certificate would outlive the token. "+
		"Ask with a certificate of your own, or at a coordinator's socket", ErrForbidden, role)
}

// checkTokenMade holds tokens that a token makes to its own end.
func (s *Server) checkTokenMade(ctx context.Context, validity time.Duration) error {
	name, shown := strings.CutPrefix(callerOf(ctx).Name, callerToken)
	if !shown {
		return nil
	}
	left := time.Duration(0)
	for _, t := range s.cfg.Tokens() {
		if t.Name == name {
			left = t.Expires.Sub(s.now())
		}
	}
	if validity <= left {
		return nil
	}
	return fmt.Errorf("%w: a token makes none that outlives it: %s is good for another %s. "+
		"Ask with a certificate of your own, or at a coordinator's socket", ErrForbidden, name, max(left, 0).Round(time.Second))
}
