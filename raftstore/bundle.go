package raftstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"drp/raftstore/state"
)

// Commands that are proposed while others are on their way wait, and then go into the log as one entry: what an entry costs
// (a future, a place in each message, a record on each disk) is paid once for all of them. When it is quiet, nothing waits.

const (
	maxFlying = 2        // entries on their way: one is written while the other is filled
	maxBundle = 64 << 10 // bytes of an entry of several commands, see maxCommand
)

// proposal is one command that waits for its answer.
type proposal struct {
	ctx    context.Context
	line   []byte
	answer chan answer // has room for it
}

type answer struct {
	result state.Result
	err    error
}

// queue are the commands that wait, oldest first.
type queue struct {
	mu      sync.Mutex
	waiting []*proposal
	flying  int
}

// commit puts an encoded command into the log, alone or with others, and waits until it is applied here.
func (s *Store) commit(ctx context.Context, line []byte) (state.Result, error) {
	p := &proposal{ctx: ctx, line: line, answer: make(chan answer, 1)}
	s.enqueue(p)
	select {
	case a := <-p.answer:
		return a.result, a.err
	case <-ctx.Done(): // it may be on its way
		return state.Result{}, fmt.Errorf("%w: %w", ErrUnknownOutcome, context.Cause(ctx))
	}
}

func (s *Store) enqueue(p *proposal) {
	bundles := s.bundles()
	q := &s.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, p)
	if !bundles || q.flying < maxFlying {
		q.flying++
		go s.fly()
	}
}

// bundles reports whether all members can read entries with several commands. As long as they cannot, each command
// flies alone, and none waits for another.
func (s *Store) bundles() bool {
	v := s.View()
	return v.Cluster() != nil && v.Level() >= state.LevelBundles
}

// fly takes entries to the log, one after the other, until nothing waits.
func (s *Store) fly() {
	for {
		size := 0
		if s.bundles() {
			size = maxBundle
		}
		together := s.queue.take(size)
		if len(together) == 0 {
			return
		}
		s.send(together)
	}
}

// take returns the commands of the next entry: the first one, and what else has room. Of those whose caller has given up
// nothing is left. With none, it counts one flight less.
func (q *queue) take(size int) []*proposal {
	q.mu.Lock()
	defer q.mu.Unlock()
	var together []*proposal
	taken := 0
	for _, p := range q.waiting {
		if p.ctx.Err() == nil {
			size -= len(p.line) + 1
			if len(together) > 0 && size < 0 {
				break
			}
			together = append(together, p)
		}
		taken++
	}
	clear(q.waiting[:taken])
	q.waiting = q.waiting[taken:]
	if len(together) == 0 {
		q.flying--
	}
	return together
}

// send puts one entry into the log, and hands out the answers.
func (s *Store) send(together []*proposal) {
	results, err := s.apply(together)
	for i, p := range together {
		if err != nil {
			p.answer <- answer{err: err}
			continue
		}
		p.answer <- answer{result: results[i]}
	}
}

func (s *Store) apply(together []*proposal) ([]state.Result, error) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return nil, s.err
	}
	s.calls.Add(1)
	s.mu.Unlock()
	defer s.calls.Done()
	var until time.Time
	lines := make([][]byte, len(together))
	for i, p := range together {
		lines[i] = p.line
		if deadline, _ := p.ctx.Deadline(); deadline.After(until) {
			until = deadline
		}
	}
	future := s.raft.Apply(state.Bundle(lines...), time.Until(until))
	err := future.Error()
	switch {
	case err == nil:
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return nil, ErrNotLeader
	case s.space.full() != "": // raft tells of it in words alone
		return nil, fmt.Errorf("%w: coordinator %s: %s: %w: %w", ErrUnknownOutcome, s.cfg.Name, s.space.full(), ErrDiskFull, err)
	default: // of leadership lost on the way, and of every timeout, nobody knows what became
		return nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	switch response := future.Response().(type) {
	case []state.Result:
		if len(response) == len(together) {
			return response, nil
		}
		return nil, fmt.Errorf("%w: %d answers to %d commands", ErrUnknownOutcome, len(response), len(together))
	case error:
		return nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, response)
	default:
		return nil, fmt.Errorf("%w: answer of type %T", ErrUnknownOutcome, response)
	}
}
