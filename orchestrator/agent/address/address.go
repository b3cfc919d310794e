// Package address gives an account's network namespace its IPv6 addresses, and nothing else.
//
// Each account has one veth pair: "eth0" inside, InterfaceName(account) on the server. The addresses are /128;
// the way in is a route of the server to that veth, the way out a default route over fe80::1, which every server
// has at its end of every veth. So an address needs no subnet, no bridge and no neighbour proxy, and it moves
// between servers by its route alone.
//
// What an account sends is checked on the server, where it cannot reach: only IPv6, only from its own addresses,
// and never what a router says (router advertisements, redirects). The rules lie in the nftables table "inet drp".
//
// Everything works in the network namespace of the calling thread (the agent's own), by name and without state
// in memory: an agent that was restarted goes on where the last one was. Calls for different accounts may run at
// once; the caller keeps those for one account apart.
//
// Forwarding is switched on for the whole server. The kernel then takes router advertisements no more on
// interfaces with accept_ra=1: a server that learns its own default route that way wants accept_ra=2 there.
package address

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"drp/raftstore/state"
)

// Inside is the name of the account's end of the veth.
const Inside = "eth0"

// gateway is the server's end of every veth, and the account's way out.
var gateway = netip.MustParseAddr("fe80::1")

// Attachment says which addresses an account's network namespace gets.
type Attachment struct {
	Account   state.AccountName
	Pid       int          // of a process in that namespace, as the calling process sees it
	Addresses []netip.Addr // IPv6, at least one
}

// InterfaceName is the name of the server's end of an account's veth: 15 characters, the longest that Linux takes.
// It is a hash, because account names may be longer than that; 48 bits keep the accounts of a server apart.
func InterfaceName(account state.AccountName) string {
	sum := sha256.Sum256([]byte(account))
	return "drp" + hex.EncodeToString(sum[:6])
}

// Attach makes it so, whatever part of it was there before: it may be repeated, and repeated with other addresses.
// A veth left by an earlier container of the account is replaced. When it fails, what it has made stays for the
// next attempt or for Detach; the source check is always there before the account can send.
func Attach(ctx context.Context, a Attachment) error {
	if err := attach(ctx, a); err != nil {
		return fmt.Errorf("attach account %s: %w", a.Account, err)
	}
	return nil
}

func attach(ctx context.Context, a Attachment) error {
	if err := a.check(); err != nil {
		return err
	}
	space, err := netns.GetFromPid(a.Pid)
	if err != nil {
		return fmt.Errorf("open network namespace of process %d: %w", a.Pid, err)
	}
	defer space.Close()
	server, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer server.Close()
	inside, err := netlink.NewHandleAt(space, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink in the network namespace of process %d: %w", a.Pid, err)
	}
	defer inside.Close()

	name := InterfaceName(a.Account)
	ours, theirs, err := pair(server, inside, space, name)
	if err != nil {
		return err
	}
	// Before anything can pass: the pair is down until here when it is new.
	if err := checkSources(ctx, name, a.Addresses); err != nil {
		return err
	}
	if err := configureServer(server, ours, a.Addresses); err != nil {
		return err
	}
	return configureInside(inside, theirs, a.Addresses)
}

func (a Attachment) check() error {
	if a.Account == "" {
		return errors.New("no account is named")
	}
	if a.Pid <= 0 {
		return fmt.Errorf("%d is no process", a.Pid)
	}
	if len(a.Addresses) == 0 {
		return errors.New("no address is given")
	}
	for _, ip := range a.Addresses {
		if !ip.Is6() || ip.Is4In6() || ip.Zone() != "" || !ip.IsGlobalUnicast() {
			return fmt.Errorf("%s is no global IPv6 address", ip)
		}
	}
	return nil
}

// Detach takes the account's veth, routes and rules away. Nothing there is no error.
func Detach(ctx context.Context, account state.AccountName) error {
	name := InterfaceName(account)
	link, err := netlink.LinkByName(name)
	switch {
	case missing(err):
	case err != nil:
		return fmt.Errorf("detach account %s: find interface %s: %w", account, name, err)
	default:
		// The other end and the routes go with it. It may also go by itself just now, with the container.
		if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
			return fmt.Errorf("detach account %s: delete interface %s: %w", account, name, err)
		}
	}
	// Rules last: as long as there is a veth there is a check.
	if err := dropSources(ctx, name); err != nil {
		return fmt.Errorf("detach account %s: %w", account, err)
	}
	return nil
}

// Attached tells which addresses are routed to the account's veth. There is none when it is not attached: a veth
// disappears with the container whose namespace held the other end.
func Attached(account state.AccountName) ([]netip.Addr, error) {
	link, err := netlink.LinkByName(InterfaceName(account))
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find veth of account %s: %w", account, err)
	}
	server, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	defer server.Close()
	routes, err := accountRoutes(server, link)
	if err != nil {
		return nil, err
	}
	var list []netip.Addr
	for _, r := range routes {
		list = append(list, hostAddr(r.Dst))
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return list, nil
}

func missing(err error) bool {
	var not netlink.LinkNotFoundError
	return errors.As(err, &not)
}

func hostNet(ip netip.Addr) *net.IPNet {
	return &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(128, 128)}
}

// hostAddr is the address of a /128, and the zero Addr of anything else.
func hostAddr(n *net.IPNet) netip.Addr {
	if n == nil {
		return netip.Addr{}
	}
	if ones, bits := n.Mask.Size(); ones != 128 || bits != 128 {
		return netip.Addr{}
	}
	ip, _ := netip.AddrFromSlice(n.IP)
	return ip
}
