package guard_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"drp/orchestrator/agent/address/nstest"
	"drp/orchestrator/agent/guard"
	"drp/raftstore/state"
)

// asGuard makes the test binary a guard: the value is its configuration.
const asGuard = "DRP_TEST_AS_GUARD"

var background = context.Background()

func TestMain(m *testing.M) {
	raw, ok := os.LookupEnv(asGuard)
	if !ok {
		os.Exit(m.Run())
	}
	var cfg guard.Config
	if err := json.Unmarshal([]byte(raw), &cfg); err != nil {
		panic(err)
	}
	ctx, stop := signal.NotifyContext(background, syscall.SIGTERM)
	defer stop()
	if err := guard.Run(ctx, cfg); err != nil {
		slog.Error("guard", "cause", err)
		os.Exit(1)
	}
}

var (
	web       = netip.MustParseAddr("2001:db8:a::100")
	mail      = netip.MustParseAddr("2001:db8:a::101")
	guestbook = state.AccountName("guestbook")
)

func token(generation uint64) state.Token {
	return state.Token{Incarnation: 1, Generation: generation}
}

// process is a guard in a process of its own, in the namespace of its server.
type process struct {
	guard.Client
	in   *nstest.Namespace
	cfg  guard.Config
	cmd  *exec.Cmd
	said *output
}

func newProcess(t *testing.T, in *nstest.Namespace, id, local, router string) *process {
	t.Helper()
	dir := t.TempDir()
	p := &process{in: in, cfg: guard.Config{
		Server:   "par1-s1",
		Socket:   filepath.Join(dir, "guard.sock"),
		Data:     filepath.Join(dir, "data"),
		Run:      filepath.Join(dir, "run"),
		AS:       64512,
		RouterID: id,
		Local:    netip.MustParseAddr(local),
		Routers:  []netip.Addr{netip.MustParseAddr(router)},
	}}
	p.Client = guard.Client{Socket: p.cfg.Socket}
	p.start(t)
	return p
}

func (p *process) start(t *testing.T) {
	t.Helper()
	raw, err := json.Marshal(p.cfg)
	if err != nil {
		t.Fatal(err)
	}
	said := &output{}
	p.cmd, p.said = p.in.Command(background, os.Args[0]), said
	p.cmd.Env = append(os.Environ(), asGuard+"="+string(raw))
	p.cmd.Stdout, p.cmd.Stderr = said, said
	start(t, p.cmd)
	t.Cleanup(func() {
		if strings.Contains(said.String(), "DATA RACE") {
			t.Error("the guard has a data race")
		}
		if t.Failed() {
			t.Logf("guard %s:\n%s", p.cfg.RouterID, said)
		}
	})
	nstest.Eventually(t, patience, func() error {
		_, err := p.Routes(background)
		return err
	})
}

// end ends the process by a signal and waits until it is gone.
func (p *process) end(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	err := p.cmd.Wait()
	if sig == syscall.SIGTERM && err != nil {
		t.Fatalf("guard did not end cleanly: %v", err)
	}
}

