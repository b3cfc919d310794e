package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drp/raftstore/identity"
	"drp/replicator"
	"drp/replicator/restic"
	"drp/replicator/storetest"
)

const password = "canary-password-8d2f"

// client is a restic, and the same repository through the gateway and straight at the store.
type client struct {
	*restic.Runner
	through, direct restic.Repository
}

func newClient(t testing.TB, p *platform, c replicator.StoreConfig) *client {
	t.Helper()
	cert, key := p.issue(identity.Agent, server)
	x := &client{
		Runner: &restic.Runner{Binary: storetest.Binary(t, "restic"), Quick: time.Minute, Limit: 3 * time.Minute},
		through: restic.Repository{
			URL: "rest:" + p.url + "/" + account + "/" + token + "/", Password: password,
			Authority: p.authority.CertificatePEM(), Certificate: cert, Key: key,
		},
		direct: restic.Repository{
			URL: "s3:" + c.Endpoint + "/" + c.Bucket + "/" + account, Password: password,
			AccessKey: c.AccessKey, SecretKey: c.SecretKey, Region: c.Region,
		},
	}
	if err := x.Init(t.Context(), x.direct); err != nil {
		t.Fatal(err)
	}
	return x
}

// home writes files that do not compress, so that there are packs of the usual 16 MiB.
func home(t testing.TB, megabytes int) string {
	t.Helper()
	dir := t.TempDir()
	random := rand.NewChaCha8([32]byte{1})
	for i := range megabytes {
		b := make([]byte, 1<<20)
		random.Read(b) //nolint:errcheck // it never fails
		put(t, filepath.Join(dir, fmt.Sprintf("files/%d/blob-%d", i%3, i)), b)
	}
	put(t, filepath.Join(dir, "files/www/index.html"), []byte("<h1>hello</h1>"))
	put(t, filepath.Join(dir, "mails/example.org/anna/cur/1"), []byte("Subject: hello"))
	return dir
}

func put(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o644)); err != nil {
		t.Fatal(err)
	}
}

// tree is the content of a directory.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || !info.Mode().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		files[strings.TrimPrefix(path, dir)] = name(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// children are the pids of our own children of that name.
func children(t testing.TB, comm string) (pids []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		var pid, ppid int
		var state string
		before, after, _ := strings.Cut(string(b), " ("+comm+") ")
		if n, _ := fmt.Sscan(before+" "+after, &pid, &state, &ppid); n == 3 && ppid == os.Getpid() {
			pids = append(pids, strconv.Itoa(pid))
		}
	}
	return pids
}

func TestRestic_backupRestoreCheck(t *testing.T) {
	_, c := realStore(t)
	p := newPlatform(t, openStore(t, c))
	p.grant(writable)
	x := newClient(t, p, c)
	type event struct{ Account, ID string }
	var mu sync.Mutex
	var heard []event
	looked := 0
	p.gateway.OnSnapshot = func(account, id string) {
		mu.Lock()
		defer mu.Unlock()
		heard = append(heard, event{account, id})
		// restic waits for this very answer, so it can be looked at while it lives.
		for _, pid := range children(t, "restic") {
			for _, file := range []string{"cmdline", "environ"} {
				b, err := os.ReadFile(filepath.Join("/proc", pid, file))
				if err != nil || len(b) == 0 {
					t.Errorf("%s: %d bytes, %v", file, len(b), err)
				}
				if bytes.Contains(b, []byte(password)) || bytes.Contains(b, []byte("PRIVATE KEY")) {
					t.Errorf("a secret in restic's %s: %q", file, b)
				}
				looked++
			}
		}
	}
	ctx := t.Context()
	if ok, err := x.Exists(ctx, x.through); err != nil || !ok {
		t.Fatalf("Exists: got %v, %v", ok, err)
	}
	source := home(t, 20)
	sum, err := x.Backup(ctx, x.through, restic.BackupOptions{Dir: source, Host: account, Tags: []string{"scheduled"}})
	if err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	if diff := cmp.Diff([]event{{account, sum.SnapshotID}}, heard); diff != "" || looked != 2 {
		t.Errorf("%d files of restic looked at, events (-want +got):\n%s", looked, diff)
	}
	mu.Unlock()
	second, err := x.Backup(ctx, x.through, restic.BackupOptions{Dir: source, Host: account, Tags: []string{"scheduled"}})
	if err != nil {
		t.Fatal(err)
	}
	if second.Added > sum.Added/100 {
		t.Errorf("second backup of the same files added %d bytes after %d: it did not find its parent", second.Added, sum.Added)
	}
	list, err := x.Snapshots(ctx, x.through)
	if err != nil || len(list) != 2 || list[0].ID != sum.SnapshotID {
		t.Errorf("snapshots: got %v, %v", list, err)
	}
	if err := x.Check(ctx, x.through, restic.CheckOptions{ReadData: true}); err != nil {
		t.Errorf("through the gateway: %v", err)
	}
	if err := x.Check(ctx, x.direct, restic.CheckOptions{ReadData: true}); err != nil {
		t.Errorf("straight at the store: %v", err)
	}

	// A server that may only read restores.
	p.grant(Grant{Account: account, Server: server, Token: token})
	target := t.TempDir()
	if _, err := x.Restore(ctx, x.through, restic.RestoreOptions{Snapshot: sum.SnapshotID, Target: target, NoLock: true}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tree(t, source), tree(t, target)); diff != "" {
		t.Errorf("restored (-want +got):\n%s", diff)
	}
	for key := range contents(t, c) {
		if strings.HasPrefix(key, account+"/locks/") {
			t.Errorf("left behind: %s", key)
		}
	}
}

