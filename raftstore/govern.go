package raftstore

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"
)

// govern does what only the leader may: it gives new members their vote, and hands over where its disk is full.
func (s *Store) govern(ctx context.Context) error {
	ticker := time.NewTicker(exchangeEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
		for _, step := range []struct {
			what string
			do   func(context.Context) error
		}{
			{"raise the level", s.raiseLevel},
			{"make a member a voter", s.promote},
			{"hand over, because the disk is full", s.handOver},
		} {
			step, cancel := step, context.CancelFunc(nil)
			bounded, cancel := context.WithTimeout(ctx, changeTimeout)
			err := step.do(bounded)
			cancel()
			if err != nil && ctx.Err() == nil && !errors.Is(err, ErrNotLeader) {
				s.cfg.Logger.Warn("leader could not "+step.what+"; it tries again", "error", err)
			}
		}
	}
}

// promote makes one member a voter that has been healthy for long enough.
func (s *Store) promote(ctx context.Context) error {
	if s.candidate(s.roster.servers()) == nil {
		return nil
	}
	index, servers, err := s.configuration()
	if err != nil {
		return err
	}
	m := s.candidate(servers)
	if m == nil {
		return nil
	}
	return s.change(ctx, func() raft.IndexFuture { return s.raft.AddVoter(m.ID, m.Address, index, changeTimeout) })
}

func (s *Store) candidate(servers []raft.Server) *raft.Server {
	for i, m := range servers {
		if m.Suffrage == voter {
			continue
		}
		o := s.peers.of(string(m.ID))
		if o != nil && !o.healthy.IsZero() && time.Since(o.healthy) >= promoteAfter && o.Level >= s.View().Level() {
			return &servers[i]
		}
	}
	return nil
}

// handOver makes a voter the leader that has room.
func (s *Store) handOver(ctx context.Context) error {
	if s.space.full() == "" {
		return nil
	}
	for _, name := range s.roster.voters() {
		o := s.peers.of(name)
		if name != s.cfg.Name && o != nil && !o.healthy.IsZero() && o.Full == "" {
			return s.transfer(ctx, name)
		}
	}
	return nil
}