func (p *process) established(t *testing.T) {
	t.Helper()
	nstest.Eventually(t, patience, func() error {
		got, err := p.Routes(background)
		if err != nil {
			return err
		}
		for _, s := range got.Sessions {
			if s.State != guard.Established {
				return fmt.Errorf("session with %s: got %s, want %s", s.Router, s.State, guard.Established)
			}
		}
		return nil
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const (
	router1, server1 = "2001:db8:f001::1", "2001:db8:f001::21"
	router2, server2 = "2001:db8:f002::1", "2001:db8:f002::21"
	link1, link2     = "2001:db8:ffff::1", "2001:db8:ffff::2"
)

// newSite is a router and a server with a guard.
func newSite(t *testing.T) (*router, *process) {
	t.Helper()
	r, s := nstest.New(t), nstest.New(t)
	wire(t, r, "servers", router1, s, "eth0", server1)
	bird := startRouter(t, r, "10.1.0.1", []neighbour{{"s1", router1, server1}}, nil)
	return bird, newProcess(t, s, "10.1.0.21", server1, router1)
}

func wire(t *testing.T, a *nstest.Namespace, ifa, ipa string, b *nstest.Namespace, ifb, ipb string) {
	t.Helper()
	nstest.Wire(t, nstest.End{In: a, Interface: ifa, Address: netip.PrefixFrom(netip.MustParseAddr(ipa), 64)},
		nstest.End{In: b, Interface: ifb, Address: netip.PrefixFrom(netip.MustParseAddr(ipb), 64)})
}

func TestGuard_Orders(t *testing.T) {
	t.Parallel()
	r, g := newSite(t)
	here := netip.MustParseAddr(server1)

	must(t, g.Announce(background, web, guestbook, token(2)))
	must(t, g.Announce(background, mail, guestbook, token(2)))
	r.sends(t, web, here)
	r.sends(t, mail, here)
	g.established(t)
	r.says(t, "show route for "+web.String()+" all", "BGP.local_pref: 102", true)

	got, err := g.Routes(background)
	must(t, err)
	if len(got.Routes) != 2 || got.Routes[0].Address != web || got.Routes[0].Preference != 102 || got.Routes[0].Token != token(2) {
		t.Errorf("got %+v announced, want %s with preference 102 first", got.Routes, web)
	}

	t.Run("of one account", func(t *testing.T) {
		other := netip.MustParseAddr("2001:db8:a::77")
		must(t, g.Announce(background, other, "shop", token(2)))
		defer func() { must(t, g.Withdraw(background, other, "shop", token(2))) }()
		for account, want := range map[state.AccountName][]netip.Addr{guestbook: {web, mail}, "shop": {other}, "nobody": nil} {
			got, err := g.RoutesOf(background, account)
			must(t, err)
			if !slices.Equal(got, want) {
				t.Errorf("routes of %s: got %v, want %v", account, got, want)
			}
		}
	})
	t.Run("tokens, of what was withdrawn too", func(t *testing.T) {
		seen, err := g.Tokens(background)
		must(t, err)
		if seen[guestbook] != token(2) || seen["shop"] != token(2) {
			t.Errorf("got %v, want %s for both", seen, token(2))
		}
	})
	t.Run("stale", func(t *testing.T) {
		if err := g.Announce(background, web, guestbook, token(1)); !errors.Is(err, guard.ErrStaleToken) {
			t.Errorf("announce under a lower token: got %v, want %v", err, guard.ErrStaleToken)
		}
		if err := g.Withdraw(background, web, guestbook, token(1)); !errors.Is(err, guard.ErrStaleToken) {
			t.Errorf("withdraw under a lower token: got %v, want %v", err, guard.ErrStaleToken)
		}
		r.sends(t, web, here)
	})
	t.Run("another account", func(t *testing.T) {
		if err := g.Announce(background, web, "shop", token(9)); !errors.Is(err, guard.ErrTaken) {
			t.Errorf("got %v, want %v", err, guard.ErrTaken)
		}
	})
	t.Run("nonsense", func(t *testing.T) {
		for name, err := range map[string]error{
			"no token":     g.Announce(background, web, guestbook, state.Token{}),
			"no account":   g.Withdraw(background, web, "", token(2)),
			"IPv4":         g.Announce(background, netip.MustParseAddr("192.0.2.1"), guestbook, token(2)),
			"no address":   g.Announce(background, netip.Addr{}, guestbook, token(2)),
			"out of range": g.Announce(background, web, guestbook, token(1<<24)),
		} {
			if !errors.Is(err, guard.ErrBadRequest) {
				t.Errorf("%s: got %v, want %v", name, err, guard.ErrBadRequest)
			}
		}
	})
	t.Run("higher token", func(t *testing.T) {
		must(t, g.Announce(background, web, guestbook, token(3)))
		r.says(t, "show route for "+web.String()+" all", "BGP.local_pref: 103", true)
	})
	t.Run("withdraw", func(t *testing.T) {
		for range 2 {
			must(t, g.Withdraw(background, web, guestbook, token(3)))
			r.sends(t, web, netip.Addr{})
		}
		r.sends(t, mail, here) // under token 2 still: not touched
	})
	t.Run("private socket", func(t *testing.T) {
		info, err := os.Stat(g.cfg.Socket)
		must(t, err)
		if got := info.Mode().Perm(); got != 0o600 {
			t.Errorf("got mode %o, want 600", got)
		}
	})
	t.Run("second guard", func(t *testing.T) {
		cfg := g.cfg
		cfg.Socket += "2"
		if err := guard.Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "another guard") {
			t.Errorf("got %v, want another guard named", err)
		}
	})
}

// TestGuard_Restart holds that no packet is lost to an upgrade or a crash, and that a boot leaves nothing behind.
func TestGuard_Restart(t *testing.T) {
	t.Parallel()
	r, g := newSite(t)
	here := netip.MustParseAddr(server1)
	must(t, g.Announce(background, web, guestbook, token(2)))
	must(t, g.Announce(background, mail, guestbook, token(2)))
	r.sends(t, web, here)
	r.sends(t, mail, here)
	lost := r.deletions(t, web)

	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL} {
		g.end(t, sig)
		r.says(t, "show protocols s1", "Established", false)
		r.sends(t, web, here)
		g.start(t)
		// The restart is over when the router has the guard's end-of-RIB mark. What was not announced again is
		// dropped then.
		r.says(t, "show protocols s1", "Established", true)
		r.says(t, "show protocols all s1", "Neighbor graceful restart active", false)
		r.sends(t, web, here)
		r.sends(t, mail, here)
		if got := lost(); got != 0 {
			t.Fatalf("%v: the router lost the route %d times, want never", sig, got)
		}
	}

	t.Run("stale after restart", func(t *testing.T) {
		if err := g.Announce(background, web, guestbook, token(1)); !errors.Is(err, guard.ErrStaleToken) {
			t.Errorf("got %v, want %v", err, guard.ErrStaleToken)
		}
	})

	t.Run("order while the router is away", func(t *testing.T) {
		r.says(t, "disable s1", "disabled", true)
		r.sends(t, web, netip.Addr{})
		must(t, g.Announce(background, web, guestbook, token(3)))
		r.says(t, "enable s1", "enabled", true)
		r.sends(t, web, here)
		r.says(t, "show route for "+web.String()+" all", "BGP.local_pref: 103", true)
	})

	t.Run("boot", func(t *testing.T) {
		g.end(t, syscall.SIGKILL)
		must(t, os.RemoveAll(g.cfg.Run))
		g.start(t)
		got, err := g.Routes(background)
		must(t, err)
		if len(got.Routes) != 0 {
			t.Errorf("got %v announced after a boot, want nothing", got.Routes)
		}
		r.sends(t, web, netip.Addr{})
		r.sends(t, mail, netip.Addr{})
		if err := g.Announce(background, web, guestbook, token(2)); !errors.Is(err, guard.ErrStaleToken) {
			t.Errorf("the token of before the boot: got %v, want %v", err, guard.ErrStaleToken)
		}
		must(t, g.Announce(background, web, guestbook, token(4)))
		r.sends(t, web, here)
	})
}

// TestGuard_OtherRouterDown holds that a router that is away does not keep a restarted guard from the other one.
func TestGuard_OtherRouterDown(t *testing.T) {
	t.Parallel()
	r, g := newSite(t)
	here := netip.MustParseAddr(server1)
	must(t, g.Announce(background, web, guestbook, token(1)))
	r.sends(t, web, here)
	lost := r.deletions(t, web)
	g.end(t, syscall.SIGTERM)
	g.cfg.Routers = append(g.cfg.Routers, netip.MustParseAddr("2001:db8:f001::2"))
	g.start(t)
	r.says(t, "show protocols s1", "Established", true)
	r.says(t, "show protocols all s1", "Neighbor graceful restart active", false)
	r.sends(t, web, here)
	if got := lost(); got != 0 {
		t.Errorf("the router lost the route %d times, want never", got)
	}
}

// TestGuards_HigherGenerationWins is two sites that announce the same address: as it is when a site that was only
// cut comes back after its accounts were failed over.
func TestGuards_HigherGenerationWins(t *testing.T) {
	t.Parallel()
	n1, s1, n2, s2 := nstest.New(t), nstest.New(t), nstest.New(t), nstest.New(t)
	wire(t, n1, "servers", router1, s1, "eth0", server1)
	wire(t, n2, "servers", router2, s2, "eth0", server2)
	wire(t, n1, "par2", link1, n2, "par1", link2)
	r1 := startRouter(t, n1, "10.1.0.1", []neighbour{{"s1", router1, server1}}, []neighbour{{"par2", link1, link2}})
	r2 := startRouter(t, n2, "10.2.0.1", []neighbour{{"s1", router2, server2}}, []neighbour{{"par1", link2, link1}})
	g1 := newProcess(t, s1, "10.1.0.21", server1, router1)
	g2 := newProcess(t, s2, "10.2.0.21", server2, router2)
	hop := netip.MustParseAddr

	must(t, g1.Announce(background, web, guestbook, token(1)))
	r1.sends(t, web, hop(server1))
	r2.sends(t, web, hop(link1))

	must(t, g2.Announce(background, web, guestbook, token(2)))
	r2.sends(t, web, hop(server2))
	r1.sends(t, web, hop(link2))

	// The site is cut off from the other one: each goes its own way.
	n1.Run(t, "ip", "link", "set", "par2", "down")
	r1.sends(t, web, hop(server1))
	r2.sends(t, web, hop(server2))

	// Healed, the higher generation has all traffic, though the lower one is still announced.
	n1.Run(t, "ip", "link", "set", "par2", "up")
	n1.Run(t, "ip", "address", "replace", link1+"/64", "dev", "par2", "nodad") // the kernel took it away with the link
	r1.sends(t, web, hop(link2))
	r2.sends(t, web, hop(server2))

	// The stop order takes the lower one away, and nothing else.
	must(t, g1.Withdraw(background, web, guestbook, token(2)))
	if err := g1.Announce(background, web, guestbook, token(1)); !errors.Is(err, guard.ErrStaleToken) {
		t.Errorf("announce after the stop order: got %v, want %v", err, guard.ErrStaleToken)
	}
	r1.says(t, "show route for "+web.String()+" all", "BGP.local_pref: 101", false)
	r1.sends(t, web, hop(link2))

	// A recovered cluster begins at generation 1, of the next incarnation.
	must(t, g1.Announce(background, web, guestbook, state.Token{Incarnation: 2, Generation: 1}))
	r1.sends(t, web, hop(server1))
	r2.sends(t, web, hop(link1))
}
