package api

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"drp/orchestrator"
	"drp/orchestrator/certificates"
	"drp/orchestrator/certificates/certificatestest"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// newIssuingRig is a rig whose leader issues certificates.
func newIssuingRig(t *testing.T, names ...string) (*rig, *certificatestest.Platform) {
	t.Helper()
	var p *certificatestest.Platform
	r := newRigWith(t, func(r *rig, c *Config) {
		if p == nil {
			var err error
			if p, err = certificatestest.Under(r.authority, names[0]); err != nil {
				t.Fatal(err)
			}
		}
		c.Certificates = p.Registrar(c.Name, c.Credentials)
	}, names...)
	return r, p
}

func TestServer_Enrol(t *testing.T) {
	r, p := newIssuingRig(t, "par1-c", "par2-c")
	operator := r.client(t, identity.Operator, "ada")
	token, err := operator.CreateEnrolment(t.Context(), certificates.EnrolmentRequest{Role: identity.Agent, Holder: "par1-s1"})
	if err != nil {
		t.Fatal(err)
	}
	follower := r.nodes[1].url
	root, err := FetchRoot(t.Context(), follower, strings.ToUpper(token.Fingerprint))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := FetchRoot(t.Context(), follower, strings.Repeat("0", 64)); !errors.Is(err, ErrForbidden) || !strings.Contains(err.Error(), "was not sent") {
		t.Errorf("another fingerprint: got %v, want %v", err, ErrForbidden)
	}
	nobody, err := identity.Anonymous(root)
	if err != nil {
		t.Fatal(err)
	}
	newcomer := newTestClient(t, ClientConfig{Coordinators: []string{follower}, Credentials: nobody})
	request, key, err := identity.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	joined, err := newcomer.Enrol(t.Context(), certificates.EnrolRequest{Token: token.Token, Role: identity.Agent, Request: string(request)})
	if err != nil {
		t.Fatal(err)
	}
	agent, err := identity.New([]byte(joined.Certificate), key, []byte(joined.Authority))
	if err != nil {
		t.Fatal(err)
	}
	member := newTestClient(t, ClientConfig{Coordinators: []string{follower}, Credentials: agent})
	next, _, err := identity.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	chain, err := member.Renew(t.Context(), next, agent.ChainPEM())
	if err != nil || !strings.Contains(string(chain), "CERTIFICATE") {
		t.Errorf("renewal by way of a follower: %q, %v", chain, err)
	}
	if n := len(p.Store.View().CertificatesOf("agent", "par1-s1")); n != 2 {
		t.Errorf("got %d certificates in the state, want 2", n)
	}
	if err := operator.Revoke(t.Context(), certificates.RevokeRequest{Role: identity.Agent, Holder: "par1-s1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := member.Renew(t.Context(), next, []byte(joined.Certificate)); !errors.Is(err, orchestrator.ErrRefused) {
		t.Errorf("renewal after the revocation: got %v, want %v", err, orchestrator.ErrRefused)
	}
}

// Who has shown a token, or sits at the socket, gets no certificate for it.
func TestServer_RenewWithoutCertificate(t *testing.T) {
	r, _ := newIssuingRig(t, "par1-c")
	chain, _, err := r.authority.Issue(identity.Operator, "ada", nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	request, _, err := identity.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]ClientConfig{
		"a token":             {Coordinators: r.urls(), Credentials: r.anonymous(t), Token: r.addToken("ada", "operator", time.Hour)},
		"the socket":          {Coordinators: []string{"unix://" + r.nodes[0].socket}},
		"another certificate": {Coordinators: r.urls(), Credentials: r.credentials(t, identity.Operator, "bob")},
	} {
		if _, err := newTestClient(t, cfg).Renew(t.Context(), request, chain); !errors.Is(err, orchestrator.ErrRefused) {
			t.Errorf("%s: got %v, want %v", name, err, orchestrator.ErrRefused)
		}
	}
}

// A token that is lost or revoked would live on in what it had made: a certificate is renewed from month to month.
func TestServer_TokenOutlived(t *testing.T) {
	r, p := newIssuingRig(t, "par1-c", "par2-c")
	c := newTestClient(t, ClientConfig{Coordinators: []string{r.nodes[1].url}, Credentials: r.anonymous(t), Token: r.addToken("ci", "operator", time.Hour)})
	for _, role := range []identity.Role{identity.Operator, identity.Support, identity.Coordinator} {
		_, err := c.CreateEnrolment(t.Context(), certificates.EnrolmentRequest{Role: role, Holder: "x", Site: "par1"})
		if !errors.Is(err, ErrForbidden) || !strings.Contains(err.Error(), "outlive") {
			t.Errorf("%s: got %v, want %v", role, err, ErrForbidden)
		}
	}
	if n := len(p.Store.View().Enrolments()); n != 0 {
		t.Errorf("got %d enrolments in the state, want none", n)
	}
	if _, err := c.CreateToken(t.Context(), "longer", "operator", 2*time.Hour); !errors.Is(err, ErrForbidden) {
		t.Errorf("a token for longer: got %v, want %v", err, ErrForbidden)
	}
	var recorded int
	for _, x := range r.nodes[0].brain.Records() {
		if strings.HasPrefix(x, "operator/token/ci: refused, POST /v1/enrolments") || strings.HasPrefix(x, "operator/token/ci: refused, POST /v1/tokens") {
			recorded++
		}
	}
	if recorded != 4 {
		t.Errorf("got %d attempts recorded, want 4: %q", recorded, r.nodes[0].brain.Records())
	}
	if _, err := c.CreateToken(t.Context(), "shorter", "support", 30*time.Minute); err != nil {
		t.Errorf("a token for less: %v", err)
	}
	if _, err := c.CreateEnrolment(t.Context(), certificates.EnrolmentRequest{Role: identity.Agent, Holder: "par1-s1"}); err != nil {
		t.Errorf("an agent: %v", err)
	}
}

func TestServer_EnrolIsBounded(t *testing.T) {
	r, _ := newIssuingRig(t, "par1-c")
	newcomer := newTestClient(t, ClientConfig{Coordinators: r.urls(), Credentials: r.anonymous(t)})
	request := strings.Repeat("x", 4000)
	if _, err := newcomer.Enrol(t.Context(), certificates.EnrolRequest{Token: "drpe_x", Role: identity.Agent, Request: strings.Repeat("x", maxStranger)}); !errors.Is(err, state.ErrInvalid) {
		t.Errorf("a large request: got %v, want %v", err, state.ErrInvalid)
	}
	var err error
	for range strangerBurst + 5 {
		if _, err = newcomer.Enrol(t.Context(), certificates.EnrolRequest{Token: "drpe_x", Role: identity.Agent, Request: request}); errors.Is(err, ErrTooMany) {
			break
		}
	}
	if !errors.Is(err, ErrTooMany) {
		t.Errorf("got %v after %d requests, want %v", err, strangerBurst+5, ErrTooMany)
	}
	if _, err := r.client(t, identity.Operator, "ada").Status(t.Context()); err != nil {
		t.Errorf("other routes: %v", err)
	}
}

// What anybody may ask without limits holds none of our memory.
func TestServer_HealthIsBounded(t *testing.T) {
	r := newRig(t, "par1-c")
	client := newHTTPClient(r.anonymous(t).Client(identity.Coordinator))
	defer client.CloseIdleConnections()
	for size, want := range map[int]int{0: http.StatusOK, 64 << 10: http.StatusUnprocessableEntity} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.nodes[0].url+"/v1/health", strings.NewReader(strings.Repeat("x", size)))
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("with %d bytes: got status %d, want %d", size, res.StatusCode, want)
		}
	}
}

func TestLimiter(t *testing.T) {
	var l limiter
	now := time.Now()
	from := func(address string) *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/v1/enrol", nil)
		r.RemoteAddr = address
		return r
	}
	allowed := 0
	for range 100 {
		if l.allow(from("[2001:db8::1]:1"), now) {
			allowed++
		}
	}
	if allowed != strangerBurst {
		t.Errorf("got %d at once from one address, want %d", allowed, strangerBurst)
	}
	if l.allow(from("[2001:db8::2]:1"), now) || !l.allow(from("192.0.2.1:1"), now) {
		t.Error("want the neighbour in the same /64 refused, and another address not")
	}
	if now = now.Add(strangerEvery); !l.allow(from("[2001:db8::1]:1"), now) || l.allow(from("[2001:db8::1]:1"), now) {
		t.Errorf("want one more after %s", strangerEvery)
	}
}
