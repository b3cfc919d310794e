package address

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// pair finds or makes the veth between the server and the account's namespace, and returns both ends.
func pair(server, inside *netlink.Handle, space netns.NsHandle, name string) (ours, theirs netlink.Link, err error) {
	ours, err = server.LinkByName(name)
	if err != nil && !missing(err) {
		return nil, nil, fmt.Errorf("find interface %s: %w", name, err)
	}
	theirs, errInside := inside.LinkByName(Inside)
	if errInside != nil && !missing(errInside) {
		return nil, nil, fmt.Errorf("find interface %s inside: %w", Inside, errInside)
	}
	if err == nil && errInside == nil && joined(ours, theirs) {
		return ours, theirs, nil
	}
	if err == nil {
		// The other end is in the namespace of a container that is going away, or half of it was never made.
		if err := server.LinkDel(ours); err != nil && !errors.Is(err, unix.ENODEV) {
			return nil, nil, fmt.Errorf("delete old interface %s: %w", name, err)
		}
	}
	// Made in one call with the far end in place, so that no half is ever left in the server's namespace.
	veth := netlink.NewLinkAttrs()
	veth.Name = name
	err = server.LinkAdd(&netlink.Veth{LinkAttrs: veth, PeerName: Inside, PeerNamespace: netlink.NsFd(space)})
	if err != nil {
		return nil, nil, fmt.Errorf("make veth %s with %s inside: %w", name, Inside, err)
	}
	if ours, err = server.LinkByName(name); err != nil {
		return nil, nil, fmt.Errorf("find interface %s: %w", name, err)
	}
	if theirs, err = inside.LinkByName(Inside); err != nil {
		return nil, nil, fmt.Errorf("find interface %s inside: %w", Inside, err)
	}
	return ours, theirs, nil
}

// joined reports whether the two are the ends of one veth. Each names the other's index in its own namespace.
func joined(ours, theirs netlink.Link) bool {
	return ours.Type() == "veth" && theirs.Type() == "veth" &&
		ours.Attrs().ParentIndex == theirs.Attrs().Index && theirs.Attrs().ParentIndex == ours.Attrs().Index
}

// configureServer sets up the server's end: fe80::1, forwarding, and the routes to the account's addresses.
func configureServer(h *netlink.Handle, link netlink.Link, addresses []netip.Addr) error {
	name := link.Attrs().Name
	for _, s := range []struct{ key, value string }{
		{name + "/addr_gen_mode", "1"}, // no link-local address besides fe80::1
		{name + "/accept_ra", "0"},
		{name + "/autoconf", "0"},
		{name + "/accept_redirects", "0"},
		{"all/forwarding", "1"},
	} {
		if err := setIPv6(s.key, s.value); err != nil {
			return err
		}
	}
	if err := h.AddrReplace(link, &netlink.Addr{
		IPNet: &net.IPNet{IP: gateway.AsSlice(), Mask: net.CIDRMask(64, 128)},
		Flags: unix.IFA_F_NODAD, // usable at once; there is nobody on this wire to collide with
	}); err != nil {
		return fmt.Errorf("set address %s on %s: %w", gateway, name, err)
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("set interface %s up: %w", name, err)
	}
	old, err := accountRoutes(h, link)
	if err != nil {
		return err
	}
	for _, r := range old {
		if !slices.Contains(addresses, hostAddr(r.Dst)) {
			if err := h.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("delete route %s on %s: %w", r.Dst, name, err)
			}
		}
	}
	for _, ip := range addresses {
		if err := h.RouteReplace(&netlink.Route{Dst: hostNet(ip), LinkIndex: link.Attrs().Index}); err != nil {
			return fmt.Errorf("set route %s on %s: %w", ip, name, err)
		}
	}
	return nil
}

// accountRoutes lists the routes of the main table to single addresses behind a veth, but not those of the
// link-local kind.
func accountRoutes(h *netlink.Handle, link netlink.Link) ([]netlink.Route, error) {
	all, err := h.RouteList(link, netlink.FAMILY_V6)
	if err != nil {
		return nil, fmt.Errorf("list routes on %s: %w", link.Attrs().Name, err)
	}
	return slices.DeleteFunc(all, func(r netlink.Route) bool {
		ip := hostAddr(r.Dst)
		return !ip.IsValid() || !ip.IsGlobalUnicast()
	}), nil
}

// configureInside sets up the account's end.
func configureInside(h *netlink.Handle, link netlink.Link, addresses []netip.Addr) error {
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find interface lo inside: %w", err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set interface lo up inside: %w", err)
	}
	old, err := h.AddrList(link, netlink.FAMILY_V6)
	if err != nil {
		return fmt.Errorf("list addresses inside: %w", err)
	}
	for _, a := range old {
		ip, _ := netip.AddrFromSlice(a.IP)
		if !ip.IsGlobalUnicast() || slices.Contains(addresses, ip) {
			continue
		}
		if err := h.AddrDel(link, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("delete address %s inside: %w", ip, err)
		}
	}
	for _, ip := range addresses {
		if err := h.AddrReplace(link, &netlink.Addr{IPNet: hostNet(ip), Flags: unix.IFA_F_NODAD}); err != nil {
			return fmt.Errorf("set address %s inside: %w", ip, err)
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("set interface %s up inside: %w", Inside, err)
	}
	if err := h.RouteReplace(&netlink.Route{
		Dst:       &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
		Gw:        gateway.AsSlice(),
		LinkIndex: link.Attrs().Index,
	}); err != nil {
		return fmt.Errorf("set default route inside: %w", err)
	}
	return nil
}

// setIPv6 sets net.ipv6.conf.KEY in the calling thread's network namespace, unless it is so already.
func setIPv6(key, value string) error {
	path := filepath.Join("/proc/sys/net/ipv6/conf", key)
	now, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read setting: %w", err)
	}
	if string(now) == value+"\n" {
		return nil
	}
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("change setting: %w", err)
	}
	return nil
}
