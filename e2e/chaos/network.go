package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"drp/e2e/coordinators"
)

// network is the wires between coordinators. Each is in a network namespace of its own, with one link to the hub, where
// this program is. What one coordinator sends to another passes a relay in the hub, which knows from whom to whom it
// is, and can hold it up; what is cut or lost is dropped by the hub's packet filter, as a broken network would. Clients are in
// the hub, and reach every coordinator that runs.
//
// Nothing has to be removed: the namespaces end with the processes that are in them.
type network struct {
	nodes  []netns.NsHandle
	hub    netns.NsHandle
	ctx    context.Context
	relays *errgroup.Group

	mu    sync.Mutex
	cuts  map[pair]bool
	loss  int // percent of packets
	delay func() time.Duration
}

// pair is a direction: whom from's connections reach.
type pair struct{ from, to int }

func advertised(i int) string { return fmt.Sprintf("10.9.0.%d", i+1) }
func nodeEnd(i int) string    { return fmt.Sprintf("10.8.%d.2", i+1) }
func hubEnd(i int) string     { return fmt.Sprintf("10.8.%d.1", i+1) }

// newNetwork wires n coordinators up. The caller's process is in a network of its own.
func newNetwork(ctx context.Context, n int) (*network, error) {
	w := &network{ctx: ctx, relays: new(errgroup.Group), cuts: map[pair]bool{}}
	hub, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("open the hub's network: %w", err)
	}
	w.hub = hub
	for i := range n {
		ns, err := w.addNode(i)
		if err != nil {
			return nil, fmt.Errorf("wire coordinator %d: %w", i, err)
		}
		w.nodes = append(w.nodes, ns)
	}
	return w, w.filter()
}

func (w *network) addNode(i int) (netns.NsHandle, error) {
	var ns netns.NsHandle
	err := w.onThread(func() (err error) {
		ns, err = netns.New()
		return err
	})
	if err != nil {
		return ns, err
	}
	veth := netlink.NewVeth(netlink.NewLinkAttrs())
	veth.Name, veth.PeerName, veth.PeerNamespace = fmt.Sprintf("node%d", i), "eth0", netlink.NsFd(ns)
	if err := netlink.LinkAdd(veth); err != nil {
		return ns, err
	}
	here, err := netlink.NewHandleAt(w.hub)
	if err != nil {
		return ns, err
	}
	defer here.Close()
	there, err := netlink.NewHandleAt(ns)
	if err != nil {
		return ns, err
	}
	defer there.Close()
	for _, step := range []func() error{
		func() error { return up(here, "lo") },
		func() error { return up(here, veth.Name, hubEnd(i)+"/30") },
		// The hub answers for every coordinator: that is where the relays listen.
		func() error { return up(here, "lo", advertised(i)+"/32") },
		func() error { return up(there, "lo", advertised(i)+"/32") },
		func() error { return up(there, "eth0", nodeEnd(i)+"/30") },
		func() error {
			return there.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}, Gw: net.ParseIP(hubEnd(i))})
		},
	} {
		if err := step(); err != nil {
			return ns, err
		}
	}
	for _, port := range []string{coordinators.RaftPort, coordinators.APIPort} {
		if err := w.relay(i, port); err != nil {
			return ns, err
		}
	}
	return ns, nil
}

func up(h *netlink.Handle, device string, addresses ...string) error {
	link, err := h.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %s: %w", device, err)
	}
	for _, text := range addresses {
		a, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		if err := h.AddrAdd(link, a); err != nil {
			return fmt.Errorf("give %s to %s: %w", text, device, err)
		}
	}
	if err := h.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s up: %w", device, err)
	}
	return nil
}

// onThread runs f on a thread whose network f may change.
func (w *network) onThread(f func() error) error {
	// The thread goes back rather than ending: the kernel kills the processes that a thread started when it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := f()
	if back := netns.Set(w.hub); back != nil {
		panic(back) // this thread must not be used again
	}
	return err
}

