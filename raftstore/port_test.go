package raftstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"drp/raftstore/identity"
)

// guarded are three coordinators whose certificates can be revoked.
type guarded struct {
	authority *identity.Authority
	peers     []Peer
	stores    map[string]*Store
	leader    *Store
	mu        sync.Mutex
	revoked   identity.Revocations
	drop      atomic.Bool // nobody is trusted: each connection that stands is closed at the next look
	dropped   map[string]bool
}

func (g *guarded) trusted(name string) func(*x509.Certificate) error {
	return func(c *x509.Certificate) error {
		if !g.drop.Load() {
			return g.list(c)
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.dropped[name] = true
		return identity.ErrRevoked
	}
}

func (g *guarded) list(c *x509.Certificate) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.revoked.Check(c)
}

func (g *guarded) revoke(r identity.Revoked) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.revoked = append(g.revoked, r)
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	g := &guarded{authority: newAuthority(t, "7d1f"), stores: map[string]*Store{}, dropped: map[string]bool{}}
	for i, address := range loopback(3) {
		g.peers = append(g.peers, Peer{Name: string(rune('a' + i)), Address: address})
	}
	dir := t.TempDir()
	var all []*Store
	for _, p := range g.peers {
		cfg := prepare(t, realConfig(t, g.authority, dir, p.Name, g.peers))
		credentials := issue(t, g.authority, identity.Coordinator, p.Name)
		credentials.SetRevoked(g.list)
		cfg.Server, cfg.Client = credentials.Server(identity.Coordinator), credentials.Client(identity.Coordinator)
		cfg.Trusted = g.trusted(p.Name)
		g.stores[p.Name] = open(t, cfg)
		all = append(all, g.stores[p.Name])
	}
	g.leader = firstToLead(t, all)
	if r, err := g.leader.Propose(t.Context(), token("first", "first")); err != nil || r.Err != nil {
		t.Fatalf("propose: %v, refused: %v", err, r.Err)
	}
	for _, s := range all {
		awaitToken(t, s, "first")
	}
	return g
}

func (g *guarded) followers() []*Store {
	var list []*Store
	for _, s := range g.stores {
		if s != g.leader {
			list = append(list, s)
		}
	}
	return list
}

// presenting shows a certificate whatever its holder's own side thinks of it, and believes everybody.
func presenting(t *testing.T, signer *identity.Authority, role identity.Role, name string, validity time.Duration, change func(*tls.Config)) *tls.Config {
	t.Helper()
	chain, key, err := signer.Issue(role, name, nil, validity)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	c := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocolName},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }}
	if change != nil {
		change(c)
	}
	return c
}

func TestRaftPort_Refuses(t *testing.T) {
	g := newGuarded(t)
	self, _ := g.leader.cfg.peer(g.leader.cfg.Name)
	peer := g.followers()[0].cfg.Name
	below, err := g.authority.NewIssuing()
	if err != nil {
		t.Fatal(err)
	}
	other, sameName := newAuthority(t, "other"), newAuthority(t, "7d1f")
	show := func(signer *identity.Authority, role identity.Role, name string) *tls.Config {
		return presenting(t, signer, role, name, time.Hour, nil)
	}
	revoked := show(below, identity.Coordinator, peer)
	own, _ := revoked.GetClientCertificate(nil)
	for name, config := range map[string]*tls.Config{
		"no certificate":                 {InsecureSkipVerify: true, NextProtos: []string{protocolName}},
		"expired":                        presenting(t, below, identity.Coordinator, peer, -time.Minute, nil),
		"another authority, same name":   show(sameName, identity.Coordinator, peer),
		"another cluster":                show(other, identity.Coordinator, peer),
		"an agent of a peer's name":      show(below, identity.Agent, peer),
		"a gateway of a peer's name":     show(below, identity.Gateway, peer),
		"an operator":                    show(below, identity.Operator, "ada"),
		"a coordinator that is no peer":  show(below, identity.Coordinator, "z"),
		"a peer with TLS 1.2":            presenting(t, below, identity.Coordinator, peer, time.Hour, func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }),
		"a peer that speaks HTTP":        presenting(t, below, identity.Coordinator, peer, time.Hour, func(c *tls.Config) { c.NextProtos = []string{"h2"} }),
		"a peer that speaks no protocol": presenting(t, below, identity.Coordinator, peer, time.Hour, func(c *tls.Config) { c.NextProtos = nil }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := saidTo(t, self.Address, config); got != "" {
				t.Errorf("got an answer of %q, want the connection closed", got)
			}
		})
	}
	t.Run("revoked before it connects", func(t *testing.T) {
		if got := greeted(t, self.Address, revoked); !got {
			t.Fatal("not let in before it was revoked: the test proves nothing")
		}
		g.revoke(identity.Revoked{Role: identity.Coordinator, Holder: peer, Serial: identity.SerialOf(own.Leaf), Before: time.Now()})
		if got := saidTo(t, self.Address, revoked); got != "" {
			t.Errorf("got an answer of %q, want the connection closed", got)
		}
	})
	t.Run("many handshakes that never end", func(t *testing.T) {
		var oldest net.Conn
		for range perAddress + 1 {
			conn, err := net.Dial("tcp", self.Address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if oldest == nil {
				oldest = conn
			}
		}
		_ = oldest.SetReadDeadline(time.Now().Add(handshakeTimeout * 3 / 5)) // long before its own time is over
		if _, err := oldest.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("the oldest made no room for the next one")
		}
	})
	t.Run("a handshake that never ends", func(t *testing.T) {
		conn, err := net.Dial("tcp", self.Address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte{0x16, 3, 1, 2}); err != nil { // a record begins, and no more of it comes
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("it was left alone")
		}
	})
}

