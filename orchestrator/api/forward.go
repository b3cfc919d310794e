package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"drp/orchestrator"
)

const (
	leaderLook  = 100 * time.Millisecond // between two looks at who leads
	maxAnswer   = 64 << 20
	ownWait     = time.Second // for a leader, where this coordinator has an answer of its own
	maxForwards = 2           // times that one request may reach a leader
	// patienceHeader has how long the client waits for a leader, as a duration. It only shortens the coordinator's own wait.
	patienceHeader = "Drp-Patience"
)

func leaderWait(h http.Header, most time.Duration) time.Duration {
	d, err := time.ParseDuration(h.Get(patienceHeader))
	if err != nil || d < 0 {
		return most
	}
	return min(d, most)
}

// toLeader answers here when this coordinator leads, and through the leader otherwise. While nobody leads it waits.
func (s *Server) toLeader(w http.ResponseWriter, r *http.Request, rt route, who asker, body []byte, next http.HandlerFunc) {
	wait := leaderWait(r.Header, s.cfg.LeaderWait)
	if rt.own {
		wait = min(wait, ownWait)
	}
	giveUp := time.Now().Add(wait)
	reached := 0
	for {
		name, ok := s.cfg.Leader()
		switch {
		case ok && name == s.cfg.Name:
			if s.serveHere(w, r, body, next) {
				return
			}
			if who.forwarded {
				writeProblem(w, fmt.Errorf("coordinator %s: %w", s.cfg.Name, orchestrator.ErrNotLeader))
				return
			}
		case who.forwarded:
			// The one who forwarded looks for the leader again; a second hop could go round in a circle.
			writeProblem(w, fmt.Errorf("coordinator %s: %w", s.cfg.Name, orchestrator.ErrNotLeader))
			return
		case ok && s.cfg.Peers(name) != "":
			answer, sent, err := s.askLeader(r, name, rt, who.caller, body)
			if err == nil && answer.says("unknown-outcome") && rt.repeatable && reached+1 < maxForwards {
				err = orchestrator.ErrUnknownOutcome
			}
			switch {
			case err == nil && !answer.says("not-leader") && !answer.says("no-leader"):
				answer.write(w)
				return
			case err == nil, !sent: // nothing happened there
				s.log.Debug("leader did not answer", "leader", name, "route", rt.id, "cause", err)
			default:
				reached++
				if !rt.repeatable || reached >= maxForwards || r.Context().Err() != nil {
					writeProblem(w, fmt.Errorf("ask leader %s: %w: %w", name, err, orchestrator.ErrUnknownOutcome))
					return
				}
				giveUp = time.Now().Add(wait) // it was answering until now; a next one gets its time
			}
		}
		select {
		case <-r.Context().Done():
			writeProblem(w, fmt.Errorf("%w: %w", ErrNoLeader, r.Context().Err()))
			return
		case <-time.After(leaderLook):
		}
		if time.Now().After(giveUp) {
			if rt.own && !who.forwarded {
				next(w, withBody(r, body))
				return
			}
			s.log.Warn("no leader for a request", "route", rt.id, "waited", wait)
			writeProblem(w, fmt.Errorf("coordinator %s knows of no leader that answers: %w", s.cfg.Name, ErrNoLeader))
			return
		}
	}
}

// answer is a leader's whole response. It is buffered, so that one that breaks off halfway can be asked for again.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// says reports whether it is a problem of this name, one of those that come with a 503.
func (a *answer) says(name string) bool {
	return a.status == http.StatusServiceUnavailable && readProblem("", a.status, a.body).Type == problemPrefix+name
}

func (a *answer) write(w http.ResponseWriter) {
	copyHeader(w.Header(), a.header)
	w.WriteHeader(a.status)
	// An error means that the client has gone.
	_, _ = w.Write(a.body)
}

// askLeader is ask, but leaves a leader that was deposed meanwhile: behind a cut link it would hold the request for
// seconds after the others have elected the next one.
func (s *Server) askLeader(r *http.Request, name string, rt route, caller Caller, body []byte) (*answer, bool, error) {
	if !rt.repeatable {
		return s.ask(r, s.cfg.Peers(name), caller, body)
	}
	ctx, cancel := context.WithCancel(r.Context())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for ctx.Err() == nil {
			if now, ok := s.cfg.Leader(); ok && now != name {
				cancel()
				return
			}
			sleep(ctx, leaderLook)
		}
	}()
	a, sent, err := s.ask(r.WithContext(ctx), s.cfg.Peers(name), caller, body)
	cancel()
	<-watched
	return a, sent, err
}

// ask hands the request to another coordinator. sent is false when nothing of it can have reached anybody.
func (s *Server) ask(r *http.Request, base string, caller Caller, body []byte) (a *answer, sent bool, err error) {
	var connected atomic.Bool
	ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected.Store(true) },
	})
	req, err := http.NewRequestWithContext(ctx, r.Method, base+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return nil, false, fmt.Errorf("make request: %w", err)
	}
	for _, h := range []string{"Content-Type", "Accept"} {
		if v := r.Header.Get(h); v != "" {
			req.Header.Set(h, v)
		}
	}
	setForwarded(req.Header, caller)
	res, err := s.forward.Do(req)
	if err != nil {
		return nil, connected.Load(), err
	}
	defer res.Body.Close()
	got, err := readAnswer(res)
	return got, true, err
}

func readAnswer(res *http.Response) (*answer, error) {
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if len(body) > maxAnswer {
		return nil, fmt.Errorf("read answer: it is larger than %d bytes", maxAnswer)
	}
	a := &answer{status: res.StatusCode, header: make(http.Header), body: body}
	for _, h := range []string{"Content-Type", "ETag", "Retry-After", headerStaleAge, headerStaleFrom} {
		if v := res.Header.Get(h); v != "" {
			a.header.Set(h, v)
		}
	}
	return a, nil
}

// waitFor clamps a client's wait to what a long-poll may take.
func waitFor(d time.Duration) time.Duration {
	return min(max(d, 0), maxWait)
}

// sleep waits for d, or less when ctx ends first.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
