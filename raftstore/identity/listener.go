package identity

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

const (
	handshakeTimeout = 5 * time.Second
	strangers        = 512 // a thousand agents that come at once, after an election, are through in moments
	perAddress       = 64

	// Who has shown no certificate may stay, to show a token; so may whoever has none. They have places, too.
	anonymous           = 1024
	anonymousPerAddress = 256
)

// Listener hands connections over after their handshake, so that one that never ends its own holds up nobody, and a
// thousand of them cost no more than a few places at a Gate. Those without a certificate, where they are let in at all,
// keep a place for as long as they last.
type Listener struct {
	net.Listener
	config   *tls.Config
	gate     *Gate
	nameless *Gate
	log      *slog.Logger
	accepted chan net.Conn
	failed   chan error
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

// NewListener takes over l. A nil log says nothing.
func NewListener(l net.Listener, config *tls.Config, log *slog.Logger) *Listener {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	t := &Listener{
		Listener: l, config: config, gate: &Gate{Strangers: strangers, PerAddress: perAddress}, log: log,
		nameless: &Gate{Strangers: anonymous, PerAddress: anonymousPerAddress},
		accepted: make(chan net.Conn), failed: make(chan error, 1),
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.running.Add(1)
	go t.acceptAll()
	return t
}

func (t *Listener) acceptAll() {
	defer t.running.Done()
	for {
		raw, err := t.Listener.Accept()
		switch {
		case err == nil:
		case t.ctx.Err() != nil:
			return
		case errors.Is(err, net.ErrClosed):
			t.failed <- err
			return
		default:
			t.log.Warn("accept of a connection failed", "error", err) // out of descriptors, as a rule
			select {
			case <-time.After(100 * time.Millisecond):
			case <-t.ctx.Done():
				return
			}
			continue
		}
		leave := t.gate.Enter(raw)
		t.running.Go(func() {
			place := &placed{Conn: raw}
			conn := tls.Server(place, t.config)
			ctx, cancel := context.WithTimeout(t.ctx, handshakeTimeout)
			err := conn.HandshakeContext(ctx)
			cancel()
			leave()
			if err != nil {
				_ = raw.Close()
				t.log.Debug("handshake refused", "from", raw.RemoteAddr().String(), "error", err)
				return
			}
			if len(conn.ConnectionState().PeerCertificates) == 0 {
				place.keep(t.nameless.Enter(place))
			}
			select {
			case t.accepted <- conn:
			case <-t.ctx.Done():
				_ = conn.Close()
			}
		})
	}
}

// Accept returns the next connection, a *tls.Conn whose handshake is done.
func (t *Listener) Accept() (net.Conn, error) {
	select {
	case conn := <-t.accepted:
		return conn, nil
	case err := <-t.failed:
		t.failed <- err
		return nil, err
	case <-t.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close ends the listening. Connections handed over are their owner's to close.
func (t *Listener) Close() error {
	t.cancel()
	err := t.Listener.Close()
	t.running.Wait()
	return err
}

// placed is a connection that gives its place back when it is closed, by whomever.
type placed struct {
	net.Conn
	mu     sync.Mutex
	leave  func()
	closed bool
}

func (p *placed) keep(leave func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed { // the next one has taken its place already
		leave()
		return
	}
	p.leave = leave
}

func (p *placed) Close() error {
	p.mu.Lock()
	leave := p.leave
	p.leave, p.closed = nil, true
	p.mu.Unlock()
	if leave != nil {
		leave()
	}
	return p.Conn.Close()
}
