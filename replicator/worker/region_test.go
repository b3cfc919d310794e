package worker

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"drp/raftstore/identity"
	"drp/replicator"
	"drp/replicator/gateway"
	"drp/replicator/maintenance"
	"drp/replicator/restic"
	"drp/replicator/storetest"
)

// region is two sites: a home with a gateway, an agent that makes backups, and the home's worker; and the worker of the
// other site, which keeps a copy. Each store is reached through a proxy, by all of them.
type region struct {
	t       *testing.T
	stores  [2]*storetest.Server
	proxies [2]*storetest.Proxy
	direct  [2]*storetest.Repository // past the proxy
	workers [2]*Worker
	leader  *leader // of the second worker
	told    lockedText

	agent   *restic.Runner
	through restic.Repository
	dir     string

	mu      sync.Mutex
	saved   map[string]map[string]string // acknowledged backups: what they have to restore
	order   []string                     // of these
	copied  map[string]bool              // were said to be at the second site
	over    map[string]bool              // are to be forgotten
	now     *outage                      // nil: none
	passes  int                          // of the second worker, that have ended
	lastErr error                        // of the last of them
	errs    []string                     // of passes
}

var siteNames = [2]string{"par1", "par2"}

// newRegion begins with an empty repository. Nil: one of today.
func newRegion(t *testing.T, create func(*storetest.Repository)) *region {
	t.Helper()
	r := &region{t: t, dir: t.TempDir(), saved: map[string]map[string]string{}, copied: map[string]bool{}, over: map[string]bool{}}
	log := slog.New(slog.NewTextHandler(&r.told, &slog.HandlerOptions{Level: slog.LevelWarn}))
	tool := &restic.Runner{Binary: storetest.Binary(t, "restic"), Grace: time.Second}
	for n, site := range siteNames {
		r.stores[n] = storetest.Start(t)
		r.stores[n].Bucket("drp-" + site)
		r.proxies[n] = storetest.NewProxy(t, r.stores[n].Endpoint)
		r.direct[n] = r.stores[n].Repository("drp-"+site, "shop", shopPassword)
		store, err := r.open(r.config(n))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(store.Close)
		r.workers[n] = &Worker{
			Site: site, Store: store, Logger: log, open: r.open,
			Keeper: &maintenance.Keeper{Site: site, Store: store, Tool: tool, Scratch: t.TempDir(), Log: log},
		}
		keeping(t, r.workers[n])
		r.workers[n].Keeper.Tool = tool
	}
	if create == nil {
		create = func(repository *storetest.Repository) { repository.Init(t) }
	}
	create(r.direct[0])
	r.serve(log)

	second := r.workers[1]
	second.Sources = map[string]Key{"par1": {r.stores[0].Reader.Access, r.stores[0].Reader.Secret}}
	r.leader = newLeader()
	second.Leader = r.leader
	own := &turns{}
	pass := second.copier(own, log)
	second.copy = func(ctx context.Context, job CopyJob, fresh bool) (replicator.Report, error) {
		own.begin(job.Account, copying)
		defer own.end(job.Account, copying)
		report, err := pass(ctx, job, fresh)
		r.passed(report, err)
		return report, err
	}
	second.maintain = func(context.Context, MaintainJob) (maintenance.Result, error) { return maintenance.Result{}, nil }
	return r
}

func (r *region) config(site int) replicator.StoreConfig {
	s := r.stores[site]
	return replicator.StoreConfig{
		Endpoint: r.proxies[site].Endpoint, Bucket: "drp-" + siteNames[site], AccessKey: s.Admin.Access, SecretKey: s.Admin.Secret,
	}
}

// open is replicator.Open with less patience.
func (r *region) open(c replicator.StoreConfig) (*replicator.Store, error) {
	c.Retries, c.Idle = 2, 5*time.Second
	return replicator.Open(c)
}

