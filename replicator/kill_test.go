package replicator_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"drp/replicator"
	"drp/replicator/storetest"
)

var kills = flag.Int("kills", 20, "how often TestPass_Killed kills the copier")

// copierVariable makes this test binary a copier, so that a test can kill it: FROM TO, endpoints.
const copierVariable = "REPLICATOR_TEST_COPIER"

func TestMain(m *testing.M) {
	if os.Getenv(copierVariable) != "" {
		os.Exit(copier(os.Getenv(copierVariable)))
	}
	os.Exit(m.Run())
}

func copier(endpoints string) int {
	from, to, _ := strings.Cut(endpoints, " ")
	var stores []*replicator.Store
	for _, c := range []replicator.StoreConfig{
		{Endpoint: from, Bucket: "source", AccessKey: "reader", SecretKey: "reader-secret"},
		{Endpoint: to, Bucket: "target", AccessKey: "admin", SecretKey: "admin-secret"},
	} {
		s, err := replicator.Open(c)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		stores = append(stores, s)
	}
	if _, err := replicator.Pass(context.Background(), stores[0], stores[1], "shop/", replicator.Options{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// TestPass_Killed kills the copier with SIGKILL at many points of a copy; after each the destination passes check, as it has
// to when it is promoted because its source has vanished.
func TestPass_Killed(t *testing.T) {
	w := newTwo(t)
	for n := range 6 {
		w.backup(t, fmt.Sprint("file ", n), 1<<20)
	}
	w.backup(t, "large", 100<<20) // 25 packs
	proxy := storetest.NewProxy(t, w.target.Endpoint)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}

	killed, began := 0, 0
	for killed < *kills {
		// Few writes in each round, so that all of them lie on the way.
		left := len(keys(t, w.from, "shop/")) - len(keys(t, w.to, "shop/"))
		if left == 0 { // a copy is complete: another one begins
			began++
			if err := os.RemoveAll(w.target.File("target", "shop")); err != nil {
				t.Fatal(err)
			}
			continue
		}
		at, before := 1+random.IntN(min(4, left)), random.IntN(2) == 0
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), copierVariable+"="+w.source.Endpoint+" "+proxy.Endpoint)
		var mu sync.Mutex
		writes := 0
		kill := func(c storetest.Call) {
			mu.Lock()
			defer mu.Unlock()
			if c.Operation != storetest.Put {
				return
			}
			if writes++; writes == at {
				_ = cmd.Process.Kill() // it may have ended
			}
		}
		if before {
			proxy.Watch(kill, nil)
		} else {
			proxy.Watch(nil, kill)
		}
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		mu.Lock()
		err := cmd.Start()
		mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			if cmd.ProcessState.Exited() {
				t.Fatalf("the copier failed by itself: %v\n%s", err, &out)
			}
			killed++
		}
		if held := keys(t, w.to, "shop/config"); len(held) > 0 {
			w.there.Check(t)
		} else if held := keys(t, w.to, "shop/"); len(held) > 1 {
			t.Errorf("there is no config and yet %v", held)
		}
	}
	proxy.Watch(nil, nil)
	t.Logf("%d kills in the middle of %d copies, and restic check --read-data passed after each", killed, began+1)
	r := w.mustPass(t)
	if len(r.Snapshots) != 7 {
		t.Errorf("the last pass holds %d snapshots, want 7", len(r.Snapshots))
	}
	w.there.Check(t)
}
