package worker

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"errors"
	"flag"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"drp/replicator/restic"
)

var (
	rounds   = flag.Int("rounds", 1, "how often TestOutage goes through all of its cells")
	cellSeed = flag.Uint64("seed", 0, "of TestOutage; 0: a new one")
)

const shopPassword = "correct horse"

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
