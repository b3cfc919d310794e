package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"drp/replicator"
	"drp/replicator/keyfiles"
	"drp/replicator/restic"
	"drp/replicator/storetest"
)

// TestBreakGlass: with one store, one offline key and restic, and no coordinator. What the command says to type is typed.
func TestBreakGlass(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("DRP_SOCKET", filepath.Join(dir, "nobody.sock"))
	server := storetest.Start(t)
	server.Bucket("drp-par1")
	store, err := replicator.Open(replicator.StoreConfig{
		Endpoint: server.Endpoint, Bucket: "drp-par1", AccessKey: server.Admin.Access, SecretKey: server.Admin.Secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	binary := storetest.Binary(t, "restic")
	smith := &keyfiles.Smith{Site: "par1", Store: store, Tool: &restic.Runner{Binary: binary}}
	offline, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "offline.key"), offline.String()+"\n")
	write(t, filepath.Join(dir, "store.yaml"), "access_key: "+server.Admin.Access+"\nsecret_key: "+server.Admin.Secret+"\n")
	write(t, filepath.Join(dir, "home", "file"), "content")
	for _, name := range []string{"shop", "shop~2"} {
		repository := server.Repository("drp-par1", name, "present")
		repository.Init(t)
		repository.Backup(t, filepath.Join(dir, "home"))
		if _, err := smith.Make(t.Context(), restic.Repository{
			URL: "s3:" + server.Endpoint + "/drp-par1/" + name, Password: "present", AccessKey: server.Admin.Access, SecretKey: server.Admin.Secret,
		}, name, []string{offline.Recipient().String()}); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) (string, error) {
		t.Helper()
		var out bytes.Buffer
		root := newRootCommand()
		root.SetOut(&out)
		root.SetErr(&out)
		root.SetArgs(append([]string{"breakglass", args[0], "--store", "s3://drp-par1", "--endpoint", server.Endpoint, "--restic", binary,
			"--credentials", filepath.Join(dir, "store.yaml"), "--identity", filepath.Join(dir, "offline.key"), "--patience", "1ms"}, args[1:]...))
		err := root.ExecuteContext(t.Context())
		return out.String(), err
	}

	secret := filepath.Join(dir, "password")
	out, err := run("open", "shop", "--out", secret)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(secret)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the password's file: %v, %v", info, err)
	}
	text, err := os.ReadFile(secret)
	if err != nil {
		t.Fatal(err)
	}
	password := strings.TrimSpace(string(text))
	if strings.Contains(out, password) || !strings.Contains(out, ": 1 snapshots") || !strings.Contains(out, "restic -r s3:"+server.Endpoint+"/drp-par1/shop --password-file "+secret) {
		t.Errorf("it says\n%s", out)
	}
	restored := t.TempDir()
	server.Repository("drp-par1", "shop", password).Restore(t, "latest", restored)
	if got, err := os.ReadFile(filepath.Join(restored, "file")); err != nil || string(got) != "content" {
		t.Errorf("restored %q, %v", got, err)
	}
	if _, err := run("open", "shop", "--out", secret); err == nil || !strings.Contains(err.Error(), "file exists") {
		t.Errorf("a file that is there: %v", err)
	}
	if out, err := run("open", "shop~2"); err != nil || !strings.Contains(out, "--out FILE") {
		t.Errorf("without --out: %v\n%s", err, out)
	}
	if _, err := run("open", "shop~3"); err == nil || !strings.Contains(err.Error(), "of that account there are: [shop shop~2]") {
		t.Errorf("one that is not there: %v", err)
	}

	out, err = run("test")
	if err != nil || !strings.Contains(out, "2 tried, 0 failed; not recorded: ") || !strings.Contains(out, "shop~2 opens (key ") {
		t.Errorf("test: %v\n%s", err, out)
	}
	stranger, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "offline.key"), stranger.String()+"\n")
	out, err = run("test", "--unrecorded", "shop")
	if err == nil || err.Error() != "1 of 1 do not open" || !strings.Contains(out, "shop does NOT open: open http") {
		t.Errorf("with another key: %v\n%s", err, out)
	}
	var usage usageError
	if _, err := run("test", "--count", "0"); !errors.As(err, &usage) {
		t.Errorf("--count 0: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (&glass{store: store, tool: smith.Tool.(*restic.Runner), identities: []age.Identity{offline}}).others(ctx, "shop"); err == nil {
		t.Error("a listing that failed is no list")
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
