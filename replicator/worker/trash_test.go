package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drp/replicator"
	"drp/replicator/maintenance"
	"drp/replicator/storetest"
)

// TestSweep_Waits: what waits in the trash until somebody has read the copy is told; an account at which something else
// works is not forgotten meanwhile.
func TestSweep_Waits(t *testing.T) {
	double := storetest.NewDouble(t)
	store, err := replicator.Open(replicator.StoreConfig{Endpoint: double.Endpoint, Bucket: double.Bucket, AccessKey: "a", SecretKey: "b", Retries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	double.Clock = func() time.Time { return now }
	w := &Worker{Keeper: &maintenance.Keeper{Store: store, Now: func() time.Time { return now }, Grace: time.Hour}}
	for n, account := range []string{"shop", "blog"} {
		run := fmt.Sprintf(".trash/%s/1-20260228T00000%d-abcdefghij/", account, n)
		name := strings.Repeat("a", 64)
		mark, err := json.Marshal(maintenance.Outcome{Account: account, Run: "r", Deleted: now, At: now, From: "home", Names: []string{"data/aa/" + name}})
		if err != nil {
			t.Fatal(err)
		}
		double.Store(run+"complete.json", mark)
		double.Store(run+"data/aa/"+name, []byte("12345"))
	}
	turns, waiting := &turns{}, map[string]maintenance.Waits(nil)
	sweep := func() []string {
		t.Helper()
		if waiting, err = w.sweep(t.Context(), turns, waiting); err != nil {
			t.Fatal(err)
		}
		u, r := newUpkeep(), Report{}
		u.trash = waiting
		u.report(&r, now)
		var told []string
		for _, w := range r.Trash {
			told = append(told, fmt.Sprintf("%s %d %d %s", w.Account, w.Objects, w.Bytes, w.Over))
		}
		return told
	}
	if got := sweep(); len(got) != 0 {
		t.Errorf("told %v before the grace is over", got)
	}
	now = now.Add(3 * time.Hour)
	want := []string{"blog 1 5 2h0m0s", "shop 1 5 2h0m0s"}
	if got := sweep(); !cmp.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
	now = now.Add(time.Hour)
	if !turns.begin("shop", reading) {
		t.Fatal("no turn")
	}
	if err := w.Keeper.HasRead(t.Context(), "blog", 1, 1, now); err != nil {
		t.Fatal(err)
	}
	want = []string{"shop 1 5 3h0m0s"}
	if got := sweep(); !cmp.Equal(got, want) {
		t.Errorf("told %v, want %v: blog was read, shop is being read", got, want)
	}
	double.Fault = func(storetest.Call) *storetest.Fault { return &storetest.Fault{Status: 503, Code: "SlowDown"} }
	if still, err := w.sweep(t.Context(), turns, waiting); err == nil || len(still) != 1 {
		t.Errorf("when the store does not answer: %v, %v, want what was known before", still, err)
	}
}

// TestSweep_GoingKeys: what is on its way out of the break-glass keys goes by the same look, not beside another's work.
func TestSweep_GoingKeys(t *testing.T) {
	double := storetest.NewDouble(t)
	store, err := replicator.Open(replicator.StoreConfig{Endpoint: double.Endpoint, Bucket: double.Bucket, AccessKey: "a", SecretKey: "b", Retries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	double.Clock = func() time.Time { return now }
	w, turns := &Worker{Keeper: &maintenance.Keeper{Store: store, Now: func() time.Time { return now }, Grace: time.Hour}}, &turns{}
	for _, name := range []string{"shop", "blog"} {
		double.Store(".going-keys/"+name+"/"+strings.Repeat("a", 64), []byte("x"))
	}
	sweep := func() {
		t.Helper()
		if _, err := w.sweep(t.Context(), turns, nil); err != nil {
			t.Fatal(err)
		}
	}
	sweep()
	now = now.Add(2 * time.Hour)
	if !turns.begin("shop", copying) {
		t.Fatal("no turn")
	}
	sweep()
	for key := range double.Objects() {
		if strings.HasPrefix(key, ".going-keys/blog/") {
			t.Errorf("%s is still there", key)
		}
	}
	if _, ok := double.Objects()[".going-keys/shop/"+strings.Repeat("a", 64)]; !ok {
		t.Error("it went while something else worked on its repository")
	}
	if !turns.begin("blog", deleting) {
		t.Error("the look never ends its turn")
	}
}

// TestReport_MostTrash: of many accounts those are told that wait the longest.
func TestReport_MostTrash(t *testing.T) {
	u, r, now := newUpkeep(), Report{}, time.Unix(1e9, 0)
	u.trash = make(map[string]maintenance.Waits)
	for n := range 2 * mostTrash {
		u.trash[fmt.Sprint("a", n)] = maintenance.Waits{Since: now.Add(-time.Duration(n) * time.Hour)}
	}
	u.report(&r, now)
	if len(r.Trash) != mostTrash || r.Trash[0].Over != (2*mostTrash-1)*time.Hour {
		t.Errorf("told of %d, %+v first", len(r.Trash), r.Trash[0])
	}
}

// TestVerifyEnded_Sweeps: when the trash has waited for a look, it is looked at right after that.
func TestVerifyEnded_Sweeps(t *testing.T) {
	for _, c := range []struct {
		account string
		err     error
		soon    bool
	}{{"shop", nil, true}, {"shop", errors.New("broken"), false}, {"blog", nil, false}} {
		r := &run{Worker: &Worker{}, log: slog.New(slog.DiscardHandler), board: newBoard()}
		r.board.upkeep.trash = map[string]maintenance.Waits{"shop": {Since: time.Now()}}
		r.sweepAt = time.Now().Add(time.Hour)
		_, cancel := context.WithCancel(t.Context())
		r.verifyEnded(&upkeepJob[VerifyJob]{cancel: cancel}, VerifyJob{Account: c.account, Kind: "checked"}, c.err, time.Now())
		cancel()
		if soon := !r.sweepAt.After(time.Now()); soon != c.soon {
			t.Errorf("%+v: the trash is looked at soon: %v", c, soon)
		}
	}
}