// serve runs the home's gateway, and makes an agent of its.
func (r *region) serve(log *slog.Logger) {
	t := r.t
	t.Helper()
	authority, err := identity.NewAuthority("test")
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := authority.Issue(identity.Gateway, "par1-gw", []string{"127.0.0.1"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	credentials, err := identity.New(cert, key, authority.CertificatePEM())
	if err != nil {
		t.Fatal(err)
	}
	store, err := gateway.OpenS3(r.config(0))
	if err != nil {
		t.Fatal(err)
	}
	door := &gateway.Gateway{Site: "par1", Store: store, Log: log, HoldFor: 300 * time.Millisecond}
	door.OnSnapshot = func(_, id string) {
		content, err := os.ReadFile(r.stores[0].File("drp-par1", "shop/snapshots/"+id))
		if sum := sha256.Sum256(content); err != nil || hex.EncodeToString(sum[:]) != id {
			t.Errorf("snapshot %.8s was acknowledged, and the store has something else: %v", id, err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := gateway.NewServer(listener.Addr().String(), credentials.Server(identity.Agent, identity.Coordinator), door)
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.ServeTLS(listener, "", "") //nolint:errcheck // http.ErrServerClosed
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	// A view that does not grow old: leaders have tests of their own.
	door.Uptime = func() time.Duration { return 0 }
	door.SetView(gateway.View{At: time.Now(), Grants: []gateway.Grant{{Account: "shop", Server: "par1-s1", Token: "1.1", Write: true}}})
	if cert, key, err = authority.Issue(identity.Agent, "par1-s1", nil, time.Hour); err != nil {
		t.Fatal(err)
	}
	r.agent = &restic.Runner{Binary: storetest.Binary(t, "restic"), Grace: time.Second}
	r.through = restic.Repository{
		URL: "rest:https://" + listener.Addr().String() + "/shop/1.1/", Password: shopPassword,
		Authority: authority.CertificatePEM(), Certificate: cert, Key: key,
	}
}

// lockedText is a log that is written and read by many.
type lockedText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// take is what was said since the last time.
func (l *lockedText) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}

// backup is one attempt of an agent. What it acknowledges has to be there from now on.
func (r *region) backup(ctx context.Context) error {
	content := make([]byte, 200<<10)
	crand.Read(content)
	if err := os.WriteFile(filepath.Join(r.dir, "changes"), content, 0o600); err != nil {
		r.t.Fatal(err)
	}
	sum, err := r.agent.Backup(ctx, r.through, restic.BackupOptions{Dir: r.dir, Host: "shop", Tags: []string{"drp"}})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.saved[sum.SnapshotID] = files(r.t, r.dir)
	r.order = append(r.order, sum.SnapshotID)
	return nil
}

// files is what lies in a directory.
func files(t testing.TB, dir string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, path))
		sum := sha256.Sum256(content)
		found[path] = hex.EncodeToString(sum[:])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// mustBackup is one that nothing disturbs.
func (r *region) mustBackup() {
	r.t.Helper()
	if err := r.backup(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// kept are the acknowledged snapshots that are to stay, oldest first.
func (r *region) kept() (ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range r.order {
		if !r.over[id] {
			ids = append(ids, id)
		}
	}
	return ids
}

// held are the snapshots that a store has, past the proxy.
func (r *region) held(site int) map[string]bool {
	r.t.Helper()
	entries, err := os.ReadDir(r.stores[site].File("drp-"+siteNames[site], "shop/snapshots"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.t.Fatal(err)
	}
	ids := make(map[string]bool)
	for _, e := range entries {
		ids[e.Name()] = true
	}
	return ids
}

// passed looks at what a pass says, before anybody hears of it, and ends an outage that the worker has met.
func (r *region) passed(report replicator.Report, err error) {
	if len(report.Snapshots) > 0 {
		held := r.held(1)
		for _, id := range report.Snapshots {
			if !held[id] {
				r.t.Errorf("snapshot %.8s was said to be copied, and is not there", id)
			}
		}
		r.direct[1].Check(r.t)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range report.Snapshots {
		r.copied[id] = true
	}
	r.passes++
	r.lastErr = err
	if err != nil {
		r.errs = append(r.errs, describe(CopyJob{Account: "shop", From: "par1"}, report, nil, err))
		if r.now != nil && r.now.wasHit() {
			r.now.end()
		}
	}
}

// copyJob is what the leader has the second worker do.
func (r *region) want() []string {
	ids := r.kept()
	slices.Reverse(ids)
	r.leader.want(Desired{Copy: []CopyJob{{
		Account: "shop", From: "par1", Store: StoreAddress{Endpoint: r.proxies[0].Endpoint, Bucket: "drp-par1"},
		Home: Home{Site: "par1", Epoch: 1}, Snapshots: ids,
	}}})
	return ids
}

// copyAll has the second worker copy, and waits until it has told that all is there. It tries as often as it likes.
func (r *region) copyAll() {
	r.t.Helper()
	r.mu.Lock()
	before := r.passes
	r.mu.Unlock()
	ids := r.want()
	defer func() {
		if r.t.Failed() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.t.Logf("%d passes; errors: %q; the last: %v", r.passes-before, r.errs, r.lastErr)
		}
	}()
	eventually(r.t, "the snapshots are copied", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.passes > before && r.lastErr == nil && !slices.ContainsFunc(ids, func(id string) bool { return !r.copied[id] })
	})
}

// maintainJob forgets the oldest snapshot that is not over.
func (r *region) maintainJob() MaintainJob {
	ids := r.kept()
	r.mu.Lock()
	r.over[ids[0]] = true
	defer r.mu.Unlock()
	var forget []string
	held := r.held(0)
	for _, id := range r.order {
		if r.over[id] && held[id] {
			forget = append(forget, id)
		}
	}
	return MaintainJob{
		Account: "shop", Home: Home{Site: "par1", Epoch: 1}, Password: shopPassword, Forget: forget, Known: append(forget, ids[1:]...),
	}
}

// maintain is one attempt of the home's worker, an hour later: the locks of backups that were broken off are stale.
func (r *region) maintain(ctx context.Context, job MaintainJob) error {
	locks, err := filepath.Glob(r.stores[0].File("drp-par1", "shop/locks/*"))
	for _, lock := range locks {
		err = errors.Join(err, os.Chtimes(lock, time.Time{}, time.Now().Add(-time.Hour)))
	}
	if err != nil {
		r.t.Fatal(err)
	}
	result, err := r.workers[0].maintainHere(ctx, job)
	held := r.held(0)
	for _, id := range result.Forgotten {
		if held[id] {
			r.t.Errorf("snapshot %.8s was said to be forgotten, and is there", id)
		}
	}
	if err == nil && len(result.Forgotten) != len(job.Forget) {
		r.t.Errorf("forgotten: %v, want %v", result.Forgotten, job.Forget)
	}
	return err
}
