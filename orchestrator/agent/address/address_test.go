package address_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drp/orchestrator/agent/address"
	"drp/orchestrator/agent/address/nstest"
	"drp/raftstore/state"
)

var (
	client = netip.MustParsePrefix("2001:db8:f001::1/64")
	server = netip.MustParsePrefix("2001:db8:f001::21/64")
	first  = netip.MustParseAddr("2001:db8:a::100")
	second = netip.MustParseAddr("2001:db8:a::200")
)

const patience = 30 * time.Second

// lab is a client, wired to a server, which sends it everything that it has no route for.
type lab struct{ client, server *nstest.Namespace }

func newLab(t *testing.T) lab {
	t.Helper()
	l := lab{nstest.New(t), nstest.New(t)}
	nstest.Wire(t, nstest.End{In: l.client, Interface: "server", Address: client},
		nstest.End{In: l.server, Interface: "uplink", Address: server})
	l.client.Run(t, "ip", "-6", "route", "add", "2001:db8:a::/48", "via", server.Addr().String())
	l.server.Run(t, "ip", "-6", "route", "add", "default", "via", client.Addr().String())
	return l
}

func (l lab) attach(t *testing.T, account state.AccountName, in *nstest.Namespace, ips ...netip.Addr) {
	t.Helper()
	l.server.Do(t, func() {
		err := address.Attach(t.Context(), address.Attachment{Account: account, Pid: in.Pid, Addresses: ips})
		if err != nil {
			t.Error(err) // not Fatal: also called from other goroutines
		}
	})
}

func (l lab) detach(t *testing.T, account state.AccountName) {
	t.Helper()
	l.server.Do(t, func() {
		if err := address.Detach(t.Context(), account); err != nil {
			t.Fatal(err)
		}
	})
}

func (l lab) attached(t *testing.T, account state.AccountName) (list []netip.Addr) {
	t.Helper()
	l.server.Do(t, func() {
		var err error
		if list, err = address.Attached(account); err != nil {
			t.Fatal(err)
		}
	})
	return list
}

// ask sends a connection request where nobody listens: a refusal has gone both ways.
func ask(t *testing.T, from *nstest.Namespace, ip netip.Addr) (err error) {
	t.Helper()
	from.Do(t, func() {
		var c net.Conn
		if c, err = net.DialTimeout("tcp6", netip.AddrPortFrom(ip, 9).String(), time.Second); err == nil {
			c.Close()
		}
	})
	if errors.Is(err, syscall.ECONNREFUSED) {
		return nil
	}
	return err
}

func (l lab) reaches(t *testing.T, ip netip.Addr) {
	t.Helper()
	nstest.Eventually(t, patience, func() error { return ask(t, l.client, ip) })
}

func TestInterfaceName(t *testing.T) {
	got := address.InterfaceName("guestbook")
	if want := "drp" + "27b4caee4d57"; len(got) != 15 || !strings.HasPrefix(got, "drp") {
		t.Errorf("got %q, want something like %q", got, want)
	}
	if got != address.InterfaceName("guestbook") || got == address.InterfaceName("guestbook2") {
		t.Error("want a name that depends on the account alone")
	}
}

