package worker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drp/replicator"
	"drp/replicator/restic"
	"drp/replicator/storetest"
)

// realWorker is a worker of a site with a store of its own, and nothing simulated but the leader.
func realWorker(t *testing.T, site string) (*Worker, *leader, *storetest.Server) {
	t.Helper()
	server := storetest.Start(t)
	store, err := replicator.Open(replicator.StoreConfig{
		Endpoint: server.Endpoint, Bucket: "drp-" + site, AccessKey: server.Admin.Access, SecretKey: server.Admin.Secret,
	})
	if err != nil {
		t.Fatal(err)
	}
	l := newLeader()
	return &Worker{
		Site: site, Store: store, Leader: l,
		Initialiser: Restic{Runner: &restic.Runner{Binary: storetest.Binary(t, "restic")}},
	}, l, server
}

// work runs a worker until the test ends.
func work(t *testing.T, w *Worker) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run %s: %v", w.Site, err)
		}
	})
}

// eventually waits for what another process brings about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(2 * time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

func TestWorker_Real(t *testing.T) {
	const password = "correct horse"
	par1, leader1, store1 := realWorker(t, "par1")
	par2, leader2, store2 := realWorker(t, "par2")
	store1.Bucket("drp-par1")
	par2.Sources = map[string]Key{"par1": {store1.Reader.Access, store1.Reader.Secret}}
	work(t, par1)
	work(t, par2)
	home := Home{Site: "par1", Epoch: 1}

	leader1.want(Desired{New: true, Initial: []InitialJob{{Account: "shop", Home: home, Password: password}}})
	eventually(t, "the repository is ready", func() bool {
		leader1.mu.Lock()
		defer leader1.mu.Unlock()
		return cmp.Equal(leader1.ready, []Initialised{{"shop", home}})
	})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	snapshot := store1.Repository("drp-par1", "shop", password).Backup(t, dir)

	job := CopyJob{
		Account: "shop", From: "par1", Store: StoreAddress{Endpoint: store1.Endpoint, Bucket: "drp-par1"},
		Home: home, Snapshots: []string{snapshot},
	}
	leader2.want(Desired{New: true, Copy: []CopyJob{job}})
	eventually(t, "the snapshot is copied", func() bool {
		told := leader2.told()
		return len(told) > 0 && cmp.Equal(told[0].Snapshots, []string{snapshot}) && told[0].Error == ""
	})
	copied := store2.Repository("drp-par2", "shop", password)
	copied.Check(t)
	out := t.TempDir()
	copied.Restore(t, snapshot, out)
	if got, err := os.ReadFile(filepath.Join(out, "file")); err != nil || string(got) != "content" {
		t.Errorf("restored %q, %v", got, err)
	}

	// The source dies and comes back with one more snapshot: the job that failed is done then.
	second := store1.Repository("drp-par1", "shop", password).Backup(t, dir)
	store1.Kill()
	job.Snapshots = []string{second}
	leader2.want(Desired{Copy: []CopyJob{job}})
	eventually(t, "a pass fails", func() bool {
		told := leader2.told()
		return told[len(told)-1].Error != ""
	})
	store1.Restart()
	eventually(t, "the second snapshot is copied", func() bool {
		told := leader2.told()
		return cmp.Equal(told[len(told)-1].Snapshots, []string{second})
	})
	copied.Check(t)
}

