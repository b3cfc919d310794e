package raftstore

import (
	"fmt"
	"strings"
	"time"
)

// checkRoom refuses what could not be written: where we decide and our own disk is full, or those of so many voters that
// no quorum has room. Nobody has to wait then to learn that nothing comes of it.
func (s *Store) checkRoom() error {
	leads := s.established()
	if own := s.space.full(); own != "" {
		if _, known := s.Leader(); leads || !known {
			return fmt.Errorf("coordinator %s takes nothing new: %s; make room there: %w", s.cfg.Name, own, ErrDiskFull)
		}
	}
	if !leads {
		return nil
	}
	others := s.peers.full(time.Now())
	if len(others) == 0 {
		return nil
	}
	voters := s.roster.voters()
	var full []string
	for _, name := range voters {
		if words := others[name]; words != "" && name != s.cfg.Name {
			full = append(full, fmt.Sprintf("coordinator %s: %s", name, words))
		}
	}
	if len(voters)-len(full) < len(voters)/2+1 {
		return fmt.Errorf("nothing new can be decided, since no quorum has room (%s); make room there: %w", strings.Join(full, "; "), ErrDiskFull)
	}
	return nil
}

// full are those that said lately that their disk is.
func (p *peers) full(now time.Time) map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var full map[string]string
	for name, o := range p.list {
		if o.Full != "" && now.Sub(o.at) <= heardOf {
			if full == nil {
				full = map[string]string{}
			}
			full[name] = o.Full
		}
	}
	return full
}

// abstains says why this node must not lead: a leader that cannot write is none.
func (s *Store) abstains() error {
	if own := s.space.full(); own != "" {
		return fmt.Errorf("%s: %w", own, ErrDiskFull)
	}
	return nil
}