// enter runs start in a coordinator's network.
func (w *network) enter(i int, start func() error) error {
	return w.onThread(func() error {
		if err := unix.Setns(int(w.nodes[i]), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network of coordinator %d: %w", i, err)
		}
		return start()
	})
}

// cut severs these directions alone: heal is cut with none.
func (w *network) cut(pairs ...pair) error {
	w.mu.Lock()
	w.cuts = map[pair]bool{}
	for _, p := range pairs {
		w.cuts[p] = true
	}
	w.mu.Unlock()
	return w.filter()
}

// lose drops this share of all packets between coordinators.
func (w *network) lose(percent int) error {
	w.mu.Lock()
	w.loss = percent
	w.mu.Unlock()
	return w.filter()
}

// slow holds up what goes over a relay by what delay tells. Nil: not at all.
func (w *network) slow(delay func() time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.delay = delay
}

func (w *network) hold() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.delay == nil {
		return 0
	}
	return w.delay()
}

// filter makes the packet filter what cuts and loss say. A cut is about connections: what a opened to b. The answers to
// it go the other way, and are lost as well.
func (w *network) filter() error {
	w.mu.Lock()
	var in, out bytes.Buffer
	for p := range w.cuts {
		fmt.Fprintf(&in, "ip saddr %s ip daddr %s drop\n", nodeEnd(p.from), advertised(p.to))
		fmt.Fprintf(&out, "ip saddr %s ip daddr %s drop\n", advertised(p.to), nodeEnd(p.from))
	}
	if w.loss > 0 {
		fmt.Fprintf(&in, "ip daddr 10.9.0.0/24 numgen random mod 100 < %d drop\n", w.loss)
		fmt.Fprintf(&out, "ip saddr 10.9.0.0/24 numgen random mod 100 < %d drop\n", w.loss)
	}
	w.mu.Unlock()
	rules := fmt.Sprintf("table inet chaos\ndelete table inet chaos\ntable inet chaos {\n"+
		"chain in { type filter hook input priority 0; policy accept;\n%s}\nchain out { type filter hook output priority 0; policy accept;\n%s}\n}\n", &in, &out)
	cmd := exec.CommandContext(w.ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("set packet filter: %w: %s", err, text)
	}
	return nil
}

// relay listens at a coordinator's address and carries each connection on to it.
func (w *network) relay(to int, port string) error {
	l, err := net.Listen("tcp4", net.JoinHostPort(advertised(to), port))
	if err != nil {
		return fmt.Errorf("listen for coordinator %d: %w", to, err)
	}
	context.AfterFunc(w.ctx, func() { _ = l.Close() })
	target := net.JoinHostPort(nodeEnd(to), port)
	w.relays.Go(func() error {
		for {
			conn, err := l.Accept()
			if err != nil {
				return nil // the run is over
			}
			w.relays.Go(func() error {
				w.carry(conn, target)
				return nil
			})
		}
	})
	return nil
}

func (w *network) carry(from net.Conn, target string) {
	defer from.Close()
	ctx, cancel := context.WithTimeout(w.ctx, 5*time.Second)
	defer cancel()
	to, err := new(net.Dialer).DialContext(ctx, "tcp4", target)
	if err != nil {
		return // the coordinator does not run: the connection ends, as if it had refused it
	}
	defer to.Close()
	stop := context.AfterFunc(w.ctx, func() { _ = from.Close(); _ = to.Close() })
	defer stop()
	var both errgroup.Group
	both.Go(func() error { w.pump(to, from); return nil })
	both.Go(func() error { w.pump(from, to); return nil })
	_ = both.Wait() // they never fail
}

// pump copies until one side ends, and then ends both: nobody here half-closes.
func (w *network) pump(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if d := w.hold(); d > 0 {
				select {
				case <-time.After(d):
				case <-w.ctx.Done():
				}
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// place tells where a coordinator is, and where it listens.
func place(i int, data string) coordinators.Place {
	return coordinators.Place{
		Name: fmt.Sprintf("c%d", i+1), Address: advertised(i), Listen: "0.0.0.0", Client: nodeEnd(i), Data: data,
	}
}
