package guard

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"drp/raftstore/state"
)

// fake is a BGP that only remembers, and fails when it is told to.
type fake struct {
	routes map[netip.Addr]Route
	err    error
}

func (f *fake) announce(r Route) error {
	if f.err == nil {
		f.routes[r.Address] = r
	}
	return f.err
}

func (f *fake) withdraw(r Route) error {
	if f.err == nil {
		delete(f.routes, r.Address)
	}
	return f.err
}

// newBook opens a book as a guard that starts does.
func newBook(t testing.TB, data, run string) (*book, *fake) {
	t.Helper()
	b, err := openBook(data, run)
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{routes: map[netip.Addr]Route{}}
	for _, r := range b.list() {
		f.routes[r.Address] = r
	}
	b.bgp = f
	return b, f
}

var one, two = netip.MustParseAddr("2001:db8:a::1"), netip.MustParseAddr("2001:db8:a::2")

func route(ip netip.Addr, account string, incarnation, generation uint64) Route {
	return Route{ip, state.AccountName(account), state.Token{Incarnation: incarnation, Generation: generation}}
}

func addresses(list []Route) []string {
	var out []string
	for _, r := range list {
		out = append(out, fmt.Sprint(r.Address, " ", r.Account, " ", r.Token))
	}
	return out
}

// TestBook gives orders one after the other: each wants this error, and these routes afterwards.
func TestBook(t *testing.T) {
	const announce, withdraw = true, false
	type step struct {
		announce bool
		order    Route
		err      error
		want     []string
	}
	for name, steps := range map[string][]step{
		"a lower token announces nothing": {
			{announce, route(one, "a", 1, 2), nil, []string{"2001:db8:a::1 a 1.2"}},
			{announce, route(one, "a", 1, 1), ErrStaleToken, []string{"2001:db8:a::1 a 1.2"}},
			{announce, route(two, "a", 1, 1), ErrStaleToken, []string{"2001:db8:a::1 a 1.2"}},
		},
		"tokens of different accounts are not compared": {
			{announce, route(one, "a", 1, 9), nil, []string{"2001:db8:a::1 a 1.9"}},
			{announce, route(two, "b", 1, 1), nil, []string{"2001:db8:a::1 a 1.9", "2001:db8:a::2 b 1.1"}},
		},
		"a later incarnation is higher": {
			{announce, route(one, "a", 2, 1), nil, []string{"2001:db8:a::1 a 2.1"}},
			{announce, route(one, "a", 1, 7), ErrStaleToken, []string{"2001:db8:a::1 a 2.1"}},
		},
		"a lower token withdraws nothing": {
			{announce, route(one, "a", 1, 2), nil, []string{"2001:db8:a::1 a 1.2"}},
			{withdraw, route(one, "a", 1, 1), ErrStaleToken, []string{"2001:db8:a::1 a 1.2"}},
		},
		"the same token withdraws, and may announce again": {
			{announce, route(one, "a", 1, 2), nil, []string{"2001:db8:a::1 a 1.2"}},
			{withdraw, route(one, "a", 1, 2), nil, nil},
			{withdraw, route(one, "a", 1, 2), nil, nil},
			{announce, route(one, "a", 1, 2), nil, []string{"2001:db8:a::1 a 1.2"}},
		},
		"a higher token withdraws, and the lower one is stale from then on": {
			{announce, route(one, "a", 1, 2), nil, []string{"2001:db8:a::1 a 1.2"}},
			{withdraw, route(one, "a", 1, 3), nil, nil},
			{announce, route(one, "a", 1, 2), ErrStaleToken, nil},
		},
		"a stop order that comes before its announcement": {
			{withdraw, route(one, "a", 1, 3), nil, nil},
			{announce, route(one, "a", 1, 2), ErrStaleToken, nil},
		},
		"a stop order reaches the account's own routes alone": {
			{announce, route(one, "a", 1, 2), nil, []string{"2001:db8:a::1 a 1.2"}},
			{withdraw, route(one, "b", 1, 9), nil, []string{"2001:db8:a::1 a 1.2"}},
		},
		"an address has one account at a time": {
			{announce, route(one, "a", 1, 2), nil, []string{"2001:db8:a::1 a 1.2"}},
			{announce, route(one, "b", 1, 9), ErrTaken, []string{"2001:db8:a::1 a 1.2"}},
			{withdraw, route(one, "a", 1, 2), nil, nil},
			{announce, route(one, "b", 1, 1), nil, []string{"2001:db8:a::1 b 1.1"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			data, run := t.TempDir(), t.TempDir()
			b, f := newBook(t, data, run)
			for i, s := range steps {
				do := b.withdraw
				if s.announce {
					do = b.announce
				}
				if err := do(s.order); !errors.Is(err, s.err) {
					t.Fatalf("step %d: got error %v, want %v", i, err, s.err)
				}
				if diff := cmp.Diff(s.want, addresses(b.list())); diff != "" {
					t.Errorf("step %d: announced (-want +got):\n%s", i, diff)
				}
				if diff := cmp.Diff(s.want, addresses(sorted(f.routes))); diff != "" {
					t.Errorf("step %d: in BGP (-want +got):\n%s", i, diff)
				}
				// A guard that ends here goes on the same way.
				b, f = newBook(t, data, run)
			}
		})
	}
}

// TestBook_Saved holds that nothing is announced whose token is not saved before.
func TestBook_Saved(t *testing.T) {
	t.Run("no disk", func(t *testing.T) {
		data, run := t.TempDir(), t.TempDir()
		b, f := newBook(t, data, run)
		if err := os.RemoveAll(data); err != nil {
			t.Fatal(err)
		}
		if err := b.announce(route(one, "a", 1, 1)); err == nil || len(f.routes) != 0 || len(b.list()) != 0 {
			t.Errorf("got error %v and %v announced, want an error and nothing", err, f.routes)
		}
	})
	t.Run("no BGP", func(t *testing.T) {
		data, run := t.TempDir(), t.TempDir()
		b, f := newBook(t, data, run)
		f.err = errors.New("broken")
		if err := b.announce(route(one, "a", 1, 1)); !errors.Is(err, f.err) {
			t.Errorf("got error %v, want %v", err, f.err)
		}
		if got := b.list(); len(got) != 0 {
			t.Errorf("got %v announced, want nothing: it has to be ordered again", got)
		}
		f.err = nil
		if err := b.announce(route(one, "a", 1, 1)); err != nil || len(f.routes) != 1 {
			t.Errorf("ordered again: got error %v and %v, want one route", err, f.routes)
		}
	})
	t.Run("broken files", func(t *testing.T) {
		// Better no guard than one that has forgotten which orders are stale.
		for _, file := range []string{"tokens.json", "routes.json"} {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, file), []byte(`{"a":`), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := openBook(dir, dir); err == nil {
				t.Errorf("%s: got no error", file)
			}
		}
	})
}

