package sealing_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	"drp/orchestrator/sealing"
	"drp/raftstore/state"
)

// log is a state that a test builds by commands.
type log struct {
	testing.TB
	*state.State
	index uint64
}

func (l *log) must(name state.Name, payload any) {
	l.Helper()
	l.index++
	r, err := l.Apply(l.index, state.NewCommand(name, fmt.Sprint(l.index), at, "test", payload))
	if err != nil || r.Err != nil {
		l.Fatalf("%s: %v, %v", name, err, r.Err)
	}
}

// newLog has accounts, each with a password and an environment of about this size, sealed to a key of these.
func newLog(t testing.TB, k *sealing.Keyring, key *state.Key, accounts, size int) *log {
	t.Helper()
	l := &log{TB: t, State: state.New()}
	l.must(state.ClusterInit, state.ClusterInitData{UUID: "c", Incarnation: 1, Level: state.Level})
	l.must(state.KeyringSet, state.KeyringSetData{Key: *key})
	if err := k.Take(l.View().Keys()); err != nil {
		t.Fatal(err)
	}
	seal := func(what string) []byte {
		sealed, err := k.Seal([]byte(what))
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	data := state.InventoryData{
		Provider: &state.Provider{Name: "p", Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8:a::/48")}},
		Sites:    []state.Site{{Name: "par1"}},
		Policies: []state.Policy{{Name: "hourly", Schedule: "@every 1h"}},
	}
	for i := range accounts {
		data.Accounts = append(data.Accounts, state.Account{Name: account(i), Policy: "hourly", Services: []state.Service{
			{Program: state.Program{Name: "web", Command: []string{"x"}, SealedEnvironment: seal(content(state.SecretEnvironment, account(i), size))}},
			{Program: state.Program{Name: "plain", Command: []string{"x"}}}}})
	}
	l.must(state.InventoryApply, data)
	for i := range accounts {
		l.must(state.RepositoryCreate, state.RepositoryCreateData{Account: account(i), Site: "par1", SealedPassword: seal(content(state.SecretRepository, account(i), size))})
	}
	l.must(state.IssuerSet, state.IssuerSetData{Certificate: []byte("pem"), SealedKey: seal(content(state.SecretIssuer, "", size))})
	return l
}

func account(i int) state.AccountName { return state.AccountName(fmt.Sprintf("a%d", i)) }

// The commands of an exchange fit into the log whatever is sealed, and leave nothing that the former identities open.
func TestExchange(t *testing.T) {
	for _, c := range []struct{ accounts, size int }{{0, 1}, {1, 300}, {150, 1}, {40, 4000}} {
		t.Run(fmt.Sprintf("%d accounts, environments of %d bytes", c.accounts, c.size), func(t *testing.T) {
			one, two, offline := newIdentity(t), newIdentity(t), newIdentity(t)
			first := newKey(t, []*age.X25519Identity{one}, offline)
			l := newLog(t, sealing.New(one), first, c.accounts, c.size)
			before, err := sealing.OpenKeyring(sealing.AnyOf(newIdentity(t), offline), l.View().Keys())
			if err != nil {
				t.Fatal(err)
			}
			steps, err := sealing.Exchange(l.View(), before, recipients([]*age.X25519Identity{two}), recipients([]*age.X25519Identity{offline}), at)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range steps {
				if data, err := json.Marshal(s.Payload); err != nil || len(data) > 60<<10 {
					t.Errorf("%s has %d bytes (%v), too many for one entry of the log", s.Name, len(data), err)
				}
				l.must(s.Name, s.Payload)
			}
			v := l.View()
			if keys := v.Keys(); len(keys) != 1 || keys[0].ID == first.ID {
				t.Fatalf("got %d keys, want the new one alone", len(keys))
			}
			if _, err := sealing.OpenKeyring(one, v.Keys()); err == nil {
				t.Error("the former coordinator still opens the keyring")
			}
			after, err := sealing.OpenKeyring(two, v.Keys())
			if err != nil {
				t.Fatal(err)
			}
			opened := 0
			for s := range sealing.Secrets(v) {
				opened++
				if plain, err := after.Open(s.Sealed); err != nil || string(plain) != content(s.Kind, s.Account, c.size) {
					t.Errorf("%s: got %.40q, %v", s, plain, err)
				}
			}
			if opened != 2*c.accounts+1 {
				t.Errorf("got %d secrets, want %d", opened, 2*c.accounts+1)
			}
		})
	}
}

// content is what newLog puts in.
func content(kind state.SecretKind, a state.AccountName, size int) string {
	if kind == state.SecretEnvironment {
		return strings.Repeat("e", size) + string(a)
	}
	return string(kind) + string(a)
}

func TestExchange_refusesWhatDoesNotOpen(t *testing.T) {
	one := newIdentity(t)
	l := newLog(t, sealing.New(one), newKey(t, []*age.X25519Identity{one}), 1, 1)
	o, err := sealing.OpenKeyring(newIdentity(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sealing.Exchange(l.View(), o, recipients([]*age.X25519Identity{one}), nil, at); err == nil {
		t.Error("secrets were left behind without a word")
	}
}

// What does not open is named, and holds up nothing else.
func TestReseal_leavesOutWhatDoesNotOpen(t *testing.T) {
	one := newIdentity(t)
	k := sealing.New(one)
	l := newLog(t, k, newKey(t, []*age.X25519Identity{one}), 3, 1)
	all := slices.Collect(sealing.Secrets(l.View()))
	all[1].Sealed = state.SealedWith("nobodys", []byte("x"))
	var items int
	var failed error
	for batch, err := range sealing.Reseal(all, k, l.View().Keys()[0]) {
		items += len(batch.Items)
		if err != nil {
			failed = err
		}
	}
	if items != len(all)-1 || failed == nil {
		t.Errorf("got %d items of %d, and error %v", items, len(all), failed)
	}
}
