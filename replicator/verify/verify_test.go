package verify_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"drp/replicator"
	"drp/replicator/restic"
	"drp/replicator/storetest"
	"drp/replicator/verify"
)

const password = "correct horse"

var flips = flag.Int("flips", 10, "how many objects TestFlippedBytes damages")

type place struct {
	server   *storetest.Server
	store    *replicator.Store
	repo     *storetest.Repository
	verifier *verify.Verifier
}

func newPlace(t testing.TB) *place {
	t.Helper()
	p := &place{server: storetest.Start(t)}
	p.server.Bucket("drp-par1")
	var err error
	p.store, err = replicator.Open(replicator.StoreConfig{
		Endpoint: p.server.Endpoint, Bucket: "drp-par1", AccessKey: p.server.Reader.Access, SecretKey: p.server.Reader.Secret,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.store.Close)
	p.repo = p.server.Repository("drp-par1", "shop", password)
	p.repo.Init(t)
	p.verifier = &verify.Verifier{
		Store: p.store, Tool: &restic.Runner{Binary: storetest.Binary(t, "restic")}, Scratch: t.TempDir(),
	}
	return p
}

func open(t testing.TB, server *storetest.Server, bucket string) *replicator.Store {
	t.Helper()
	s, err := replicator.Open(replicator.StoreConfig{
		Endpoint: server.Endpoint, Bucket: bucket, AccessKey: server.Admin.Access, SecretKey: server.Admin.Secret,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// home is a directory with all that a home has.
func home(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for n, size := range []int{0, 1, 100, 3 << 20, 6 << 20} {
		content := make([]byte, size)
		rand.NewChaCha8([32]byte{byte(n)}).Read(content)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("file ", n)), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "closed", "deeper"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.Symlink("/etc/passwd", filepath.Join(dir, "link")),
		os.Link(filepath.Join(dir, "file 2"), filepath.Join(dir, "hard link")),
		os.WriteFile(filepath.Join(dir, "closed", "x\nstrange"), []byte("x"), 0o400),
		os.Truncate(filepath.Join(dir, "file 1"), 1<<20), // with a hole
		os.Chmod(filepath.Join(dir, "closed", "deeper"), 0),
		os.Chmod(filepath.Join(dir, "closed"), 0o500),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(dir, "closed"), 0o700) }) //nolint:errcheck // or the removal fails
	return dir
}

// empty fails the test when something is left in the scratch directory.
func (p *place) empty(t testing.TB) {
	t.Helper()
	entries, err := os.ReadDir(p.verifier.Scratch)
	if err != nil || len(entries) > 0 {
		t.Errorf("left in the scratch directory: %v, %v", entries, err)
	}
}

// TestVerifier_Good works with a key that can only read.
func TestVerifier_Good(t *testing.T) {
	p := newPlace(t)
	id := p.repo.Backup(t, home(t))
	if err := p.verifier.Scrub(t.Context(), "shop"); err != nil {
		t.Error(err)
	}
	for part := 1; part <= 2; part++ {
		if _, err := p.verifier.Check(t.Context(), "shop", password, part, 2); err != nil {
			t.Error(err)
		}
	}
	if err := p.verifier.Prove(t.Context(), "shop", password, id); err != nil {
		t.Error(err)
	}
	p.empty(t)

	t.Run("refused", func(t *testing.T) {
		if _, err := p.verifier.Check(t.Context(), "shop", "wrong", 1, 1); !errors.Is(err, restic.ErrWrongPassword) {
			t.Errorf("wrong password: got %v", err)
		}
		for _, parts := range [][2]int{{0, 1}, {2, 1}, {1, 300}} {
			if _, err := p.verifier.Check(t.Context(), "shop", password, parts[0], parts[1]); err == nil {
				t.Errorf("part %d of %d was read", parts[0], parts[1])
			}
		}
		if err := p.verifier.Prove(t.Context(), "shop", password, strings.Repeat("0", 64)); err == nil {
			t.Error("a snapshot that there is not was proven")
		}
		if err := p.verifier.Scrub(t.Context(), "blog"); err == nil {
			t.Error("a repository that there is not was scrubbed")
		}
		if err := p.verifier.Scrub(t.Context(), "../shop"); err == nil {
			t.Error("a name that leads elsewhere was taken")
		}
	})
	t.Run("too large", func(t *testing.T) {
		p.verifier.MostBytes = 1 << 20
		defer func() { p.verifier.MostBytes = 0 }()
		if err := p.verifier.Prove(t.Context(), "shop", password, id); err == nil || !strings.Contains(err.Error(), "only snapshots of up to") {
			t.Errorf("got %v", err)
		}
		p.empty(t)
	})
	t.Run("broken off", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		restoring := &cancelling{Tool: p.verifier.Tool, cancel: cancel}
		v := *p.verifier
		v.Tool = restoring
		if err := v.Prove(ctx, "shop", password, id); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want that it was cancelled", err)
		}
		p.empty(t)
	})
	t.Run("something else comes out", func(t *testing.T) {
		v := *p.verifier
		v.Tool = &meddling{p.verifier.Tool}
		if err := v.Prove(t.Context(), "shop", password, id); !errors.Is(err, verify.ErrDamaged) {
			t.Errorf("got %v, want ErrDamaged", err)
		}
		p.empty(t)
	})
	t.Run("left by a process that was killed", func(t *testing.T) {
		dir := filepath.Join(p.verifier.Scratch, "drp-proof-1", "root", "closed")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0); err != nil {
			t.Fatal(err)
		}
		if err := p.verifier.ClearScratch(); err != nil {
			t.Error(err)
		}
		p.empty(t)
	})
}

