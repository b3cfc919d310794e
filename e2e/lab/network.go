package lab

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// cut says which links of a site are down.
type cut struct{ mesh, uplink bool }

// severed reports whether a link is down under the cuts of the sites.
func severed(l link, cuts map[string]cut) bool {
	for _, s := range l.sites {
		if l.kind == mesh && cuts[s].mesh || l.kind == uplink && cuts[s].uplink {
			return true
		}
	}
	return false
}

// network is one host's network namespace, open.
type network struct {
	host   string
	ns     *os.File
	handle *netlink.Handle
}

func openNetwork(host string, pid int) (*network, error) {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, fmt.Errorf("open network of %s: %w", host, err)
	}
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		ns.Close()
		return nil, fmt.Errorf("open network of %s: %w", host, err)
	}
	return &network{host: host, ns: ns, handle: h}, nil
}

func (n *network) close() {
	n.handle.Close()
	n.ns.Close()
}

// prepare brings up what a host has without any link: loopback, and the fabric's bridges.
func (n *network) prepare(t *topology, h Host) error {
	lo, err := n.handle.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback of %s: %w", n.host, err)
	}
	if err := n.handle.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set up loopback of %s: %w", n.host, err)
	}
	switch h.Role {
	case Router:
		return n.address(lo, netip.PrefixFrom(h.Address, 128))
	case Fabric:
		for _, s := range t.sites {
			if err := n.addBridge(s.bridge()); err != nil {
				return err
			}
		}
	}
	return nil
}

func (n *network) addBridge(name string) error {
	b := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
	b.Name = name
	off := false
	b.MulticastSnooping = &off // nobody queries here, and neighbour discovery is multicast
	if err := n.handle.LinkAdd(b); err != nil {
		return fmt.Errorf("add bridge %s: %w", name, err)
	}
	if err := n.handle.LinkSetUp(b); err != nil {
		return fmt.Errorf("set up bridge %s: %w", name, err)
	}
	return nil
}

// connect makes a link between two hosts. It is born in their networks; the machine's own never sees it.
func connect(l link, a, b *network) error {
	veth := netlink.NewVeth(netlink.NewLinkAttrs())
	veth.Name, veth.PeerName = l.a.device, l.b.device
	veth.Namespace, veth.PeerNamespace = netlink.NsFd(a.ns.Fd()), netlink.NsFd(b.ns.Fd())
	// The same after each boot, so that neighbours need not learn a host's new address.
	veth.HardwareAddr, veth.PeerHardwareAddr = hardware(l.a), hardware(l.b)
	if err := a.handle.LinkAdd(veth); err != nil {
		return fmt.Errorf("link %s with %s: %w", l.a.host, l.b.host, err)
	}
	return nil
}

// configure gives one end of a fresh link its address or bridge, and brings it up.
func (n *network) configure(e end, down bool) error {
	dev, err := n.handle.LinkByName(e.device)
	if err != nil {
		return fmt.Errorf("find %s of %s: %w", e.device, e.host, err)
	}
	if e.bridge != "" {
		bridge, err := n.handle.LinkByName(e.bridge)
		if err != nil {
			return fmt.Errorf("find bridge %s: %w", e.bridge, err)
		}
		if err := n.handle.LinkSetMaster(dev, bridge); err != nil {
			return fmt.Errorf("attach %s to bridge %s: %w", e.device, e.bridge, err)
		}
	}
	if e.address.IsValid() {
		if err := n.address(dev, e.address); err != nil {
			return err
		}
	}
	if down {
		return nil
	}
	if err := n.handle.LinkSetUp(dev); err != nil {
		return fmt.Errorf("set up %s of %s: %w", e.device, e.host, err)
	}
	if e.gateway.IsValid() {
		route := &netlink.Route{LinkIndex: dev.Attrs().Index, Gw: net.IP(e.gateway.AsSlice())}
		if err := n.handle.RouteReplace(route); err != nil {
			return fmt.Errorf("set default route of %s: %w", e.host, err)
		}
	}
	return nil
}

func (n *network) address(dev netlink.Link, p netip.Prefix) error {
	ipnet := &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 128)}
	if err := n.handle.AddrReplace(dev, &netlink.Addr{IPNet: ipnet, Flags: unix.IFA_F_NODAD}); err != nil {
		return fmt.Errorf("give %s to %s of %s: %w", p, dev.Attrs().Name, n.host, err)
	}
	return nil
}

// set brings a device up or down. Its addresses stay (keep_addr_on_down).
func (n *network) set(device string, up bool) error {
	dev, err := n.handle.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %s of %s: %w", device, n.host, err)
	}
	change := n.handle.LinkSetDown
	if up {
		change = n.handle.LinkSetUp
	}
	if err := change(dev); err != nil {
		return fmt.Errorf("set %s of %s: %w", device, n.host, err)
	}
	return nil
}

// remove takes a link away with both its ends. One that is gone already is no error: its other host died.
func (n *network) remove(device string) error {
	dev, err := n.handle.LinkByName(device)
	if err == nil {
		err = n.handle.LinkDel(dev)
	}
	var missing netlink.LinkNotFoundError
	if err == nil || errors.As(err, &missing) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return fmt.Errorf("remove %s of %s: %w", device, n.host, err)
}

func hardware(e end) net.HardwareAddr {
	sum := sha256.Sum256([]byte(e.host + "/" + e.device))
	return net.HardwareAddr{0x02, sum[0], sum[1], sum[2], sum[3], sum[4]}
}

// sysctls of a host's network, set before it has any link.
func sysctls(r Role) map[string]string {
	m := map[string]string{
		"net.ipv6.conf.all.disable_ipv6":     "0",
		"net.ipv6.conf.default.disable_ipv6": "0",
	}
	for _, which := range []string{"all", "default"} {
		conf := "net.ipv6.conf." + which + "."
		m[conf+"accept_dad"] = "0" // addresses are usable at once
		m[conf+"dad_transmits"] = "0"
		m[conf+"accept_ra"] = "0"
		m[conf+"keep_addr_on_down"] = "1"
		if r == Router || r == Transit || r == Server {
			m[conf+"forwarding"] = "1"
		}
	}
	return m
}
