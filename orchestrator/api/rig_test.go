package api

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"drp/orchestrator/api/apitest"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// rig is a platform's coordinators, with brains that only remember.
type rig struct {
	authority *identity.Authority
	nodes     []*node
	leader    atomic.Pointer[string]
	tokens    atomic.Pointer[[]*state.APIToken]
	log       *syncBuffer
}

type node struct {
	name   string
	url    string
	socket string
	brain  *apitest.Brain
	server *Server
	stop   func() // as a crash: connections break
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// newRig starts coordinators; the first one leads.
func newRig(t testing.TB, names ...string) *rig {
	t.Helper()
	return newRigWith(t, func(*rig, *Config) {}, names...)
}

// newRigWith starts coordinators with another configuration.
func newRigWith(t testing.TB, change func(*rig, *Config), names ...string) *rig {
	t.Helper()
	a, err := identity.NewAuthority("cluster-a")
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{authority: a, log: &syncBuffer{}}
	r.tokens.Store(&[]*state.APIToken{})
	r.leader.Store(&names[0])
	peers, listeners := map[string]string{}, map[string]net.Listener{}
	for _, name := range names {
		l, err := net.Listen("tcp", "[::1]:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[name], peers[name] = l, "https://"+l.Addr().String()
	}
	for _, name := range names {
		n := &node{name: name, url: peers[name], brain: apitest.NewBrain(), socket: filepath.Join(t.TempDir(), "drp.sock")}
		n.brain.Follower = name != names[0]
		cfg := Config{
			API: n.brain, Name: name, Peers: func(name string) string { return peers[name] }, Credentials: r.credentials(t, identity.Coordinator, name),
			Leader: r.leads, Tokens: func() []*state.APIToken { return *r.tokens.Load() },
			LeaderWait: 300 * time.Millisecond,
			Logger:     slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		}
		change(r, &cfg)
		n.server, err = New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		socket, err := ListenSocket(n.socket)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- n.server.Serve(ctx, listeners[name], socket) }()
		n.stop = sync.OnceFunc(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("serve %s: %v", name, err)
			}
		})
		t.Cleanup(n.stop)
		r.nodes = append(r.nodes, n)
	}
	return r
}

func (r *rig) leads() (string, bool) {
	if p := r.leader.Load(); p != nil && *p != "" {
		return *p, true
	}
	return "", false
}

// elect makes one coordinator the leader, or nobody.
func (r *rig) elect(name string) {
	for _, n := range r.nodes {
		n.brain.Set(func(b *apitest.Brain) { b.Follower = n.name != name })
	}
	r.leader.Store(&name)
}

func (r *rig) credentials(t testing.TB, role identity.Role, name string) *identity.Credentials {
	t.Helper()
	cert, key, err := r.authority.Issue(role, name, []string{"::1"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c, err := identity.New(cert, key, r.authority.CertificatePEM())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// anonymous shows no certificate.
func (r *rig) anonymous(t testing.TB) *identity.Credentials {
	t.Helper()
	c, err := identity.Anonymous(r.authority.CertificatePEM())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (r *rig) urls() []string {
	var urls []string
	for _, n := range r.nodes {
		urls = append(urls, n.url)
	}
	return urls
}

// client asks as role/name, the given coordinators or all of them.
func (r *rig) client(t testing.TB, role identity.Role, name string, coordinators ...string) *Client {
	t.Helper()
	if len(coordinators) == 0 {
		coordinators = r.urls()
	}
	return newTestClient(t, ClientConfig{Coordinators: coordinators, Credentials: r.credentials(t, role, name)})
}

func newTestClient(t testing.TB, cfg ClientConfig) *Client {
	t.Helper()
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// awaitCall returns once the brain was asked something.
func (n *node) awaitCall(t testing.TB) {
	t.Helper()
	for len(n.brain.Calls()) == 0 {
		select {
		case <-t.Context().Done():
			t.Fatal("nothing was asked")
		case <-time.After(time.Millisecond):
		}
	}
}