// cancelling is a restic whose restores nobody wants any more once they begin.
type cancelling struct {
	verify.Tool
	cancel func()
}

func (c *cancelling) Restore(ctx context.Context, repo restic.Repository, o restic.RestoreOptions) (restic.Restored, error) {
	c.cancel()
	return c.Tool.Restore(ctx, repo, o)
}

// meddling loses a file of each restore, and says that all went well.
type meddling struct{ verify.Tool }

func (m *meddling) Restore(ctx context.Context, repo restic.Repository, o restic.RestoreOptions) (restic.Restored, error) {
	r, err := m.Tool.Restore(ctx, repo, o)
	return r, errors.Join(err, os.Remove(filepath.Join(o.Target, "file 0")))
}

// TestScrub_Damage: what is damaged is counted and named, the first few.
func TestScrub_Damage(t *testing.T) {
	double := storetest.NewDouble(t)
	store, err := replicator.Open(replicator.StoreConfig{Endpoint: double.Endpoint, Bucket: double.Bucket, AccessKey: "a", SecretKey: "b", Retries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	for n := range 7 {
		double.Store(fmt.Sprintf("shop/index/%064d", n), []byte("something else"))
	}
	good := []byte("good")
	double.Store(fmt.Sprintf("shop/index/%x", sha256.Sum256(good)), good)
	gone := fmt.Sprintf("shop/index/%064d", 6)
	double.Fault = func(c storetest.Call) *storetest.Fault {
		if c.Operation == storetest.Get && c.Key == gone {
			return &storetest.Fault{Status: 404, Code: "NoSuchKey"}
		}
		return nil
	}
	err = (&verify.Verifier{Store: store}).Scrub(t.Context(), "shop")
	if !errors.Is(err, verify.ErrDamaged) || !strings.Contains(err.Error(), "7 of 8 objects are not what their names say: shop/index/"+strings.Repeat("0", 64)+", ") ||
		!strings.Contains(err.Error(), "and 2 more") {
		t.Errorf("got %v", err)
	}
	double.Fault = func(c storetest.Call) *storetest.Fault {
		if c.Operation == storetest.Get {
			return &storetest.Fault{Status: 503, Code: "SlowDown"}
		}
		return nil
	}
	if err := (&verify.Verifier{Store: store}).Scrub(t.Context(), "shop"); err == nil || errors.Is(err, verify.ErrDamaged) {
		t.Errorf("got %v for a store that cannot be read now, want an error that is no damage", err)
	}
}

// TestFlippedBytes: one bit of one object, whatever its kind. No key is needed to find it, and a round of checks that has
// read all data finds it as well (but in the keys that it has no use for). The other copy makes it good again, though
// every listing says that both are the same.
func TestFlippedBytes(t *testing.T) {
	p := newPlace(t)
	for range 2 {
		p.repo.Backup(t, home(t))
	}
	writable := open(t, p.server, "drp-par1")
	p.server.Bucket("drp-copy")
	replica := open(t, p.server, "drp-copy")
	if _, err := replicator.Pass(t.Context(), p.store, replica, "shop/", replicator.Options{}); err != nil {
		t.Fatal(err)
	}
	list, err := p.store.List(t.Context(), "shop/")
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	kinds := []string{"data", "index", "snapshots", "keys", "data", "data"}
	for n := range *flips {
		var of []string
		for _, o := range list {
			if strings.HasPrefix(o.Key, "shop/"+kinds[n%len(kinds)]+"/") {
				of = append(of, o.Key)
			}
		}
		key := of[random.IntN(len(of))]
		p.server.Flip("drp-par1", key)
		err := p.verifier.Scrub(t.Context(), "shop")
		if !errors.Is(err, verify.ErrDamaged) || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: scrub said %v", key, err)
		}
		parts, found := 1+random.IntN(2), error(nil)
		for part := 1; part <= parts && found == nil; part++ {
			_, found = p.verifier.Check(t.Context(), "shop", password, part, parts)
		}
		if found == nil {
			t.Errorf("%s: checked, all data in %d parts, and found to be good", key, parts)
		}
		healed, err := replicator.Heal(t.Context(), replica, writable, "shop/", replicator.Options{})
		if err != nil || !slices.Equal(healed.Repaired.Written, []string{key}) || !healed.Sound() {
			t.Errorf("%s: healed %+v, %v", key, healed, err)
		}
	}
	t.Logf("%d flipped bits found by both, and repaired", *flips)
	if _, err := p.verifier.Check(t.Context(), "shop", password, 1, 1); err != nil {
		t.Error(err)
	}
	if err := p.verifier.Scrub(t.Context(), "shop"); err != nil {
		t.Error(err)
	}
}
