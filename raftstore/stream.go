package raftstore

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
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
	protocolName   = "drp-raft/1" // ALPN: a client of the API that comes here by mistake is told so at once
)

// stream carries raft's connections under TLS. Raft's own transport authenticates nobody; here nothing is read from
// anybody who has not shown a coordinator's certificate, of one of the peers.
type stream struct {
	net.Listener
	advertise      address
	server, client *tls.Config
	cfg            *Config
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

func listen(cfg *Config) (*stream, error) {
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for coordinators: %w", err)
	}
	self, _ := cfg.peer(cfg.Name)
	s := &stream{
		Listener: l, advertise: address(self.Address), cfg: cfg, logger: cfg.Logger,
		server: cfg.Server.Clone(), client: cfg.Client.Clone(),
		accepted: make(chan net.Conn), standing: standing{trusted: cfg.Trusted},
	}
	s.gate = &identity.Gate{Strangers: maxHandshakes, PerAddress: perAddress, Known: newPeerAddresses(cfg).known}
	s.server.NextProtos, s.client.NextProtos = []string{protocolName}, []string{protocolName}
	s.ctx, s.cancel = context.WithCancel(context.Background())
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
	err := s.shake(s.ctx, conn, handshakeTimeout)
	leave()
	if err != nil {
		_ = raw.Close()
		s.refusals.tell(s.logger, raw, err)
		return
	}
	cs := conn.ConnectionState()
	peer, err := identity.Of(&cs)
	if err == nil {
		if _, ok := s.cfg.peer(peer.Name); !ok {
			err = fmt.Errorf("%s is not one of our peers", peer)
		}
	}
	if err != nil {
		_ = conn.Close()
		s.logger.Warn("connection to the raft port refused", "from", raw.RemoteAddr().String(), "error", err)
		return
	}
	kept := s.standing.add(conn)
	select {
	case s.accepted <- kept:
	case <-s.ctx.Done():
		_ = kept.Close()
	}
}

func (s *stream) shake(ctx context.Context, conn *tls.Conn, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	if got := conn.ConnectionState().NegotiatedProtocol; got != protocolName {
		return fmt.Errorf("handshake: the other side speaks %q, and not %s", got, protocolName)
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

// Dial connects to a peer, whose certificate has to be a coordinator's.
func (s *stream) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	raw, err := (&net.Dialer{Timeout: timeout}).DialContext(s.ctx, "tcp", string(to))
	if err != nil {
		return nil, fmt.Errorf("dial coordinator: %w", err)
	}
	conn := tls.Client(raw, s.client)
	if err := s.shake(s.ctx, conn, timeout); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("dial coordinator %s: %w", to, err)
	}
	return s.standing.add(conn), nil
}

// Close ends the listening. Connections handed over are raft's to close.
func (s *stream) Close() error {
	s.cancel()
	err := s.Listener.Close()
	s.running.Wait()
	return err
}
