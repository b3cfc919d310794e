package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"drp/orchestrator"
	"drp/raftstore/identity"
)

const (
	// callMargin is what a call may take beside its wait: the coordinator's own limits, and a way to the leader.
	callMargin  = handleLimit + 15*time.Second
	roundPause  = 500 * time.Millisecond // between two rounds over all coordinators
	leastTry    = time.Second            // for one coordinator
	userAgent   = "drp"
	contentJSON = "application/json"
)

// ClientConfig says how to reach coordinators.
type ClientConfig struct {
	// Coordinators are https://host:port or unix:///path/of/socket, nearest first.
	Coordinators []string
	// Credentials are required for https. Ones without a certificate (identity.Anonymous) need a Token.
	Credentials *identity.Credentials
	Token       string
	// Patience is how long a call goes on trying while no coordinator answers, or none leads. Zero: each is asked once.
	Patience time.Duration
	// Moved is called when calls go to another coordinator from now on, with why. It may be nil.
	Moved  func(from, to string, cause error)
	Logger *slog.Logger
}

// Client asks coordinators: the one that answered last, and the others when that fails. It may be used from any goroutine.
type Client struct {
	endpoints []endpoint
	current   atomic.Int64
	cfg       ClientConfig
	log       *slog.Logger
	marked    func(orchestrator.StaleMark) // set: reads are stale ones
}

type endpoint struct {
	name  string // as configured
	label string // the same, shorter, for a sentence about all of them
	base  string
	http  *http.Client
}

