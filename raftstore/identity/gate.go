package identity

import (
	"container/list"
	"net"
	"net/netip"
	"sync"
)

// Gate bounds how many connections are in the middle of their handshake. Strangers get no further than that, so it is
// all that they can make us hold. A place that is wanted and not free is taken from who has had one the longest: an
// honest peer needs its place for two round trips, and who keeps one for seconds loses it to the next. Nobody who is
// slow can so keep others out.
//
// Addresses that are known (those of peers) have places of their own, which no stranger can take.
type Gate struct {
	Strangers  int // places for all of them together
	PerAddress int // of which one address may have so many; a known address has so many of its own
	// Known says whether an address is a peer's. It is called with each connection and must not block. Nil: none is.
	Known func(netip.Addr) bool

	mu        sync.Mutex
	strangers *list.List                  // of *guest, the longest first
	byAddress map[netip.Prefix]*list.List // strangers and known ones, the longest first
}

type guest struct {
	conn   net.Conn
	source netip.Prefix
	known  bool
	inAll  *list.Element
	inOwn  *list.Element
}

// Enter takes a place for a connection, and closes the one that has to make room. Leave gives the place back; it may be
// called more than once.
func (g *Gate) Enter(conn net.Conn) (leave func()) {
	address := addressOf(conn)
	source, known := SourceOf(address), g.Known != nil && g.Known(address)
	if known {
		source = netip.PrefixFrom(address, address.BitLen()) // its neighbours are strangers
	}
	one := &guest{conn: conn, source: source, known: known}
	g.mu.Lock()
	if g.strangers == nil {
		g.strangers, g.byAddress = list.New(), map[netip.Prefix]*list.List{}
	}
	var out *guest
	if c := g.byAddress[source]; c != nil && c.Len() >= g.PerAddress {
		out = c.Front().Value.(*guest)
	} else if !one.known && g.strangers.Len() >= g.Strangers {
		out = g.strangers.Front().Value.(*guest)
	}
	if out != nil {
		g.remove(out)
	}
	c := g.byAddress[source]
	if c == nil {
		c = list.New()
		g.byAddress[source] = c
	}
	one.inOwn = c.PushBack(one)
	if !one.known {
		one.inAll = g.strangers.PushBack(one)
	}
	g.mu.Unlock()
	if out != nil {
		_ = out.conn.Close() // its handshake ends with an error now
	}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.remove(one)
	}
}

// remove is called with mu held. Of one that is gone already nothing is left to remove.
func (g *Gate) remove(one *guest) {
	c := g.byAddress[one.source]
	if one.inOwn == nil || c == nil {
		return
	}
	c.Remove(one.inOwn)
	if one.inAll != nil {
		g.strangers.Remove(one.inAll)
	}
	one.inOwn, one.inAll = nil, nil
	if c.Len() == 0 {
		delete(g.byAddress, one.source)
	}
}

// inside is how many places are taken.
func (g *Gate) inside() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, c := range g.byAddress {
		n += c.Len()
	}
	return n
}

func addressOf(conn net.Conn) netip.Addr {
	at, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Addr{} // of a test: all of them are one stranger
	}
	return at.Addr().Unmap().WithZone("")
}

// SourceOf is an address as far as it says who somebody is: of IPv6 anybody has 2^64.
func SourceOf(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
