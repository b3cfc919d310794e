package raftstore

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"drp/raftstore/identity"
)

const (
	peerProtocol   = "drp-peer/1" // ALPN
	peerIdle       = 30 * time.Second
	maxPeerServed  = 64 // connections; each coordinator keeps one
	peerIOTimeout  = exchangeTimeout
	helloSizeBytes = 4
)

// tlsCourier carries hellos over the raft port, under the same certificates. Each end keeps one connection for its
// own questions, so that a flood of strangers' handshakes does not come between coordinators that know each other.
type tlsCourier struct {
	stream  *stream
	respond atomic.Pointer[func(h *hello) *hello]
	served  chan struct{} // slots

	mu    sync.Mutex
	lines map[string]*line // by name
}

// line is the connection for questions to one peer.
type line struct {
	mu      sync.Mutex
	address string
	conn    *tls.Conn
}

func newTLSCourier(s *stream) *tlsCourier {
	c := &tlsCourier{stream: s, served: make(chan struct{}, maxPeerServed), lines: map[string]*line{}}
	s.peers = c
	return c
}

func (c *tlsCourier) answer(f func(h *hello) *hello) { c.respond.Store(&f) }

func (c *tlsCourier) ask(ctx context.Context, to Peer, h *hello) (*hello, error) {
	c.mu.Lock()
	l := c.lines[to.Name]
	if l == nil {
		l = &line{}
		c.lines[to.Name] = l
	}
	c.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	answer, err := c.askOn(ctx, l, to, h)
	if err != nil {
		if l.conn != nil {
			_ = l.conn.Close()
			l.conn = nil
		}
		return nil, fmt.Errorf("ask coordinator %s: %w", to.Name, err)
	}
	return answer, nil
}

func (c *tlsCourier) askOn(ctx context.Context, l *line, to Peer, h *hello) (*hello, error) {
	if l.conn != nil && l.address != to.Address {
		_ = l.conn.Close()
		l.conn = nil
	}
	if l.conn == nil {
		conn, err := c.stream.connect(ctx, to.Address, peerProtocol)
		if err != nil {
			return nil, err
		}
		l.conn, l.address = conn, to.Address
		cs := conn.ConnectionState()
		if id, err := identity.Dialled(&cs); err != nil || id.Name != to.Name {
			return nil, fmt.Errorf("at %s answers %q (%v)", to.Address, id.Name, err)
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = l.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := l.conn.SetDeadline(time.Now().Add(peerIOTimeout)); err != nil {
		return nil, err
	}
	data, err := h.encode()
	if err != nil {
		return nil, err
	}
	if err := writeHello(l.conn, data); err != nil {
		return nil, err
	}
	data, err = readHello(l.conn)
	if err != nil {
		return nil, err
	}
	return decodeHello(data, to.Name)
}

// serve answers one coordinator's questions until it goes away. The stream has shaken hands with it.
func (c *tlsCourier) serve(conn net.Conn, name string) {
	select {
	case c.served <- struct{}{}:
		defer func() { <-c.served }()
	default:
		return
	}
	stop := context.AfterFunc(c.stream.ctx, func() { _ = conn.Close() })
	defer stop()
	for {
		respond := c.respond.Load()
		if respond == nil || conn.SetDeadline(time.Now().Add(peerIdle)) != nil {
			return
		}
		data, err := readHello(conn)
		if err != nil {
			return // it went away, or its silence has lasted
		}
		h, err := decodeHello(data, name)
		if err != nil {
			c.stream.logger.Warn("hello of a coordinator not understood", "error", err)
			return
		}
		data, err = (*respond)(h).encode()
		if err != nil {
			c.stream.logger.Error("hello to a coordinator not sent", "error", err)
			return
		}
		if conn.SetDeadline(time.Now().Add(peerIOTimeout)) != nil || writeHello(conn, data) != nil {
			return
		}
	}
}

// close ends the connections for questions.
func (c *tlsCourier) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.lines {
		l.mu.Lock()
		if l.conn != nil {
			_ = l.conn.Close()
			l.conn = nil
		}
		l.mu.Unlock()
	}
}

func writeHello(w io.Writer, data []byte) error {
	framed := binary.BigEndian.AppendUint32(make([]byte, 0, helloSizeBytes+len(data)), uint32(len(data)))
	_, err := w.Write(append(framed, data...))
	return err
}

func readHello(r io.Reader) ([]byte, error) {
	var size [helloSizeBytes]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxHello {
		return nil, fmt.Errorf("a hello of %d bytes, and %d are allowed", n, maxHello)
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, err
	}
	return data, nil
}
