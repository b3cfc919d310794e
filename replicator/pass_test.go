package replicator_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"drp/replicator"
	"drp/replicator/storetest"
)

const password = "correct horse"

// two is a source and a destination store with a repository "shop" at the source.
type two struct {
	source, target *storetest.Server
	from, to       *replicator.Store
	here, there    *storetest.Repository // at the source, at the destination
	home           string                // what is backed up
}

func newTwo(t testing.TB) *two {
	t.Helper()
	w := &two{source: storetest.Start(t), target: storetest.Start(t), home: t.TempDir()}
	w.source.Bucket("source")
	w.target.Bucket("target")
	w.from = open(t, w.source.Endpoint, "source", w.source.Reader)
	w.to = open(t, w.target.Endpoint, "target", w.target.Admin)
	w.here = w.source.Repository("source", "shop", password)
	w.there = w.target.Repository("target", "shop", password)
	w.here.Init(t)
	return w
}

func open(t testing.TB, endpoint, bucket string, key storetest.Key) *replicator.Store {
	t.Helper()
	s, err := replicator.Open(replicator.StoreConfig{
		Endpoint: endpoint, Bucket: bucket, AccessKey: key.Access, SecretKey: key.Secret,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// backup writes one more file of random bytes and saves the home.
func (w *two) backup(t testing.TB, name string, size int) (snapshot string) {
	t.Helper()
	writeRandom(t, filepath.Join(w.home, name), size)
	return w.here.Backup(t, w.home)
}

func writeRandom(t testing.TB, path string, size int) {
	t.Helper()
	b := make([]byte, size)
	seed := [32]byte{}
	copy(seed[:], filepath.Base(path))
	_, _ = rand.NewChaCha8(seed).Read(b) // never fails
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (w *two) pass(t testing.TB) (replicator.Report, error) {
	t.Helper()
	return replicator.Pass(t.Context(), w.from, w.to, "shop/", replicator.Options{})
}

func (w *two) mustPass(t testing.TB) replicator.Report {
	t.Helper()
	r, err := w.pass(t)
	if err != nil {
		t.Fatalf("pass: %v", err)
	}
	return r
}

// keys lists what a store holds below a prefix.
func keys(t testing.TB, s *replicator.Store, prefix string) []string {
	t.Helper()
	list, err := s.List(context.Background(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, o := range list {
		out = append(out, o.Key)
	}
	slices.Sort(out)
	return out
}

func TestPass(t *testing.T) {
	w := newTwo(t)
	first := w.backup(t, "a", 9<<20)

	r := w.mustPass(t)
	if want := []string{first}; !cmp.Equal(r.Snapshots, want) {
		t.Errorf("snapshots: got %v, want %v", r.Snapshots, want)
	}
	if got := len(keys(t, w.to, "shop/")); int64(got) != r.Objects {
		t.Errorf("%d objects at the destination, the report says %d", got, r.Objects)
	}
	w.there.Check(t)
	dir := t.TempDir()
	w.there.Restore(t, first, dir)
	got, err := os.ReadFile(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(w.home, "a"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the restored file is another one")
	}

	t.Run("nothing new", func(t *testing.T) {
		r := w.mustPass(t)
		if r.Objects != 0 || !cmp.Equal(r.Snapshots, []string{first}) {
			t.Errorf("got %d objects and snapshots %v, want 0 and the first", r.Objects, r.Snapshots)
		}
	})
	t.Run("only the new", func(t *testing.T) {
		before := keys(t, w.from, "shop/")
		second := w.backup(t, "b", 1<<20)
		added := len(keys(t, w.from, "shop/")) - len(before)
		r := w.mustPass(t)
		want := []string{first, second}
		slices.Sort(want)
		if !cmp.Equal(r.Snapshots, want) {
			t.Errorf("snapshots: got %v, want %v", r.Snapshots, want)
		}
		if r.Objects != int64(added) || r.Bytes < 1<<20 || r.Bytes > 2<<20 {
			t.Errorf("got %d objects, %d bytes; want %d objects and a little more than 1 MiB", r.Objects, r.Bytes, added)
		}
		w.there.Check(t)
	})
	t.Run("locks stay", func(t *testing.T) {
		lock := w.source.File("source", "shop/locks/"+strings.Repeat("ab", 32))
		if err := os.MkdirAll(filepath.Dir(lock), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(lock, []byte("lock"), 0o600); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(lock)
		r := w.mustPass(t)
		if r.Objects != 0 {
			t.Errorf("got %d objects, want none", r.Objects)
		}
		if got := keys(t, w.to, "shop/locks/"); len(got) != 0 {
			t.Errorf("the destination has locks: %v", got)
		}
	})
	t.Run("what was pruned at the source stays at the destination", func(t *testing.T) {
		before := keys(t, w.to, "shop/")
		w.here.Forget(t, first)
		r := w.mustPass(t)
		if len(r.Snapshots) != 1 {
			t.Errorf("got snapshots %v, want the second alone", r.Snapshots)
		}
		after := keys(t, w.to, "shop/")
		for _, k := range before {
			if !slices.Contains(after, k) {
				t.Errorf("%s is gone from the destination", k)
			}
		}
		w.there.Check(t)
		w.there.Restore(t, first, t.TempDir())
	})
}

func TestPass_NoRepository(t *testing.T) {
	w := newTwo(t)
	_, err := replicator.Pass(t.Context(), w.from, w.to, "other/", replicator.Options{})
	if !errors.Is(err, replicator.ErrNoRepository) {
		t.Errorf("got %v, want ErrNoRepository", err)
	}
	for _, prefix := range []string{"", "/", "shop", "/shop/", "shop//"} {
		if _, err := replicator.Pass(t.Context(), w.from, w.to, prefix, replicator.Options{}); err == nil {
			t.Errorf("prefix %q was taken", prefix)
		}
	}
}

func TestPass_OtherConfig(t *testing.T) {
	w := newTwo(t)
	w.there.Init(t)
	before := keys(t, w.to, "")
	w.backup(t, "a", 1000)
	_, err := w.pass(t)
	if !errors.Is(err, replicator.ErrConfigDiffers) {
		t.Errorf("got %v, want ErrConfigDiffers", err)
	}
	if got := keys(t, w.to, ""); !cmp.Equal(got, before) {
		t.Errorf("the destination changed: %s", cmp.Diff(before, got))
	}
}

// TestPass_FlippedByte damages each class of object at the source, on its disk: the store's listing and headers stay
// as they were.
func TestPass_FlippedByte(t *testing.T) {
	for _, class := range []string{"data", "index", "snapshots", "keys"} {
		t.Run(class, func(t *testing.T) {
			w := newTwo(t)
			first := w.backup(t, "a", 5<<20)
			if class != "keys" { // there is but one key
				w.mustPass(t)
			}
			known := keys(t, w.to, "shop/")
			second := w.backup(t, "b", 5<<20)
			var broken string
			for _, k := range keys(t, w.from, "shop/"+class+"/") {
				if !slices.Contains(known, k) {
					broken = k
				}
			}
			w.source.Flip("source", broken)

			r, err := w.pass(t)
			if !errors.Is(err, replicator.ErrBroken) || !strings.Contains(err.Error(), broken) {
				t.Errorf("got %v, want an error that names %s", err, broken)
			}
			if !cmp.Equal(r.Broken, []string{broken}) {
				t.Errorf("broken: got %v, want %s", r.Broken, broken)
			}
			if slices.Contains(r.Snapshots, second) {
				t.Error("the second snapshot is called copied")
			}
			got := keys(t, w.to, "shop/")
			if slices.Contains(got, broken) {
				t.Errorf("%s was copied", broken)
			}
			if slices.Contains(got, "shop/snapshots/"+second) {
				t.Error("the second snapshot was promoted")
			}
			if class != "keys" {
				w.there.Check(t)
				w.there.Restore(t, first, t.TempDir())
			}

			w.source.Flip("source", broken) // good again
			r = w.mustPass(t)
			if !slices.Contains(r.Snapshots, second) {
				t.Error("the second snapshot is not called copied after the repair")
			}
			w.there.Check(t)
		})
	}
}

// TestPass_Repair: where both sides have an object and the listings differ, the one that its name describes wins.
func TestPass_Repair(t *testing.T) {
	w := newTwo(t)
	id := w.backup(t, "a", 5<<20)
	w.mustPass(t)
	pack := keys(t, w.from, "shop/data/")[0]

	t.Run("short at the destination", func(t *testing.T) {
		if err := os.Truncate(w.target.File("target", pack), 100); err != nil {
			t.Fatal(err)
		}
		r := w.mustPass(t)
		if r.Objects != 1 {
			t.Errorf("got %d objects, want 1", r.Objects)
		}
		w.there.Check(t)
	})
	t.Run("short at the source", func(t *testing.T) {
		if err := os.Truncate(w.source.File("source", pack), 100); err != nil {
			t.Fatal(err)
		}
		r, err := w.pass(t)
		if err != nil {
			t.Errorf("pass: %v: the destination has a good one", err)
		}
		if want := (replicator.Report{Snapshots: []string{id}, Broken: []string{pack}}); !cmp.Equal(r, want) {
			t.Errorf("got %+v, want %+v", r, want)
		}
		w.there.Check(t)
	})
	t.Run("short at both", func(t *testing.T) {
		if err := os.Truncate(w.target.File("target", pack), 50); err != nil {
			t.Fatal(err)
		}
		r, err := w.pass(t)
		if !errors.Is(err, replicator.ErrBroken) || len(r.Snapshots) != 0 {
			t.Errorf("got snapshots %v and %v, want none and ErrBroken", r.Snapshots, err)
		}
	})
}

func TestStore(t *testing.T) {
	server := storetest.Start(t)
	server.Bucket("one")
	ctx := t.Context()
	s := open(t, server.Endpoint, "one", server.Admin)
	content := []byte("content")

	t.Run("missing", func(t *testing.T) {
		_, err := s.Stat(ctx, "x")
		if !errors.Is(err, replicator.ErrNotFound) {
			t.Errorf("stat: got %v, want ErrNotFound", err)
		}
		if _, err := s.Get(ctx, "x", 1); !errors.Is(err, replicator.ErrNotFound) {
			t.Errorf("get: got %v, want ErrNotFound", err)
		}
	})
	t.Run("missing bucket", func(t *testing.T) {
		none := open(t, server.Endpoint, "none", server.Admin)
		if _, err := none.Get(ctx, "x", 1); err == nil || errors.Is(err, replicator.ErrNotFound) {
			t.Errorf("get: got %v, want another error than ErrNotFound", err)
		}
		if _, err := none.List(ctx, ""); err == nil {
			t.Error("list: no error")
		}
		for range 2 {
			if err := none.EnsureBucket(ctx); err != nil {
				t.Error(err)
			}
		}
		if list, err := none.List(ctx, ""); err != nil || len(list) != 0 {
			t.Errorf("list: got %v, %v", list, err)
		}
	})
	t.Run("a wrong hash is refused", func(t *testing.T) {
		var wrong [sha256.Size]byte
		if _, err := s.Put(ctx, "x", content, wrong); err == nil {
			t.Error("the store took it")
		}
		if got := keys(t, s, ""); len(got) != 0 {
			t.Errorf("the store holds %v", got)
		}
	})
	t.Run("a reader cannot write", func(t *testing.T) {
		reader := open(t, server.Endpoint, "one", server.Reader)
		if _, err := reader.Put(ctx, "x", content, sha256.Sum256(content)); err == nil {
			t.Error("the store took it")
		}
	})
	t.Run("pages", func(t *testing.T) {
		var want []string
		for n := range 1100 {
			key := "p/" + strconv.Itoa(n)
			if err := os.MkdirAll(server.File("one", "p"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(server.File("one", key), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			want = append(want, key)
		}
		slices.Sort(want)
		if got := keys(t, s, "p/"); !cmp.Equal(got, want) {
			t.Errorf("got %d keys, want %d", len(got), len(want))
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := s.List(ctx, ""); !errors.Is(err, context.Canceled) {
			t.Errorf("list: got %v, want context.Canceled", err)
		}
	})
}
