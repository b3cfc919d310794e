package raftstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"drp/raftstore/identity"
)

// loopback returns addresses that no other test uses, as far as one can.
func loopback(n int) []string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("127.%d.%d.%d:7400", 1+rand.IntN(254), rand.IntN(256), 1+i))
	}
	return list
}

func newAuthority(t *testing.T, cluster string) *identity.Authority {
	t.Helper()
	a, err := identity.NewAuthority(cluster)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t *testing.T, a *identity.Authority, role identity.Role, name string) *identity.Credentials {
	t.Helper()
	cert, key, err := a.Issue(role, name, nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c, err := identity.New(cert, key, a.CertificatePEM())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func realConfig(t *testing.T, a *identity.Authority, dir, name string, peers []Peer) Config {
	credentials := issue(t, a, identity.Coordinator, name)
	return Config{
		Name: name, Dir: filepath.Join(dir, name), Peers: peers, Logger: slog.New(slog.DiscardHandler),
		Server: credentials.Server(identity.Coordinator), Client: credentials.Client(identity.Coordinator),
		Fatal: func(err error) { t.Errorf("%s cannot go on: %v", name, err) },
	}
}

// prepare readies a coordinator's first start.
func prepare(t *testing.T, cfg Config) Config {
	t.Helper()
	if err := Prepare(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func open(t *testing.T, cfg Config) *Store {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // most are closed by then
	return s
}

func closeStore(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// firstToLead waits until one of them leads.
func firstToLead(t *testing.T, stores []*Store) *Store {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	won := make(chan *Store, len(stores))
	for _, s := range stores {
		go func() {
			_ = s.Lead(ctx, func(ctx context.Context) error {
				won <- s
				<-ctx.Done()
				return nil
			})
		}()
	}
	select {
	case s := <-won:
		return s
	case <-ctx.Done():
		t.Fatal("nobody leads after a minute")
		return nil
	}
}

func awaitToken(t *testing.T, s *Store, name string) {
	t.Helper()
	timeout := time.After(time.Minute)
	for {
		changed := s.Changed()
		if has(s.View(), name) {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("%s never got %s", s.cfg.Name, name)
		}
	}
}

func TestStore_TCPAndDisk(t *testing.T) {
	dir, authority := t.TempDir(), newAuthority(t, "7d1f")
	var peers []Peer
	for i, address := range loopback(3) {
		peers = append(peers, Peer{Name: string(rune('a' + i)), Address: address})
	}
	openAll := func() []*Store {
		var stores []*Store
		for _, p := range peers {
			stores = append(stores, open(t, realConfig(t, authority, dir, p.Name, peers)))
		}
		return stores
	}
	for _, p := range peers {
		prepare(t, realConfig(t, authority, dir, p.Name, peers))
	}
	stores := openAll()
	leader := firstToLead(t, stores)
	for i := range 20 {
		name := fmt.Sprintf("t%d", i)
		if r, err := leader.Propose(t.Context(), token(name, name)); err != nil || r.Err != nil {
			t.Fatalf("propose: %v, refused: %v", err, r.Err)
		}
	}
	if v, err := leader.Read(t.Context()); err != nil || !has(v, "t19") {
		t.Fatalf("read: %v", err)
	}
	for _, s := range stores {
		awaitToken(t, s, "t19")
	}

	t.Run("a directory has one owner", func(t *testing.T) {
		_, err := Open(realConfig(t, authority, dir, "a", peers))
		if err == nil || !strings.Contains(err.Error(), "another process has it open") {
			t.Errorf("got %v, want that another process has the log", err)
		}
	})
	t.Run("strangers are refused", func(t *testing.T) { refuseStrangers(t, authority, leader, peers) })

	if err := leader.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	if r, err := leader.Propose(t.Context(), token("after", "after")); err != nil || r.Err != nil {
		t.Fatalf("propose after a snapshot: %v, refused: %v", err, r.Err)
	}
	for _, s := range stores {
		closeStore(t, s)
	}
	if _, err := leader.Propose(t.Context(), token("late", "late")); !errors.Is(err, ErrClosed) {
		t.Errorf("propose on a closed store: got %v, want %v", err, ErrClosed)
	}
	stores = openAll()
	leader = firstToLead(t, stores)
	v, err := leader.Read(t.Context())
	if err != nil || !has(v, "t0") || !has(v, "t19") || !has(v, "after") {
		t.Fatalf("after all were stopped: %v, %d tokens", err, len(v.APITokens()))
	}
	if r, err := leader.Propose(t.Context(), token("t7", "t7")); err != nil || r.Err != nil || !r.Changed {
		t.Errorf("the same id after all were stopped: got %+v, %v, want the first answer", r, err)
	}
	for _, s := range stores {
		closeStore(t, s)
	}
}

// refuseStrangers holds that, while the peers themselves talk, nobody but a coordinator of this cluster that is one of the peers gets a word with raft.
func refuseStrangers(t *testing.T, authority *identity.Authority, leader *Store, peers []Peer) {
	self, _ := leader.cfg.peer(leader.cfg.Name)
	other := newAuthority(t, "other")
	sameName := newAuthority(t, "7d1f")
	raftOnly := func(c *tls.Config) *tls.Config {
		c.NextProtos = []string{protocolName}
		return c
	}
	anybody := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocolName}}
	tests := []struct {
		name   string
		config *tls.Config
	}{
		{"an agent", raftOnly(issue(t, authority, identity.Agent, peers[0].Name).Client(identity.Coordinator))},
		{"an operator", raftOnly(issue(t, authority, identity.Operator, "ada").Client(identity.Coordinator))},
		{"a coordinator that is no peer", raftOnly(issue(t, authority, identity.Coordinator, "z").Client(identity.Coordinator))},
		{"a coordinator of another cluster", func() *tls.Config {
			c := raftOnly(issue(t, other, identity.Coordinator, "a").Client(identity.Coordinator))
			c.VerifyConnection = nil
			return c
		}()},
		{"another authority of the same name", func() *tls.Config {
			c := raftOnly(issue(t, sameName, identity.Coordinator, "a").Client(identity.Coordinator))
			c.VerifyConnection = nil
			return c
		}()},
		{"nobody", anybody},
		{"a client of the API", issue(t, authority, identity.Coordinator, "a").Client(identity.Coordinator)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := saidTo(t, self.Address, test.config); got != "" {
				t.Errorf("got an answer of %q, want the connection closed", got)
			}
		})
	}
	t.Run("plain text", func(t *testing.T) {
		conn, err := net.Dial("tcp", self.Address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		if data, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) || strings.Contains(string(data), "HTTP") {
			t.Errorf("got %q, %v, want the connection closed", data, err)
		}
	})
	t.Run("who is dialled", func(t *testing.T) {
		gateway := issue(t, authority, identity.Gateway, "b").Server(identity.Coordinator)
		gateway.NextProtos = []string{protocolName}
		l, err := tls.Listen("tcp", "127.0.0.1:0", gateway)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, conn)
				_ = conn.Close()
			}
		}()
		cfg := realConfig(t, authority, t.TempDir(), "a", []Peer{{"a", loopback(1)[0]}})
		cfg.Listen = "127.0.0.1:0"
		if err := cfg.setDefaults(); err != nil {
			t.Fatal(err)
		}
		s, err := listen(&cfg, newRoster(&cfg), &history{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		conn, err := s.Dial(raft.ServerAddress(l.Addr().String()), 5*time.Second)
		if err == nil {
			_ = conn.Close()
		}
		if !errors.Is(err, identity.ErrRefused) {
			t.Errorf("dial of a gateway: got %v, want %v", err, identity.ErrRefused)
		}
	})
}

// saidTo says hello to the raft port and returns what comes back before the connection is closed.
func saidTo(t *testing.T, to string, config *tls.Config) string {
	t.Helper()
	conn, err := tls.Dial("tcp", to, config)
	if err != nil {
		return ""
	}
	defer conn.Close()
	_, _ = conn.Write([]byte{1}) // a request for a vote, as raft's protocol has it
	_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	data, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "(silence)"
	}
	return string(data)
}

func TestOpen_BadConfig(t *testing.T) {
	authority := newAuthority(t, "7d1f")
	peers := []Peer{{"a", loopback(1)[0]}}
	for words, edit := range map[string]func(*Config){
		`"z" is not one of the peers`: func(c *Config) { c.Name = "z" },
		"no certificates":             func(c *Config) { c.Server = nil },
		"no directory":                func(c *Config) { c.Dir = "" },
		"too short":                   func(c *Config) { c.Timers.Heartbeat = time.Second },
		"given twice":                 func(c *Config) { c.Peers = []Peer{{"a", "x:1"}, {"b", "x:1"}} },
		"a name and an address":       func(c *Config) { c.Peers = []Peer{{"a", ""}} },
		"listen for coordinators":     func(c *Config) { c.Listen = "203.0.113.1:7400" },
		"read directory of the log":   func(c *Config) { c.Dir = "/dev/null/x" },
	} {
		cfg := prepare(t, realConfig(t, authority, t.TempDir(), "a", peers))
		edit(&cfg)
		if s, err := Open(cfg); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("got %v, want the words %q", err, words)
			if s != nil {
				closeStore(t, s)
			}
		}
	}
}
