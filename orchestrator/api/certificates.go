package api

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"drp/orchestrator"
	"drp/orchestrator/certificates"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// certificateRoutes are those about who somebody is. The two that are open to anybody are limited: a newcomer has
// nothing to show yet but its token.
func certificateRoutes(people, operators []identity.Role) []route {
	holders := []identity.Role{identity.Coordinator, identity.Agent, identity.Gateway, identity.Worker, identity.Operator, identity.Support}
	return []route{
		{method: http.MethodGet, path: "/v1/root", id: "get-root", summary: "read the root certificate", limited: true,
			add: handle((*Server).root)},
		{method: http.MethodPost, path: "/v1/enrol", id: "enrol", summary: "join with a one-time token", limited: true,
			leader: true, repeatable: true, add: handle((*Server).enrol)},
		{method: http.MethodPost, path: "/v1/renew", id: "renew", summary: "renew the certificate that is shown", roles: holders,
			leader: true, repeatable: true, add: handle((*Server).renew)},
		{method: http.MethodPost, path: "/v1/enrolments", id: "create-enrolment", summary: "make a one-time token to join with", roles: operators,
			leader: true, add: handle((*Server).createEnrolment)},
		{method: http.MethodGet, path: "/v1/ca", id: "get-ca", summary: "read what certificates rest on", roles: people,
			leader: true, repeatable: true, add: handle((*Server).showAuthority)},
		{method: http.MethodPost, path: "/v1/ca/issuer/request", id: "request-issuer", summary: "make a key for an issuing authority", roles: operators,
			leader: true, repeatable: true, add: handle((*Server).requestIssuer)},
		{method: http.MethodPost, path: "/v1/ca/issuer", id: "set-issuer", summary: "change the issuing authority", roles: operators,
			leader: true, repeatable: true, add: handle((*Server).setIssuer)},
		{method: http.MethodGet, path: "/v1/certificates", id: "list-certificates", summary: "list certificates", roles: people,
			leader: true, repeatable: true, add: handle((*Server).listCertificates)},
		{method: http.MethodGet, path: "/v1/revocations", id: "list-revocations", summary: "list revocations", roles: people,
			leader: true, repeatable: true, add: handle((*Server).listRevocations)},
		{method: http.MethodPost, path: "/v1/revocations", id: "revoke", summary: "revoke certificates", roles: operators,
			leader: true, repeatable: true, add: handle((*Server).revoke)},
		{method: http.MethodPost, path: "/v1/revocations/check", id: "check-revocation", summary: "ask whether a revocation would be refused", roles: operators,
			leader: true, repeatable: true, add: handle((*Server).checkRevoke)},
	}
}

// Root is what GET /v1/root answers. Whoever reads it without knowing whom it talks to compares the fingerprint.
type Root struct {
	Authority string `json:"authority" doc:"PEM"`
}

func (s *Server) root(context.Context, *none) (*entity[Root], error) {
	return &entity[Root]{Root{Authority: string(s.cfg.Credentials.AuthorityPEM())}}, nil
}

var errNoRegistrar = errors.New("this coordinator issues no certificates")

func (s *Server) registrar() (*certificates.Registrar, error) {
	if s.cfg.Certificates == nil {
		return nil, fmt.Errorf("%w: %w", errNoRegistrar, orchestrator.ErrRefused)
	}
	return s.cfg.Certificates, nil
}

// registered answers with what a method of the registrar says.
func registered[O any](s *Server, ask func(*certificates.Registrar) (O, error)) (*entity[O], error) {
	r, err := s.registrar()
	if err != nil {
		return nil, err
	}
	out, err := ask(r)
	if err != nil {
		return nil, err
	}
	return &entity[O]{out}, nil
}

func (s *Server) enrol(ctx context.Context, in *entity[certificates.EnrolRequest]) (*entity[*certificates.Enrolled], error) {
	return registered(s, func(r *certificates.Registrar) (*certificates.Enrolled, error) { return r.Enrol(ctx, in.Body) })
}

func (s *Server) renew(ctx context.Context, in *entity[certificates.RenewRequest]) (*entity[*certificates.Renewed], error) {
	return registered(s, func(r *certificates.Registrar) (*certificates.Renewed, error) {
		return r.Renew(ctx, callerOf(ctx).String(), in.Body)
	})
}

func (s *Server) createEnrolment(ctx context.Context, in *entity[certificates.EnrolmentRequest]) (*entity[*certificates.EnrolmentToken], error) {
	if err := s.outlivesToken(ctx, in.Body.Role); err != nil {
		return nil, err
	}
	return registered(s, func(r *certificates.Registrar) (*certificates.EnrolmentToken, error) {
		return r.CreateEnrolment(ctx, callerOf(ctx).String(), in.Body)
	})
}

func (s *Server) showAuthority(ctx context.Context, _ *none) (*entity[*certificates.AuthorityInfo], error) {
	return registered(s, func(r *certificates.Registrar) (*certificates.AuthorityInfo, error) { return r.Show(ctx) })
}

func (s *Server) requestIssuer(ctx context.Context, _ *none) (*entity[*certificates.IssuerKey], error) {
	return registered(s, func(r *certificates.Registrar) (*certificates.IssuerKey, error) { return r.NewIssuerKey(ctx) })
}

func (s *Server) setIssuer(ctx context.Context, in *entity[certificates.IssuingAuthority]) (*none, error) {
	r, err := s.registrar()
	if err != nil {
		return nil, err
	}
	return nil, r.SetIssuer(ctx, callerOf(ctx).String(), in.Body)
}

func (s *Server) listCertificates(ctx context.Context, _ *none) (*entity[[]certificates.IssuedCertificate], error) {
	return registered(s, func(r *certificates.Registrar) ([]certificates.IssuedCertificate, error) { return r.List(ctx) })
}

