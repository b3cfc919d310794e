package worker

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"drp/replicator/maintenance"
	"drp/replicator/restic"
	"drp/replicator/storetest"
	"drp/replicator/verify"
)

// keeping gives a worker what it needs for maintenance and verification.
func keeping(t *testing.T, w *Worker) {
	t.Helper()
	runner, scratch := &restic.Runner{Binary: storetest.Binary(t, "restic")}, t.TempDir()
	w.Keeper = &maintenance.Keeper{Site: w.Site, Store: w.Store, Tool: runner, Scratch: scratch}
	w.Verifier = &verify.Verifier{Store: w.Store, Tool: runner, Scratch: scratch}
}

// flip changes one bit in the middle of a file.
func flip(t *testing.T, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err == nil {
		content[len(content)/2] ^= 1
		err = os.WriteFile(path, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestWorker_UpkeepReal: a snapshot is forgotten at the home, the replica follows with its next pass, both copies are verified,
// and each is repaired from the other one: two workers, two stores, and nothing simulated but the leaders.
func TestWorker_UpkeepReal(t *testing.T) {
	const password = "correct horse"
	par1, leader1, store1 := realWorker(t, "par1")
	par2, leader2, store2 := realWorker(t, "par2")
	store1.Bucket("drp-par1")
	store2.Bucket("drp-par2")
	par2.Sources = map[string]Key{"par1": {store1.Reader.Access, store1.Reader.Secret}}
	par1.Sources = map[string]Key{"par2": {store2.Reader.Access, store2.Reader.Secret}}
	keeping(t, par1)
	keeping(t, par2)
	work(t, par1)
	work(t, par2)
	home := Home{Site: "par1", Epoch: 1}
	repository := store1.Repository("drp-par1", "shop", password)
	repository.Init(t)
	dir := t.TempDir()
	var ids []string
	backup := func() {
		t.Helper()
		content := make([]byte, 1<<20)
		rand.Read(content)
		if err := os.WriteFile(filepath.Join(dir, "file"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, repository.Backup(t, dir))
	}
	copyTo2 := func() {
		t.Helper()
		leader2.want(Desired{Copy: []CopyJob{{
			Account: "shop", From: "par1", Store: StoreAddress{Endpoint: store1.Endpoint, Bucket: "drp-par1"}, Home: home, Snapshots: ids,
		}}})
		eventually(t, "the snapshots are copied", func() bool {
			told := leader2.told()
			return len(told) > 0 && cmp.Equal(told[len(told)-1].Snapshots, ids) && told[len(told)-1].Error == ""
		})
	}
	backup()
	backup()
	copyTo2()

	leader1.want(Desired{Maintain: []MaintainJob{{Account: "shop", Home: home, Password: password, Forget: ids[:1], Known: ids}}})
	eventually(t, "the repository is maintained", func() bool {
		leader1.mu.Lock()
		defer leader1.mu.Unlock()
		return len(leader1.maintained) > 0
	})
	if m := leader1.maintained[0]; m.Error != "" || !cmp.Equal(m.Forgotten, ids[:1]) || m.Objects == 0 || m.Bytes < 1<<20 {
		t.Errorf("told %+v", m)
	}
	over := ids[0]
	ids = ids[1:]
	backup()
	copyTo2()
	list, err := par2.Store.List(t.Context(), "shop/snapshots/")
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 {
		t.Errorf("the replica has %d snapshots, want 2", len(list))
	}

	leader2.want(Desired{Verify: []VerifyJob{
		{Account: "shop", Kind: "scrubbed"},
		{Account: "shop", Kind: "checked", Password: password, Part: 1, Parts: 1},
		{Account: "shop", Kind: "proven", Password: password, Snapshot: ids[1]},
		{Account: "blog", Kind: "scrubbed"},
	}})
	eventually(t, "the copy is verified", func() bool {
		leader2.mu.Lock()
		defer leader2.mu.Unlock()
		return len(leader2.verified) == 4
	})
	for _, v := range leader2.verified {
		if (v.Error == "") != (v.Account == "shop") || strings.Contains(v.Error, password) {
			t.Errorf("told %+v", v)
		}
	}
	mark, err := par2.Store.List(t.Context(), ".marks/shop/read.json")
	if err != nil || len(mark) != 1 {
		t.Errorf("that all data was read is not noted: %v, %v", mark, err)
	}

	// A copy that is found to be bad keeps what is in the trash from being emptied.
	packs, err := par2.Store.List(t.Context(), "shop/data/")
	if err != nil || len(packs) == 0 {
		t.Fatal(packs, err)
	}
	flip(t, store2.File("drp-par2", packs[0].Key))
	if err := par2.verifyHere(t.Context(), VerifyJob{Account: "shop", Kind: "checked", Password: password, Part: 1, Parts: 1}); err == nil {
		t.Error("a flipped bit was not found")
	}
	key, text := ".marks/shop/read.json", []byte(nil)
	if list, err := par2.Store.List(t.Context(), key); err == nil && len(list) == 1 {
		text, err = par2.Store.Get(t.Context(), key, list[0].Size)
		if err != nil {
			t.Fatal(err)
		}
	}
	if strings.Contains(string(text), "since") || len(text) == 0 {
		t.Errorf("it still counts as read: %s", text)
	}

	// What is broken or gone comes back from another copy: the replica's from the home's, and the home's from the replica's.
	for _, end := range []struct {
		w     *Worker
		store *storetest.Server
		at    string
		other Copy
	}{
		{par2, store2, "drp-par2", Copy{"par1", StoreAddress{Endpoint: store1.Endpoint, Bucket: "drp-par1"}}},
		{par1, store1, "drp-par1", Copy{"par2", StoreAddress{Endpoint: store2.Endpoint, Bucket: "drp-par2"}}},
	} {
		if end.w == par1 {
			flip(t, end.store.File(end.at, packs[0].Key))
		}
		if err := os.Remove(end.store.File(end.at, packs[1].Key)); err != nil {
			t.Fatal(err)
		}
		job := VerifyJob{Account: "shop", Kind: "checked", Password: password, Part: 1, Parts: 1, Copies: []Copy{end.other}}
		err := end.w.verifyHere(t.Context(), job)
		if err == nil || !strings.Contains(err.Error(), "2 objects were repaired from "+end.other.Site) || strings.Contains(err.Error(), password) {
			t.Fatalf("%s: got %v, want it to say what was repaired", end.at, err)
		}
		if err := end.w.verifyHere(t.Context(), job); err != nil {
			t.Errorf("%s, after the repair: %v", end.at, err)
		}

		// A snapshot that nothing in the repository names comes back, and none that is over.
		if err := os.Remove(end.store.File(end.at, "shop/snapshots/"+ids[0])); err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{"scrubbed", "checked", "proven"} {
			job := VerifyJob{Account: "shop", Kind: kind, Password: password, Part: 1, Parts: 1, Snapshot: ids[1], Copies: []Copy{end.other}, Known: ids}
			err := end.w.verifyHere(t.Context(), job)
			if kind == "scrubbed" && (!errors.Is(err, verify.ErrDamaged) || !strings.Contains(err.Error(), "1 of 2 snapshots") || !strings.Contains(err.Error(), "1 objects were repaired from "+end.other.Site)) {
				t.Errorf("%s without a snapshot: %v", end.at, err)
			} else if kind != "scrubbed" && err != nil {
				t.Errorf("%s, %s after the snapshot came back: %v", end.at, kind, err)
			}
		}
		stale := VerifyJob{Account: "shop", Kind: "scrubbed", Copies: []Copy{end.other}, Known: append([]string{over}, ids...)}
		if err := end.w.verifyHere(t.Context(), stale); !errors.Is(err, verify.ErrDamaged) || strings.Contains(err.Error(), "repaired") {
			t.Errorf("%s, by a catalogue that does not know what is over: %v", end.at, err)
		}
		if kept, err := end.w.Store.List(t.Context(), "shop/snapshots/"); err != nil || len(kept) != 2 {
			t.Errorf("%s: %d snapshots are there, want 2: %v", end.at, len(kept), err)
		}

		// So does an index, of which restic misses only what it named.
		indexes, err := end.w.Store.List(t.Context(), "shop/index/")
		if err != nil || len(indexes) == 0 {
			t.Fatal(indexes, err)
		}
		for _, i := range indexes {
			if err := os.Remove(end.store.File(end.at, i.Key)); err != nil {
				t.Fatal(err)
			}
		}
		end.w.mends.last = nil // a day later
		err = end.w.verifyHere(t.Context(), job)
		if want := fmt.Sprintf("%d objects were repaired from %s", len(indexes), end.other.Site); !errors.Is(err, restic.ErrFailed) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s without an index: %v, want %q", end.at, err, want)
		}
		if err := end.w.verifyHere(t.Context(), job); err != nil {
			t.Errorf("%s, after its indexes came back: %v", end.at, err)
		}
		if kept, err := end.w.Store.List(t.Context(), "shop/snapshots/"); err != nil || len(kept) != 2 {
			t.Errorf("%s: %d snapshots are there, want 2: %v", end.at, len(kept), err)
		}

		// A key file that was removed does not come back; one that was lost does.
		keys, err := end.w.Store.List(t.Context(), "shop/keys/")
		if err != nil || len(keys) != 1 {
			t.Fatal(keys, err)
		}
		note := filepath.Join(filepath.Dir(end.store.File(end.at, "shop/config")), "..", ".removed-keys", "shop", filepath.Base(keys[0].Key))
		if err := errors.Join(os.Remove(end.store.File(end.at, keys[0].Key)), os.MkdirAll(filepath.Dir(note), 0o755), os.WriteFile(note, []byte("x"), 0o644)); err != nil {
			t.Fatal(err)
		}
		if err := end.w.verifyHere(t.Context(), job); !errors.Is(err, restic.ErrWrongPassword) || strings.Contains(err.Error(), "repaired") {
			t.Errorf("%s without its key, which was removed: %v", end.at, err)
		}
		if err := os.RemoveAll(filepath.Dir(filepath.Dir(note))); err != nil {
			t.Fatal(err)
		}
		if err := end.w.verifyHere(t.Context(), job); !errors.Is(err, restic.ErrWrongPassword) || !strings.Contains(err.Error(), "1 objects were repaired from "+end.other.Site) {
			t.Errorf("%s without its key: %v", end.at, err)
		}
		if err := end.w.verifyHere(t.Context(), job); err != nil {
			t.Errorf("%s, after its key came back: %v", end.at, err)
		}
	}
}
