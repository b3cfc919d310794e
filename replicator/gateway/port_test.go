package gateway

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"drp/raftstore/identity"
)

// port is a gateway as a process runs it: connections get no further than the handshake without a certificate that counts.
func port(t *testing.T) (*platform, *identity.Credentials) {
	t.Helper()
	p := newPlatform(t, nil)
	cert, key := p.issue(identity.Gateway, "par1")
	credentials, err := identity.New(cert, key, p.authority.CertificatePEM())
	if err != nil {
		t.Fatal(err)
	}
	p.gateway.Trusted = credentials.Check
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.url = "https://" + l.Addr().String()
	s := NewServer(l.Addr().String(), credentials.Server(identity.Agent), p.gateway)
	done := make(chan error, 1)
	go func() { done <- s.Serve(identity.NewListener(l, s.TLSConfig, nil)) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	p.grant(writable)
	return p, credentials
}

// status of a request for the root, which everybody who is let in is refused with a 403; 0: no connection.
func (p *platform) status(c *http.Client) int {
	p.t.Helper()
	got, err := p.do(c, http.MethodGet, "", nil)
	if err != nil {
		return 0
	}
	if got.status == http.StatusForbidden && strings.Contains(string(got.body), "nothing to read here") {
		return http.StatusOK // as far as this test goes
	}
	return got.status
}

func TestGatewayPort_Refuses(t *testing.T) {
	p, credentials := port(t)
	from := func(a *identity.Authority, role identity.Role, validity time.Duration) *http.Client {
		chain, key, err := a.Issue(role, server, nil, validity)
		if err != nil {
			t.Fatal(err)
		}
		return p.client(chain, key)
	}
	authority := func(cluster string) *identity.Authority {
		a, err := identity.NewAuthority(cluster)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	below, err := p.authority.NewIssuing()
	if err != nil {
		t.Fatal(err)
	}
	old := from(below, identity.Agent, time.Hour)
	old.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS12
	agent := from(below, identity.Agent, time.Hour)
	for name, c := range map[string]struct {
		client *http.Client
		want   int
	}{
		"an agent":                     {agent, 200},
		"no certificate":               {p.client(nil, nil), 0},
		"expired":                      {from(below, identity.Agent, -time.Minute), 0},
		"another authority, same name": {from(authority("test"), identity.Agent, time.Hour), 0},
		"another cluster":              {from(authority("other"), identity.Agent, time.Hour), 0},
		"an operator":                  {from(below, identity.Operator, time.Hour), 0},
		"a coordinator":                {from(below, identity.Coordinator, time.Hour), 0},
		"TLS 1.2":                      {old, 0},
	} {
		if got := p.status(c.client); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
	credentials.SetRevocations(identity.Revocations{{Role: identity.Agent, Holder: server, Before: time.Now().Add(time.Second)}})
	if got := p.status(agent); got != http.StatusForbidden {
		t.Errorf("revoked while connected: got %d, want 403", got)
	}
	if got := p.status(from(below, identity.Agent, time.Hour)); got != 0 {
		t.Errorf("revoked before it connects: got %d, want no connection", got)
	}
}

func TestGatewayPort_HalfOpen(t *testing.T) {
	p, _ := port(t)
	var stuck []net.Conn
	for range 1000 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "https://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		stuck = append(stuck, conn)
	}
	if got := p.status(p.agent(server)); got != http.StatusOK {
		t.Errorf("an agent among a thousand that are stuck: got %d", got)
	}
	for _, conn := range stuck {
		_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("a handshake that never ends was left alone")
		}
	}
}
