package api

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"drp/raftstore/identity"
)

// Errors about who asks. They survive the way over the wire.
var (
	ErrUnauthenticated = errors.New("not authenticated")
	ErrForbidden       = errors.New("forbidden")
)

// Headers in which a coordinator tells the leader on whose behalf it asks. Only a coordinator's certificate makes
// them count; from anybody else they are not even read.
const (
	headerForwardedRole = "Drp-Forwarded-For-Role"
	headerForwardedName = "Drp-Forwarded-For-Name"
)

// tokenPrefix lets people and secret scanners recognise one of our tokens.
const tokenPrefix = "drp_"

// Caller is who asks: the holder of a certificate, of a token (name token/NAME) or of a local account that may use
// the unix socket (name unix/USERNAME).
type Caller struct {
	Role identity.Role
	Name string
}

// String gives role/name, the form that records keep.
func (c Caller) String() string { return string(c.Role) + "/" + c.Name }

type callerKey struct{}

func withCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

func callerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// asker is the outcome of authentication.
type asker struct {
	caller    Caller
	known     bool // somebody; false: no certificate, token or socket was shown
	forwarded bool // by another coordinator, so it must not be forwarded again
}

// authenticate says who asks. Showing nothing is no error: some routes are open. Showing something bad is.
func (s *Server) authenticate(r *http.Request) (asker, error) {
	if p, ok := r.Context().Value(socketPeerKey{}).(socketPeer); ok {
		return s.authenticateSocket(p)
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		id, err := identity.Of(r.TLS)
		if err != nil {
			return asker{}, fmt.Errorf("%w: %w", ErrUnauthenticated, err)
		}
		if err := s.cfg.Credentials.Check(r.TLS.VerifiedChains[0][0]); err != nil {
			return asker{}, fmt.Errorf("%w: %w", ErrUnauthenticated, err) // the connection is older than that
		}
		if id.Role == identity.Coordinator && r.Header.Get(headerForwardedRole) != "" {
			return forwardedAsker(r.Header)
		}
		return asker{caller: Caller{Role: id.Role, Name: id.Name}, known: true}, nil
	}
	if h := r.Header.Get("Authorization"); h != "" {
		return s.authenticateToken(h)
	}
	return asker{}, nil
}

func (s *Server) authenticateSocket(p socketPeer) (asker, error) {
	if p.err != nil {
		return asker{}, fmt.Errorf("%w: read who is at the socket: %w", ErrUnauthenticated, p.err)
	}
	if p.uid != 0 && p.uid != s.uid {
		return asker{}, fmt.Errorf("%w: only root and the coordinator's own user may use this socket, not %s", ErrForbidden, p.user)
	}
	return asker{caller: Caller{Role: identity.Operator, Name: "unix/" + p.user}, known: true}, nil
}

func (s *Server) authenticateToken(header string) (asker, error) {
	scheme, token, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || !strings.HasPrefix(token, tokenPrefix) {
		return asker{}, fmt.Errorf("%w: want \"Authorization: Bearer %s…\"", ErrUnauthenticated, tokenPrefix)
	}
	sum, now := sha256.Sum256([]byte(token)), s.now()
	for _, t := range s.cfg.Tokens() {
		if subtle.ConstantTimeCompare(t.SHA256, sum[:]) != 1 {
			continue
		}
		if !now.Before(t.Expires) {
			return asker{}, fmt.Errorf("%w: token %s expired at %s", ErrUnauthenticated, t.Name, t.Expires.Format(time.RFC3339))
		}
		role := identity.Role(t.Role)
		if role != identity.Operator && role != identity.Support {
			return asker{}, fmt.Errorf("%w: token %s has role %q", ErrForbidden, t.Name, t.Role)
		}
		return asker{caller: Caller{Role: role, Name: callerToken + t.Name}, known: true}, nil
	}
	return asker{}, fmt.Errorf("%w: this token is not known, or was revoked", ErrUnauthenticated)
}

func forwardedAsker(h http.Header) (asker, error) {
	role := identity.Role(h.Get(headerForwardedRole))
	if role == forNobody {
		return asker{forwarded: true}, nil
	}
	name, err := url.PathUnescape(h.Get(headerForwardedName))
	if err != nil || name == "" {
		return asker{}, fmt.Errorf("%w: forwarded for %q, which is no name", ErrUnauthenticated, h.Get(headerForwardedName))
	}
	switch role {
	case identity.Agent, identity.Gateway, identity.Worker, identity.Operator, identity.Support:
		return asker{caller: Caller{Role: role, Name: name}, known: true, forwarded: true}, nil
	default:
		return asker{}, fmt.Errorf("%w: forwarded for role %q", ErrForbidden, role)
	}
}

// forNobody is the role of somebody who has shown nothing, on the way to the leader.
const forNobody identity.Role = "nobody"

func setForwarded(h http.Header, c Caller) {
	if c == (Caller{}) {
		h.Set(headerForwardedRole, string(forNobody))
		return
	}
	h.Set(headerForwardedRole, string(c.Role))
	h.Set(headerForwardedName, url.PathEscape(c.Name))
}
