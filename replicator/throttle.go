package replicator

import (
	"context"
	"io"
	"net/http"

	"golang.org/x/time/rate"
)

// NewBandwidth is a bound of so many bytes a second.
func NewBandwidth(perSecond int64) *rate.Limiter {
	// A tenth of a second at once: a reader that waits for its turn is not taken for a store that stopped answering.
	return rate.NewLimiter(rate.Limit(perSecond), int(max(perSecond/10, 1<<10)))
}

// throttled reads answers no faster than the limiter allows.
func throttled(base http.RoundTripper, limit *rate.Limiter) http.RoundTripper {
	if limit == nil {
		return base
	}
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		response, err := base.RoundTrip(r)
		if err == nil {
			response.Body = &slowed{ReadCloser: response.Body, ctx: r.Context(), limit: limit}
		}
		return response, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type slowed struct {
	io.ReadCloser
	ctx   context.Context
	limit *rate.Limiter
}

func (s *slowed) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p[:min(len(p), s.limit.Burst())])
	if waitErr := s.limit.WaitN(s.ctx, n); waitErr != nil {
		return n, waitErr
	}
	return n, err
}
