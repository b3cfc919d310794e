package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"drp/raftstore/state"
)

// ErrNotRecorded: what was asked for has to leave an entry in the audit trail first, and that could not be committed.
var ErrNotRecorded = errors.New("nothing is shown that is not recorded in the audit trail")

// recordAgain is how long one entry stands for the same person's doing the same.
const recordAgain = time.Minute

// Record commits that somebody read a customer's data, took out a key, or tried what they may not do. Only once it has
// returned nil may the data be served. The same of the same person within a minute is one entry.
func (o *Orchestrator) Record(ctx context.Context, by string, n state.AuditNoteData) error {
	n.Subject, n.Detail = state.Shorten(n.Subject), state.Shorten(n.Detail)
	n.Account = state.AccountName(state.Shorten(string(n.Account)))
	err := o.records.once(ctx, record{by, n}, o.config.Clock, func() error {
		if _, err := o.leading(); err != nil {
			return err
		}
		_, err := o.propose(ctx, by, state.AuditNote, n)
		return err
	})
	if err != nil {
		return fmt.Errorf("record %q of %s: %w: %w", n.Action, by, ErrNotRecorded, err)
	}
	return nil
}

// record is one entry, but for its time.
type record struct {
	by   string
	note state.AuditNoteData
}

// records are those that this coordinator has committed within a minute, or is about to.
type records struct {
	mu     sync.Mutex
	recent map[record]*commit
}

type commit struct {
	done chan struct{} // closed when at is set, or the attempt was given up
	at   time.Time     // before it was proposed; zero: it was not committed
}

// once calls do unless it has succeeded for the same record within a minute. Who asks for the same meanwhile waits: nothing
// is served on the word of a commit that has yet to come.
func (r *records) once(ctx context.Context, key record, clock func() time.Time, do func() error) error {
	for {
		r.mu.Lock()
		c := r.recent[key]
		if c == nil {
			c = &commit{done: make(chan struct{})}
			if r.recent == nil {
				r.recent = map[record]*commit{}
			}
			r.recent[key] = c
			r.mu.Unlock()
			return r.try(key, c, clock(), do)
		}
		r.mu.Unlock()
		select {
		case <-c.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if age := clock().Sub(c.at); !c.at.IsZero() && age >= 0 && age < recordAgain {
			return nil
		}
		r.forget(key, c)
	}
}

func (r *records) try(key record, c *commit, at time.Time, do func() error) error {
	err := do()
	if err == nil {
		c.at = at
	}
	close(c.done)
	if err != nil {
		r.forget(key, c)
		return err
	}
	r.sweep(at)
	return nil
}

func (r *records) forget(key record, c *commit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.recent[key] == c {
		delete(r.recent, key)
	}
}

// sweep drops what is too old to count.
func (r *records) sweep(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, c := range r.recent {
		select {
		case <-c.done:
			if age := now.Sub(c.at); age < 0 || age >= recordAgain {
				delete(r.recent, key)
			}
		default:
		}
	}
}
