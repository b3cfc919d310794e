package raftstore

import (
	"context"
	"sync"
	"time"
)

const (
	exchangeEvery   = time.Second
	exchangeTimeout = 3 * time.Second
)

// exchange asks each other member once a second, and then looks at what is known. It ends with the store.
func (s *Store) exchange() {
	ticker := time.NewTicker(exchangeEvery)
	defer ticker.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	underway := &names{set: map[string]bool{}}
	for {
		for _, p := range s.roster.others() {
			if !underway.add(p.Name) {
				continue
			}
			asking.Add(1)
			go func() {
				defer asking.Done()
				defer underway.remove(p.Name)
				s.ask(ctx, p)
			}()
		}
		select {
		case <-ticker.C:
			s.look(time.Now())
		case <-s.done:
			return
		}
	}
}

// ask exchanges one hello. That nobody answers shows by itself.
func (s *Store) ask(ctx context.Context, p Peer) (*hello, error) {
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	sent, wall := time.Now(), s.cfg.Clock.Wall()
	h, err := s.parts.courier.ask(ctx, p, s.hello())
	if err != nil {
		return nil, err
	}
	now := time.Now()
	clock := h.Clock.Sub(wall.Add(now.Sub(sent) / 2)).Round(time.Millisecond)
	s.peers.hear(h, now, &clock)
	if h.Leads {
		s.peers.leaderSaid(h, sent)
	}
	s.heardFrom(h)
	return h, nil
}

// answer is called for each hello of another coordinator.
func (s *Store) answer(h *hello) *hello {
	_, member := s.roster.address(h.Name)
	if member {
		s.peers.hear(h, time.Now(), nil)
		s.heardFrom(h)
	}
	return s.hello()
}

// heardFrom acts on what a member says of the membership.
func (s *Store) heardFrom(h *hello) {
	if _, ok := s.roster.server(h.Name); ok && h.Term >= s.raft.CurrentTerm() {
		s.roster.believe(h.Members)
	}
	s.judgeOwnPlace(h)
}

// names is a set of them.
type names struct {
	mu  sync.Mutex
	set map[string]bool
}

func (n *names) add(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.set[name] {
		return false
	}
	n.set[name] = true
	return true
}

func (n *names) remove(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.set, name)
}
