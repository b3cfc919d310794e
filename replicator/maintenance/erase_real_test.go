package maintenance_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"drp/replicator/maintenance"
	"drp/replicator/restic"
	"drp/replicator/storetest"
)

// clientOf is a client that can do what drp itself never does.
func clientOf(t testing.TB, endpoint string, key storetest.Key) minio.Core {
	t.Helper()
	c, err := minio.NewCore(strings.TrimPrefix(endpoint, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4(key.Access, key.Secret, ""), Region: "us-east-1",
	})
	if err != nil {
		t.Fatal(err)
	}
	return *c
}

// TestErase_Real: two repositories of an account after maintenance, in a real bucket that keeps all versions, beside another
// account's. Nothing of it is left, not in any version, and the other one is whole.
func TestErase_Real(t *testing.T) {
	const bucket = "drp-par1"
	server := storetest.StartVersioned(t)
	server.VersionedBucket(bucket)
	p := &place{server: server, now: time.Now()}
	p.keeper = &maintenance.Keeper{
		Site: "par1", Store: open(t, server.Endpoint, bucket, server.Admin), Scratch: t.TempDir(),
		Tool: &restic.Runner{Binary: storetest.Binary(t, "restic")}, Now: func() time.Time { return p.now },
	}
	ids := make(map[string][]string)
	dir := t.TempDir()
	for _, name := range []string{"shop", "shop~2", "shop2"} {
		repo := server.Repository(bucket, name, password)
		repo.Init(t)
		for range 3 {
			write(t, dir, "file", 1<<20)
			ids[name] = append(ids[name], repo.Backup(t, dir))
		}
		if _, err := p.keeper.Run(t.Context(), maintenance.Job{Account: name, Epoch: 1, Password: password, Forget: ids[name][:1], Known: ids[name]}); err != nil {
			t.Fatal(err)
		}
	}
	other := tree(t, dir)
	if _, err := p.keeper.Store.Put(t.Context(), ".breakglass/shop~2.age", []byte("sealed"), sha256.Sum256([]byte("sealed"))); err != nil {
		t.Fatal(err)
	}
	client := clientOf(t, server.Endpoint, server.Admin)
	for _, key := range []string{"shop/data/aa/unfinished", "shop~2/data/aa/unfinished", "shop2/data/aa/unfinished", "shop~x/data/aa/unfinished"} {
		if _, err := client.NewMultipartUpload(t.Context(), bucket, key, minio.PutObjectOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	versions := func() (own, others map[string]int64) {
		t.Helper()
		own, others = make(map[string]int64), make(map[string]int64)
		for o := range client.Client.ListObjectsIter(t.Context(), bucket, minio.ListObjectsOptions{Recursive: true, WithVersions: true}) {
			if o.Err != nil {
				t.Fatal(o.Err)
			}
			switch name := o.Key + " " + o.VersionID; {
			case strings.HasPrefix(o.Key, ".eras") || o.Key == ".marks/.clock":
			case strings.Contains(o.Key, "shop2/"):
				others[name] = o.Size
			default:
				own[name] = o.Size
			}
		}
		return own, others
	}
	if e, err := p.keeper.Erase(t.Context(), "shop"); err != nil || e.Until.IsZero() {
		t.Fatalf("got %+v, %v", e, err)
	}
	p.wait(t, 8*24*time.Hour)
	own, others := versions()
	bytes := int64(0)
	for _, size := range own {
		bytes += size
	}
	listed := len(p.keys(t, "shop/")) + len(p.keys(t, "shop~2/")) + len(p.keys(t, ".trash/shop"))
	if len(own) < listed+20 {
		t.Fatalf("%d versions of %d objects: it proves nothing", len(own), listed)
	}
	e, err := p.keeper.Erase(t.Context(), "shop")
	if err != nil || e.Empty.IsZero() || e.Objects != int64(len(own)) || e.Bytes != bytes {
		t.Errorf("got %+v, %v, want %d versions, %d bytes", e, err, len(own), bytes)
	}
	left, kept := versions()
	if len(left) > 0 || !maps.Equal(kept, others) {
		t.Errorf("left: %v; of the other account %d versions are there of %d", slices.Sorted(maps.Keys(left)), len(kept), len(others))
	}
	for key, want := range map[string]int{"shop/": 0, "shop~2/": 0, "shop2/": 1, "shop~x/": 1} {
		if uploads, err := client.ListMultipartUploads(t.Context(), bucket, key, "", "", "", 10); err != nil || len(uploads.Uploads) != want {
			t.Errorf("unfinished uploads of %s: %d, %v, want %d", key, len(uploads.Uploads), err, want)
		}
	}
	repo := server.Repository(bucket, "shop2", password)
	repo.Check(t)
	restores(t, repo, ids["shop2"][2], other)
	if err := maintenance.Erased(t.Context(), p.keeper.Store, "shop~3"); !errors.Is(err, maintenance.ErrErased) {
		t.Error("it may come back:", err)
	}
	if again, err := p.keeper.Erase(t.Context(), "shop"); err != nil || fmt.Sprint(again) != fmt.Sprint(maintenance.Erasure{
		Repositories: e.Repositories, Objects: e.Objects, Bytes: e.Bytes, Empty: again.Empty}) || !again.Empty.Equal(e.Empty) {
		t.Errorf("again: %+v, %v, want %+v", again, err, e)
	}
}

// TestErase_ObjectLock: what object lock keeps is told, with its end; all else goes, and the rest when its time has come.
func TestErase_ObjectLock(t *testing.T) {
	put := func(t *testing.T, client minio.Core, bucket, key string, until time.Time) {
		t.Helper()
		o := minio.PutObjectOptions{DisableContentSha256: true}
		if !until.IsZero() {
			o.Mode, o.RetainUntilDate = minio.Compliance, until
		}
		content := []byte("12345")
		hash := sha256.Sum256(content)
		if _, err := client.PutObject(t.Context(), bucket, key, bytes.NewReader(content), 5, "", hex.EncodeToString(hash[:]), o); err != nil {
			t.Fatal(err)
		}
	}
	keys := []string{"shop/config", "shop/keys/a", "shop/data/aa/a"}
	look := func(t *testing.T, k *maintenance.Keeper, now, until time.Time) {
		t.Helper()
		e, err := k.Erase(t.Context(), "shop")
		if err == nil || !e.Empty.IsZero() || e.Objects != 3 || e.Bytes != 15 {
			t.Errorf("got %+v, %v", e, err)
		}
		if err != nil && !strings.Contains(err.Error(), "1 objects stay: object lock keeps shop/data/aa/locked until "+until.UTC().Format(time.RFC3339)) {
			t.Error(err)
		}
		want := until
		if day := now.Add(24 * time.Hour); day.Before(want) {
			want = day
		}
		if !e.Next.Equal(want) {
			t.Errorf("next at %s, want %s", e.Next, want)
		}
	}
	t.Run("versitygw", func(t *testing.T) {
		server := storetest.StartVersioned(t)
		server.LockedBucket("drp-par1")
		p := &place{server: server, now: time.Now()}
		p.keeper = &maintenance.Keeper{Site: "par1", Store: open(t, server.Endpoint, "drp-par1", server.Admin), Now: func() time.Time { return p.now }}
		client := clientOf(t, server.Endpoint, server.Admin)
		until := time.Now().Add(20 * 24 * time.Hour).Truncate(time.Second)
		put(t, client, "drp-par1", "shop/data/aa/locked", until)
		for _, key := range keys {
			put(t, client, "drp-par1", key, time.Time{})
		}
		if _, err := p.keeper.Erase(t.Context(), "shop"); err != nil {
			t.Fatal(err)
		}
		p.wait(t, 8*24*time.Hour)
		look(t, p.keeper, p.now, until)
		if left := p.keys(t, "shop/"); len(left) != 1 {
			t.Errorf("left: %v", left)
		}
	})
	t.Run("its end", func(t *testing.T) {
		w := &world{t: t}
		w.sites = newWorldSites(t, w)
		w.begin(1)
		s := w.sites[0]
		s.double.Lock = true
		for key := range s.double.Objects() {
			s.double.Forget(key)
		}
		client := clientOf(t, s.double.Endpoint, storetest.Key{Access: "a", Secret: "b"})
		until := w.now().Add(worldGrace + 2*time.Hour)
		put(t, client, "bucket", "shop/data/aa/locked", until)
		for _, key := range keys {
			put(t, client, "bucket", key, time.Time{})
		}
		s.erase(t)
		w.pass(worldGrace)
		look(t, s.keeper, w.now(), until)
		w.pass(2 * time.Hour)
		if e := s.erase(t); e.Objects != 4 || e.Bytes != 20 || e.Empty.IsZero() {
			t.Errorf("when the lock is over: %+v", e)
		}
	})
}
