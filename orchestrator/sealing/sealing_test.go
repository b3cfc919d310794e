package sealing_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"drp/orchestrator/sealing"
	"drp/raftstore/state"
)

var at = time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)

func TestKeyring(t *testing.T) {
	one, two, offline, stranger := newIdentity(t), newIdentity(t), newIdentity(t), newIdentity(t)
	key := newKey(t, []*age.X25519Identity{one, two}, offline)
	a := sealing.New(one)
	if err := a.Take([]*state.Key{key}); err != nil {
		t.Fatal(err)
	}
	sealed, err := a.Seal([]byte("a password"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("password")) {
		t.Error("the sealed form shows the secret")
	}
	if got := state.SealedTo(sealed); got != key.ID {
		t.Errorf("got key %q in the header, want %q", got, key.ID)
	}
	for name, identity := range map[string]*age.X25519Identity{"itself": one, "another coordinator": two, "the offline identity": offline} {
		b := sealing.New(identity)
		if err := b.Take([]*state.Key{key}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := b.Open(sealed); err != nil || string(got) != "a password" {
			t.Errorf("%s: got %q, %v; want it opened", name, got, err)
		}
		o, err := sealing.OpenKeyring(identity, []*state.Key{key})
		if err != nil {
			t.Errorf("%s: open keyring: %v", name, err)
		} else if got, err := o.Open(sealed); err != nil || string(got) != "a password" {
			t.Errorf("%s, offline: got %q, %v; want it opened", name, got, err)
		}
	}
	b := sealing.New(stranger)
	if err := b.Take([]*state.Key{key}); !errors.Is(err, sealing.ErrNoKey) {
		t.Errorf("a stranger took the key: %v", err)
	}
	if _, err := b.Open(sealed); !errors.Is(err, sealing.ErrUnknownKey) {
		t.Errorf("a stranger opens: got %v, want %v", err, sealing.ErrUnknownKey)
	}
	if _, err := b.Seal([]byte("x")); !errors.Is(err, sealing.ErrNoKey) {
		t.Errorf("a stranger seals: got %v, want %v", err, sealing.ErrNoKey)
	}
	if _, err := sealing.OpenKeyring(stranger, []*state.Key{key}); err == nil {
		t.Error("a stranger opened the keyring")
	}
}

// A state of 100,000 accounts has to stay small, however many coordinators there are.
func TestKeyring_sealsSmall(t *testing.T) {
	var five []*age.X25519Identity
	for range 5 {
		five = append(five, newIdentity(t))
	}
	k := sealing.New(five[0])
	if err := k.Take([]*state.Key{newKey(t, five, newIdentity(t), newIdentity(t))}); err != nil {
		t.Fatal(err)
	}
	sealed, err := k.Seal(bytes.Repeat([]byte("p"), 43)) // a repository's password
	if err != nil {
		t.Fatal(err)
	}
	if got := len(sealed) - 43; got > 260 {
		t.Errorf("sealing adds %d bytes, want at most 260", got)
	}
}

func TestKeyring_Take(t *testing.T) {
	one, two := newIdentity(t), newIdentity(t)
	k := sealing.New(one)
	if _, err := k.Seal([]byte("x")); !errors.Is(err, sealing.ErrNoKey) {
		t.Errorf("without a key: got %v, want %v", err, sealing.ErrNoKey)
	}
	if err := k.Take(nil); err != nil {
		t.Errorf("no keys are no fault: %v", err)
	}
	first, second, foreign := newKey(t, []*age.X25519Identity{one}), newKey(t, []*age.X25519Identity{one}), newKey(t, []*age.X25519Identity{two})
	take := func(keys ...*state.Key) error { return k.Take(keys) }
	if err := take(first); err != nil {
		t.Fatal(err)
	}
	old, err := k.Seal([]byte("old"))
	if err != nil {
		t.Fatal(err)
	}
	if err := take(second, first); err != nil {
		t.Fatal(err)
	}
	if next, err := k.Seal([]byte("x")); err != nil || state.SealedTo(next) != second.ID {
		t.Errorf("sealed to %q, %v; want the newest key %q", state.SealedTo(next), err, second.ID)
	}
	if got, err := k.Open(old); err != nil || string(got) != "old" {
		t.Errorf("what is sealed to the older key: got %q, %v", got, err)
	}
	if err := take(second); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Open(old); !errors.Is(err, sealing.ErrUnknownKey) {
		t.Errorf("a key that is gone still opens: %v", err)
	}
	if err := take(foreign, second); !errors.Is(err, sealing.ErrNoKey) {
		t.Errorf("a present key that is not for this one: got %v, want %v", err, sealing.ErrNoKey)
	}
	if _, err := k.Seal([]byte("x")); !errors.Is(err, sealing.ErrNoKey) {
		t.Errorf("it seals to an older key than the present one: %v", err)
	}
	if err := take(foreign, second); !errors.Is(err, sealing.ErrNoKey) {
		t.Errorf("told once only: %v", err)
	}
}

// The key's public part and its sealed one come by different ways into a row: both have to be of one identity.
func TestKeyring_Take_refusesTheIdentityOfAnother(t *testing.T) {
	one := newIdentity(t)
	key, other := newKey(t, []*age.X25519Identity{one}), newKey(t, []*age.X25519Identity{one})
	mixed := *key
	mixed.Sealed = other.Sealed
	if err := sealing.New(one).Take([]*state.Key{&mixed}); err == nil {
		t.Error("a key with the identity of another was taken")
	}
}

// What an earlier version sealed, to every recipient and without a header, still opens.
func TestOpener_earlierVersion(t *testing.T) {
	one, two := newIdentity(t), newIdentity(t)
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, one.Recipient(), two.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("a password")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	k := sealing.New(two)
	if got, err := k.Open(sealed.Bytes()); err != nil || string(got) != "a password" {
		t.Errorf("got %q, %v; want it opened", got, err)
	}
}

func TestNewKey_refuses(t *testing.T) {
	for name, c := range map[string]struct {
		recipients []string
		want       string
	}{
		"nobody":                   {nil, "nobody"},
		"a recipient that is none": {[]string{"age1nonsense"}, `recipient "age1nonsense"`},
	} {
		if _, err := sealing.NewKey(c.recipients, nil, at); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want it to say %q", name, err, c.want)
		}
	}
}

func TestLoad(t *testing.T) {
	one := newIdentity(t)
	if k, err := sealing.Load(write(t, one.String())); err != nil || k.Recipient() != one.Recipient().String() {
		t.Errorf("got %v, %v; want the keyring of the file's identity", k, err)
	}
	if _, err := sealing.Load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
	broken := one.String()[:40]
	if _, err := sealing.Load(write(t, broken)); err == nil || strings.Contains(err.Error(), broken) || strings.Contains(err.Error(), broken[15:]) {
		t.Errorf("half an identity: got %v, want an error that does not show it", err)
	}
}

func newIdentity(t testing.TB) *age.X25519Identity {
	t.Helper()
	i, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func newKey(t testing.TB, coordinators []*age.X25519Identity, offline ...*age.X25519Identity) *state.Key {
	t.Helper()
	k, err := sealing.NewKey(recipients(coordinators), recipients(offline), at)
	if err != nil {
		t.Fatal(err)
	}
	return &k
}

func recipients(list []*age.X25519Identity) []string {
	var out []string
	for _, i := range list {
		out = append(out, i.Recipient().String())
	}
	return out
}

func write(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "age.key")
	if err := os.WriteFile(path, []byte(content+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