// NewClient makes a client. It connects to nobody yet.
func NewClient(cfg ClientConfig) (*Client, error) {
	if len(cfg.Coordinators) == 0 {
		return nil, errors.New("make client: no coordinator is known")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Client{cfg: cfg, log: cfg.Logger}
	var shared *http.Client
	for _, name := range cfg.Coordinators {
		u, err := url.Parse(name)
		if err != nil {
			return nil, fmt.Errorf("make client: %w", err)
		}
		switch {
		case u.Scheme == "unix" && u.Path != "":
			c.endpoints = append(c.endpoints, endpoint{name: u.Path, base: "http://drp.local", http: newSocketClient(u.Path)})
		case u.Scheme == "https" && u.Host != "":
			if cfg.Credentials == nil {
				return nil, fmt.Errorf("make client: %s needs a certificate, or a token and the authority's certificate", name)
			}
			if shared == nil {
				shared = newHTTPClient(clientTLS(cfg.Credentials))
			}
			c.endpoints = append(c.endpoints, endpoint{name: name, base: "https://" + u.Host, http: shared})
		default:
			return nil, fmt.Errorf("make client: coordinator %q: want https://HOST:PORT or unix:///PATH", name)
		}
	}
	label(c.endpoints)
	return c, nil
}

func clientTLS(c *identity.Credentials) *tls.Config {
	return c.Client(identity.Coordinator)
}

// Coordinator names the one that is asked first, as it was configured.
func (c *Client) Coordinator() string { return c.endpoints[c.index()].name }

// Close ends idle connections.
func (c *Client) Close() {
	for _, e := range c.endpoints {
		e.http.CloseIdleConnections()
	}
}

func (c *Client) index() int { return int(c.current.Load()) }

// call is one request.
type call struct {
	method, path string
	query        url.Values
	in, out      any
	wait         time.Duration // of a long-poll
	once         bool          // must not be sent twice: it has neither an id nor a target
}

func get(path string, out any) call { return call{method: http.MethodGet, path: path, out: out} }
func post(path string, in, out any) call {
	return call{method: http.MethodPost, path: path, in: in, out: out}
}

// do asks coordinators in turn until one has an answer.
func (c *Client) do(ctx context.Context, k call) error {
	var body []byte
	if k.in != nil {
		var err error
		if body, err = json.Marshal(k.in); err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
	}
	giveUp := time.Now().Add(c.cfg.Patience)
	first := c.index()
	why := failure{endpoints: c.endpoints, causes: make([]error, len(c.endpoints))}
	var last error
	for {
		for i := range c.endpoints {
			at := (first + i) % len(c.endpoints)
			err, next := c.try(ctx, c.endpoints[at], k, body, c.left(giveUp))
			if !next {
				c.stick(first, at, last)
				return err
			}
			c.log.Debug("coordinator has no answer", "coordinator", c.endpoints[at].name, "request", k.method+" "+k.path, "cause", err)
			if last = err; ctx.Err() != nil {
				return last
			}
			why.causes[at] = err
			if k.method != http.MethodGet && errors.Is(err, orchestrator.ErrUnknownOutcome) {
				why.unknown = err
			}
		}
		if time.Now().Add(roundPause).After(giveUp) {
			return why.err()
		}
		if sleep(ctx, roundPause); ctx.Err() != nil {
			return why.err()
		}
	}
}

// left is how long one coordinator may be asked. Zero: as long as it takes. The last ones of a round get a moment even
// when the first one took all the time.
func (c *Client) left(giveUp time.Time) time.Duration {
	if c.cfg.Patience <= 0 {
		return 0
	}
	return max(time.Until(giveUp), leastTry)
}

func (c *Client) stick(first, at int, cause error) {
	if at == first || !c.current.CompareAndSwap(int64(first), int64(at)) {
		return
	}
	if c.cfg.Moved != nil {
		c.cfg.Moved(c.endpoints[first].name, c.endpoints[at].name, cause)
	}
}

// try asks one coordinator, for at most left (zero: callMargin) beside the wait of a long-poll. next means that another
// one may have an answer.
func (c *Client) try(ctx context.Context, e endpoint, k call, body []byte, left time.Duration) (err error, next bool) {
	limit := callMargin
	if left > 0 {
		limit = min(limit, left)
	}
	ctx, cancel := context.WithTimeout(ctx, k.wait+limit)
	defer cancel()
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	address := e.base + k.path
	if query := c.query(k); len(query) > 0 {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, k.method, address, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make request: %w", err), false
	}
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept", contentJSON)
	if left > 0 {
		// Somewhat less, so that the coordinator's own word on why there is no leader still comes in time.
		req.Header.Set(patienceHeader, (left - left/8).String())
	}
	if k.in != nil {
		req.Header.Set("Content-Type", contentJSON)
	}
	if c.cfg.Token != "" && strings.HasPrefix(e.base, "https:") {
		req.Header.Set("Authorization", "Bearer "+c.cfg.Token)
	}
	res, err := e.http.Do(req)
	if err != nil {
		return c.lost(e, k, connected.Load(), err)
	}
	defer res.Body.Close()
	if err := stillTrusted(c.cfg.Credentials, res); err != nil {
		e.http.CloseIdleConnections()
		return c.lost(e, k, true, err)
	}
	a, err := readAnswer(res)
	if err != nil {
		return c.lost(e, k, true, err)
	}
	if a.status/100 == 2 {
		if err := c.mark(a); err != nil {
			return fmt.Errorf("read answer of coordinator %s: %w", e.name, err), false
		}
		if k.out == nil || a.status == http.StatusNoContent {
			return nil, false
		}
		if err := json.Unmarshal(a.body, k.out); err != nil {
			return fmt.Errorf("read answer of coordinator %s to %s %s: %w", e.name, k.method, k.path, err), false
		}
		return nil, false
	}
	problem := readProblem(e.name, a.status, a.body)
	switch {
	case a.status != http.StatusServiceUnavailable:
		return problem, false
	case errors.Is(problem, orchestrator.ErrUnknownOutcome):
		return problem, !k.once
	}
	return problem, true
}

func (c *Client) query(k call) url.Values {
	if c.marked == nil {
		return k.query
	}
	query := url.Values{staleQuery: {"true"}}
	maps.Copy(query, k.query)
	return query
}

// mark passes on how old an answer may be. One that was asked to be stale and does not say so is of a coordinator that
// knows no stale answers; it is a good one.
func (c *Client) mark(a *answer) error {
	if c.marked == nil {
		return nil
	}
	m, err := readStaleMark(a.header)
	if err == nil && m != nil {
		c.marked(*m)
	}
	return err
}

// lost says what a broken connection means: nothing was done when none stood yet; otherwise nobody knows.
func (c *Client) lost(e endpoint, k call, connected bool, cause error) (err error, next bool) {
	err = fmt.Errorf("ask coordinator %s: %w%s", e.name, unwrapURL(cause), refusedThere(c.cfg.Credentials, c.alert(e, cause)))
	if connected && k.once {
		return fmt.Errorf("%w: %w", err, orchestrator.ErrUnknownOutcome), false
	}
	return err, true
}

// unwrapURL leaves the address out of an error: the coordinator is named already, and a query may be long.
func unwrapURL(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		return ue.Err
	}
	return err
}
