package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"drp/replicator"
	"drp/replicator/maintenance"
	"drp/replicator/restic"
	"drp/replicator/storetest"
	"drp/replicator/verify"
)

// content is restic that finds everything good.
type content struct{ verify.Tool }

func (content) Check(context.Context, restic.Repository, restic.CheckOptions) error { return nil }

// storeNamed puts an object of the repository "shop" into stores, under the name that its content gives it, and returns its key.
func storeNamed(class, content string, in ...*storetest.Double) string {
	sum := sha256.Sum256([]byte(content))
	name := hex.EncodeToString(sum[:])
	if class == "data" {
		name = name[:2] + "/" + name
	}
	key := "shop/" + class + "/" + name
	for _, d := range in {
		d.Store(key, []byte(content))
	}
	return key
}

// TestVerify_LostEverywhere: a snapshot that no copy has any more keeps nobody from looking at all else, and from mending it; and
// nothing counts as read as long as it is not there.
func TestVerify_LostEverywhere(t *testing.T) {
	here, there := storetest.NewDouble(t), storetest.NewDouble(t)
	named := func(class, content string) string { return storeNamed(class, content, here, there) }
	for _, d := range []*storetest.Double{here, there} {
		d.Store("shop/config", []byte("config"))
	}
	named("keys", "key")
	named("index", "index")
	known := strings.TrimPrefix(named("snapshots", "snapshot"), "shop/snapshots/")
	pack := named("data", "pack")
	here.Store(pack, []byte("pakk"))
	w := &Worker{Site: "par1", Store: openDouble(t, here), Sources: map[string]Key{"par2": {"a", "b"}}}
	w.Keeper = &maintenance.Keeper{Site: "par1", Store: w.Store}
	w.Verifier = &verify.Verifier{Store: w.Store, Tool: content{}, Scratch: t.TempDir()}
	job := VerifyJob{
		Account: "shop", Kind: "scrubbed", Known: []string{known, strings.Repeat("e", 64)},
		Copies: []Copy{{"par2", StoreAddress{Endpoint: there.Endpoint, Bucket: there.Bucket}}},
	}
	err := w.verifyHere(t.Context(), job)
	if !errors.Is(err, verify.ErrDamaged) || !strings.Contains(err.Error(), "1 of 2 snapshots") || !strings.Contains(err.Error(), "1 objects were repaired from par2") {
		t.Errorf("got %v", err)
	}
	if got := string(here.Objects()[pack]); got != "pack" {
		t.Errorf("the pack holds %q", got)
	}

	job.Kind, job.Part, job.Parts = "checked", 1, 1
	if err := w.verifyHere(t.Context(), job); !errors.Is(err, verify.ErrDamaged) || strings.Contains(err.Error(), "repaired") {
		t.Errorf("once more, with all else good: got %v", err)
	}
	if mark := string(here.Objects()[".marks/shop/read.json"]); mark == "" || strings.Contains(mark, "since") {
		t.Errorf("what counts as read: %q", mark)
	}
	job.Known = job.Known[:1]
	if err := w.verifyHere(t.Context(), job); err != nil {
		t.Errorf("when it is over: %v", err)
	}
	if mark := string(here.Objects()[".marks/shop/read.json"]); !strings.Contains(mark, "since") {
		t.Errorf("what counts as read when it is over: %q", mark)
	}
}

