package state

import (
	"strings"
	"testing"
	"time"
)

func TestKeyring(t *testing.T) {
	n, _ := running(t)
	key := func(id string) KeyringSetData {
		return KeyringSetData{Key: Key{ID: id, Recipient: "age1" + id, Sealed: []byte("s"), Recipients: []string{"age1c"}}}
	}
	n.must(KeyringSet, key("k1"))
	n.refused(ErrConflict, "already", KeyringSet, key("k1"))
	d := inventory()
	d.Accounts[0].Services = []Service{{Name: "web", Command: []string{"x"}, SealedEnvironment: SealedWith("k1", []byte("env"))}}
	n.must(InventoryApply, d)
	behind := n.command(KeyringSet, key("k2"))
	behind.At = epoch.Add(-time.Hour)
	n.applyCommand(behind)
	if got, want := n.view().Keys()[0].ID, "k2"; got != want {
		t.Errorf("got present key %s, want %s, whatever the clock says", got, want)
	}
	n.refused(ErrConflict, "present", KeyringRetire, KeyringRetireData{ID: "k2"})
	n.refused(ErrConflict, "service web", KeyringRetire, KeyringRetireData{ID: "k1"})

	old := n.view().Repository("guestbook").SealedPassword
	password := ResealItem{Kind: SecretRepository, Account: "guestbook", Old: Sum(old), Sealed: SealedWith("k2", []byte("p"))}
	stale := password
	stale.Old = Sum([]byte("another"))
	n.same(SecretsReseal, SecretsResealData{Items: []ResealItem{stale}})
	n.must(SecretsReseal, SecretsResealData{Items: []ResealItem{password, {
		Kind: SecretEnvironment, Account: "guestbook", Service: "web", Old: Sum(SealedWith("k1", []byte("env"))), Sealed: SealedWith("k2", []byte("env")),
	}}})
	n.same(SecretsReseal, SecretsResealData{Items: []ResealItem{password}})
	n.must(KeyringRetire, KeyringRetireData{ID: "k1"})
	n.refused(ErrNotFound, "no key", KeyringRetire, KeyringRetireData{ID: "k1"})
	if got, want := SealedTo(n.view().Repository("guestbook").SealedPassword), "k2"; got != want {
		t.Errorf("got the password sealed to %q, want %q", got, want)
	}
	for _, plain := range []string{"", "age-encryption.org/v1\n", "drp1 ", "drp1 " + strings.Repeat("k", 100) + "\n"} {
		if got := SealedTo([]byte(plain)); got != "" {
			t.Errorf("got key %q of %q, want none", got, plain)
		}
	}
}