// greeted reports whether a connection stands after the handshake: who is let in hears nothing until it asks something.
func greeted(t *testing.T, to string, config *tls.Config) bool {
	t.Helper()
	conn, err := tls.Dial("tcp", to, config)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(time.Second))
	_, err = conn.Read(make([]byte, 1))
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// One coordinator that answers at the address of another one as well (a name that leads to the wrong machine) is not
// counted for both: it would be a majority by itself.
func TestRaftPort_AnotherCoordinator(t *testing.T) {
	g := newGuarded(t)
	followers := g.followers()
	one, two := followers[0].cfg.Name, followers[1].cfg.Name
	dir := t.TempDir()
	peers := slices.Clone(g.peers)
	for i := range peers {
		if peers[i].Name == two { // by another spelling, that raft does not find
			self, _ := followers[0].cfg.peer(one)
			peers[i].Address = "[::ffff:" + strings.TrimSuffix(self.Address, ":7400") + "]:7400"
		}
	}
	cfg := prepare(t, realConfig(t, g.authority, dir, g.leader.cfg.Name, peers))
	cfg.Listen = "127.0.0.1:0"
	if err := cfg.setDefaults(); err != nil {
		t.Fatal(err)
	}
	s, err := listen(&cfg, newRoster(&cfg), &history{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, p := range peers {
		if p.Name == cfg.Name {
			continue
		}
		conn, err := s.Dial(raft.ServerAddress(p.Address), 10*time.Second)
		if (err == nil) != (p.Name == one) {
			t.Errorf("dial of %s at %s: %v", p.Name, p.Address, err)
		}
		if err == nil {
			_ = conn.Close()
		} else if !strings.Contains(err.Error(), "answers coordinator "+one) {
			t.Errorf("got %v, want it said who answers", err)
		}
	}
}

// A coordinator that is revoked while it is connected is cut off within a minute, and the others go on.
func TestRaftPort_RevokedWhileConnected(t *testing.T) {
	g := newGuarded(t)
	followers := g.followers()
	out, stays := followers[0], followers[1]
	g.revoke(identity.Revoked{Role: identity.Coordinator, Holder: out.cfg.Name, Before: time.Now().Add(2 * time.Second)})
	deadline := time.Now().Add(time.Minute)
	for time.Since(out.Status().LastContact) < 3*time.Second { // heartbeats come several times a second
		if time.Now().After(deadline) {
			t.Fatalf("after a minute %s is still in contact", out.cfg.Name)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if r, err := g.leader.Propose(t.Context(), token("after", "after")); err != nil || r.Err != nil {
		t.Fatalf("propose: %v, refused: %v", err, r.Err)
	}
	awaitToken(t, stays, "after")
	if has(out.View(), "after") {
		t.Errorf("%s was told after it was revoked", out.cfg.Name)
	}
}

// Beside a thousand connections that never end their handshake, from one address and from many, coordinators connect anew. How
// long that takes is raftstoretest's to say (TestHalfOpen), where time does not go by the machine's.
func TestRaftPort_HalfOpen(t *testing.T) {
	for name, from := range map[string]func(i int) net.IP{
		"from one address, that of the peers": func(int) net.IP { return net.IPv4(127, 0, 0, 1) },
		"from a thousand addresses":           func(i int) net.IP { return net.IPv4(127, 66, byte(i/250), byte(1+i%250)) },
	} {
		t.Run(name, func(t *testing.T) { halfOpen(t, from) })
	}
}

func halfOpen(t *testing.T, from func(int) net.IP) {
	g := newGuarded(t)
	ctx, cancel := context.WithCancel(t.Context())
	var strangers, connected sync.WaitGroup
	defer strangers.Wait()
	defer cancel()
	for i := range 1000 {
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: from(i)}}
		for _, p := range g.peers {
			connected.Add(1)
			strangers.Go(func() { halfOpenForEver(ctx, dialer, p.Address, sync.OnceFunc(connected.Done)) })
		}
	}
	connected.Wait()
	if !g.reconnect(t) {
		t.Fatal("the coordinators have not connected anew")
	}
}

// halfOpenForEver connects, says nothing, and connects again some seconds after it was thrown out.
func halfOpenForEver(ctx context.Context, dialer *net.Dialer, to string, connected func()) {
	for ctx.Err() == nil {
		conn, err := dialer.DialContext(ctx, "tcp", to)
		connected()
		if err == nil {
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			_, _ = io.Copy(io.Discard, conn)
			stop()
			_ = conn.Close()
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Second):
		}
	}
}

// reconnect closes every connection between the coordinators, and waits until they talk again.
func (g *guarded) reconnect(t *testing.T) bool {
	t.Helper()
	until := func(done func() bool) bool {
		for deadline := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				return false
			}
		}
		return true
	}
	g.mu.Lock()
	clear(g.dropped)
	g.mu.Unlock()
	g.drop.Store(true)
	closed := until(func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.dropped) == len(g.stores)
	})
	g.drop.Store(false)
	at := time.Now()
	return closed && until(func() bool {
		return !slices.ContainsFunc(g.followers(), func(s *Store) bool { return !s.Status().LastContact.After(at) })
	})
}
