package identity

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

const (
	firstRetry = time.Minute
	lastRetry  = time.Hour
)

// Renewer keeps a process's certificate from expiring: at two thirds of its lifetime it asks for the next one, with a new
// key. Whatever fails is tried again; the last third is time enough for a person.
type Renewer struct {
	Credentials *Credentials // read from files
	// Ask sends a request and the present certificate with its chain (both PEM) to the platform and returns the next certificate with
	// its chain. It is called by one goroutine, again and again while it fails.
	Ask func(ctx context.Context, requestPEM, presentPEM []byte) (chainPEM []byte, err error)
	Log *slog.Logger
}

// Run renews until ctx ends.
func (r *Renewer) Run(ctx context.Context) error {
	failures := 0
	for {
		wait := time.Until(due(r.Credentials.Certificate(), rand.Float64()))
		if failures > 0 {
			wait = retryAfter(failures, rand.Float64())
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		if time.Now().Before(due(r.Credentials.Certificate(), 0)) {
			failures = 0
			continue // somebody else has renewed it
		}
		if err := r.Renew(ctx); err != nil && ctx.Err() == nil {
			failures++
			r.tell(err)
			continue
		}
		failures = 0
	}
}

// Renew asks for the next certificate now and writes it.
func (r *Renewer) Renew(ctx context.Context) error {
	if err := r.Credentials.Usable(); err != nil {
		return err
	}
	request, key, err := NewRequest()
	if err != nil {
		return err
	}
	chain, err := r.Ask(ctx, request, r.Credentials.ChainPEM())
	if err != nil {
		return fmt.Errorf("renew certificate: %w", err)
	}
	next, err := readPair(chain, key)
	if err != nil {
		return fmt.Errorf("renew certificate: %w", err)
	}
	if id := r.Credentials.Identity(); next.identity != id {
		return fmt.Errorf("renew certificate: the answer is for %s, and we are %s", next.identity, id)
	}
	if err := r.Credentials.Files().Write(chain, key); err != nil {
		return err
	}
	r.Credentials.fresh()
	return nil
}

func (r *Renewer) tell(err error) {
	log := r.Log
	if log == nil {
		log = slog.Default()
	}
	c := r.Credentials.Certificate()
	args := []any{"certificate", r.Credentials.Files().Certificate, "good_until", c.NotAfter, "error", err}
	if left := time.Until(c.NotAfter); errors.Is(err, ErrExpired) || left < c.NotAfter.Sub(c.NotBefore)/6 {
		id := r.Credentials.Identity()
		log.Error("certificate is not renewed, and little or no time is left; this process is cut off when it has expired",
			append(args, "what_to_do", fmt.Sprintf("drp ca enrol %s %s, and join here again with --replace", id.Role, id.Name))...)
		return
	}
	log.Warn("certificate is not renewed yet; trying again", args...)
}

// due is two thirds into the lifetime, and up to a twentieth of it later: processes that were set up together do not
// all come at once.
func due(c *x509.Certificate, jitter float64) time.Time {
	life := c.NotAfter.Sub(IssuedAt(c))
	return IssuedAt(c).Add(life/3*2 + time.Duration(jitter*float64(life/20)))
}

func retryAfter(failures int, jitter float64) time.Duration {
	wait := lastRetry
	if failures < 7 {
		wait = min(firstRetry<<(failures-1), lastRetry)
	}
	return wait/2 + time.Duration(jitter*float64(wait/2))
}
