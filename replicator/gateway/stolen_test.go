package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"

	"drp/raftstore/identity"
	"drp/replicator/restic"
)

// Whoever has a server's certificate and the repository's password can read that repository and add to it. Everything
// else is refused, at the gateway and at the store, nothing stored changes, and backups go on.
func TestStolenServer(t *testing.T) {
	_, c := realStore(t)
	p := newPlatform(t, openStore(t, c))
	x := newClient(t, p, c)
	p.grant(writable, Grant{Account: "shop", Server: "par1-s2", Token: token, Write: true})
	source := home(t, 1)
	backup := func() {
		t.Helper()
		if _, err := x.Backup(t.Context(), x.through, restic.BackupOptions{Dir: source, Host: account}); err != nil {
			t.Fatal(err)
		}
	}
	backup()
	backup()
	others := openStore(t, c)
	foreign := []byte("another account's")
	if err := others.Put(t.Context(), "shop/data/"+name(foreign)[:2]+"/"+name(foreign), name(foreign), int64(len(foreign)), bytes.NewReader(foreign)); err != nil {
		t.Fatal(err)
	}
	before := contents(t, c)

	// What restic itself offers to whoever has the password.
	var snapshot, pack string
	for key := range before {
		if n, ok := (target{account: account, folder: snapshots}).nameIn(key); ok {
			snapshot = n
		}
		if n, ok := (target{account: account, folder: data}).nameIn(key); ok {
			pack = n
		}
	}
	mine := filepath.Join(t.TempDir(), "password")
	put(t, mine, []byte("mine"))
	for _, args := range [][]string{
		{"forget", "--prune", snapshot},
		{"prune", "--max-unused", "0"},
		{"rewrite", "--forget", "--exclude", "*", snapshot},
		{"tag", "--set", "mine", snapshot},
		{"key", "passwd", "--new-password-file", mine},
		{"key", "add", "--new-password-file", mine},
		{"repair", "index"},
		{"repair", "packs", pack},
	} {
		x.Command = func(ctx context.Context, binary string, _ ...string) *exec.Cmd {
			cmd := exec.CommandContext(ctx, binary, append([]string{"--no-cache"}, args...)...)
			cmd.Dir = filepath.Dir(mine) // repair packs leaves copies where it runs
			return cmd
		}
		err := x.Unlock(t.Context(), x.through, false) // runs what Command made
		x.Command = nil
		after := contents(t, c)
		for key, sum := range before {
			if after[key] != sum {
				t.Errorf("restic %v deleted or changed %s", args, key)
			}
		}
		for key := range after {
			if _, was := before[key]; !was && (target{account: account, folder: keys}).isIn(key) {
				t.Errorf("restic %v added a key", args)
			}
		}
		t.Logf("restic %v: %v", args, err)
	}

	// And what a program of one's own could send.
	ours := p.agent(server)
	for _, r := range []struct{ method, path string }{
		{"DELETE", "data/" + pack}, {"DELETE", "snapshots/" + snapshot}, {"DELETE", "config"}, {"POST", "config"},
		{"POST", "keys/" + name(foreign)}, {"POST", "?create=true"}, {"DELETE", ""},
		{"GET", "/shop/" + token + "/data/" + name(foreign)}, {"GET", "/shop/" + token + "/config"}, {"POST", "/shop/" + token + "/data/" + name(foreign)},
		{"GET", "/" + account + "/1.6/config"}, {"POST", "/" + account + "/1.8/data/" + name(foreign)},
		{"GET", "/" + account + "/" + token + "/../shop/config"}, {"GET", "/" + account + "/" + token + "/data/..%2f..%2fshop%2fconfig"},
		{"GET", "/cluster/exports/"}, {"POST", "data/" + pack},
	} {
		got, err := p.do(ours, r.method, r.path, bytes.NewReader(foreign))
		if err != nil || got.status < 400 || got.status >= 500 {
			t.Errorf("%s %s: got %d, %v, want a refusal", r.method, r.path, got.status, err)
		}
		if bytes.Contains(got.body, foreign) {
			t.Errorf("%s %s: got another account's data", r.method, r.path)
		}
	}
	// The store knows no certificate, only keys, and those are the site's.
	for _, key := range []string{account + "/config", "shop/config", ""} {
		if status := atTheStore(t, p, c.Endpoint+"/"+c.Bucket+"/"+key); status != http.StatusForbidden {
			t.Errorf("the store answers %q without a key with %d", key, status)
		}
	}
	for key, sum := range before {
		if got := contents(t, c)[key]; got != sum {
			t.Errorf("deleted or changed: %s", key)
		}
	}
	backup()
	if err := x.Check(t.Context(), x.direct, restic.CheckOptions{ReadData: true}); err != nil {
		t.Errorf("check: %v", err)
	}
}

// atTheStore asks for an object with a server's certificate and nothing else.
func atTheStore(t *testing.T, p *platform, url string) int {
	t.Helper()
	cert, key := p.issue(identity.Agent, server)
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: x509.NewCertPool()}}}
	defer client.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(fmt.Errorf("ask the store: %w", err))
	}
	defer response.Body.Close()
	return response.StatusCode
}

// isIn reports whether a listed key lies in the target's folder.
func (t target) isIn(key string) bool {
	_, ok := t.nameIn(key)
	return ok
}
