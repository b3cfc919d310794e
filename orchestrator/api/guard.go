package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"drp/orchestrator"
	"drp/raftstore/state"
)

// guard is in front of every route: who asks, whether they may, limits, and the way to the leader.
func (s *Server) guard(rt route, next http.HandlerFunc) http.HandlerFunc {
	next = s.recorded(rt, next)
	return func(w http.ResponseWriter, r *http.Request) {
		who, err := s.authenticate(r)
		if err == nil && len(rt.roles) > 0 {
			err = rt.admit(who)
		}
		if err != nil {
			s.log.Info("refused request", "route", rt.id, "caller", who.caller.String(), "from", r.RemoteAddr, "cause", err)
			if who.known && person(who.caller) && errors.Is(err, ErrForbidden) {
				s.refuse(w, r, rt, who, err)
				return
			}
			writeProblem(w, err)
			return
		}
		most := int64(maxBody)
		if len(rt.roles) == 0 {
			most = maxNobody
		}
		if rt.limited {
			most = maxStranger
			if !who.forwarded && !s.strangers.allow(r, s.now()) {
				writeProblem(w, fmt.Errorf("%s: %w", rt.summary, ErrTooMany))
				return
			}
		}
		body, err := readBody(w, r, most)
		if err != nil {
			writeProblem(w, err)
			return
		}
		control := http.NewResponseController(w)
		limit := writeLimit
		if rt.poll {
			limit = pollLimit
		} else {
			ctx, cancel := context.WithTimeout(r.Context(), handleLimit)
			defer cancel()
			r = r.WithContext(ctx)
		}
		// Refused by connections that have no deadlines; those are not ours.
		_ = control.SetWriteDeadline(time.Now().Add(limit))
		r = r.WithContext(withCaller(r.Context(), who.caller))
		stale, err := wantsStale(r, rt)
		if err != nil {
			writeProblem(w, err)
			return
		}
		if stale {
			s.serveStale(w, withBody(r, body), rt, next)
			return
		}
		if rt.leader {
			s.toLeader(w, r, rt, who, body, next)
			return
		}
		next(w, withBody(r, body))
	}
}

// readBody reads all of it, so that the request can be handed to a leader more than once.
func readBody(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyLimit))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, fmt.Errorf("read request: it is larger than %d bytes: %w", large.Limit, state.ErrInvalid)
		}
		return nil, fmt.Errorf("read request: %w: %w", err, state.ErrInvalid)
	}
	_ = control.SetReadDeadline(time.Time{})
	return body, nil
}

func withBody(r *http.Request, body []byte) *http.Request {
	r = r.WithContext(r.Context()) // a shallow copy: the same request may be served once more
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return r
}

// attempt is how a handler below tells the guard that this coordinator does not lead any more.
type attempt struct{ notLeader bool }

type attemptKey struct{}

// noteError is called by every handler with its error.
func noteError(ctx context.Context, err error) {
	if a, ok := ctx.Value(attemptKey{}).(*attempt); ok && errors.Is(err, orchestrator.ErrNotLeader) {
		a.notLeader = true
	}
}

// serveHere reports false, with nothing written, when this coordinator turned out not to lead.
func (s *Server) serveHere(w http.ResponseWriter, r *http.Request, body []byte, next http.HandlerFunc) bool {
	a := &attempt{}
	held := &heldWriter{to: w, header: make(http.Header), attempt: a}
	next(held, withBody(r.WithContext(context.WithValue(r.Context(), attemptKey{}, a)), body))
	return !a.notLeader
}

// heldWriter keeps an answer back when it only says that this coordinator does not lead.
type heldWriter struct {
	to      http.ResponseWriter
	header  http.Header
	attempt *attempt
	wrote   bool
}

func (h *heldWriter) Header() http.Header { return h.header }

func (h *heldWriter) WriteHeader(status int) {
	if h.attempt.notLeader || h.wrote {
		return
	}
	h.wrote = true
	copyHeader(h.to.Header(), h.header)
	h.to.WriteHeader(status)
}

func (h *heldWriter) Write(b []byte) (int, error) {
	if h.attempt.notLeader {
		return len(b), nil
	}
	if !h.wrote {
		h.WriteHeader(http.StatusOK)
	}
	return h.to.Write(b)
}

func copyHeader(to, from http.Header) {
	for k, v := range from {
		to[k] = v
	}
}