// What a server does that the platform has taken the account from, or that was never given it.
func TestRestic_refused(t *testing.T) {
	_, c := realStore(t)
	p := newPlatform(t, openStore(t, c))
	x := newClient(t, p, c)
	source := home(t, 1)
	before := contents(t, c)
	backup := func() error {
		_, err := x.Backup(t.Context(), x.through, restic.BackupOptions{Dir: source, Host: account})
		return err
	}
	for what, grant := range map[string]Grant{
		"reader":         {Account: account, Server: server, Token: token},
		"newer token":    {Account: account, Server: server, Token: "1.8", Write: true},
		"another server": {Account: account, Server: "par1-s2", Token: token, Write: true},
	} {
		p.grant(grant)
		err := backup()
		if !errors.Is(err, restic.ErrFailed) {
			t.Errorf("%s: got %v, want ErrFailed at once", what, err)
		}
	}
	p.grant(writable)
	if err := x.Init(t.Context(), x.through); !errors.Is(err, restic.ErrFailed) {
		t.Errorf("init of an existing repository: got %v, want ErrFailed", err)
	}
	none := x.through
	none.URL = "rest:" + p.url + "/shop/" + token + "/"
	p.grant(writable, Grant{Account: "shop", Server: server, Token: token, Write: true})
	if ok, err := x.Exists(t.Context(), none); ok || err != nil {
		t.Errorf("repository that is not there: got %v, %v", ok, err)
	}
	if err := x.Init(t.Context(), none); !errors.Is(err, restic.ErrFailed) {
		t.Errorf("init through the gateway: got %v, want ErrFailed", err)
	}
	if diff := cmp.Diff(before, contents(t, c)); diff != "" {
		t.Errorf("the store has changed (-before +after):\n%s", diff)
	}
	// forget and prune need to delete: whatever restic makes of it, nothing goes.
	if err := backup(); err != nil {
		t.Fatal(err)
	}
	before = contents(t, c)
	var tried atomic.Int64
	p.handler = func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete && strings.Contains(r.URL.Path, "/snapshots/") {
			tried.Add(1)
		}
		p.gateway.ServeHTTP(w, r)
	}
	x.Command = func(ctx context.Context, binary string, _ ...string) *exec.Cmd {
		return exec.CommandContext(ctx, binary, "--no-cache", "forget", "--prune", "--unsafe-allow-remove-all", "--tag=", "--host="+account)
	}
	err := x.Unlock(t.Context(), x.through, false) // runs what Command made
	if err == nil || tried.Load() == 0 {
		t.Errorf("forget: got %v after %d tries to delete a snapshot", err, tried.Load())
	}
	after := contents(t, c)
	for key, sum := range before {
		if after[key] != sum {
			t.Errorf("deleted or changed: %s", key)
		}
	}
}

// cutting is a store that is killed when so many bytes of an object have gone to it.
type cutting struct {
	Store
	after int64
	cut   func()
}

func (s *cutting) Put(ctx context.Context, key, sum string, size int64, body io.Reader) error {
	if _, seekable := body.(io.Seeker); !seekable {
		body = &cuttingBody{body, s}
	}
	return s.Store.Put(ctx, key, sum, size, body)
}

type cuttingBody struct {
	io.Reader
	s *cutting
}

func (b *cuttingBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if b.s.after -= int64(n); b.s.after < 0 {
		b.s.cut()
	}
	return n, err
}

func TestRestic_storeRestartsDuringBackup(t *testing.T) {
	versity, c := realStore(t)
	killed := make(chan struct{})
	store := &cutting{Store: openStore(t, c), after: 24 << 20, cut: sync.OnceFunc(func() {
		versity.Kill()
		close(killed)
	})}
	p := newPlatform(t, store)
	p.grant(writable)
	x := newClient(t, p, c)
	x.Env = []string{"RESTIC_PACK_SIZE=4"}
	// One connection, so that the count needs no lock.
	x.Command = func(ctx context.Context, binary string, args ...string) *exec.Cmd {
		return exec.CommandContext(ctx, binary, append([]string{"-o", "rest.connections=1"}, args...)...)
	}
	source := home(t, 48)
	type result struct {
		restic.Summary
		err error
	}
	done := make(chan result, 1)
	go func() {
		sum, err := x.Backup(t.Context(), x.through, restic.BackupOptions{Dir: source, Host: account})
		done <- result{sum, err}
	}()
	select {
	case <-killed:
	case r := <-done:
		t.Fatalf("the backup ended before the store was killed: %+v", r)
	}
	versity.Restart()
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	x.Command, x.Env = nil, nil
	if err := x.Check(t.Context(), x.direct, restic.CheckOptions{ReadData: true}); err != nil {
		t.Error(err)
	}
	target := t.TempDir()
	if _, err := x.Restore(t.Context(), x.through, restic.RestoreOptions{Snapshot: r.SnapshotID, Target: target, NoLock: true}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tree(t, source), tree(t, target)); diff != "" {
		t.Errorf("restored (-want +got):\n%s", diff)
	}
}

// restic speaks version 2 of the protocol, over HTTP/2.
func TestRestic_protocol(t *testing.T) {
	_, c := realStore(t)
	p := newPlatform(t, openStore(t, c))
	p.grant(writable)
	x := newClient(t, p, c)
	var listings atomic.Int64
	p.handler = func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/snapshots/") {
			listings.Add(1)
			if r.ProtoMajor != 2 || r.Header.Get("Accept") != listV2 {
				t.Errorf("listing: %s, Accept %q", r.Proto, r.Header.Get("Accept"))
			}
		}
		p.gateway.ServeHTTP(w, r)
	}
	if _, err := x.Snapshots(t.Context(), x.through); err != nil || listings.Load() == 0 {
		t.Errorf("%d listings, %v", listings.Load(), err)
	}
}
