package sealing_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"drp/orchestrator/sealing"
)

func TestSealer(t *testing.T) {
	one, two, offline := newIdentity(t), newIdentity(t), newIdentity(t)
	recipients := []string{one.Recipient().String(), two.Recipient().String(), offline.Recipient().String()}
	a, err := sealing.Load(write(t, one), recipients)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := a.Seal([]byte("a password"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("password")) {
		t.Error("the sealed form shows the secret")
	}
	for name, identity := range map[string]*age.X25519Identity{"itself": one, "another coordinator": two, "the offline key": offline} {
		b, err := sealing.Load(write(t, identity), recipients)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := b.Open(sealed); err != nil || string(got) != "a password" {
			t.Errorf("%s: got %q, %v; want it opened", name, got, err)
		}
	}
	stranger := newIdentity(t)
	if b, err := sealing.Load(write(t, stranger), append(recipients, stranger.Recipient().String())); err != nil {
		t.Error(err)
	} else if _, err := b.Open(sealed); err == nil {
		t.Error("a stranger opened it")
	}
}

func TestLoad_refuses(t *testing.T) {
	one, two := newIdentity(t), newIdentity(t)
	for _, c := range []struct {
		name, file string
		recipients []string
		want       string
	}{
		{"no file", filepath.Join(t.TempDir(), "none"), nil, "no such file"},
		{"itself not among the recipients", write(t, one), []string{two.Recipient().String()}, "not among them"},
		{"a recipient that is none", write(t, one), []string{one.Recipient().String(), "age1nonsense"}, `recipient "age1nonsense"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := sealing.Load(c.file, c.recipients); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want it to say %q", err, c.want)
			}
		})
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

func write(t testing.TB, i *age.X25519Identity) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "age.key")
	if err := os.WriteFile(path, []byte(i.String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