func TestAttach(t *testing.T) {
	t.Run("both ways, twice", func(t *testing.T) {
		l, account := newLab(t), nstest.New(t)
		for range 2 {
			l.attach(t, "guestbook", account, first, second)
			l.reaches(t, first)
			l.reaches(t, second)
			nstest.Eventually(t, patience, func() error { return ask(t, account, client.Addr()) })
		}
		got, want := l.attached(t, "guestbook"), []netip.Addr{first, second}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("attached (-want +got):\n%s", diff)
		}
	})

	t.Run("usable at once", func(t *testing.T) {
		l, account := newLab(t), nstest.New(t)
		l.attach(t, "guestbook", account, first)
		if got := account.Run(t, "ip", "-6", "address", "show", "dev", "eth0", "scope", "global", "tentative"); got != "" {
			t.Errorf("got tentative addresses:\n%s", got)
		}
	})

	t.Run("other addresses", func(t *testing.T) {
		l, account := newLab(t), nstest.New(t)
		l.attach(t, "guestbook", account, first)
		l.attach(t, "guestbook", account, second)
		l.reaches(t, second)
		if got := l.attached(t, "guestbook"); len(got) != 1 || got[0] != second {
			t.Errorf("got %v attached, want %v alone", got, second)
		}
		if got := account.Run(t, "ip", "-6", "address", "show", "dev", "eth0"); strings.Contains(got, first.String()) {
			t.Errorf("the old address is still inside:\n%s", got)
		}
	})

	t.Run("the next container of the account", func(t *testing.T) {
		l, old, account := newLab(t), nstest.New(t), nstest.New(t)
		l.attach(t, "guestbook", old, first)
		l.attach(t, "guestbook", account, first)
		l.reaches(t, first)
		if got := old.Run(t, "ip", "-br", "link"); strings.Contains(got, "eth0") {
			t.Errorf("the old container still has its veth:\n%s", got)
		}
	})

	t.Run("many at once", func(t *testing.T) {
		l := newLab(t)
		const accounts = 8
		var all sync.WaitGroup
		for i := range accounts {
			account := nstest.New(t)
			ip := netip.MustParseAddr(fmt.Sprintf("2001:db8:a::%x", 0x1000+i))
			all.Go(func() { l.attach(t, state.AccountName(fmt.Sprint("account", i)), account, ip) })
		}
		all.Wait()
		for i := range accounts {
			l.reaches(t, netip.MustParseAddr(fmt.Sprintf("2001:db8:a::%x", 0x1000+i)))
		}
	})

	t.Run("refused", func(t *testing.T) {
		l, account := newLab(t), nstest.New(t)
		for name, a := range map[string]address.Attachment{
			"no account":          {Pid: account.Pid, Addresses: []netip.Addr{first}},
			"no process":          {Account: "guestbook", Addresses: []netip.Addr{first}},
			"no address":          {Account: "guestbook", Pid: account.Pid},
			"IPv4":                {Account: "guestbook", Pid: account.Pid, Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
			"IPv4 in IPv6":        {Account: "guestbook", Pid: account.Pid, Addresses: []netip.Addr{netip.MustParseAddr("::ffff:192.0.2.1")}},
			"a link-local one":    {Account: "guestbook", Pid: account.Pid, Addresses: []netip.Addr{netip.MustParseAddr("fe80::2")}},
			"the zero address":    {Account: "guestbook", Pid: account.Pid, Addresses: []netip.Addr{{}}},
			"an ended process":    {Account: "guestbook", Pid: 1 << 30, Addresses: []netip.Addr{first}},
			"another eth0 inside": {Account: "guestbook", Pid: l.other(t), Addresses: []netip.Addr{first}},
		} {
			l.server.Do(t, func() {
				if err := address.Attach(t.Context(), a); err == nil {
					t.Errorf("%s: got no error", name)
				}
			})
		}
	})
}

