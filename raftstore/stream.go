package raftstore

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"drp/raftstore/identity"
)

const (
	handshakeTimeout = 5 * time.Second
	// maxHandshakes bounds what strangers can make us hold: they get no further than the handshake. Those from the peers'
	// own addresses have places of their own.
	maxHandshakes  = 64
	perAddress     = 16
	checkTrustEach = 5 * time.Second
)

// stream carries raft's connections under TLS. Raft's own transport authenticates nobody; here nothing is read from
// anybody who has not shown a coordinator's certificate, of one of the peers.
type stream struct {
	net.Listener
	advertise      address
	server, client *tls.Config
	cfg            *Config
	roster         *roster
	history        *history
	peers          *tlsCourier
	logger         *slog.Logger

	accepted chan net.Conn
	gate     *identity.Gate
	standing standing
	refusals refusals
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

// address is how the others call us, which need not be what we listen at.
type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

func listen(cfg *Config, r *roster, h *history) (*stream, error) {
	l, err := cfg.Network.Listen(cfg.Listen)
	if err != nil {
		return nil, err
	}
	self, _ := cfg.peer(cfg.Name)
	s := &stream{
		Listener: l, advertise: address(self.Address), cfg: cfg, roster: r, history: h, logger: cfg.Logger,
		server: cfg.Server.Clone(), client: cfg.Client.Clone(),
		accepted: make(chan net.Conn),
	}
	s.standing.welcome = s.stillWelcome
	s.gate = &identity.Gate{Strangers: maxHandshakes, PerAddress: perAddress, Known: newPeerAddresses(r).known}
	s.offer()
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.peers = newTLSCourier(s) // before anybody is let in
	s.running.Add(1)
	go s.acceptAll()
	s.running.Go(func() { s.standing.watch(s.ctx, checkTrustEach, s.logger) })
	return s, nil
}

func (s *stream) Addr() net.Addr { return s.advertise }

// acceptAll hands over connections after their handshake, so that one that never finishes its own holds up nobody.
func (s *stream) acceptAll() {
	defer s.running.Done()
	for {
		conn, err := s.Listener.Accept()
		if err != nil {
			if s.ctx.Err() != nil {
				return
			}
			s.logger.Warn("accept of a coordinator failed", "error", err) // out of descriptors, as a rule
			select {
			case <-time.After(100 * time.Millisecond):
			case <-s.ctx.Done():
				return
			}
			continue
		}
		leave := s.gate.Enter(conn)
		s.running.Add(1)
		go func() {
			defer s.running.Done()
			s.greet(conn, leave)
		}()
	}
}

func (s *stream) greet(raw net.Conn, leave func()) {
	conn := tls.Server(raw, s.server)
	refuse := func(err error) {
		_ = raw.Close()
		s.standing.forget(conn)
		s.refusals.tell(s.logger, raw, err)
	}
	err := s.shake(s.ctx, conn, handshakeTimeout)
	leave()
	if err != nil {
		refuse(err)
		return
	}
	cs := conn.ConnectionState()
	peer, err := identity.Of(&cs)
	if err != nil {
		refuse(err)
		return
	}
	name, protocol := peer.Name, cs.NegotiatedProtocol
	kept := s.standing.add(conn)
	switch {
	case protocol == peerProtocol: // any coordinator of this cluster: one that was removed has to learn of it
		s.servePeer(kept, name)
		return
	case !s.roster.admits(name):
		refuse(notAdmitted(name))
		return
	}
	select {
	case s.accepted <- kept:
	case <-s.ctx.Done():
		_ = kept.Close()
	}
}

func notAdmitted(name string) error {
	return fmt.Errorf("coordinator %s is no member of the cluster", name)
}

// stillWelcome says why a connection that stands should not: its certificate counts no more, or, of raft's, its holder was
// removed.
func (s *stream) stillWelcome(cs tls.ConnectionState) error {
	if s.cfg.Trusted != nil {
		if err := s.cfg.Trusted(cs.PeerCertificates[0]); err != nil {
			return err
		}
	}
	peer, err := identity.Of(&cs)
	if err == nil && cs.NegotiatedProtocol != peerProtocol && !s.roster.admits(peer.Name) {
		return notAdmitted(peer.Name)
	}
	return nil
}

// servePeer gives the slot of the handshake back: such a connection lasts.
func (s *stream) servePeer(conn net.Conn, name string) {
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		defer func() { _ = conn.Close() }()
		s.peers.serve(conn, name)
	}()
}

func (s *stream) shake(ctx context.Context, conn *tls.Conn, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	return nil
}

// Accept returns the next connection of a peer.
func (s *stream) Accept() (net.Conn, error) {
	select {
	case conn := <-s.accepted:
		return conn, nil
	case <-s.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Dial connects raft to a peer, whose certificate has to be that coordinator's. Where another one answered at its address
// (a name that leads to the wrong machine, an address that was given away), that one would be counted twice: one coordinator
// could be a majority.
func (s *stream) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	conn, err := s.connect(ctx, string(to), s.history.protocols()...)
	if err != nil {
		return nil, err
	}
	cs := conn.ConnectionState()
	id, err := identity.Dialled(&cs)
	if names := s.roster.at(string(to)); err == nil && len(names) > 0 && !slices.Contains(names, id.Name) {
		err = fmt.Errorf("at this address answers coordinator %s, and not %s: look at where the name leads to, and at peers in the configuration file", id.Name, strings.Join(names, " or "))
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("dial coordinator %s: %w", to, err)
	}
	return conn, nil
}

// connect dials, shakes hands, and makes sure that the other side speaks what we want to.
func (s *stream) connect(ctx context.Context, to string, protocols ...string) (*standingConn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	raw, err := s.cfg.Network.Dial(ctx, to)
	if err != nil {
		return nil, err
	}
	config := s.client.Clone()
	config.NextProtos = protocols
	conn := tls.Client(raw, config)
	err = s.shake(s.ctx, conn, handshakeTimeout)
	if got := conn.ConnectionState().NegotiatedProtocol; err == nil && !slices.Contains(protocols, got) {
		err = fmt.Errorf("handshake: the other side speaks %q, and not %q", got, protocols)
	}
	if err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("dial coordinator %s: %w", to, err)
	}
	return s.standing.add(conn), nil
}

// Close ends the listening. Connections handed over are raft's to close.
func (s *stream) Close() error {
	s.cancel()
	s.peers.close()
	err := s.Listener.Close()
	s.running.Wait()
	return err
}
