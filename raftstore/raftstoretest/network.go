package raftstoretest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Network carries the connections of all nodes, below TLS. It keeps the order of the bytes of a connection, as TCP does:
// what is lost comes later, and what is sent into a cut comes when the cut heals, unless somebody gave up before.
type Network struct {
	mu        sync.Mutex
	random    *rand.Rand
	listeners map[string]*listener // by address
	links     map[route]Link
	frozen    map[string]bool
	streams   map[*stream]bool
	change    chan struct{} // closed at the next change of links, freezes and resets
}

type route struct{ from, to string } // names of nodes

// Link is one direction between two nodes. The zero value is a good one.
type Link struct {
	Cut    bool
	Delay  time.Duration // of everything
	Jitter time.Duration // up to so much more
	Drop   float64       // share of writes that have to be sent again, 200 ms later, perhaps several times
}

func newNetwork(random *rand.Rand) *Network {
	return &Network{
		random: random, listeners: map[string]*listener{}, links: map[route]Link{}, frozen: map[string]bool{},
		streams: map[*stream]bool{}, change: make(chan struct{}),
	}
}

// Set makes one direction as given.
func (n *Network) Set(from, to string, l Link) {
	n.update(func() { n.links[route{from, to}] = l })
}

// Heal makes all links good.
func (n *Network) Heal() { n.update(func() { clear(n.links) }) }

func (n *Network) freeze(name string, frozen bool) { n.update(func() { n.frozen[name] = frozen }) }

func (n *Network) update(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	close(n.change)
	n.change = make(chan struct{})
}

// host is one process on one node. Once dead it reaches nobody, and nobody reaches it.
type host struct {
	net  *Network
	name string
	ip   string // from where its connections come

	dead bool // guarded by net.mu
}

func (n *Network) host(name, ip string) *host { return &host{net: n, name: name, ip: ip} }

// Reset breaks all connections between these nodes, as a router does that forgets them.
func (n *Network) Reset(nodes ...string) {
	n.update(func() {
		for s := range n.streams {
			if slices.Contains(nodes, s.writer.name) && slices.Contains(nodes, s.reader.name) {
				s.reset = true
				delete(n.streams, s)
			}
		}
	})
}

// kill ends all connections of a process, as the kernel does.
func (h *host) kill() {
	h.net.update(func() {
		h.dead = true
		for s := range h.net.streams {
			if s.writer == h || s.reader == h {
				s.reset = true
				delete(h.net.streams, s)
			}
		}
		for a, l := range h.net.listeners {
			if l.host == h {
				l.close()
				delete(h.net.listeners, a)
			}
		}
	})
}

// Listen opens a port of this process.
func (h *host) Listen(address string) (net.Listener, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.dead || h.net.listeners[address] != nil {
		return nil, &net.OpError{Op: "listen", Net: "tcp", Addr: addr(address), Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	l := &listener{host: h, address: address, backlog: make(chan *conn, 128), closed: make(chan struct{})}
	h.net.listeners[address] = l
	return l, nil
}

// Dial connects to a port of another process. Into a cut it tries until ctx ends.
func (h *host) Dial(ctx context.Context, address string) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: addr(address), Err: err}
	}
	for {
		h.net.mu.Lock()
		to, change := h.net.listeners[address], h.net.change
		switch {
		case h.dead:
			h.net.mu.Unlock()
			return fail(net.ErrClosed)
		case to == nil:
			h.net.mu.Unlock()
			return fail(os.NewSyscallError("connect", syscall.ECONNREFUSED))
		case !h.net.cut(h.name, to.host.name) && !h.net.cut(to.host.name, h.name):
			c, err := h.connect(to)
			h.net.mu.Unlock()
			if err != nil {
				return fail(err)
			}
			return c, nil
		}
		h.net.mu.Unlock()
		select {
		case <-change:
		case <-ctx.Done():
			return fail(os.ErrDeadlineExceeded)
		}
	}
}

// connect is called with the network locked.
func (h *host) connect(to *listener) (net.Conn, error) {
	there := &stream{net: h.net, writer: h, reader: to.host, change: make(chan struct{})}
	back := &stream{net: h.net, writer: to.host, reader: h, change: make(chan struct{})}
	ours := &conn{out: there, in: back, local: addr(net.JoinHostPort(h.ip, "40000")), remote: addr(to.address)}
	theirs := &conn{out: back, in: there, local: addr(to.address), remote: ours.local}
	select {
	case to.backlog <- theirs:
	default:
		return nil, os.NewSyscallError("connect", syscall.ECONNREFUSED)
	}
	h.net.streams[there], h.net.streams[back] = true, true
	return ours, nil
}

// cut is called with the network locked.
func (n *Network) cut(from, to string) bool { return n.links[route{from, to}].Cut }

// arrival says when bytes that are sent now will be there. It is called with the network locked.
func (n *Network) arrival(from, to string, now time.Time) time.Time {
	l := n.links[route{from, to}]
	at := now.Add(l.Delay)
	if l.Jitter > 0 {
		at = at.Add(time.Duration(n.random.Int64N(int64(l.Jitter))))
	}
	for again := 200 * time.Millisecond; l.Drop > 0 && n.random.Float64() < l.Drop && again < 10*time.Second; again *= 2 {
		at = at.Add(again)
	}
	return at
}

type addr string

func (addr) Network() string  { return "tcp" }
func (a addr) String() string { return string(a) }

type listener struct {
	host    *host
	address string
	backlog chan *conn
	once    sync.Once
	closed  chan struct{}
}

func (l *listener) Addr() net.Addr { return addr(l.address) }

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.backlog:
		return c, nil
	case <-l.closed:
		return nil, fmt.Errorf("accept at %s: %w", l.address, net.ErrClosed)
	}
}

func (l *listener) close() { l.once.Do(func() { close(l.closed) }) }

func (l *listener) Close() error {
	l.close()
	l.host.net.mu.Lock()
	defer l.host.net.mu.Unlock()
	if l.host.net.listeners[l.address] == l {
		delete(l.host.net.listeners, l.address)
	}
	return nil
}
