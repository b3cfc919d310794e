package maintenance_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"

	"drp/replicator"
	"drp/replicator/maintenance"
	"drp/replicator/restic"
	"drp/replicator/storetest"
)

var kills = flag.Int("kills", 5, "how often TestRun_Killed kills a worker")

// workerVariable makes this test binary a worker with one job, so that a test can kill it.
const workerVariable = "MAINTENANCE_TEST_WORKER"

type workerOrder struct {
	Endpoint, Scratch, Restic string
	Job                       maintenance.Job
}

func TestMain(m *testing.M) {
	if order := os.Getenv(workerVariable); order != "" {
		os.Exit(workOnce(order))
	}
	os.Exit(m.Run())
}

func workOnce(text string) int {
	var o workerOrder
	err := json.Unmarshal([]byte(text), &o)
	if err == nil {
		var s *replicator.Store
		s, err = replicator.Open(replicator.StoreConfig{Endpoint: o.Endpoint, Bucket: "drp-par1", AccessKey: "admin", SecretKey: "admin-secret"})
		if err == nil {
			k := &maintenance.Keeper{Site: "par1", Store: s, Scratch: o.Scratch, Tool: &restic.Runner{Binary: o.Restic}}
			_, err = k.Run(context.Background(), o.Job)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestRun_Killed kills a worker and its restic with SIGKILL in the middle of forget, prune, check or the writing of marks.
// After the next start the repository is whole, with the snapshot or without, and open to backups.
func TestRun_Killed(t *testing.T) {
	p := newPlace(t, "par1")
	p.repo.Init(t)
	proxy := storetest.NewProxy(t, p.server.Endpoint)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	dir := t.TempDir()
	var ids []string
	saved := make(map[string]map[string]string)
	backup := func() {
		write(t, dir, "changes", 1<<20)
		id := p.repo.Backup(t, dir)
		ids = append(ids, id)
		saved[id] = tree(t, dir)
	}
	backup()
	backup()
	killed := 0
	for range *kills {
		backup()
		order, err := json.Marshal(workerOrder{proxy.Endpoint, t.TempDir(), storetest.Binary(t, "restic"),
			maintenance.Job{Account: "shop", Epoch: 1, Password: password, Forget: ids[:1], Known: ids}})
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), workerVariable+"="+string(order))
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // as systemd ends all of a service
		at, requests := 20+random.IntN(140), 0
		var mu sync.Mutex
		proxy.Watch(nil, func(c storetest.Call) {
			mu.Lock()
			defer mu.Unlock()
			if c.Operation != storetest.Put && c.Operation != storetest.Delete && requests < at-1 {
				requests++
				return
			}
			if requests++; requests == at {
				syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) //nolint:errcheck // it may have ended
			}
		})
		mu.Lock()
		err = cmd.Start()
		mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			killed++
		}
		proxy.Watch(nil, nil)
		if _, err := p.keeper.Tend(t.Context(), "shop"); err != nil {
			t.Fatal(err)
		}
		p.repo.Check(t)
		held := p.keys(t, "shop/snapshots/")
		if !slices.Contains(held, "shop/snapshots/"+ids[0]) {
			ids = ids[1:]
		}
		for _, id := range ids {
			if !slices.Contains(held, "shop/snapshots/"+id) {
				t.Errorf("snapshot %.8s is gone", id)
			}
		}
		t.Logf("request %d of %d: %d snapshots, trash %d", at, requests, len(held), len(p.keys(t, ".trash/")))
	}
	if *kills >= 5 && killed == 0 {
		t.Error("no run was killed: it proves nothing")
	}
	if _, err := p.keeper.Run(t.Context(), maintenance.Job{Account: "shop", Epoch: 1, Password: password, Forget: ids[:1], Known: ids}); err != nil {
		t.Error(err)
	}
	for _, id := range ids[1:] {
		restores(t, p.repo, id, saved[id])
	}
}
