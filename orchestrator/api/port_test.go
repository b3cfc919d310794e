package api

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"drp/orchestrator/wire"
	"drp/raftstore/identity"
)

// presenting shows a certificate whatever its holder's own side thinks of it, and believes everybody.
func presenting(t *testing.T, a *identity.Authority, role identity.Role, name string, validity time.Duration) *tls.Config {
	t.Helper()
	chain, key, err := a.Issue(role, name, nil, validity)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }}
}

// fetch asks a route; status 0 means that the connection was refused.
func fetch(t *testing.T, client *http.Client, method, url string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(`{"server":"par1-s1"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentJSON)
	res, err := client.Do(req)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

func authorityOf(t *testing.T, cluster string) *identity.Authority {
	t.Helper()
	a, err := identity.NewAuthority(cluster)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAPIPort_Refuses(t *testing.T) {
	r := newRig(t, "par1-c")
	base := r.nodes[0].url
	old := presenting(t, r.authority, identity.Operator, "ada", time.Hour)
	old.MaxVersion = tls.VersionTLS12
	const sync, status = "POST /v1/agent/sync", "GET /v1/status"
	for _, c := range []struct {
		name   string
		config *tls.Config
		route  string
		want   int
	}{
		{"a good agent", presenting(t, r.authority, identity.Agent, "par1-s1", time.Hour), sync, 200},
		{"a good operator", presenting(t, r.authority, identity.Operator, "ada", time.Hour), status, 200},
		{"no certificate", &tls.Config{InsecureSkipVerify: true}, status, 401},
		{"expired", presenting(t, r.authority, identity.Operator, "ada", -time.Minute), status, 0},
		{"another authority, same name", presenting(t, authorityOf(t, "cluster-a"), identity.Operator, "ada", time.Hour), status, 0},
		{"another cluster", presenting(t, authorityOf(t, "cluster-b"), identity.Operator, "ada", time.Hour), status, 0},
		{"an operator as an agent", presenting(t, r.authority, identity.Operator, "par1-s1", time.Hour), sync, 403},
		{"an agent as an operator", presenting(t, r.authority, identity.Agent, "par1-s1", time.Hour), status, 403},
		{"an agent for another server", presenting(t, r.authority, identity.Agent, "par1-s2", time.Hour), sync, 403},
		{"TLS 1.2", old, status, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			method, path, _ := strings.Cut(c.route, " ")
			client := newHTTPClient(c.config)
			defer client.CloseIdleConnections()
			if got := fetch(t, client, method, base+path); got != c.want {
				t.Errorf("%s: got status %d, want %d (0: no connection)", c.route, got, c.want)
			}
		})
	}
}

func TestAPIPort_Revoked(t *testing.T) {
	var own *identity.Credentials
	r := newRigWith(t, func(_ *rig, c *Config) { own = c.Credentials }, "par1-c")
	url := r.nodes[0].url + "/v1/status"
	connected := newHTTPClient(clientTLS(r.credentials(t, identity.Operator, "ada")))
	defer connected.CloseIdleConnections()
	if got := fetch(t, connected, http.MethodGet, url); got != 200 {
		t.Fatalf("before it is revoked: got status %d", got)
	}
	own.SetRevocations(identity.Revocations{{Role: identity.Operator, Holder: "ada", Before: time.Now().Add(time.Second)}})
	if got := fetch(t, connected, http.MethodGet, url); got != 401 {
		t.Errorf("on the connection that stands: got status %d, want 401", got)
	}
	late := newHTTPClient(presenting(t, r.authority, identity.Operator, "ada", time.Hour))
	if got := fetch(t, late, http.MethodGet, url); got != 0 {
		t.Errorf("on a new connection: got status %d, want none", got)
	}
}

// A coordinator that is revoked while a client is connected to it is believed nothing more.
func TestClient_RevokedCoordinator(t *testing.T) {
	r := newRig(t, "par1-c")
	agent := r.credentials(t, identity.Agent, "par1-s1")
	c := newTestClient(t, ClientConfig{Coordinators: r.urls(), Credentials: agent})
	ask := func() error {
		_, err := c.AgentSync(t.Context(), wire.AgentReport{Server: "par1-s1"})
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	agent.SetRevocations(identity.Revocations{{Role: identity.Coordinator, Holder: "par1-c", Before: time.Now().Add(time.Second)}})
	for range 2 { // over the connection that stands, and over a new one
		if err := ask(); err == nil || !strings.Contains(err.Error(), "revoked") {
			t.Errorf("got %v, want that the coordinator is revoked", err)
		}
	}
}

// Who never ends a handshake is closed, and a thousand of them keep nobody out.
func TestAPIPort_HalfOpen(t *testing.T) {
	r := newRig(t, "par1-c")
	var stuck []net.Conn
	for range 1000 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(r.nodes[0].url, "https://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		stuck = append(stuck, conn)
	}
	client := newHTTPClient(clientTLS(r.credentials(t, identity.Operator, "ada")))
	defer client.CloseIdleConnections()
	if got := fetch(t, client, http.MethodGet, r.nodes[0].url+"/v1/status"); got != 200 {
		t.Errorf("among a thousand that are stuck: got status %d, want 200", got)
	}
	for _, conn := range stuck {
		_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("a handshake that never ends was left alone")
		}
	}
}