// TestVerify_DisownedByTheHome: who has taken the home's worker over can name snapshots as over that the catalogue wants to stay, and
// the replica follows. It does not look as if all were well there then, and what went does not leave the trash.
func TestVerify_DisownedByTheHome(t *testing.T) {
	here, there := storetest.NewDouble(t), storetest.NewDouble(t)
	named := func(class, content string) string {
		return strings.TrimPrefix(storeNamed(class, content, here, there), "shop/")
	}
	here.Store("shop/config", []byte("config"))
	named("keys", "key")
	named("index", "index")
	named("data", "pack")
	stays, taken := named("snapshots", "stays"), named("snapshots", "taken")
	here.Forget("shop/" + taken)
	list, err := json.Marshal(maintenance.List{Account: "shop", Epoch: 1, Run: "1-20260101T000000-abcdefghij", Names: []string{taken}})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(list)
	here.Store(".tombstones/shop/1-20260101T000000-abcdefghij-"+hex.EncodeToString(sum[:])+".json", list)
	here.Store(".marks/shop/read.json", []byte(`{"since":"2026-01-02T00:00:00Z"}`))
	w := &Worker{Site: "par2", Store: openDouble(t, here), Sources: map[string]Key{"par3": {"a", "b"}}}
	w.Keeper = &maintenance.Keeper{Site: "par2", Store: w.Store}
	w.Verifier = &verify.Verifier{Store: w.Store}
	job := VerifyJob{
		Account: "shop", Kind: "scrubbed", Known: []string{strings.TrimPrefix(stays, "snapshots/"), strings.TrimPrefix(taken, "snapshots/")},
		Copies: []Copy{{"par3", StoreAddress{Endpoint: there.Endpoint, Bucket: there.Bucket}}},
	}
	err = w.verifyHere(t.Context(), job)
	if !errors.Is(err, verify.ErrDamaged) || !strings.Contains(err.Error(), "1 of 2 snapshots") || !strings.Contains(err.Error(), "names 1 of them as over") {
		t.Errorf("got %v", err)
	}
	if _, ok := here.Objects()["shop/"+taken]; ok {
		t.Error("what a list names came back")
	}
	if mark := string(here.Objects()[".marks/shop/read.json"]); strings.Contains(mark, "since") {
		t.Errorf("what counts as read: %q", mark)
	}
	job.Known = job.Known[:1]
	if err := w.verifyHere(t.Context(), job); err != nil {
		t.Errorf("when the catalogue knows it as over: %v", err)
	}
}

func openDouble(t *testing.T, d *storetest.Double) *replicator.Store {
	t.Helper()
	s, err := replicator.Open(replicator.StoreConfig{Endpoint: d.Endpoint, Bucket: d.Bucket, AccessKey: "a", SecretKey: "b", Retries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// failing is restic that misses something.
type failing struct{ verify.Tool }

func (failing) Check(context.Context, restic.Repository, restic.CheckOptions) error {
	return fmt.Errorf("a pack is not in the index: %w", restic.ErrFailed)
}

// TestVerify_NextCopy: a copy that has nothing to give does not keep another one from being asked.
func TestVerify_NextCopy(t *testing.T) {
	here, second, third := storetest.NewDouble(t), storetest.NewDouble(t), storetest.NewDouble(t)
	for _, d := range []*storetest.Double{here, second, third} {
		d.Store("shop/config", []byte("config"))
	}
	for _, class := range []string{"keys", "data", "index", "snapshots"} {
		storeNamed(class, "x", here, second, third)
	}
	lost := storeNamed("index", "lost", third)
	w := &Worker{Site: "par1", Store: openDouble(t, here), Sources: map[string]Key{"par2": {"a", "b"}, "par3": {"a", "b"}}}
	w.Keeper = &maintenance.Keeper{Site: "par1", Store: w.Store}
	w.Verifier = &verify.Verifier{Store: w.Store, Tool: failing{}, Scratch: t.TempDir()}
	job := VerifyJob{Account: "shop", Kind: "checked", Part: 1, Parts: 1, Copies: []Copy{
		{"par2", StoreAddress{Endpoint: second.Endpoint, Bucket: second.Bucket}},
		{"par3", StoreAddress{Endpoint: third.Endpoint, Bucket: third.Bucket}},
	}}
	err := w.verifyHere(t.Context(), job)
	if !errors.Is(err, restic.ErrFailed) || !strings.Contains(err.Error(), "1 objects were repaired from par3") {
		t.Errorf("got %v", err)
	}
	if _, ok := here.Objects()[lost]; !ok {
		t.Error("the index is not back")
	}
}
