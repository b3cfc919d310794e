package raftstore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
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
	turn    chan struct{} // held by who asks; waiting for it ends with one's own patience
	address string
	conn    *standingConn
}

func newTLSCourier(s *stream) *tlsCourier {
	return &tlsCourier{stream: s, served: make(chan struct{}, maxPeerServed), lines: map[string]*line{}}
}

func (c *tlsCourier) answer(f func(h *hello) *hello) { c.respond.Store(&f) }

func (c *tlsCourier) ask(ctx context.Context, to Peer, h *hello) (*hello, error) {
	c.mu.Lock()
	l := c.lines[to.Name]
	if l == nil {
		l = &line{turn: make(chan struct{}, 1)}
		c.lines[to.Name] = l
	}
	c.mu.Unlock()
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("ask coordinator %s: %w", to.Name, ctx.Err())
	}
	kept := l.conn != nil && l.address == to.Address
	answer, err := c.askOn(ctx, l, to, h)
	if err != nil && kept && ctx.Err() == nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		// The other one has been started anew since, or has closed what was idle: that says nothing of how it is now.
		l.hangUp()
		answer, err = c.askOn(ctx, l, to, h)
	}
	if err != nil {
		l.hangUp()
		return nil, fmt.Errorf("ask coordinator %s: %w", to.Name, err)
	}
	return answer, nil
}

func (l *line) hangUp() {
	if l.conn != nil {
		_ = l.conn.Close()
		l.conn = nil
	}
}

func (c *tlsCourier) askOn(ctx context.Context, l *line, to Peer, h *hello) (*hello, error) {
	if l.address != to.Address {
		l.hangUp()
	}
	if l.conn == nil {
		conn, err := c.stream.connect(ctx, to.Address, peerProtocol)
		if err != nil {
			return nil, err
		}
		l.conn, l.address = conn, to.Address
		cs := conn.ConnectionState()
		id, err := identity.Dialled(&cs)
		if err != nil {
			return nil, fmt.Errorf("at %s: %w", to.Address, err)
		}
		if id.Name != to.Name {
			return nil, fmt.Errorf("%s answers there", id.Name)
		}
	}
	conn := l.conn // the line may have another one, or none, when the deadline passes
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(peerIOTimeout)); err != nil {
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
	lines := slices.Collect(maps.Values(c.lines))
	c.mu.Unlock()
	for _, l := range lines {
		l.turn <- struct{}{}
		l.hangUp()
		<-l.turn
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
