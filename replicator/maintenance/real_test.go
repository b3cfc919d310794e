package maintenance_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drp/replicator"
	"drp/replicator/maintenance"
	"drp/replicator/restic"
	"drp/replicator/storetest"
)

const password = "correct horse"

// place is a site with a real store and real restic.
type place struct {
	server *storetest.Server
	keeper *maintenance.Keeper
	repo   *storetest.Repository
	now    time.Time
}

func newPlace(t testing.TB, site string) *place {
	t.Helper()
	server := storetest.Start(t)
	server.Bucket("drp-" + site)
	p := &place{server: server, now: time.Now()}
	p.repo = server.Repository("drp-"+site, "shop", password)
	p.keeper = &maintenance.Keeper{
		Site: site, Store: open(t, server.Endpoint, "drp-"+site, server.Admin), Scratch: t.TempDir(),
		Tool: &restic.Runner{Binary: storetest.Binary(t, "restic")}, Now: func() time.Time { return p.now },
	}
	return p
}

func open(t testing.TB, endpoint, bucket string, key storetest.Key) *replicator.Store {
	t.Helper()
	s, err := replicator.Open(replicator.StoreConfig{Endpoint: endpoint, Bucket: bucket, AccessKey: key.Access, SecretKey: key.Secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// wait lets time pass at both clocks: what lies in the store gets older.
func (p *place) wait(t testing.TB, d time.Duration) {
	t.Helper()
	p.now = p.now.Add(d)
	for _, key := range slices.Concat(p.keys(t, ".trash/"), p.keys(t, ".erasing/")) {
		file := p.server.File("drp-"+p.keeper.Site, key)
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		at := info.ModTime().Add(-d)
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
}

// readable is the same store by the key that other sites have.
func (p *place) readable(t testing.TB) *replicator.Store {
	return open(t, p.server.Endpoint, "drp-"+p.keeper.Site, p.server.Reader)
}

func (p *place) keys(t testing.TB, prefix string) []string {
	t.Helper()
	list, err := p.keeper.Store.List(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, o := range list {
		keys = append(keys, o.Key)
	}
	return keys
}

// forget removes an object behind everybody's back.
func (p *place) forget(t testing.TB, key string) {
	t.Helper()
	if err := os.Remove(p.server.File("drp-"+p.keeper.Site, key)); err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, dir, name string, size int) []byte {
	t.Helper()
	content := make([]byte, size)
	rand.Read(content)
	if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
	return content
}

// tree is what lies in a directory.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, path))
		sum := sha256.Sum256(content)
		files[path] = hex.EncodeToString(sum[:])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// restores fails the test unless a snapshot gives what was saved.
func restores(t testing.TB, r *storetest.Repository, id string, want map[string]string) {
	t.Helper()
	out := t.TempDir()
	r.Restore(t, id, out)
	if got := tree(t, out); !cmp.Equal(got, want) {
		t.Errorf("snapshot %.8s restores something else: %s", id, cmp.Diff(want, got))
	}
}

// TestRun_Real: a home and a replica, with restic, from the first deletion to the empty trash.
func TestRun_Real(t *testing.T) {
	par1, par2 := newPlace(t, "par1"), newPlace(t, "par2")
	par1.repo.Init(t)
	dir := t.TempDir()
	var ids []string
	var saved []map[string]string
	for range 3 {
		write(t, dir, "changes", 3<<20)
		ids = append(ids, par1.repo.Backup(t, dir))
		saved = append(saved, tree(t, dir))
	}
	from := par1.readable(t)
	pass := func() {
		t.Helper()
		lists, err := par2.keeper.Pending(t.Context(), from, "shop", 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := replicator.Pass(t.Context(), from, par2.keeper.Store, "shop/", replicator.Options{}); err != nil {
			t.Fatal(err)
		}
		if _, err := par2.keeper.Follow(t.Context(), from, "shop", lists); err != nil {
			t.Fatal(err)
		}
	}
	pass()
	job := maintenance.Job{Account: "shop", Epoch: 1, Password: password, Forget: ids[:1], Known: ids}
	before := par1.keys(t, "shop/data/")
	result, err := par1.keeper.Run(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	if !cmp.Equal(result.Forgotten, ids[:1]) || result.Bytes < 3<<20 || len(result.Unknown) > 0 {
		t.Errorf("got %+v, want one snapshot forgotten, and 3 MiB or more in the trash", result)
	}
	if slices.Contains(par1.keys(t, "shop/snapshots/"), "shop/snapshots/"+ids[0]) {
		t.Error("the snapshot is still there")
	}
	if after := par1.keys(t, "shop/data/"); len(after) >= len(before) {
		t.Errorf("%d packs before, %d after", len(before), len(after))
	}
	for n := 1; n < 3; n++ {
		restores(t, par1.repo, ids[n], saved[n])
	}
	if lists := par1.keys(t, ".tombstones/"); len(lists) != 1 {
		t.Errorf("tombstones: %v, want one list", lists)
	}

	pass()
	if slices.Contains(par2.keys(t, "shop/snapshots/"), "shop/snapshots/"+ids[0]) {
		t.Error("the snapshot is still at the replica")
	}
	if got, want := par2.keys(t, "shop/data/"), par1.keys(t, "shop/data/"); !cmp.Equal(got, want) {
		t.Errorf("the replica holds other packs: %s", cmp.Diff(want, got))
	}
	par2.repo.Check(t)
	for n := 1; n < 3; n++ {
		restores(t, par2.repo, ids[n], saved[n])
	}

	t.Run("grace", func(t *testing.T) {
		trash := func(p *place) int { return len(p.keys(t, ".trash/shop/")) }
		for _, p := range []*place{par1, par2} {
			if _, err := p.keeper.Tend(t.Context(), "shop"); err != nil {
				t.Fatal(err)
			}
			if trash(p) < 3 {
				t.Errorf("%s: the trash is empty at once", p.keeper.Site)
			}
			p.wait(t, maintenance.DefaultGrace+time.Minute)
			if _, err := p.keeper.Tend(t.Context(), "shop"); err != nil {
				t.Fatal(err)
			}
		}
		if trash(par1) > 0 {
			t.Errorf("after the grace the home's trash holds %v", par1.keys(t, ".trash/"))
		}
		if trash(par2) < 3 {
			t.Error("the replica's trash was emptied, and nobody had read its data with the key")
		}
		if err := par2.keeper.HasRead(t.Context(), "shop", 1, 1, par2.now); err != nil {
			t.Fatal(err)
		}
		if _, err := par2.keeper.Tend(t.Context(), "shop"); err != nil {
			t.Fatal(err)
		}
		if trash(par2) > 0 {
			t.Errorf("after the grace and a check the replica's trash holds %v", par2.keys(t, ".trash/"))
		}
		for n := 1; n < 3; n++ {
			restores(t, par2.repo, ids[n], saved[n])
		}
	})
}
