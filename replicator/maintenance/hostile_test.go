package maintenance_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"drp/replicator/maintenance"
)

var attacks = flag.Int("attacks", 2, "how many repositories TestRun_Hostile attacks")

// TestRun_Hostile: who has the password of a repository and may write to it adds snapshots and indexes. What is genuine
// is never lost by it, and what he added is reported.
func TestRun_Hostile(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	p := newPlace(t, "par1")
	p.repo.Init(t)
	empty := make(map[string][]byte) // what a new repository is
	for _, key := range p.keys(t, "") {
		content, err := os.ReadFile(p.server.File("drp-par1", key))
		if err != nil {
			t.Fatal(err)
		}
		empty[key] = content
	}
	undone := 0
	for n := range *attacks {
		for key, content := range empty {
			if _, err := p.keeper.Store.Put(t.Context(), key, content, sha256.Sum256(content)); err != nil {
				t.Fatal(err)
			}
		}
		dir := t.TempDir()
		var ids []string
		var saved []map[string]string
		for i := range 2 {
			if i == 1 {
				write(t, dir, "shared", 1<<20)
			}
			write(t, dir, "changes", 1<<20+random.IntN(1<<20))
			ids = append(ids, p.repo.Backup(t, dir))
			saved = append(saved, tree(t, dir))
		}
		h := newHolder(t, p)
		var forged []string
		for range random.IntN(3) {
			forged = append(forged, h.snapshot(t, ids[0], ""))
		}
		broken, treeless := n%2 == 1, ""
		if broken { // whatever restic makes of it
			tree := make([]byte, 32)
			for i := range tree {
				tree[i] = byte(random.Uint32())
			}
			treeless = h.snapshot(t, ids[0], hex.EncodeToString(tree))
			forged = append(forged, treeless)
		}
		poisoned := !broken || random.IntN(2) == 0
		if poisoned {
			h.poison(t, 1+random.IntN(12))
		}
		slices.Sort(forged)

		result, err := p.keeper.Run(t.Context(), maintenance.Job{
			Account: "shop", Epoch: 1, Password: password, Forget: ids[:1], Known: ids,
		})
		t.Logf("poisoned %v, forged %d, broken %v: %v", poisoned, len(forged), broken, err)
		if !cmp.Equal(result.Unknown, forged) && len(forged)+len(result.Unknown) > 0 {
			t.Errorf("unknown: %v, want %v", result.Unknown, forged)
		}
		held := p.keys(t, "shop/snapshots/")
		for _, id := range forged {
			if !slices.Contains(held, "shop/snapshots/"+id) {
				t.Errorf("the unknown snapshot %.8s is gone", id)
			}
		}
		restores(t, p.repo, ids[1], saved[1])
		var unreadable *maintenance.UnreadableError
		if named := errors.As(err, &unreadable); broken && !poisoned && (!named || !slices.Equal(unreadable.Snapshots, []string{treeless})) {
			t.Errorf("got %v, want that the snapshot without a tree is named", err)
		} else if named && !broken {
			t.Errorf("got %v, and each snapshot has its tree", err)
		}
		if err != nil {
			undone++
			if len(result.Forgotten) > 0 {
				t.Errorf("it failed, and yet is said to have forgotten %v", result.Forgotten)
			}
			restores(t, p.repo, ids[0], saved[0])
		}
		if (err != nil) != (len(p.keys(t, ".trash/")) == 0) || (err != nil) != (len(p.keys(t, ".tombstones/")) == 0) {
			t.Errorf("error %v, and trash %d, tombstones %d", err, len(p.keys(t, ".trash/")), len(p.keys(t, ".tombstones/")))
		}
		for _, key := range p.keys(t, "") {
			p.forget(t, key)
		}
	}
	t.Logf("%d attacks, %d of them undone, and every genuine snapshot restores", *attacks, undone)
	if undone == 0 {
		t.Error("no attack had any effect: they prove nothing")
	}
}
