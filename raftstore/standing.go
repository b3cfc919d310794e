package raftstore

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// standing are the connections that raft has. They live for weeks; a certificate may be revoked meanwhile, or expire
// and be renewed, and a coordinator be removed. Closing one costs its peer a handshake.
type standing struct {
	welcome func(tls.ConnectionState) error // why one should not stand any longer
	mu      sync.Mutex
	conns   map[*standingConn]struct{}
}

// standingConn leaves the list when it is closed, by whomever.
type standingConn struct {
	*tls.Conn
	of   *standing
	once sync.Once
}

func (c *standingConn) Close() error {
	c.once.Do(func() {
		c.of.mu.Lock()
		delete(c.of.conns, c)
		c.of.mu.Unlock()
	})
	return c.Conn.Close()
}

func (s *standing) add(conn *tls.Conn) *standingConn {
	c := &standingConn{Conn: conn, of: s}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		s.conns = map[*standingConn]struct{}{}
	}
	s.conns[c] = struct{}{}
	return c
}

// forget is for a connection that was closed and not handed over.
func (s *standing) forget(conn *tls.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.Conn == conn {
			delete(s.conns, c)
		}
	}
}

// watch closes what is not welcome any more, until ctx ends.
func (s *standing) watch(ctx context.Context, every time.Duration, log *slog.Logger) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.closeUnwelcome(log)
		}
	}
}

func (s *standing) closeUnwelcome(log *slog.Logger) {
	s.mu.Lock()
	all := make([]*standingConn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	s.mu.Unlock()
	for _, c := range all {
		cs := c.ConnectionState()
		if len(cs.PeerCertificates) == 0 {
			continue
		}
		if err := s.welcome(cs); err != nil {
			log.Warn("connection to a coordinator closed", "with", c.RemoteAddr().String(), "reason", err)
			_ = c.NetConn().Close() // at once: a polite end could wait for who does not read
			_ = c.Close()
		}
	}
}

// refusals keeps strangers from filling the disk with what we say of them.
type refusals struct {
	mu     sync.Mutex
	next   time.Time
	unsaid int
}

const tellEach = time.Second

func (r *refusals) tell(log *slog.Logger, conn net.Conn, cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if now.Before(r.next) {
		r.unsaid++
		return
	}
	log.Warn("connection to the raft port refused", "from", conn.RemoteAddr().String(), "error", cause, "others_before", r.unsaid)
	r.next, r.unsaid = now.Add(tellEach), 0
}

// peerAddresses are those at which the other coordinators are reached. Names are looked up now and then, and never by
// who waits for the answer.
type peerAddresses struct {
	roster *roster
	mu     sync.Mutex
	named  map[netip.Addr]bool
	asked  time.Time
}

const lookUpEach = time.Minute

func newPeerAddresses(r *roster) *peerAddresses { return &peerAddresses{roster: r} }

func (p *peerAddresses) known(a netip.Addr) bool {
	var names []string
	for _, peer := range append(p.roster.others(), p.roster.file...) {
		host, _, err := net.SplitHostPort(peer.Address)
		if err != nil {
			continue
		}
		at, err := netip.ParseAddr(host)
		switch {
		case err != nil:
			names = append(names, host)
		case at.Unmap().WithZone("") == a:
			return true
		}
	}
	if len(names) == 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.asked) > lookUpEach {
		p.asked = time.Now()
		go p.lookUp(names)
	}
	return p.named[a]
}

// lookUp leaves out what has no answer: without a place of its own a peer still has a stranger's.
func (p *peerAddresses) lookUp(names []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	named := map[netip.Addr]bool{}
	for _, name := range names {
		found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		if err != nil {
			continue
		}
		for _, a := range found {
			named[a.Unmap().WithZone("")] = true
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.named = named
}
