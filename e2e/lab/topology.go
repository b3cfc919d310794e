package lab

import (
	"fmt"
	"net/netip"
)

// Role is what a host of the lab is there for.
type Role string

const (
	Fabric      Role = "fabric"      // holds the bridges of the sites' LANs
	Router      Role = "router"      // BIRD; one per site
	Coordinator Role = "coordinator" // drp server
	Data        Role = "data"        // store, gateway and worker
	Server      Role = "server"      // agent and guard
	Transit     Role = "transit"     // the internet: a router of another AS
	Customer    Role = "client"      // who fetches what accounts serve
)

// Host is one host of the lab.
type Host struct {
	Name    string
	Site    string // empty: outside of the platform
	Role    Role
	Address netip.Addr // on its LAN; the client's own, the routers' loopback
	// Identifier is an IPv4-form number that no other host has, as BGP wants it.
	Identifier netip.Addr
}

// site is a datacenter of the lab.
type site struct {
	name    string
	number  int // 1, 2, 3: the digit in its names and addresses
	servers int
}

// Names and numbers of the lab's two networks of the world.
const (
	platformAS = 64512
	transitAS  = 64500

	fabricName  = "fabric"
	transitName = "inet"
	clientName  = "client"
)

var (
	covering      = netip.MustParsePrefix("2001:db8:a::/48") // what accounts get their addresses from
	clientNetwork = netip.MustParsePrefix("2001:db8:c::/48")
)

// linkKind says which cuts concern a link.
type linkKind int

const (
	lan    linkKind = iota // host to its site's bridge
	mesh                   // between two sites
	uplink                 // site to the internet
	access                 // internet to client
)

// end is one end of a link: an interface of a host, or a port of a bridge in the fabric.
type end struct {
	host    string
	device  string
	address netip.Prefix
	gateway netip.Addr // default route over this link
	bridge  string     // device is a port of it
}

// link is a veth pair between two hosts.
type link struct {
	kind  linkKind
	sites []string // whose cut cuts it
	a, b  end
}

// topology is the lab as data; nothing in it changes.
type topology struct {
	sites []site
	hosts []Host
	links []link
}

func newTopology() *topology {
	t := &topology{sites: []site{
		{name: "par1", number: 1, servers: 2},
		{name: "par2", number: 2, servers: 2},
		{name: "par3", number: 3},
	}}
	t.hosts = append(t.hosts,
		Host{Name: fabricName, Role: Fabric},
		Host{Name: transitName, Role: Transit, Address: addr("2001:db8:c::1"), Identifier: addr("10.0.0.1")},
		Host{Name: clientName, Role: Customer, Address: addr("2001:db8:c::10")},
	)
	t.links = append(t.links, link{
		kind: access,
		a:    end{host: transitName, device: "client", address: prefix("2001:db8:c::1/64")},
		b:    end{host: clientName, device: "eth0", address: prefix("2001:db8:c::10/64"), gateway: addr("2001:db8:c::1")},
	})
	for i, s := range t.sites {
		t.addSite(s)
		for _, other := range t.sites[i+1:] {
			t.addMesh(s, other)
		}
	}
	return t
}

func (t *topology) addSite(s site) {
	router := s.router()
	t.hosts = append(t.hosts, Host{Name: router, Site: s.name, Role: Router, Address: s.loopback(), Identifier: s.identifier(1)})
	t.addToLAN(s, router, "lan", 1)
	t.links = append(t.links, link{
		kind:  uplink,
		sites: []string{s.name},
		a:     end{host: router, device: "inet", address: uplinkAddress(s, 1)},
		b:     end{host: transitName, device: s.name, address: uplinkAddress(s, 2)},
	})
	t.addHost(s, s.name+"-c", Coordinator, 0x10)
	if s.servers == 0 {
		return
	}
	t.addHost(s, s.data(), Data, 0x11)
	for i := range s.servers {
		t.addHost(s, fmt.Sprintf("%s-s%d", s.name, i+1), Server, 0x21+i)
	}
}

func (t *topology) addHost(s site, name string, role Role, number int) {
	t.hosts = append(t.hosts, Host{Name: name, Site: s.name, Role: role, Address: s.address(number), Identifier: s.identifier(number)})
	t.addToLAN(s, name, "eth0", number)
}

func (t *topology) addToLAN(s site, host, device string, number int) {
	e := end{host: host, device: device, address: netip.PrefixFrom(s.address(number), 64)}
	if host != s.router() {
		e.gateway = s.address(1)
	}
	t.links = append(t.links, link{kind: lan, a: e, b: end{host: fabricName, device: host, bridge: s.bridge()}})
}

func (t *topology) addMesh(a, b site) {
	network := func(last int) netip.Prefix {
		return prefix(fmt.Sprintf("2001:db8:ff00:%d%d::%d/64", a.number, b.number, last))
	}
	t.links = append(t.links, link{
		kind:  mesh,
		sites: []string{a.name, b.name},
		a:     end{host: a.router(), device: "to-" + b.name, address: network(1)},
		b:     end{host: b.router(), device: "to-" + a.name, address: network(2)},
	})
}

func (t *topology) host(name string) (Host, bool) {
	for _, h := range t.hosts {
		if h.Name == name {
			return h, true
		}
	}
	return Host{}, false
}

func (t *topology) site(name string) (site, bool) {
	for _, s := range t.sites {
		if s.name == name {
			return s, true
		}
	}
	return site{}, false
}

// at lists the hosts of a site, all of them or those of one role.
func (t *topology) at(site string, roles ...Role) []Host {
	var list []Host
	for _, h := range t.hosts {
		if h.Site != site {
			continue
		}
		for _, r := range roles {
			if h.Role == r {
				list = append(list, h)
			}
		}
		if len(roles) == 0 {
			list = append(list, h)
		}
	}
	return list
}

func (t *topology) withRole(role Role) []Host {
	var list []Host
	for _, h := range t.hosts {
		if h.Role == role {
			list = append(list, h)
		}
	}
	return list
}

// linksOf lists the links that end at a host.
func (t *topology) linksOf(host string) []link {
	var list []link
	for _, l := range t.links {
		if l.a.host == host || l.b.host == host {
			list = append(list, l)
		}
	}
	return list
}

func (s site) router() string { return s.name + "-r" }
func (s site) data() string   { return s.name + "-data" }
func (s site) bridge() string { return "br-" + s.name }
func (s site) bucket() string { return "drp-" + s.name }

// address is a host's address on the site's LAN. number reads as it is written: 0x21 gives ::21.
func (s site) address(number int) netip.Addr {
	return addr(fmt.Sprintf("2001:db8:f%03d::%x", s.number, number))
}

func (s site) network() netip.Prefix { return netip.PrefixFrom(s.address(0), 64).Masked() }

// loopback is where the other routers reach this site's router, whichever link is up.
func (s site) loopback() netip.Addr { return addr(fmt.Sprintf("2001:db8:f%03d:ff::1", s.number)) }

func (s site) identifier(number int) netip.Addr {
	return addr(fmt.Sprintf("10.%d.0.%d", s.number, number))
}

func uplinkAddress(s site, last int) netip.Prefix {
	return prefix(fmt.Sprintf("2001:db8:ff00:10%d::%d/64", s.number, last))
}

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
