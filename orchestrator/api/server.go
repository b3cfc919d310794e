// Package api is the REST API of a coordinator (OpenAPI 3.1, problem details) and its client. Any coordinator
// answers; what only the leader may say is forwarded to it.
package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"drp/orchestrator"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// Limits of a request. Long-polls are exempt from the write limit, not from the others.
const (
	maxBody      = 4 << 20
	headerLimit  = 10 * time.Second
	bodyLimit    = 20 * time.Second
	handleLimit  = 30 * time.Second // for one call of orchestrator.API that is no long-poll
	writeLimit   = time.Minute
	pollLimit    = 5 * time.Minute
	maxWait      = time.Minute // of a long-poll
	shutdownTime = 3 * time.Second
)

// Config is what a Server stands on. Only API, Name, Leader, Tokens and Credentials are required.
type Config struct {
	API orchestrator.API
	// Name is this coordinator's.
	Name string
	// Leader says who leads, as far as this coordinator knows.
	Leader func() (name string, ok bool)
	// Peers gives the https URL of a coordinator; empty: not known. They come and go. Nil: there is no other.
	Peers func(name string) string
	// Tokens are this coordinator's own view of the API tokens.
	Tokens      func() []*state.APIToken
	Credentials *identity.Credentials
	Logger      *slog.Logger
	// Changed is closed at the next change of the state; a watcher of a run looks again then. Nil: it looks every half second.
	Changed func() <-chan struct{}
	// LeaderWait is how long a request waits for a leader. Default 8 s: an election takes less.
	LeaderWait time.Duration
	// Clock judges the expiry of tokens. Default time.Now.
	Clock func() time.Time
}

// Server answers REST requests.
type Server struct {
	cfg     Config
	log     *slog.Logger
	now     func() time.Time
	uid     uint32
	forward *http.Client
	handler http.Handler
	spec    *huma.OpenAPI
}

// New builds the server; Serve starts it.
func New(cfg Config) (*Server, error) {
	switch {
	case cfg.API == nil, cfg.Leader == nil, cfg.Tokens == nil, cfg.Credentials == nil:
		return nil, errors.New("make API server: API, Leader, Tokens and Credentials are required")
	case cfg.Name == "":
		return nil, errors.New("make API server: a name is required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Peers == nil {
		cfg.Peers = func(string) string { return "" }
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.LeaderWait == 0 {
		cfg.LeaderWait = 8 * time.Second
	}
	s := &Server{
		cfg: cfg, log: cfg.Logger, now: cfg.Clock, uid: uint32(os.Getuid()),
		forward: newHTTPClient(cfg.Credentials.Client(identity.Coordinator)),
	}
	mux := http.NewServeMux()
	routes := s.routes()
	guards := guardedMux{ServeMux: mux, guard: make(map[string]func(http.HandlerFunc) http.HandlerFunc, len(routes))}
	for _, rt := range routes {
		guards.guard[rt.pattern()] = func(next http.HandlerFunc) http.HandlerFunc { return s.guard(rt, next) }
	}
	config := huma.DefaultConfig("drp", "1")
	config.DocsPath, config.SchemasPath, config.CreateHooks = "", "", nil
	config.OpenAPIPath = "/v1/openapi"
	api := huma.NewAPI(config, humago.NewAdapter(guards, ""))
	for _, rt := range routes {
		rt.add(api, rt.operation(), s)
	}
	s.spec = api.OpenAPI()
	s.handler = withProblems(mux)
	return s, nil
}

// Handler answers requests of both listeners.
func (s *Server) Handler() http.Handler { return s.handler }

// TLSConfig is what the TLS listener needs: a certificate of the platform, or none and a token.
func (s *Server) TLSConfig() *tls.Config {
	return s.cfg.Credentials.ServerOptional(identity.Coordinator, identity.Agent, identity.Gateway, identity.Worker,
		identity.Operator, identity.Support)
}

// Serve answers on both listeners (either may be nil) until ctx ends, and closes them.
func (s *Server) Serve(ctx context.Context, tcp, socket net.Listener) error {
	// Requests end with this context, so that long-polls do not hold a shutdown up.
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	failed := make(chan error, 2)
	var servers []*http.Server
	if tcp != nil {
		hs := s.httpServer(requests)
		hs.TLSConfig = s.TLSConfig()
		servers = append(servers, hs)
		go func() { failed <- hs.ServeTLS(tcp, "", "") }()
	}
	if socket != nil {
		hs := s.httpServer(requests)
		hs.ConnContext = withSocketPeer
		servers = append(servers, hs)
		go func() { failed <- hs.Serve(socket) }()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		err = fmt.Errorf("serve API: %w", err)
	}
	cancel()
	grace, stop := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer stop()
	for _, hs := range servers {
		if hs.Shutdown(grace) != nil {
			err = errors.Join(err, hs.Close())
		}
	}
	s.forward.CloseIdleConnections()
	return err
}

func (s *Server) httpServer(requests context.Context) *http.Server {
	return &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: headerLimit,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return requests },
		// A peer behind a cut link is noticed; otherwise its long-polls would be held for minutes.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
	}
}

// guardedMux puts the guard of each route in front of what huma registers for it.
type guardedMux struct {
	*http.ServeMux
	guard map[string]func(http.HandlerFunc) http.HandlerFunc
}

// HandleFunc is called by huma. The description of the API is the only thing without a guard.
func (m guardedMux) HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request)) {
	if g, ok := m.guard[pattern]; ok {
		h = g(h)
	}
	m.ServeMux.HandleFunc(pattern, h)
}
