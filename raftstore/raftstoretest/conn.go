package raftstoretest

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// stream is one direction of a connection. The network's lock guards it.
type stream struct {
	net            *Network
	writer, reader *host

	queue  []segment
	ended  bool // the writer has closed
	gone   bool // the reader has
	reset  bool // one of the processes was killed
	change chan struct{}
}

type segment struct {
	at   time.Time // when it arrives
	data []byte
}

func (s *stream) changed() {
	close(s.change)
	s.change = make(chan struct{})
}

// conn is one end of a connection.
type conn struct {
	in, out       *stream
	local, remote addr

	closed                      bool // guarded, as all below, by the network's lock
	readDeadline, writeDeadline time.Time
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// Read waits for bytes that have arrived. While its process is frozen it does not even find its deadline.
func (c *conn) Read(b []byte) (int, error) {
	for {
		n, wait, err := c.read(b)
		if n > 0 || err != nil || len(b) == 0 {
			return n, err
		}
		wait()
	}
}

func (c *conn) read(b []byte) (n int, wait func(), err error) {
	s := c.in
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	now := time.Now()
	from, to := s.writer.name, s.reader.name
	cut := s.net.cut(from, to)
	switch {
	case s.reader.dead, c.closed:
		return 0, nil, net.ErrClosed
	case s.net.frozen[to]:
		return 0, waiter(s, time.Time{}), nil
	case s.reset && !cut:
		return 0, nil, os.NewSyscallError("read", syscall.ECONNRESET)
	case !c.readDeadline.IsZero() && !now.Before(c.readDeadline):
		return 0, nil, os.ErrDeadlineExceeded
	case cut:
		return 0, waiter(s, c.readDeadline), nil
	case len(s.queue) == 0 && s.ended:
		return 0, nil, io.EOF
	case len(s.queue) == 0:
		return 0, waiter(s, c.readDeadline), nil
	case now.Before(s.queue[0].at):
		until := s.queue[0].at
		if !c.readDeadline.IsZero() && c.readDeadline.Before(until) {
			until = c.readDeadline
		}
		return 0, waiter(s, until), nil
	}
	n = copy(b, s.queue[0].data)
	s.queue[0].data = s.queue[0].data[n:]
	if len(s.queue[0].data) == 0 {
		s.queue = s.queue[1:]
	}
	return n, nil, nil
}

// waiter returns a function that waits for a change, or a time (zero: none). It is called with the network locked.
func waiter(s *stream, until time.Time) func() {
	own, all := s.change, s.net.change
	return func() {
		var timeout <-chan time.Time
		if !until.IsZero() {
			t := time.NewTimer(time.Until(until))
			defer t.Stop()
			timeout = t.C
		}
		select {
		case <-own:
		case <-all:
		case <-timeout:
		}
	}
}

// Write never waits for the reader: what is on its way is held by the network.
func (c *conn) Write(b []byte) (int, error) {
	for {
		wait, err := c.write(b)
		if err != nil {
			return 0, err
		}
		if wait == nil {
			return len(b), nil
		}
		wait()
	}
}

func (c *conn) write(b []byte) (wait func(), err error) {
	s := c.out
	s.net.mu.Lock()
	defer s.net.mu.Unlock()
	now := time.Now()
	from, to := s.writer.name, s.reader.name
	switch {
	case s.writer.dead, c.closed:
		return nil, net.ErrClosed
	case s.net.frozen[from]:
		return waiter(s, time.Time{}), nil
	case (s.reset || s.gone) && !s.net.cut(to, from):
		return nil, os.NewSyscallError("write", syscall.EPIPE)
	case !c.writeDeadline.IsZero() && !now.Before(c.writeDeadline):
		return nil, os.ErrDeadlineExceeded
	}
	at := s.net.arrival(from, to, now)
	if n := len(s.queue); n > 0 && at.Before(s.queue[n-1].at) {
		at = s.queue[n-1].at
	}
	s.queue = append(s.queue, segment{at, append([]byte(nil), b...)})
	s.changed()
	return nil, nil
}

func (c *conn) Close() error {
	c.in.net.mu.Lock()
	defer c.in.net.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closed, c.out.ended, c.in.gone = true, true, true
	c.in.changed()
	c.out.changed()
	for _, s := range []*stream{c.in, c.out} {
		if s.ended && s.gone {
			delete(s.net.streams, s)
		}
	}
	return nil
}

func (c *conn) SetDeadline(t time.Time) error {
	c.setDeadlines(func() { c.readDeadline, c.writeDeadline = t, t })
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.setDeadlines(func() { c.readDeadline = t })
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.setDeadlines(func() { c.writeDeadline = t })
	return nil
}

func (c *conn) setDeadlines(set func()) {
	c.in.net.mu.Lock()
	defer c.in.net.mu.Unlock()
	set()
	c.in.changed()
}
