package identity

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"
)

// pipe is a connection from an address.
type pipe struct {
	net.Conn
	from   string
	closed chan struct{}
}

func (p *pipe) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(p.from), 1))
}
func (p *pipe) Close() error { close(p.closed); return nil }

func (p *pipe) gone() bool {
	select {
	case <-p.closed:
		return true
	default:
		return false
	}
}

func TestGate(t *testing.T) {
	peer := netip.MustParseAddr("2001:db8::1")
	g := &Gate{Strangers: 4, PerAddress: 2, Known: func(a netip.Addr) bool { return a == peer }}
	enter := func(from string) (*pipe, func()) {
		p := &pipe{from: from, closed: make(chan struct{})}
		return p, g.Enter(p)
	}
	one, _ := enter("192.0.2.1")
	two, _ := enter("192.0.2.1")
	three, leave := enter("192.0.2.1")
	if !one.gone() || two.gone() || three.gone() {
		t.Error("the third from one address: want the first one out, and no other")
	}
	honest, _ := enter("2001:db8::1")
	neighbour, _ := enter("2001:db8::2")
	var crowd []*pipe
	for _, from := range []string{"192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "2001:db8::3", "2001:db8::4"} {
		p, _ := enter(from)
		crowd = append(crowd, p)
	}
	if honest.gone() {
		t.Error("strangers took the place of a peer")
	}
	if !two.gone() || !neighbour.gone() || crowd[len(crowd)-1].gone() {
		t.Error("too many strangers: want those out that were there the longest")
	}
	leave()
	leave()
	if got := g.inside(); got != 5 {
		t.Errorf("got %d inside, want 4 strangers and a peer", got)
	}
}

// issuing is an authority, and what makes credentials of it.
func issuing(t *testing.T) (a *Authority, credentials func(Role) *Credentials) {
	t.Helper()
	a, err := NewAuthority("cluster-a")
	if err != nil {
		t.Fatal(err)
	}
	return a, func(role Role) *Credentials {
		chain, key, err := a.Issue(role, "x", nil, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		c, err := New(chain, key, a.CertificatePEM())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
}

// A thousand who never end their handshake keep nobody out, and hold no more than their places.
func TestListener_HalfOpen(t *testing.T) {
	_, credentials := issuing(t)
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := NewListener(raw, credentials(Coordinator).Server(Agent), nil)
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	var stuck []net.Conn
	for range 1000 {
		conn, err := net.Dial("tcp", raw.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		stuck = append(stuck, conn)
	}
	_ = stuck[0].SetReadDeadline(time.Now().Add(3 * time.Second)) // long before its own time is over
	if _, err := stuck[0].Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the oldest of a thousand made no room")
	}
	client := credentials(Agent).Client(Coordinator)
	for range 5 {
		conn, err := tls.Dial("tcp", raw.Addr().String(), client)
		if err != nil {
			t.Fatalf("an honest client among a thousand that are stuck: %v", err)
		}
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	if got := l.gate.inside(); got > perAddress {
		t.Errorf("got %d half-open connections held, want %d at most of one address", got, perAddress)
	}
	for _, conn := range stuck { // all end by themselves
		_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("a handshake that never ends was left alone")
		}
	}
}

// Strangers that shake hands and then sit there hold no more than their places either, and take nobody's who has a name.
func TestListener_Anonymous(t *testing.T) {
	a, credentials := issuing(t)
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := NewListener(raw, credentials(Coordinator).ServerOptional(Agent), nil)
	defer l.Close()
	l.nameless.PerAddress = 4
	dial := func(config *tls.Config) (client, server net.Conn) {
		t.Helper()
		conn, err := tls.Dial("tcp", raw.Addr().String(), config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		server, err = l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { server.Close() })
		return conn, server
	}
	agent, own := dial(credentials(Agent).Client(Coordinator))
	nobody, err := Anonymous(a.CertificatePEM())
	if err != nil {
		t.Fatal(err)
	}
	first, _ := dial(nobody.Client(Coordinator))
	var last net.Conn
	for range 10 {
		_, last = dial(nobody.Client(Coordinator))
	}
	if got := l.nameless.inside(); got != 4 {
		t.Errorf("got %d strangers that stay, want 4", got)
	}
	_ = first.SetReadDeadline(time.Now().Add(30 * time.Second))
	if _, err := first.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the stranger that was there the longest: got %v, want it closed", err)
	}
	if _, err := own.Write([]byte("x")); err != nil {
		t.Errorf("the agent: %v", err)
	}
	if _, err := io.ReadFull(agent, make([]byte, 1)); err != nil {
		t.Errorf("the agent: %v", err)
	}
	_ = last.Close()
	if got := l.nameless.inside(); got != 3 {
		t.Errorf("got %d strangers after one has left, want 3", got)
	}
}

// The root signs for its own cluster alone, and yet who is of another one is refused.
func TestCredentials_otherClusterOfOneRoot(t *testing.T) {
	a, err := NewAuthority("cluster-a")
	if err != nil {
		t.Fatal(err)
	}
	other := *a
	other.cluster = "cluster-b"
	chain, key, err := a.Issue(Coordinator, "x", nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := New(chain, key, a.CertificatePEM())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := ours.VerifyLeaf(chain); err != nil {
		t.Error(err)
	}
	theirs, _, err := other.Issue(Coordinator, "x", nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := ours.VerifyLeaf(theirs); !errors.Is(err, ErrRefused) {
		t.Errorf("got %v, want %v", err, ErrRefused)
	}
}

func TestListener_Close(t *testing.T) {
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := NewListener(raw, &tls.Config{}, nil)
	conn, err := net.Dial("tcp", raw.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want %v", err, net.ErrClosed)
	}
}