func (s *Server) listRevocations(ctx context.Context, _ *none) (*entity[[]*state.Revocation], error) {
	return registered(s, func(r *certificates.Registrar) ([]*state.Revocation, error) { return r.Revoked(ctx) })
}

func (s *Server) revoke(ctx context.Context, in *entity[certificates.RevokeRequest]) (*none, error) {
	r, err := s.registrar()
	if err != nil {
		return nil, err
	}
	return nil, r.Revoke(ctx, callerOf(ctx).String(), in.Body)
}

func (s *Server) checkRevoke(ctx context.Context, in *entity[certificates.RevokeRequest]) (*none, error) {
	r, err := s.registrar()
	if err != nil {
		return nil, err
	}
	return nil, r.CheckRevoke(ctx, callerOf(ctx).String(), in.Body)
}

// Root asks one coordinator after another for the root certificate. It proves nothing by itself.
func (c *Client) Root(ctx context.Context) (string, error) {
	var out Root
	err := c.do(ctx, get("/v1/root", &out))
	return out.Authority, err
}

// Enrol joins with a one-time token. Asking again with the same token and key is harmless.
func (c *Client) Enrol(ctx context.Context, q certificates.EnrolRequest) (*certificates.Enrolled, error) {
	var out certificates.Enrolled
	return &out, c.do(ctx, post("/v1/enrol", q, &out))
}

// Renew asks for the certificate that comes after the one that this client shows. It has the shape of identity.Renewer.Ask.
func (c *Client) Renew(ctx context.Context, requestPEM, presentPEM []byte) ([]byte, error) {
	var out certificates.Renewed
	err := c.do(ctx, post("/v1/renew", certificates.RenewRequest{Request: string(requestPEM), Present: string(presentPEM)}, &out))
	return []byte(out.Certificate), err
}

// CreateEnrolment makes a one-time token, shown this once. As with CreateToken an unknown outcome is left at that: a
// token that nobody has seen expires.
func (c *Client) CreateEnrolment(ctx context.Context, q certificates.EnrolmentRequest) (*certificates.EnrolmentToken, error) {
	var out certificates.EnrolmentToken
	k := post("/v1/enrolments", q, &out)
	k.once = true
	return &out, c.do(ctx, k)
}

// Authority says what certificates rest on.
func (c *Client) Authority(ctx context.Context) (*certificates.AuthorityInfo, error) {
	var out certificates.AuthorityInfo
	return &out, c.do(ctx, get("/v1/ca", &out))
}

// RequestIssuer makes a key for the next issuing authority.
func (c *Client) RequestIssuer(ctx context.Context) (*certificates.IssuerKey, error) {
	var out certificates.IssuerKey
	return &out, c.do(ctx, post("/v1/ca/issuer/request", nil, &out))
}

// SetIssuer changes the issuing authority.
func (c *Client) SetIssuer(ctx context.Context, i certificates.IssuingAuthority) error {
	return c.do(ctx, post("/v1/ca/issuer", i, nil))
}

// Certificates lists what was issued through the platform.
func (c *Client) Certificates(ctx context.Context) ([]*certificates.IssuedCertificate, error) {
	return rows[certificates.IssuedCertificate](ctx, c, "/v1/certificates")
}

// Revocations lists what counts no more.
func (c *Client) Revocations(ctx context.Context) ([]*state.Revocation, error) {
	return rows[state.Revocation](ctx, c, "/v1/revocations")
}

// Revoke makes certificates worthless.
func (c *Client) Revoke(ctx context.Context, q certificates.RevokeRequest) error {
	return c.do(ctx, post("/v1/revocations", q, nil))
}

// CheckRevoke asks whether Revoke would be refused, and changes nothing.
func (c *Client) CheckRevoke(ctx context.Context, q certificates.RevokeRequest) error {
	return c.do(ctx, post("/v1/revocations/check", q, nil))
}

// FetchRoot reads the root certificate of a platform of which nothing is known yet but its fingerprint. Whoever answers
// is believed nothing: the certificate is taken only when it is the one. Nothing secret is sent.
func FetchRoot(ctx context.Context, coordinator, fingerprint string) ([]byte, error) {
	u, err := url.Parse(coordinator)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("fetch root: coordinator %q: want https://HOST:PORT: %w", coordinator, state.ErrInvalid)
	}
	// The chain cannot be verified before the root is known, and proves nothing here that the fingerprint does not.
	client := newHTTPClient(&tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true})
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+u.Host+"/v1/root", nil)
	if err != nil {
		return nil, fmt.Errorf("fetch root: %w", err)
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch root from %s: %w: %w", coordinator, unwrapURL(err), ErrUnreachable)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxStranger))
	if err != nil {
		return nil, fmt.Errorf("fetch root from %s: %w: %w", coordinator, err, ErrUnreachable)
	}
	if res.StatusCode != http.StatusOK {
		return nil, readProblem(coordinator, res.StatusCode, body)
	}
	var root Root
	if err := json.Unmarshal(body, &root); err != nil {
		return nil, fmt.Errorf("fetch root: %s answered with something else: %w", coordinator, err)
	}
	certs, err := identity.DecodeCertificates([]byte(root.Authority))
	if err != nil {
		return nil, fmt.Errorf("fetch root: %w", err)
	}
	want := strings.ToLower(strings.ReplaceAll(fingerprint, ":", ""))
	for _, c := range certs {
		if identity.Fingerprint(c) == want {
			return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), nil
		}
	}
	return nil, fmt.Errorf("%s shows a root with the fingerprint %s, and not %s: it is of another platform, the fingerprint is mistyped, "+
		"or somebody stands in between. The token was not sent: %w", coordinator, identity.Fingerprint(certs[0]), want, ErrForbidden)
}
