package raftstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"drp/raftstore/state"
)

// ErrTooNew: an older member could not apply the command. It would stop there, so it is not put into the log.
var ErrTooNew = errors.New("too new for a member")

// checkLevel refuses a command that some member could not apply.
func (s *Store) checkLevel(c state.Command) error {
	level := c.Level()
	if level <= 1 {
		return nil // there is no older one
	}
	oldest := ""
	for _, m := range s.roster.servers() {
		o := s.peers.of(string(m.ID))
		if o != nil && o.Level < level {
			return fmt.Errorf("%s needs level %d, and coordinator %s has %d: upgrade that one: %w", c.Name, level, m.ID, o.Level, ErrTooNew)
		}
		if o == nil && string(m.ID) != s.cfg.Name && oldest == "" {
			oldest = string(m.ID)
		}
	}
	if present := s.View().Level(); level > present {
		who := "all members have it, which the leader will record in a moment"
		if oldest != "" {
			who = fmt.Sprintf("coordinator %s was not heard yet, so nobody knows what it can apply", oldest)
		}
		return fmt.Errorf("%s needs level %d, and the cluster is at %d: %s: %w", c.Name, level, present, who, ErrTooNew)
	}
	return nil
}

// sharedLevel is what every member can apply, by what was heard of it lately.
func (s *Store) sharedLevel(now time.Time) int {
	level := s.cfg.Level
	for _, m := range s.roster.servers() {
		if string(m.ID) == s.cfg.Name {
			continue
		}
		o := s.peers.of(string(m.ID))
		if o == nil || now.Sub(o.at) > heardOf {
			return 0
		}
		level = min(level, o.Level)
	}
	return level
}

// raiseLevel records it when all members can apply more than before.
func (s *Store) raiseLevel(ctx context.Context) error {
	now := time.Now()
	cluster, level := s.View().Cluster(), s.sharedLevel(now)
	if cluster == nil || level <= s.View().Level() {
		return nil
	}
	id := fmt.Sprintf("level-%d-%s-%d", level, s.cfg.Name, now.UnixNano())
	c := state.NewCommand(state.ClusterLevel, id, now, "coordinator/"+s.cfg.Name, state.ClusterLevelData{Level: level})
	r, err := s.propose(ctx, c) // the command that opens the gate does not pass through it
	if err != nil {
		return err
	}
	return r.Err
}
