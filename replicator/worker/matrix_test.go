package worker

import (
	"bytes"
	"cmp"
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"hash/fnv"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"drp/raftstore/identity"
	"drp/replicator"
	"drp/replicator/gateway"
	"drp/replicator/maintenance"
	"drp/replicator/restic"
	"drp/replicator/storetest"
)

var (
	rounds   = flag.Int("rounds", 1, "how often TestOutage goes through all of its cells")
	cellSeed = flag.Uint64("seed", 0, "of TestOutage; 0: a new one")
)

const shopPassword = "correct horse"

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

// cell is one fault of one side in one phase.
type cell struct {
	*region
	kind, phase string
	side        int
	random      *rand.Rand
}

// within is in how many requests of a phase the outage begins, on either side: it is always shorter.
var within = map[string][2]int{"backup": {14, 20}, "copy": {12, 20}, "prune": {60, 40}}

// TestOutage is every fault, of either side's store, during a backup, a copy and a prune. It begins with a request that
// the seed chooses. While it lasts nothing is called good that is not, and the errors say which store it is; once it is
// over, the same processes go on by themselves, and everything that was acknowledged is there, at both sides.
func TestOutage(t *testing.T) {
	seed := cmp.Or(*cellSeed, rand.Uint64())
	for kind := range maps.Keys(outages) {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			r := newRegion(t, nil)
			write(t, filepath.Join(r.dir, "stays"), 100<<10)
			for range 3 {
				r.mustBackup()
			}
			work(t, r.workers[1])
			r.copyAll()
			for n := range *rounds {
				for side, name := range []string{"source", "destination"} {
					t.Run(name, func(t *testing.T) {
						for _, phase := range []string{"backup", "copy", "prune"} {
							t.Run(phase, func(t *testing.T) {
								r.t = t
								h := fnv.New64a()
								h.Write([]byte(t.Name()))
								c := &cell{r, kind, phase, side, rand.New(rand.NewPCG(seed+uint64(n), h.Sum64()))}
								c.run(seed + uint64(n))
							})
						}
					})
				}
			}
			r.t = t
		})
	}
}

