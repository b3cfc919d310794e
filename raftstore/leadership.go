package raftstore

import (
	"context"
	"fmt"
	"time"

	"drp/raftstore/state"
)

// leadership is one term of this node as the leader.
type leadership struct {
	ctx   context.Context // ends with the leadership
	end   context.CancelFunc
	ready chan struct{} // closed when everything committed before is applied here
	term  uint64        // set before ready is closed
}

// watchLeadership is the one reader of raft's LeaderCh. Two trues in a row mean that the leadership was lost and won
// again in between, so each value ends what was before.
func (s *Store) watchLeadership(leaderCh <-chan bool) {
	defer close(s.watched)
	var current *leadership
	set := func(next *leadership) {
		if current != nil {
			current.end()
		}
		current = next
		s.mu.Lock()
		s.leading = next
		close(s.ledChange)
		s.ledChange = make(chan struct{})
		s.mu.Unlock()
	}
	defer set(nil)
	for {
		select {
		case won := <-leaderCh:
			if !won {
				set(nil)
				continue
			}
			next := &leadership{ready: make(chan struct{})}
			next.ctx, next.end = context.WithCancel(context.Background())
			set(next)
			go s.establish(next)
		case <-s.done:
			return
		}
	}
}

// establish commits an entry of our own term: after that, all that was ever acknowledged is in our state.
func (s *Store) establish(l *leadership) {
	for l.ctx.Err() == nil {
		term := s.raft.CurrentTerm()
		ctx, cancel := context.WithTimeout(l.ctx, proposeTimeout)
		err := s.await(ctx, func() error { return s.raft.Barrier(proposeTimeout).Error() })
		if err == nil && s.raft.CurrentTerm() == term {
			l.term = term
			close(l.ready)
			cancel()
			return
		}
		// Whoever was deposed meanwhile hears so from LeaderCh; a leader whose quorum is slow tries again.
		s.cfg.Logger.Warn("barrier of a new leader has not passed yet", "term", term, "error", err)
		select {
		case <-time.After(s.cfg.Timers.LeaderLease):
		case <-l.ctx.Done():
		}
		cancel()
	}
}

func (s *Store) leadership() (*leadership, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leading, s.ledChange
}

// Lead runs f each time this node has become the leader and has everything that was committed before. The context of f
// ends with the leadership; f has to return then, and is only called again after it did. Lead returns when ctx ends,
// when the store does, or with the error of an f that failed while it was leading. An f that returns nil is called
// again under the next leadership.
func (s *Store) Lead(ctx context.Context, f func(ctx context.Context) error) error {
	var last *leadership
	for {
		l, change := s.leadership()
		if l == nil || l == last {
			select {
			case <-change:
				continue
			case <-ctx.Done():
				return ctx.Err()
			case <-s.done:
				return s.Err()
			}
		}
		last = l
		select {
		case <-l.ready:
		case <-l.ctx.Done():
			continue
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := runWhile(ctx, l.ctx, f); err != nil && l.ctx.Err() == nil && ctx.Err() == nil {
			return fmt.Errorf("lead: %w", err)
		}
	}
}

// runWhile runs f under ctx until it returns, and cancels it when during ends.
func runWhile(ctx, during context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(during, func() { cancel(ErrNotLeader) })
	defer stop()
	return f(ctx)
}

// Read returns a state that has every command acknowledged before the call. On other nodes than the leader it fails
// with ErrNotLeader.
func (s *Store) Read(ctx context.Context) (*state.View, error) {
	v, err := s.read(ctx)
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	return v, nil
}

// read keeps to the only order that is right: barrier (once in a term), capture, then verify. A leadership that was
// lost and won again while we looked has another term, and a barrier of its own to pass.
func (s *Store) read(ctx context.Context) (*state.View, error) {
	if err := s.Err(); err != nil {
		return nil, err
	}
	l, _ := s.leadership()
	if l == nil {
		return nil, ErrNotLeader
	}
	ctx, cancel := context.WithTimeout(ctx, verifyTimeout)
	defer cancel()
	select {
	case <-l.ready:
	case <-l.ctx.Done():
		return nil, ErrNotLeader
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	view := s.View()
	if err := s.await(ctx, func() error { return s.raft.VerifyLeader().Error() }); err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("verify leadership: %w", err)
		}
		return nil, fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	if s.raft.CurrentTerm() != l.term {
		return nil, ErrNotLeader
	}
	return view, s.Err()
}
