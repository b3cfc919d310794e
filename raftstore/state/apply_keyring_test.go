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
	d.Accounts[0].Services = []Service{{Program: Program{Name: "web", Command: []string{"x"}, SealedEnvironment: SealedWith("k1", []byte("env"))}}}
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

// What is sealed to a key that was retired while it was on its way could never be opened again.
func TestKeyring_refusesWhatIsSealedToAKeyThatIsNotThere(t *testing.T) {
	n, _ := running(t)
	n.must(KeyringSet, KeyringSetData{Key: Key{ID: "k1", Recipient: "age1k1", Sealed: []byte("s"), Recipients: []string{"age1c"}}})
	gone := SealedWith("k0", []byte("x"))
	d := inventory()
	d.Accounts[0].Services = []Service{{Program: Program{Name: "web", Command: []string{"x"}, SealedEnvironment: gone}}}
	n.refused(ErrConflict, "environment of service web", InventoryApply, d)
	n.refused(ErrConflict, "issuing authority", IssuerSet, IssuerSetData{Certificate: []byte("pem"), SealedKey: gone})
	n.refused(ErrConflict, "seal it again", SecretsReseal, SecretsResealData{Items: []ResealItem{{
		Kind: SecretRepository, Account: "guestbook", Old: Sum(n.view().Repository("guestbook").SealedPassword), Sealed: gone}}})
	more := inventory().Accounts[0]
	more.Name, more.Addresses = "more", nil
	n.must(InventoryApply, InventoryData{Accounts: []Account{more}})
	n.refused(ErrConflict, "password of account more", RepositoryCreate, RepositoryCreateData{Account: "more", Site: "par1", SealedPassword: gone})
	n.must(RepositoryCreate, RepositoryCreateData{Account: "more", Site: "par1", SealedPassword: SealedWith("k1", []byte("x"))})
}