func write(t testing.TB, path string, size int) {
	t.Helper()
	content := make([]byte, size)
	crand.Read(content)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (c *cell) run(seed uint64) {
	t := c.t
	t.Helper()
	for most := within[c.phase][c.side]; ; most = max(1, most/2) {
		o := newOutage(c.kind, c.random, most)
		t.Logf("-seed %d: %s", seed, o)
		c.told.take()
		switch {
		case c.phase == "prune" && c.side == 0:
			c.pruning(o)
		case c.phase == "backup" && c.side == 0:
			c.backing(o)
		default:
			c.copying(o)
		}
		c.whole()
		// A copy writes nothing at its source.
		if o.wasHit() || t.Failed() || c.kind == "full" && c.side == 0 && c.phase == "copy" {
			return
		}
		t.Log("it was over before that request came")
	}
}

// begin begins an outage; patience is somebody's who works with the store.
func (c *cell) begin(o *outage, patience func()) {
	o.patience = patience
	c.mu.Lock()
	c.now, c.errs = o, nil
	c.mu.Unlock()
	c.proxies[c.side].Break(o.fault)
}

func (c *cell) end(o *outage) {
	o.end()
	c.proxies[c.side].Break(nil)
	c.mu.Lock()
	c.now = nil
	c.mu.Unlock()
}

// names fails the test unless an error says which side's store it was.
func (c *cell) names(text string) {
	c.t.Helper()
	if !strings.Contains(text, siteNames[c.side]) {
		c.t.Errorf("an error names no store of %s: %s", siteNames[c.side], text)
	}
}

// namesIn is names, unless somebody's lost patience is all that there is to tell.
func (c *cell) namesIn(err error) {
	c.t.Helper()
	if err != context.Canceled { //nolint:errorlint // nothing but that
		c.names(err.Error())
	}
}

// attempt does something with a patience that ends when the outage has had its effect.
func (c *cell) attempt(o *outage, do func(context.Context) error) error {
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	c.begin(o, cancel)
	err := do(ctx)
	c.end(o)
	return err
}

// backing: an agent makes a backup; when that fails, it makes another.
func (c *cell) backing(o *outage) {
	err := c.attempt(o, c.backup)
	if err != nil {
		c.t.Log(err)
		// Of a store that lies restic alone finds out; and when its agent loses patience the gateway may not have an answer yet.
		if o.kind != "lying" && !errors.Is(err, restic.ErrCancelled) {
			c.names(c.told.take())
		}
		c.mustBackup()
	}
	c.copyAll()
}

// pruning: the home forgets and prunes; when that fails, it begins again.
func (c *cell) pruning(o *outage) {
	c.mustBackup()
	job := c.maintainJob()
	err := c.attempt(o, func(ctx context.Context) error { return c.maintain(ctx, job) })
	if err != nil {
		c.t.Log(err)
		c.namesIn(err)
		if err := c.maintain(c.t.Context(), job); err != nil {
			c.t.Errorf("once the store is well: %v", err)
		}
	}
	c.copyAll()
}

// copying: the second worker copies, or follows what the home has forgotten; backups at the home go on meanwhile.
func (c *cell) copying(o *outage) {
	c.mustBackup()
	if c.phase == "prune" {
		if err := c.maintain(c.t.Context(), c.maintainJob()); err != nil {
			c.t.Fatal(err)
		}
	}
	patience := func() {} // passed ends the outage
	if o.kind == "slow" {
		patience = nil // that is no reason for a pass to fail
	}
	c.begin(o, patience)
	if c.phase == "backup" {
		c.want()
		c.mustBackup()
	}
	c.copyAll()
	c.end(o)
	c.mu.Lock()
	errs := c.errs
	c.mu.Unlock()
	for _, text := range errs {
		c.t.Log(text)
		c.names(text)
	}
	if o.lasts && o.wasHit() && o.kind != "slow" && len(errs) == 0 {
		c.t.Error("it lasted, and no pass has failed")
	}
	if c.phase == "copy" {
		c.verify()
	}
}

// verify: a copy with a flipped bit is not found to be good because its store has a fault besides.
func (c *cell) verify() {
	w, bucket := c.workers[c.side], "drp-"+siteNames[c.side]
	packs, err := filepath.Glob(c.stores[c.side].File(bucket, "shop/data/*/*"))
	if err != nil || len(packs) == 0 {
		c.t.Fatal(packs, err)
	}
	c.random.Shuffle(len(packs), func(i, j int) { packs[i], packs[j] = packs[j], packs[i] })
	pack := ""
	for n := 0; pack == ""; n++ {
		flip(c.t, packs[n])
		if _, code := c.direct[c.side].Run(c.t, "", "check", "--read-data", "--no-lock"); code != 0 {
			pack = packs[n] // and not left by a backup that was broken off: no index names such
		}
		flip(c.t, packs[n])
	}
	for _, job := range []VerifyJob{{Account: "shop", Kind: "scrubbed"}, {Account: "shop", Kind: "checked", Password: shopPassword, Part: 1, Parts: 1}} {
		flip(c.t, pack)
		o := newOutage(c.kind, c.random, 10)
		if err := c.attempt(o, func(ctx context.Context) error { return w.verifyHere(ctx, job) }); err == nil {
			c.t.Errorf("%s, and %s: a flipped bit was not found", job.Kind, o)
		} else {
			c.namesIn(err)
		}
		flip(c.t, pack)
		if err := w.verifyHere(c.t.Context(), job); err != nil {
			c.t.Errorf("%s, once the store is well: %v", job.Kind, err)
		}
	}
}

// whole looks at both stores past the proxies: everything that was acknowledged, and what was said to be copied.
func (c *cell) whole() {
	t := c.t
	t.Helper()
	kept := c.kept()
	for side := range siteNames {
		c.direct[side].Check(t)
		held := c.held(side)
		for _, id := range kept {
			if !held[id] && (side == 0 || c.copied[id]) {
				t.Errorf("%s: snapshot %.8s is gone", siteNames[side], id)
			}
		}
		newest := kept[len(kept)-1]
		if !held[newest] {
			continue
		}
		out := t.TempDir()
		c.direct[side].Restore(t, newest, out)
		if got, want := files(t, out), c.saved[newest]; !gocmp.Equal(got, want) {
			t.Errorf("%s: snapshot %.8s restores something else: %s", siteNames[side], newest, gocmp.Diff(want, got))
		}
	}
}
