package api

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"drp/orchestrator"
	"drp/orchestrator/api/apitest"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

func TestClient_Run(t *testing.T) {
	r := newRig(t, "par1-c", "par2-c")
	b := r.nodes[0].brain
	b.Set(func(b *apitest.Brain) {
		b.Plan = &orchestrator.Plan{Hash: "h", Accounts: []orchestrator.PlanAccount{{Account: "guestbook", To: "par2-s1"}}}
	})
	c, ctx := r.client(t, identity.Operator, "claire", r.nodes[1].url), t.Context()
	request := orchestrator.StartRequest{ID: "run-1", Runbook: "site-loss", Parameters: map[string]string{"site": "par1"}, PlanHash: "h"}
	for range 2 { // the second one changes nothing
		run, err := c.StartRun(ctx, request)
		if err != nil || run.ID != "run-1" || run.Status != state.RunWaiting || run.By != "operator/claire" {
			t.Fatalf("got %+v, %v", run, err)
		}
	}
	view, err := c.Run(ctx, "run-1", "", 0)
	if err != nil || view.Revision == "" {
		t.Fatalf("got %+v, %v", view, err)
	}
	again, err := c.Run(ctx, "run-1", view.Revision, time.Millisecond)
	if err != nil || again.Revision != view.Revision {
		t.Errorf("nothing happened: got revision %s, %v, want %s", again.Revision, err, view.Revision)
	}
	// Whoever waits is told.
	told := make(chan *RunView, 1)
	go func() {
		v, err := c.Run(ctx, "run-1", view.Revision, time.Minute)
		if err != nil {
			t.Error(err)
		}
		told <- v
	}()
	if err := c.ConfirmRun(ctx, "run-1", "h", []state.ServerName{"par1-s1"}); err != nil {
		t.Fatal(err)
	}
	v := <-told
	if v.Run.ConfirmedBy != "operator/claire" || v.Revision == view.Revision {
		t.Errorf("got %+v after the confirmation", v.Run)
	}
	for !v.Run.Status.Ended() {
		if v, err = c.Run(ctx, "run-1", v.Revision, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if v.Run.Status != state.RunDone || v.Run.Steps[2].Items[0].RTO != 20*time.Second {
		t.Errorf("got %+v at the end", v.Run)
	}
	if runs, err := c.Runs(ctx); err != nil || len(runs) != 1 {
		t.Errorf("runs: got %v, %v", runs, err)
	}
	if _, err := c.Run(ctx, "run-2", "", 0); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("unknown run: got %v", err)
	}
}

func TestServer_RunbooksOfSupport(t *testing.T) {
	r := newRig(t, "par1-c")
	support, operator, ctx := r.client(t, identity.Support, "sam"), r.client(t, identity.Operator, "claire"), t.Context()
	failover := orchestrator.StartRequest{ID: "run-1", Runbook: "site-loss", Parameters: map[string]string{"site": "par1"}}
	if _, err := support.StartRun(ctx, failover); !errors.Is(err, ErrForbidden) {
		t.Errorf("support starts a failover: got %v, want %v", err, ErrForbidden)
	}
	if _, err := operator.StartRun(ctx, failover); err != nil {
		t.Fatal(err)
	}
	if err := support.ConfirmRun(ctx, "run-1", "", nil); !errors.Is(err, ErrForbidden) {
		t.Errorf("support confirms a failover: got %v, want %v", err, ErrForbidden)
	}
	if err := support.CancelRun(ctx, "run-1"); !errors.Is(err, ErrForbidden) {
		t.Errorf("support cancels a failover: got %v, want %v", err, ErrForbidden)
	}
	files := orchestrator.StartRequest{ID: "run-2", Runbook: "restore-files", Parameters: map[string]string{"account": "a"}}
	if _, err := support.StartRun(ctx, files); err != nil {
		t.Errorf("support restores files: %v", err)
	}
	if err := support.CancelRun(ctx, "run-2"); err != nil {
		t.Errorf("support cancels its own: %v", err)
	}
	if _, err := support.StartRun(ctx, orchestrator.StartRequest{ID: "run-3", Runbook: "sitelos"}); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("unknown runbook: got %v, want %v", err, state.ErrNotFound)
	}
}

func TestClient_Runbooks(t *testing.T) {
	r := newRig(t, "par1-c")
	c := r.client(t, identity.Support, "sam")
	books, err := c.Runbooks(t.Context())
	if err != nil || len(books) < 2 {
		t.Fatalf("got %v, %v", books, err)
	}
	b, err := c.Runbook(t.Context(), "site-loss")
	if err != nil || b.Page == "" || b.Source == "" || len(b.Parameters) == 0 {
		t.Errorf("got %+v, %v", b, err)
	}
}

// A watcher is told at the change itself, not at the next look.
func TestServer_WatchFollowsChanges(t *testing.T) {
	changed := make(chan struct{})
	var looks atomic.Int64
	r := newRigWith(t, func(_ *rig, c *Config) {
		c.Changed = func() <-chan struct{} {
			looks.Add(1)
			return changed
		}
	}, "par1-c")
	c, ctx := r.client(t, identity.Operator, "claire"), t.Context()
	run, err := c.StartRun(ctx, orchestrator.StartRequest{ID: "run-1", Runbook: "restore-files"})
	if err != nil {
		t.Fatal(err)
	}
	view, err := c.Run(ctx, run.ID, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan error, 1)
	go func() {
		_, err := c.Run(ctx, run.ID, view.Revision, time.Minute)
		told <- err
	}()
	for looks.Load() < 2 {
		<-time.After(time.Millisecond)
	}
	if err := c.CancelRun(ctx, run.ID); err != nil {
		t.Fatal(err)
	}
	close(changed)
	if err := <-told; err != nil {
		t.Error(err)
	}
}
