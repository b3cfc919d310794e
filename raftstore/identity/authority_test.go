package identity_test

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"drp/raftstore/identity"
)

func issuing(t testing.TB, root *identity.Authority) *identity.Authority {
	t.Helper()
	a, err := root.NewIssuing()
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAuthority_Issuing(t *testing.T) {
	root := authority(t, "cluster-a")
	below := issuing(t, root)
	if life := time.Until(below.Certificate().NotAfter); life > 366*24*time.Hour {
		t.Errorf("got an issuing authority for %s, want a year", life)
	}
	if _, err := below.NewIssuing(); err == nil {
		t.Error("an issuing authority made another one")
	}
	serve := credentialsOf(t, below, root, identity.Coordinator, "x", time.Hour)
	id, err := handshake(t, serve.Server(identity.Agent), credentialsOf(t, below, root, identity.Agent, "x", time.Hour).Client(identity.Coordinator))
	if err != nil || id.String() != "agent/x" {
		t.Errorf("got %v, %v, want agent/x by its chain", id, err)
	}

	t.Run("the chain of another root", func(t *testing.T) {
		other := authority(t, "cluster-a")
		chain, key, err := issuing(t, other).Issue(identity.Agent, "x", nil, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, below.CertificatePEM()...) // ours lies beside it, and vouches for nothing
		stranger, err := identity.New(chain, key, root.CertificatePEM())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := handshake(t, serve.Server(identity.Agent), stranger.Client(identity.Coordinator)); err == nil {
			t.Error("got a connection, want it refused")
		}
	})
	t.Run("a leaf signs nothing", func(t *testing.T) {
		chain, key, err := below.Issue(identity.Agent, "x", nil, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := identity.OpenAuthority(chain, key); err == nil {
			t.Error("a leaf was taken for an authority")
		}
	})
}

func TestAuthority_SignRefuses(t *testing.T) {
	a := authority(t, "cluster-a")
	request, _, err := identity.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for words, leaf := range map[string]identity.Leaf{
		"720h0m0s is the most": {Role: identity.Agent, Name: "x", Issued: now, NotAfter: now.Add(identity.MaxValidity + time.Second)},
		"a role that there is": {Role: "root", Name: "x"},
		"and a name":           {Role: identity.Agent},
	} {
		if _, err := a.Sign(request, leaf); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("got %v, want the words %q", err, words)
		}
	}
	block, _ := pem.Decode(request)
	block.Bytes[len(block.Bytes)-1] ^= 1 // its signature: somebody else's key
	for _, bad := range [][]byte{nil, []byte("x"), a.CertificatePEM(), pem.EncodeToMemory(block)} {
		if _, err := a.Sign(bad, identity.Leaf{Role: identity.Agent, Name: "x"}); err == nil {
			t.Errorf("signed for %q", bad)
		}
	}
}

func TestAuthority_Offline(t *testing.T) {
	dir := t.TempDir()
	a := authority(t, "cluster-a")
	own, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.SaveOffline(dir, nil); err == nil {
		t.Error("saved a key that nobody can open")
	}
	if err := a.SaveOffline(dir, []string{own.Recipient().String()}); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "offline.key")
	if err := os.WriteFile(key, []byte(own.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := identity.OpenOffline(dir, key)
	if err != nil {
		t.Fatal(err)
	}
	if b.Cluster() != "cluster-a" || identity.Fingerprint(b.Certificate()) != identity.Fingerprint(a.Certificate()) {
		t.Error("got another authority than was saved")
	}
	if _, err := b.NewIssuing(); err != nil {
		t.Error(err)
	}
	sealed, err := os.ReadFile(filepath.Join(dir, "root.key.age"))
	if err != nil || strings.Contains(string(sealed), "PRIVATE") {
		t.Errorf("the key lies there in clear (%v)", err)
	}
	stranger, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, []byte(stranger.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := identity.OpenOffline(dir, key); err == nil || !strings.Contains(err.Error(), "does not open") {
		t.Errorf("got %v, want that this key does not open it", err)
	}
}

func TestSerialFor(t *testing.T) {
	one, _, err := identity.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	two, _, err := identity.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	serial := func(secret string, request []byte) string {
		n, err := identity.SerialFor([]byte(secret), request)
		if err != nil {
			t.Fatal(err)
		}
		return n.Text(16)
	}
	if first, again := serial("a", one), serial("a", one); first != again {
		t.Error("the same secret and key: got two serial numbers")
	}
	if serial("a", one) == serial("a", two) || serial("a", one) == serial("b", one) {
		t.Error("another secret or key: got the same serial number")
	}
}

// credentialsOf are signed by an authority below root.
func credentialsOf(t testing.TB, signer, root *identity.Authority, role identity.Role, name string, validity time.Duration) *identity.Credentials {
	t.Helper()
	chain, key, err := signer.Issue(role, name, nil, validity)
	if err != nil {
		t.Fatal(err)
	}
	c, err := identity.New(chain, key, root.CertificatePEM())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func certificateOf(t testing.TB, c *identity.Credentials) *x509.Certificate {
	t.Helper()
	if c.Certificate() == nil {
		t.Fatal("no certificate")
	}
	return c.Certificate()
}
