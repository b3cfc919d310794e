package identity_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"drp/raftstore/identity"
)

// machine has its credentials on a disk.
func machine(t testing.TB, root *identity.Authority, role identity.Role, name string) (identity.Files, *identity.Credentials) {
	t.Helper()
	dir := t.TempDir()
	f := identity.Files{Certificate: filepath.Join(dir, "x.pem"), Key: filepath.Join(dir, "x.key"), Authority: filepath.Join(dir, "root.pem")}
	chain, key, err := root.Issue(role, name, nil, identity.MaxValidity)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.WriteNew(chain, key, root.CertificatePEM(), false); err != nil {
		t.Fatal(err)
	}
	c, err := identity.Load(f)
	if err != nil {
		t.Fatal(err)
	}
	return f, c
}

func TestCredentials_Reload(t *testing.T) {
	root := authority(t, "cluster-a")
	f, c := machine(t, root, identity.Agent, "x")
	var said bytes.Buffer
	c.SetLogger(slog.New(slog.NewTextHandler(&said, nil)))
	server := credentialsOf(t, root, root, identity.Coordinator, "x", time.Hour).Server(identity.Agent)
	client := c.Client(identity.Coordinator) // made once, as processes do
	shown := func() string {
		t.Helper()
		if _, err := handshake(t, server, client); err != nil {
			t.Fatal(err)
		}
		return identity.SerialOf(c.Certificate())
	}
	first := shown()

	chain, key, err := root.Issue(identity.Agent, "x", nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Write(chain, key); err != nil {
		t.Fatal(err)
	}
	second := shown()
	if second == first || !strings.Contains(said.String(), "certificate was renewed") {
		t.Errorf("got the old certificate, want the one on the disk; said: %s", &said)
	}
	for what, damage := range map[string]func() error{
		"not a certificate": func() error { return os.WriteFile(f.Certificate, []byte("broken"), 0o644) },
		"somebody else's": func() error {
			chain, key, err := root.Issue(identity.Agent, "y", nil, time.Hour)
			return errors.Join(err, f.Write(chain, key))
		},
		"gone": func() error { return os.Remove(f.Certificate) },
	} {
		said.Reset()
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		if got := shown(); got != second {
			t.Errorf("%s: got another certificate, want the old one kept", what)
		}
		shown()
		if n := strings.Count(said.String(), "going on with the old one"); n != 1 {
			t.Errorf("%s: told %d times, want once: %s", what, n, &said)
		}
		if err := f.Write(chain, key); err != nil {
			t.Fatal(err)
		}
		shown()
	}
}

// A crash between any two steps of a renewal leaves a certificate with its key.
func TestFiles_CrashBetweenSteps(t *testing.T) {
	root := authority(t, "cluster-a")
	f, _ := machine(t, root, identity.Agent, "x")
	chain, key, err := root.Issue(identity.Agent, "x", nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	load := func(when string) {
		t.Helper()
		if _, err := identity.Load(f); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	if err := os.WriteFile(f.Key+".next", key, 0o600); err != nil {
		t.Fatal(err)
	}
	load("next key is there")
	if err := os.WriteFile(f.Certificate, chain, 0o644); err != nil {
		t.Fatal(err)
	}
	load("certificate is there")
	// The next renewal crashes at once, too: the key of the present certificate must not be written over.
	chain, key, err = root.Issue(identity.Agent, "x", nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Write(chain, key); err != nil {
		t.Fatal(err)
	}
	load("after another renewal")
	if _, err := os.Stat(f.Key + ".next"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want nothing left over", err)
	}
	for path, want := range map[string]os.FileMode{f.Key: 0o600, f.Certificate: 0o644} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: got %v, %v, want %v", path, info, err, want)
		}
	}
}

// A renewal that crashes after one that has crashed: the key that the certificate on the disk belongs to is only in the file
// of the next key, and is not written over before it has its own place.
func TestFiles_CrashAfterCrash(t *testing.T) {
	root := authority(t, "cluster-a")
	f, _ := machine(t, root, identity.Agent, "x")
	chain, key, err := root.Issue(identity.Agent, "x", nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	// So long a name can be read, and not be replaced: the renewal ends before its certificate is written.
	f.Certificate = filepath.Join(filepath.Dir(f.Certificate), strings.Repeat("x", 250))
	for path, data := range map[string][]byte{f.Key + ".next": key, f.Certificate: chain} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	next, nextKey, err := root.Issue(identity.Agent, "x", nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Write(next, nextKey); err == nil {
		t.Fatal("the renewal went through: the test proves nothing")
	}
	cert, present, _, err := f.Read()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tls.X509KeyPair(cert, present); err != nil {
		t.Errorf("the key of the certificate is gone: %v", err)
	}
}

func TestFiles_WriteNewRefuses(t *testing.T) {
	root := authority(t, "cluster-a")
	f, c := machine(t, root, identity.Agent, "x")
	chain, key, err := root.Issue(identity.Agent, "y", nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.WriteNew(chain, key, root.CertificatePEM(), false); err == nil || !strings.Contains(err.Error(), "--replace") {
		t.Errorf("got %v, want the way to replace an identity", err)
	}
	if got, err := identity.Load(f); err != nil || got.Identity() != c.Identity() {
		t.Errorf("got %v, %v, want the identity as it was", got, err)
	}
	other := f
	other.Certificate, other.Key = filepath.Join(filepath.Dir(f.Key), "y.pem"), filepath.Join(filepath.Dir(f.Key), "y.key")
	if err := other.WriteNew(chain, key, authority(t, "cluster-b").CertificatePEM(), false); err == nil || !strings.Contains(err.Error(), "another platform") {
		t.Errorf("got %v, want that the machine belongs to another platform", err)
	}
	if err := f.WriteNew(chain, key, root.CertificatePEM(), true); err != nil {
		t.Error(err)
	}
}

func TestRenewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		root := authority(t, "cluster-a")
		_, c := machine(t, root, identity.Agent, "x")
		c.SetLogger(slog.New(slog.DiscardHandler))
		var said bytes.Buffer
		type asking struct {
			at      time.Duration
			present string
		}
		start := time.Now()
		asked, refuse := make(chan asking, 100), make(chan error, 100)
		r := identity.Renewer{Credentials: c, Log: slog.New(slog.NewTextHandler(&said, nil)),
			Ask: func(_ context.Context, request, present []byte) ([]byte, error) {
				asked <- asking{time.Since(start), string(present)}
				select {
				case err := <-refuse:
					return nil, err
				default:
				}
				return root.Sign(request, identity.Leaf{Role: identity.Agent, Name: "x"})
			}}
		for range 10 {
			refuse <- errors.New("no leader")
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		first := string(c.ChainPEM())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		for i := range 11 {
			a := <-asked
			if a.present != first {
				t.Fatalf("asking %d: another certificate than ours", i)
			}
			if i == 0 && (a.at < 20*24*time.Hour-time.Hour || a.at > 22*24*time.Hour) {
				t.Errorf("asked first after %s, want at two thirds of 30 days", a.at)
			}
			if i == 10 && a.at > 22*24*time.Hour+10*time.Hour {
				t.Errorf("asked for the 11th time after %s, want at least hourly", a.at)
			}
		}
		synctest.Wait()
		if got := string(c.ChainPEM()); got == first {
			t.Error("the certificate is still the old one")
		}
		a := <-asked // the next one, without a restart
		if a.present == first {
			t.Error("asked with the certificate before the last")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if !strings.Contains(said.String(), "trying again") {
			t.Errorf("nothing was said of the failures: %s", &said)
		}
	})
}

func TestRenewer_WrongAnswer(t *testing.T) {
	root := authority(t, "cluster-a")
	_, c := machine(t, root, identity.Agent, "x")
	before := string(c.ChainPEM())
	r := identity.Renewer{Credentials: c, Ask: func(_ context.Context, request, _ []byte) ([]byte, error) {
		return root.Sign(request, identity.Leaf{Role: identity.Operator, Name: "x"})
	}}
	if err := r.Renew(t.Context()); err == nil || !strings.Contains(err.Error(), "operator/x") {
		t.Errorf("got %v, want that it is for somebody else", err)
	}
	if string(c.ChainPEM()) != before {
		t.Error("it was taken over")
	}
}

func TestCredentials_Usable(t *testing.T) {
	root := authority(t, "cluster-a")
	request, key, err := identity.NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	for words, issued := range map[string]time.Time{
		"is good from":          time.Now().Add(4 * time.Hour),
		"drp ca enrol agent x)": time.Now().Add(-40 * 24 * time.Hour),
	} {
		chain, err := root.Sign(request, identity.Leaf{Role: identity.Agent, Name: "x", Issued: issued})
		if err != nil {
			t.Fatal(err)
		}
		c, err := identity.New(chain, key, root.CertificatePEM())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Usable(); !errors.Is(err, identity.ErrExpired) || !strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), "clock") {
			t.Errorf("got %v, want %v with the words %q", err, identity.ErrExpired, words)
		}
		server := credentialsOf(t, root, root, identity.Coordinator, "x", time.Hour).Server(identity.Agent)
		if _, err := handshake(t, server, c.Client(identity.Coordinator)); err == nil {
			t.Error("got a connection, want none")
		}
	}
}
