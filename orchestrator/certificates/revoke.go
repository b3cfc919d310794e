package certificates

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"drp/orchestrator"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// RevokeRequest makes certificates worthless: POST /v1/revocations.
type RevokeRequest struct {
	Role   identity.Role `json:"role" enum:"coordinator,agent,gateway,worker,operator,support"`
	Holder string        `json:"holder"`
	Serial string        `json:"serial,omitempty" pattern:"^[0-9a-f]{1,64}$" doc:"of one certificate; left out: all that were issued until now"`
	Reason string        `json:"reason,omitempty" maxLength:"500"`
	// Myself is the caller's word that it knows whose certificate it revokes.
	Myself bool `json:"myself,omitempty"`
}

// Revoke makes one certificate, or all of a holder until now, worthless. What would stop the platform is refused.
func (r *Registrar) Revoke(ctx context.Context, by string, q RevokeRequest) error {
	if err := r.CheckRevoke(ctx, by, q); err != nil {
		return err
	}
	err := r.propose(ctx, uuid.NewString(), by, state.CertificateRevoke, state.CertificateRevokeData{
		Role: string(q.Role), Holder: q.Holder, Serial: q.Serial, Reason: q.Reason})
	if err != nil {
		return fmt.Errorf("revoke %s/%s: %w", q.Role, q.Holder, err)
	}
	r.log().Warn("certificate revoked", "of", string(q.Role)+"/"+q.Holder, "serial", q.Serial, "by", by, "reason", q.Reason)
	return nil
}

// CheckRevoke says why a revocation would be refused, and changes nothing.
func (r *Registrar) CheckRevoke(ctx context.Context, by string, q RevokeRequest) error {
	fail := func(err error) error { return fmt.Errorf("revoke %s/%s: %w", q.Role, q.Holder, err) }
	v, err := r.view(ctx)
	if err != nil {
		return fail(err)
	}
	if err := CheckHolder(q.Role, q.Holder); err != nil {
		return fail(err)
	}
	if err := r.knownHolder(v, q); err != nil {
		return fail(err)
	}
	if by == string(q.Role)+"/"+q.Holder && !q.Myself {
		return fail(fmt.Errorf("that is your own certificate: after this you cannot ask anything with it, not even take this back. "+
			"Let somebody else do it, or give --myself: %w", orchestrator.ErrRefused))
	}
	if q.Role == identity.Coordinator && !r.hasAnother(v, q) {
		if err := r.coordinatorMayGo(v, q.Holder); err != nil {
			return fail(err)
		}
	}
	return nil
}

// knownHolder finds slips of the pen: a revocation of nobody would look like one that worked.
func (r *Registrar) knownHolder(v *state.View, q RevokeRequest) error {
	if c := v.Cluster(); c != nil && c.Incarnation > 1 {
		return nil // a recovery may have lost the record of certificates that are good
	}
	rows := v.CertificatesOf(string(q.Role), q.Holder)
	if q.Serial != "" {
		if slices.ContainsFunc(rows, func(c *state.Certificate) bool { return c.Serial == q.Serial }) {
			return nil
		}
		if q.Role == identity.Coordinator && slices.Contains(r.Voters(), q.Holder) {
			return nil // the first ones were not issued through the platform
		}
		return fmt.Errorf("it was issued no certificate with serial %s; drp ca certificates lists them: %w", q.Serial, state.ErrNotFound)
	}
	known := len(rows) > 0
	switch q.Role {
	case identity.Coordinator:
		known = known || slices.Contains(r.Voters(), q.Holder) || v.Member(q.Holder) != nil
	case identity.Agent:
		known = known || v.Server(state.ServerName(q.Holder)) != nil
	case identity.Gateway, identity.Worker:
		known = known || v.Site(state.SiteName(q.Holder)) != nil
	}
	if !known {
		return fmt.Errorf("nothing of that name is known; drp ca certificates lists what was issued: %w", state.ErrNotFound)
	}
	return nil
}

// hasAnother reports whether a coordinator has a certificate that this revocation leaves as it is.
func (r *Registrar) hasAnother(v *state.View, q RevokeRequest) bool {
	if q.Serial == "" {
		return false
	}
	return slices.ContainsFunc(v.CertificatesOf(string(q.Role), q.Holder), func(c *state.Certificate) bool {
		return c.Serial != q.Serial && !revokedRow(v, c) && c.NotAfter.After(r.now())
	})
}

// coordinatorMayGo refuses what would leave too few coordinators that talk to one another: nobody could lead, and
// nobody could take it back.
func (r *Registrar) coordinatorMayGo(v *state.View, name string) error {
	voters := r.Voters()
	if !slices.Contains(voters, name) {
		return nil
	}
	left := []string{}
	for _, other := range voters {
		if other != name && !r.cutOff(v, other) {
			left = append(left, other)
		}
	}
	needed := len(voters)/2 + 1
	switch {
	case len(left) == 0:
		return fmt.Errorf("it is the last coordinator: without it nobody leads, nothing is decided, and this could not be taken back: %w", orchestrator.ErrRefused)
	case len(left) < needed:
		return fmt.Errorf("of %d coordinators that vote only %s would still talk to one another, and %d are needed to decide anything. "+
			"Remove it from the cluster first (drp raft remove %s), then revoke it: %w", len(voters), strings.Join(left, ", "), needed, name, orchestrator.ErrRefused)
	case name == r.Name:
		return fmt.Errorf("it leads, and could not even commit this. Let another one lead first: drp raft transfer: %w", orchestrator.ErrRefused)
	}
	return nil
}

// cutOff reports whether a coordinator was revoked and has not joined anew.
func (r *Registrar) cutOff(v *state.View, name string) bool {
	off := false
	for _, x := range v.Revocations() {
		off = off || x.Role == string(identity.Coordinator) && x.Holder == name && x.Serial == ""
	}
	return off && !slices.ContainsFunc(v.CertificatesOf(string(identity.Coordinator), name), func(c *state.Certificate) bool {
		return !revokedRow(v, c) && c.NotAfter.After(r.now())
	})
}

// Revoked is the list as people see it.
func (r *Registrar) Revoked(ctx context.Context) ([]*state.Revocation, error) {
	v, err := r.view(ctx)
	if err != nil {
		return nil, err
	}
	return v.Revocations(), nil
}