// TestBook_Race holds, under orders from all sides, that what is announced in the end is the highest token.
func TestBook_Race(t *testing.T) {
	data, run := t.TempDir(), t.TempDir()
	b, f := newBook(t, data, run)
	var all sync.WaitGroup
	const generations = 20
	for g := range uint64(generations) {
		all.Go(func() {
			if err := b.announce(route(one, "a", 1, g+1)); err != nil && !errors.Is(err, ErrStaleToken) {
				t.Error(err)
			}
		})
		all.Go(func() {
			if err := b.withdraw(route(one, "a", 1, g)); err != nil && !errors.Is(err, ErrStaleToken) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := f.routes[one].Token.Generation; got != generations {
		t.Errorf("got generation %d announced, want %d", got, generations)
	}
}

func TestPreference(t *testing.T) {
	for token, want := range map[state.Token]uint32{
		{Incarnation: 1, Generation: 1}:             101,
		{Incarnation: 1, Generation: 2}:             102,
		{Incarnation: 2, Generation: 1}:             101 + 1<<24,
		{Incarnation: 255, Generation: 1<<24 - 101}: 255<<24 - 1,
		{Incarnation: 1, Generation: 0}:             100,
	} {
		if got, err := Preference(token); err != nil || got != want {
			t.Errorf("%s: got %d, %v, want %d", token, got, err, want)
		}
	}
	for _, token := range []state.Token{
		{}, {Incarnation: 0, Generation: 1}, {Incarnation: 256, Generation: 1},
		{Incarnation: 1, Generation: 1<<24 - 100}, {Incarnation: 1, Generation: 1 << 63},
	} {
		if got, err := Preference(token); !errors.Is(err, ErrBadRequest) {
			t.Errorf("%s: got %d, %v, want %v", token, got, err, ErrBadRequest)
		}
	}
	t.Run("order", rapid.MakeCheck(func(t *rapid.T) {
		draw := func(name string) state.Token {
			return state.Token{
				Incarnation: rapid.Uint64Range(1, 255).Draw(t, name+" incarnation"),
				Generation:  rapid.Uint64Range(0, 1<<24-101).Draw(t, name+" generation"),
			}
		}
		a, b := draw("a"), draw("b")
		pa, errA := Preference(a)
		pb, errB := Preference(b)
		if err := errors.Join(errA, errB); err != nil {
			t.Fatal(err)
		}
		if a.Less(b) != (pa < pb) {
			t.Fatalf("%s has %d, %s has %d: want the order of the tokens", a, pa, b, pb)
		}
	}))
}

func TestConfig(t *testing.T) {
	const text = `
server: par1-s1
socket: /run/drp/guard.sock
data: /var/lib/drp/guard
run: /run/drp/guard
as: 64512
router_id: 10.1.0.21
local: "2001:db8:f001::21"
routers: ["2001:db8:f001::1"]
`
	var good Config
	if err := yaml.UnmarshalWithOptions([]byte(text), &good, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Config){
		"no socket":      func(c *Config) { c.Socket = "" },
		"relative data":  func(c *Config) { c.Data = "data" },
		"no run":         func(c *Config) { c.Run = "" },
		"no AS":          func(c *Config) { c.AS = 0 },
		"IPv6 router id": func(c *Config) { c.RouterID = "2001:db8::1" },
		"no local":       func(c *Config) { c.Local = netip.Addr{} },
		"no routers":     func(c *Config) { c.Routers = nil },
		"router twice":   func(c *Config) { c.Routers = slices.Repeat(c.Routers, 2) },
		"IPv4 router":    func(c *Config) { c.Routers = []netip.Addr{netip.MustParseAddr("192.0.2.1")} },
	} {
		c := good
		spoil(&c)
		if err := Run(t.Context(), c); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}