func TestWorker_Create(t *testing.T) {
	w, _, server := realWorker(t, "par1")
	ctx := t.Context()
	job := InitialJob{Account: "shop", Home: Home{Site: "par1", Epoch: 1}, Password: "correct horse"}
	repository := server.Repository("drp-par1", "shop", job.Password)
	create := func(t *testing.T) {
		t.Helper()
		if err := w.create(ctx, job, true); err != nil {
			t.Fatal(err)
		}
		repository.Check(t)
	}
	list := func(t *testing.T) []replicator.Object {
		t.Helper()
		objects, err := w.Store.List(ctx, "shop/")
		if err != nil {
			t.Fatal(err)
		}
		return objects
	}

	t.Run("new, bucket and all", create)
	t.Run("twice", func(t *testing.T) {
		before := list(t)
		create(t)
		if got := list(t); !cmp.Equal(got, before) {
			t.Errorf("the repository changed: %s", cmp.Diff(before, got))
		}
	})
	t.Run("another password", func(t *testing.T) {
		other := job
		other.Password = "battery staple"
		err := w.create(ctx, other, false)
		if !errors.Is(err, restic.ErrWrongPassword) {
			t.Errorf("got %v, want ErrWrongPassword", err)
		}
		if err != nil && strings.Contains(err.Error(), other.Password) {
			t.Errorf("the error tells the password: %v", err)
		}
	})
	t.Run("half made", func(t *testing.T) {
		if err := os.Remove(server.File("drp-par1", "shop/config")); err != nil {
			t.Fatal(err)
		}
		create(t)
		if got := list(t); len(got) != 2 {
			t.Errorf("got %v, want one key and a config", got)
		}
	})
	t.Run("a config that got lost is not replaced", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte("content"), 0o600); err != nil {
			t.Fatal(err)
		}
		repository.Backup(t, dir)
		if err := os.Remove(server.File("drp-par1", "shop/config")); err != nil {
			t.Fatal(err)
		}
		before := list(t)
		if err := w.create(ctx, job, true); !errors.Is(err, replicator.ErrHeadless) {
			t.Errorf("got %v, want ErrHeadless", err)
		}
		if got := list(t); !cmp.Equal(got, before) {
			t.Errorf("the repository changed: %s", cmp.Diff(before, got))
		}
	})
	t.Run("a name that leads elsewhere", func(t *testing.T) {
		for _, name := range []string{"", "..", "a/b", "../x"} {
			if err := w.create(ctx, InitialJob{Account: name}, true); err == nil {
				t.Errorf("%q was taken", name)
			}
		}
	})
}

func TestWorker_CopierNeedsAKey(t *testing.T) {
	w, _, _ := realWorker(t, "par2")
	_, err := w.copier(nil, nil)(t.Context(), CopyJob{Account: "shop", From: "par9"}, true)
	if err == nil || !strings.Contains(err.Error(), "par9") {
		t.Errorf("got %v, want an error that names par9", err)
	}
}

// TestWorker_LostBucket: a store that came back without its disk is told of. Nothing is written to it, and no empty
// bucket takes the place of the lost one.
func TestWorker_LostBucket(t *testing.T) {
	par1, _, store1 := realWorker(t, "par1")
	par2, leader, store2 := realWorker(t, "par2")
	store1.Bucket("drp-par1")
	home := Home{Site: "par1", Epoch: 1}
	if err := par1.create(t.Context(), InitialJob{Account: "shop", Home: home, Password: "correct horse"}, false); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	snapshot := store1.Repository("drp-par1", "shop", "correct horse").Backup(t, dir)
	par2.Sources = map[string]Key{"par1": {store1.Reader.Access, store1.Reader.Secret}}
	work(t, par2)
	leader.want(Desired{
		Initial: []InitialJob{{Account: "blog", Home: Home{Site: "par2", Epoch: 1}, Password: "correct horse"}},
		Copy: []CopyJob{{
			Account: "shop", From: "par1", Store: StoreAddress{Endpoint: store1.Endpoint, Bucket: "drp-par1"},
			Home: home, Snapshots: []string{snapshot},
		}},
	})
	eventually(t, "the loss is told", func() bool { return len(leader.told()) > 0 })
	if got := leader.told()[0]; !strings.Contains(got.Error, "drp-par2 of this site is missing: is the disk of the store mounted?") {
		t.Errorf("told %+v, want that the bucket is missing", got)
	}
	job := InitialJob{Account: "blog", Home: Home{Site: "par2", Epoch: 1}, Password: "correct horse"}
	if err := par2.create(t.Context(), job, false); !errors.Is(err, errBucketLost) {
		t.Errorf("create: got %v, want errBucketLost", err)
	}
	if there, err := par2.Store.HasBucket(t.Context()); there || err != nil {
		t.Errorf("bucket is there: %v, %v; want none", there, err)
	}
	store2.Bucket("drp-par2") // its disk is mounted again
	eventually(t, "the snapshot is copied", func() bool {
		told := leader.told()
		return cmp.Equal(told[len(told)-1].Snapshots, []string{snapshot})
	})
}