// other is a namespace whose eth0 somebody else made.
func (l lab) other(t *testing.T) int {
	n := nstest.New(t)
	n.Run(t, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth1")
	return n.Pid
}

func TestDetach(t *testing.T) {
	l, account := newLab(t), nstest.New(t)
	l.detach(t, "guestbook") // nothing there yet
	l.attach(t, "guestbook", account, first)
	l.reaches(t, first)
	for range 2 {
		l.detach(t, "guestbook")
		if got := l.attached(t, "guestbook"); len(got) != 0 {
			t.Errorf("got %v still attached", got)
		}
		if got := l.server.Run(t, "nft", "list", "table", "inet", "drp"); strings.Contains(got, address.InterfaceName("guestbook")) {
			t.Errorf("rules are left:\n%s", got)
		}
		if got := l.server.Run(t, "ip", "-6", "route", "show", first.String()); got != "" {
			t.Errorf("a route is left: %s", got)
		}
	}
	l.attach(t, "guestbook", account, first)
	l.reaches(t, first)
}

// TestSourceCheck holds that an account is heard under its own addresses alone.
func TestSourceCheck(t *testing.T) {
	l, account, victim := newLab(t), nstest.New(t), nstest.New(t)
	l.attach(t, "guestbook", account, first)
	l.attach(t, "victim", victim, second)
	l.reaches(t, first)

	t.Run("another account's address", func(t *testing.T) {
		// Inside the account may do as it likes.
		account.Run(t, "ip", "address", "add", second.String()+"/128", "dev", "eth0", "nodad")
		var heard net.PacketConn
		l.client.Do(t, func() {
			var err error
			if heard, err = net.ListenPacket("udp6", net.JoinHostPort(client.Addr().String(), "9999")); err != nil {
				t.Fatal(err)
			}
		})
		defer heard.Close()
		// The same way for both, so the forged one would arrive first.
		for _, from := range []netip.Addr{second, first} {
			account.Do(t, func() {
				c, err := net.DialUDP("udp6", &net.UDPAddr{IP: from.AsSlice()}, &net.UDPAddr{IP: client.Addr().AsSlice(), Port: 9999})
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if _, err := c.Write([]byte(from.String())); err != nil {
					t.Fatal(err)
				}
			})
		}
		buf := make([]byte, 100)
		if err := heard.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		n, from, err := heard.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(buf[:n]); got != first.String() {
			t.Errorf("got a packet from %v that says %s, want the one from %s alone", from, got, first)
		}
		l.reaches(t, second)
	})

	t.Run("router advertisement", func(t *testing.T) {
		before := l.dropped(t, "guestbook")
		account.Do(t, func() {
			c, err := net.ListenPacket("ip6:ipv6-icmp", "::")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			// Type 134, hop limit 64, router lifetime 1,800 s. The kernel fills in the checksum.
			ra := []byte{134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0}
			if _, err := c.WriteTo(ra, &net.IPAddr{IP: net.IPv6linklocalallnodes, Zone: "eth0"}); err != nil {
				t.Fatal(err)
			}
		})
		nstest.Eventually(t, patience, func() error {
			if l.dropped(t, "guestbook") == before {
				return errors.New("no router advertisement was dropped")
			}
			return nil
		})
	})

	t.Run("a veth without rules", func(t *testing.T) {
		l.server.Run(t, "nft", "delete", "element", "inet", "drp", "accounts", "{", `"`+address.InterfaceName("guestbook")+`"`, "}")
		if ask(t, l.client, first) == nil {
			t.Error("an account without rules is heard, want it silent")
		}
		l.attach(t, "guestbook", account, first)
		l.reaches(t, first)
	})

	t.Run("rules that somebody flushed", func(t *testing.T) {
		l.server.Run(t, "nft", "flush", "ruleset")
		l.attach(t, "guestbook", account, first)
		l.reaches(t, first)
		got := l.server.Run(t, "nft", "list", "table", "inet", "drp")
		if !strings.Contains(got, "goto "+address.InterfaceName("guestbook")) {
			t.Errorf("no rules:\n%s", got)
		}
	})
}

// dropped is how many router advertisements and redirects of an account were dropped.
func (l lab) dropped(t *testing.T, account state.AccountName) int {
	t.Helper()
	out, err := l.server.Command(context.Background(), "nft", "-j", "list", "chain", "inet", "drp",
		address.InterfaceName(account)).Output()
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Nftables []struct {
			Rule *struct {
				Expr []struct {
					Counter *struct{ Packets int }
				}
			}
		}
	}
	if err := json.Unmarshal(out, &list); err != nil {
		t.Fatal(err)
	}
	for _, e := range list.Nftables {
		if e.Rule == nil {
			continue
		}
		for _, x := range e.Rule.Expr {
			if x.Counter != nil {
				return x.Counter.Packets
			}
		}
	}
	t.Fatalf("no counter in %s", out)
	return 0
}
