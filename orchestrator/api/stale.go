package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"drp/orchestrator"
	"drp/raftstore/state"
)

// A stale read is answered by the coordinator that is asked, from what it knows itself: without a leader, and without a
// quorum. It is given only to a request that asks for it, and the answer always bears these headers. What shows a
// customer's data has none: who reads that is recorded first, and a record takes a quorum.
const (
	staleQuery      = "stale"
	headerStaleAge  = "Drp-Stale-Age" // whatever was acknowledged longer ago is in it, such as 3.5s; or unknown
	headerStaleFrom = "Drp-Stale-From"
	ageUnknown      = "unknown" // that coordinator has heard no leader since it started
)

type staleKey struct{}

func staleOf(ctx context.Context) (orchestrator.Stale, bool) {
	s, ok := ctx.Value(staleKey{}).(orchestrator.Stale)
	return s, ok
}

// wantsStale says whether a request asks for a stale answer. One that asks for it where there is none is refused: it
// would wait for a leader that its caller has given up on.
func wantsStale(r *http.Request, rt route) (bool, error) {
	values, asked := r.URL.Query()[staleQuery]
	if !asked {
		return false, nil
	}
	switch {
	case len(values) != 1 || values[0] != "true" && values[0] != "false":
		return false, fmt.Errorf("read %s: want true or false: %w", staleQuery, state.ErrInvalid)
	case values[0] == "false":
		return false, nil
	case !rt.stale:
		return false, fmt.Errorf("%s has no stale answer: %w", rt.pattern(), state.ErrInvalid)
	}
	return true, nil
}

// serveStale answers from this coordinator's own view, and marks the answer.
func (s *Server) serveStale(w http.ResponseWriter, r *http.Request, rt route, next http.HandlerFunc) {
	stale, err := s.cfg.API.ReadStale()
	if err != nil {
		writeProblem(w, err)
		return
	}
	age := stale.Mark.Age.String()
	if stale.Mark.Age == orchestrator.AgeUnknown {
		age = ageUnknown
	}
	s.log.Info("stale answer", "route", rt.id, "caller", callerOf(r.Context()).String(), "age", age)
	w.Header().Set(headerStaleAge, age)
	w.Header().Set(headerStaleFrom, stale.Mark.From)
	next(w, r.WithContext(context.WithValue(r.Context(), staleKey{}, stale)))
}

func readStaleMark(h http.Header) (*orchestrator.StaleMark, error) {
	if h.Get(headerStaleAge) == "" {
		return nil, nil
	}
	if h.Get(headerStaleAge) == ageUnknown {
		return &orchestrator.StaleMark{From: h.Get(headerStaleFrom), Age: orchestrator.AgeUnknown}, nil
	}
	age, err := time.ParseDuration(h.Get(headerStaleAge))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", headerStaleAge, err)
	}
	return &orchestrator.StaleMark{From: h.Get(headerStaleFrom), Age: age}, nil
}

// Stale makes a client whose reads are answered by the coordinator that is asked, from what it knows itself. marked is
// called with each answer's mark. What has no stale answer is refused.
func (c *Client) Stale(marked func(orchestrator.StaleMark)) *Client {
	stale := &Client{endpoints: c.endpoints, cfg: c.cfg, log: c.log, marked: marked}
	stale.current.Store(c.current.Load())
	return stale
}
