package maintenance_test

import (
	"errors"
	"flag"
	"math/rand/v2"
	"sync"
	"testing"

	"drp/replicator"
	"drp/replicator/maintenance"
	"drp/replicator/storetest"
)

var interleavings = flag.Int("interleavings", 10, "how many TestTogether tries")

// TestTogether: a backup, maintenance and a copy at once, each begun at a random point of the others. Every snapshot is
// readable afterwards, at the home and at the replica.
func TestTogether(t *testing.T) {
	par1, par2 := newPlace(t, "par1"), newPlace(t, "par2")
	par1.repo.Init(t)
	par1.keeper.Now = nil
	dir := t.TempDir()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	proxy := storetest.NewProxy(t, par1.server.Endpoint)
	through := par1.server.Through(proxy.Endpoint).Repository("drp-par1", "shop", password)
	from := open(t, proxy.Endpoint, "drp-par1", par1.server.Reader)
	var ids []string
	backup := func() {
		for {
			id, locked := through.TryBackup(t, dir)
			if !locked {
				ids = append(ids, id)
				return
			}
		}
	}
	write(t, dir, "file", 2<<20)
	backup()
	write(t, dir, "changes", 1<<20)
	backup()
	did := map[string]int{}
	for range *interleavings {
		write(t, dir, "changes", 1<<20)
		job := maintenance.Job{Account: "shop", Epoch: 1, Password: password, Forget: ids[:1], Known: ids}
		var group sync.WaitGroup
		var copied, maintained error
		work := []func(){
			backup,
			func() { _, maintained = par1.keeper.Run(t.Context(), job) },
			func() {
				var lists []maintenance.List
				if lists, copied = par2.keeper.Pending(t.Context(), from, "shop", 1); copied != nil {
					return
				}
				if _, copied = replicator.Pass(t.Context(), from, par2.keeper.Store, "shop/", replicator.Options{}); copied == nil {
					_, copied = par2.keeper.Follow(t.Context(), from, "shop", lists)
				}
			},
		}
		random.Shuffle(len(work), func(i, j int) { work[i], work[j] = work[j], work[i] })
		// The second and the third begin when so many requests have come by.
		begin := []int{0, random.IntN(12), random.IntN(40)}
		var mu sync.Mutex
		requests := 0
		started := 0
		start := func() {
			for started < len(work) && begin[started] <= requests {
				group.Go(work[started])
				started++
			}
		}
		proxy.Watch(func(storetest.Call) {
			mu.Lock()
			defer mu.Unlock()
			requests++
			start()
		}, nil)
		mu.Lock()
		start()
		mu.Unlock()
		group.Wait()
		mu.Lock()
		requests = 1 << 20 // what has not begun begins now
		start()
		mu.Unlock()
		group.Wait()
		proxy.Watch(nil, nil)

		switch {
		case copied == nil:
			did["copied"]++
		case errors.Is(copied, replicator.ErrChanged):
			did["pruned under the copy"]++
		case errors.As(copied, new(*maintenance.BrakeError)):
			did["braked"]++ // the copy is complete, and too much of it was over at once
		default:
			t.Errorf("copy: %v", copied)
		}
		if maintained == nil {
			did["maintained"]++
			ids = ids[1:]
		} else {
			did["not maintained"]++
			t.Log(maintained)
		}
		par1.repo.Check(t)
		if len(par2.keys(t, "shop/config")) > 0 {
			par2.repo.Check(t)
		}
		held := map[string]bool{}
		for _, key := range par1.keys(t, "shop/snapshots/") {
			held[key] = true
		}
		for _, id := range ids {
			if !held["shop/snapshots/"+id] {
				t.Errorf("snapshot %.8s is gone", id)
			}
		}
	}
	t.Logf("%d interleavings, and every snapshot is readable at both ends: %v", *interleavings, did)
}
