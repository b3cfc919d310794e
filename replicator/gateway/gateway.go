package gateway

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"drp/raftstore/identity"
)

// Gateway is the http.Handler. Only Store has to be set; a zero duration means its default. It has no view of the
// grants, and so refuses everything, until SetView.
type Gateway struct {
	Site  string // for the log
	Store Store
	Log   *slog.Logger
	// OnSnapshot hears of each snapshot that is safely stored, before restic does. It is called on the request's
	// goroutine, perhaps by several at once, perhaps twice for one snapshot, and must not block.
	OnSnapshot func(account, id string)

	// Trusted says why a certificate counts no more, with each request: a connection outlives what it began with. Nil:
	// only its end is looked at.
	Trusted func(*x509.Certificate) error

	FreshFor  time.Duration // how old a view may be for writing: 1 min
	ReadFor   time.Duration // and for reading: 15 min
	SettleFor time.Duration // how long a request that has no grant waits for a view that has it: 3 s
	HoldFor   time.Duration // how long a request is held while the store does not answer: 20 s
	BodyIdle  time.Duration // how long a client may send nothing in the middle of an object: 1 min
	MaxObject int64         // bytes: 512 MiB (restic's largest pack is 128 MiB and one blob)
	AtOnce    int           // requests under way to the store: 256; others wait as long as HoldFor

	// Uptime is a clock that never jumps and does not stop while the machine sleeps.
	Uptime func() time.Duration

	views      views
	kept       claims
	allowances allowances
	slots      slots
}

// refusal is an answer that is not a success. Its reason is for people; restic looks at the status: it takes 401, 403,
// 404, 416 and 507 as final and tries everything else again for up to 15 minutes.
type refusal struct {
	status int
	reason string
}

func (r *refusal) Error() string { return r.reason }

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := g.serve(w, r)
	if err == nil {
		return
	}
	if r.Context().Err() != nil {
		return // the client is gone
	}
	no := refusalOf(err)
	level := slog.LevelWarn
	if no.status == http.StatusNotFound {
		level = slog.LevelDebug
	}
	g.log().Log(r.Context(), level, "refused", "peer", peer(r), "method", r.Method, "path", r.URL.Path, "status", no.status, "reason", err.Error())
	if no.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	http.Error(w, no.reason, no.status)
}

func (g *Gateway) serve(w http.ResponseWriter, r *http.Request) error {
	if isCluster(r.URL.Path) {
		return g.serveCluster(w, r)
	}
	server, err := g.callerOf(r.TLS, identity.Agent)
	if err != nil {
		return err
	}
	t, err := targetOf(r)
	if err != nil {
		return &refusal{http.StatusForbidden, err.Error()}
	}
	n := toRead
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodPost:
		if t.name == "" || t.folder == keys {
			return &refusal{http.StatusForbidden, "repositories, config and keys are not written through a gateway"}
		}
		n = toWrite
	case http.MethodDelete:
		if t.folder != locks || t.name == "" {
			return &refusal{http.StatusForbidden, "only locks are deleted through a gateway"}
		}
		n = toUnlock
	default:
		return &refusal{http.StatusMethodNotAllowed, "no such method here"}
	}
	if no := g.admit(r.Context(), server, t, n); no != nil {
		return no
	}
	leave, err := g.enter(r.Context())
	if err != nil {
		return err
	}
	defer leave()
	switch {
	case n == toWrite:
		return g.save(w, r, server, t)
	case n == toUnlock:
		return g.unlock(r, t)
	case t.folder == root:
		return &refusal{http.StatusForbidden, "nothing to read here"}
	case t.name == "" && t.folder != config:
		return g.list(w, r, t)
	case r.Method == http.MethodHead:
		return g.head(w, r, t)
	default:
		return g.load(w, r, t)
	}
}

// callerOf returns the name of the server or coordinator that calls. A connection may outlive its certificate, so that
// is looked at with each request.
func (g *Gateway) callerOf(cs *tls.ConnectionState, want identity.Role) (string, error) {
	id, err := identity.Of(cs)
	switch {
	case err != nil:
		return "", &refusal{http.StatusForbidden, "no certificate of this platform"}
	case id.Role != want:
		return "", &refusal{http.StatusForbidden, fmt.Sprintf("%s is no %s, and has no business here", id, want)}
	case time.Now().After(cs.VerifiedChains[0][0].NotAfter):
		return "", &refusal{http.StatusForbidden, fmt.Sprintf("the certificate of %s has expired", id)}
	}
	if g.Trusted != nil {
		if err := g.Trusted(cs.VerifiedChains[0][0]); err != nil {
			return "", &refusal{http.StatusForbidden, err.Error()}
		}
	}
	return id.Name, nil
}

func peer(r *http.Request) string {
	if id, err := identity.Of(r.TLS); err == nil {
		return id.String()
	}
	return r.RemoteAddr
}

// refusalOf is the one table from error to status.
func refusalOf(err error) *refusal {
	var no *refusal
	switch {
	case errors.As(err, &no):
		return no
	case errors.Is(err, ErrNotFound):
		return &refusal{http.StatusNotFound, "not found"}
	case errors.Is(err, ErrRange):
		return &refusal{http.StatusRequestedRangeNotSatisfiable, "range lies outside of the object"}
	case errors.Is(err, ErrDenied):
		return &refusal{http.StatusForbidden, "the store refuses this gateway"}
	case errors.Is(err, ErrFull):
		return &refusal{http.StatusInsufficientStorage, "the store is full"}
	default:
		return &refusal{http.StatusServiceUnavailable, "the store does not answer"}
	}
}

// hold tries f until it succeeds or cannot, for as long as a store may take to restart. F is harmless to repeat.
func (g *Gateway) hold(ctx context.Context, f func() error) error {
	giveUp := time.NewTimer(cmp.Or(g.HoldFor, 20*time.Second))
	defer giveUp.Stop()
	var said error // by the store, and not by a client that had gone
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := f()
		if err == nil || final(err) {
			return err
		}
		if ctx.Err() == nil {
			said = err
		}
		again := time.NewTimer(wait)
		select {
		case <-again.C:
			continue
		case <-giveUp.C:
		case <-ctx.Done():
			if said != nil { // there is nobody left to be told
				g.log().Warn("a client has gone while the store did not answer", "reason", said.Error())
			}
		}
		again.Stop()
		return err
	}
}

func (g *Gateway) uptime() time.Duration {
	if g.Uptime != nil {
		return g.Uptime()
	}
	return uptime()
}

func (g *Gateway) log() *slog.Logger {
	if g.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return g.Log.With("site", g.Site)
}

// NewServer makes the HTTP server round a Gateway. Config is what identity.Credentials.Server gives for agents and
// coordinators. A request may take as long as it moves: packs are large and lines are slow.
func NewServer(addr string, config *tls.Config, g *Gateway) *http.Server {
	return &http.Server{
		Addr:              addr,
		Handler:           g,
		TLSConfig:         config,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(g.log().Handler(), slog.LevelDebug),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          100,
			MaxReceiveBufferPerConnection: 8 << 20,
			MaxReceiveBufferPerStream:     1 << 20,
			SendPingTimeout:               30 * time.Second,
			PingTimeout:                   15 * time.Second,
			WriteByteTimeout:              time.Minute,
		},
	}
}
