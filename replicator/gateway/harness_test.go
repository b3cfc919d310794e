package gateway

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"drp/raftstore/identity"
	"drp/replicator"
	"drp/replicator/storetest"
)

const (
	account = "guestbook"
	server  = "par1-s1"
	token   = "1.7"
)

// platform is an authority and a gateway that listens on loopback.
type platform struct {
	t         testing.TB
	authority *identity.Authority
	gateway   *Gateway
	handler   http.HandlerFunc // in front of gateway; nil: none
	url       string           // https://127.0.0.1:PORT
}

func newPlatform(t testing.TB, store Store) *platform {
	t.Helper()
	authority, err := identity.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	p := &platform{t: t, authority: authority, gateway: &Gateway{
		Site: "par1", Store: store, SettleFor: time.Millisecond, HoldFor: 10 * time.Second,
	}}
	cert, key := p.issue(identity.Gateway, "par1-gw")
	credentials, err := identity.New(cert, key, authority.CertificatePEM())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.url = "https://" + l.Addr().String()
	s := NewServer(l.Addr().String(), credentials.Server(identity.Agent, identity.Coordinator), p.gateway)
	s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.handler != nil {
			p.handler(w, r)
			return
		}
		p.gateway.ServeHTTP(w, r)
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ServeTLS(l, "", "") //nolint:errcheck // http.ErrServerClosed
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return p
}

func (p *platform) issue(role identity.Role, name string) (cert, key []byte) {
	p.t.Helper()
	cert, key, err := p.authority.Issue(role, name, []string{"127.0.0.1"}, time.Hour)
	if err != nil {
		p.t.Fatal(err)
	}
	return cert, key
}

// grant makes this the whole view.
func (p *platform) grant(grants ...Grant) {
	p.gateway.SetView(View{Grants: grants, At: time.Now()})
}

// writable is the grant that most tests start from.
var writable = Grant{Account: account, Server: server, Token: token, Write: true}

// client speaks HTTP/2, or 1.1, with a certificate or without.
func (p *platform) client(cert, key []byte, protocols ...string) *http.Client {
	p.t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(p.authority.CertificatePEM())
	config := &tls.Config{RootCAs: pool, NextProtos: protocols}
	if cert != nil {
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			p.t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: len(protocols) == 0}
	p.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func (p *platform) agent(name string) *http.Client {
	p.t.Helper()
	return p.client(p.issue(identity.Agent, name))
}

// answer is what a request came back with.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request; path is below /ACCOUNT/TOKEN/ unless it begins with a slash.
func (p *platform) do(c *http.Client, method, path string, body io.Reader, header ...string) (answer, error) {
	p.t.Helper()
	if !strings.HasPrefix(path, "/") {
		path = "/" + account + "/" + token + "/" + path
	}
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.url+path, body)
	if err != nil {
		p.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w, err := c.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer w.Body.Close()
	b, err := io.ReadAll(w.Body)
	return answer{w.StatusCode, w.Header, b}, err
}

// want fails the test unless the request is answered with this status.
func (p *platform) want(status int, c *http.Client, method, path string, body []byte, header ...string) answer {
	p.t.Helper()
	var r io.Reader
	if body != nil {
		r = bytes.NewReader(body)
	}
	got, err := p.do(c, method, path, r, header...)
	if err != nil {
		p.t.Errorf("%s %s: %v", method, path, err)
	} else if got.status != status {
		p.t.Errorf("%s %s: got %d %s, want %d", method, path, got.status, bytes.TrimSpace(got.body), status)
	}
	return got
}

func name(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// pattern is content that is larger than what a gateway withholds, and different for each seed.
func pattern(seed byte, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = seed + byte(i) + byte(i>>8) + byte(i>>16)
	}
	return b
}

func openStore(t testing.TB, c replicator.StoreConfig) *S3 {
	t.Helper()
	s, err := OpenS3(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// realStore is a versitygw with one bucket.
func realStore(t testing.TB) (*storetest.Server, replicator.StoreConfig) {
	t.Helper()
	s := storetest.Start(t)
	s.Bucket("drp-par1")
	return s, replicator.StoreConfig{
		Endpoint: s.Endpoint, Bucket: "drp-par1", Region: s.Region, AccessKey: s.Admin.Access, SecretKey: s.Admin.Secret,
	}
}

// double is a store in this process that answers with faults.
func double(t testing.TB) (*storetest.Double, *S3) {
	t.Helper()
	d := storetest.NewDouble(t)
	return d, openStore(t, replicator.StoreConfig{Endpoint: d.Endpoint, Bucket: d.Bucket, AccessKey: "a", SecretKey: "s"})
}
