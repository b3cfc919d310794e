package orchestrator

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

func TestDecide_placesAndBacksUp(t *testing.T) {
	p := newPlatform(t)
	p.account("a", state.Gold, gib/4)
	p.account("b", state.Gold, gib/4)
	p.start("a", "b")
	va, vb := p.view().Assignment("a"), p.view().Assignment("b")
	if va.Server == vb.Server {
		t.Errorf("both accounts are on %s, want the two servers of par1 filled evenly", va.Server)
	}
	if got, want := len(p.view().Tasks()), 2; got != want {
		t.Fatalf("got %d tasks, want a first backup of each account at once (%d)", got, want)
	}
	p.backup("a", "par2")
	p.settle()
	if got := len(p.view().Tasks()); got != 1 {
		t.Errorf("got %d tasks, want no second backup before the next slot", got)
	}
	p.pass(61*time.Minute, "par1-s1", "par1-s2", "par2-s1", "par2-s2")
	p.settle()
	if got := len(p.view().Tasks()); got != 2 {
		t.Errorf("got %d tasks, want the next backup of a beside the running one of b", got)
	}
}

func TestDecide_missedSlotsAreMadeUpOnce(t *testing.T) {
	p := newPlatform(t)
	p.account("a", state.Gold, gib/4)
	p.start("a")
	p.backup("a")
	p.pass(7*time.Hour, "par1-s1", "par1-s2", "par2-s1", "par2-s2")
	p.settle()
	p.backup("a")
	p.settle()
	if got := len(p.view().Tasks()); got != 0 {
		t.Errorf("got %d tasks after seven missed slots and one backup, want 0", got)
	}
}

func TestDecide_failedBackupIsTriedAgain(t *testing.T) {
	p := newPlatform(t)
	p.account("a", state.Gold, gib/4)
	p.start("a")
	task := p.view().Tasks()[0]
	p.apply(state.TaskFinish, state.TaskFinishData{Task: task.ID, Error: "store is full"})
	p.settle()
	if got := len(p.view().Tasks()); got != 0 {
		t.Fatalf("got %d tasks right after a failure, want a pause first", got)
	}
	p.pass(firstRetry, "par1-s1", "par1-s2", "par2-s1", "par2-s2")
	p.settle()
	if got := len(p.view().Tasks()); got != 1 {
		t.Errorf("got %d tasks after the pause, want 1", got)
	}
}

func TestDecide_statusOfServers(t *testing.T) {
	p := newPlatform(t)
	p.settle()
	last := p.at
	for _, c := range []struct {
		silent time.Duration
		want   state.Status
	}{{14 * time.Second, state.Up}, {16 * time.Second, state.Unknown}, {31 * time.Second, state.Down}} {
		p.at = last.Add(c.silent)
		p.settle()
		row := p.view().ServerStatus("par1-s1")
		if row.Status != c.want || !row.LastContact.Equal(last) {
			t.Errorf("silent for %s: got %s, last contact %s; want %s, %s", c.silent, row.Status, row.LastContact, c.want, last)
		}
	}
	t.Run("a new leader waits for the servers to find it", func(t *testing.T) {
		p.since = p.at
		if got := p.now().judge(last); got != state.Up {
			t.Errorf("got %s, want %s", got, state.Up)
		}
	})
}

// lost is a platform with accounts that were backed up to par2, whose par1 has been silent for a while.
func lost(t *testing.T, accounts map[state.AccountName]state.Tier) *platform {
	t.Helper()
	p := newPlatform(t)
	for name, tier := range accounts {
		p.account(string(name), tier, gib/4)
		p.start(name)
		p.backup(name, "par2")
	}
	p.pass(30*time.Second, "par1-s1", "par1-s2", "par2-s1", "par2-s2")
	p.settle()
	for range 4 {
		p.pass(10*time.Second, "par2-s1", "par2-s2")
	}
	p.settle()
	return p
}

func TestPlanFailover(t *testing.T) {
	t.Run("a site that answers is refused", func(t *testing.T) {
		p := newPlatform(t)
		p.account("a", state.Gold, gib/4)
		p.start("a")
		if _, err := planFailover(p.now(), Scope{Site: "par1"}, ""); !errors.Is(err, ErrRefused) {
			t.Errorf("got %v, want %v", err, ErrRefused)
		}
	})
	t.Run("unknown site", func(t *testing.T) {
		if _, err := planFailover(newPlatform(t).now(), Scope{Site: "par9"}, ""); !errors.Is(err, state.ErrNotFound) {
			t.Errorf("got %v, want %v", err, state.ErrNotFound)
		}
	})
	t.Run("shows what is lost", func(t *testing.T) {
		p := lost(t, map[state.AccountName]state.Tier{"a": state.Bronze, "b": state.Gold})
		plan, err := planFailover(p.now(), Scope{Site: "par1"}, "")
		if err != nil {
			t.Fatal(err)
		}
		if len(plan.Accounts) != 2 || plan.Accounts[0].Account != "b" {
			t.Fatalf("got %+v, want gold before bronze", plan.Accounts)
		}
		if got, want := plan.Accounts[0].Loss, 30*time.Second; got != want {
			t.Errorf("got loss %s, want last contact − start of the snapshot = %s", got, want)
		}
		if got := p.view().Server(plan.Accounts[0].To).Site; got != "par2" {
			t.Errorf("got target at %s, want par2", got)
		}
		if len(plan.Silent) != 2 || len(plan.Answering) != 0 {
			t.Errorf("got silent %v, answering %v; want both servers of par1 silent", plan.Silent, plan.Answering)
		}
	})
	t.Run("what does not fit is listed, in order of tier", func(t *testing.T) {
		p := newPlatform(t)
		for _, a := range []struct {
			name   string
			tier   state.Tier
			memory int64
		}{{"g", state.Gold, gib * 3 / 4}, {"s", state.Silver, gib * 3 / 4}} {
			p.account(a.name, a.tier, a.memory)
		}
		p.start("g", "s")
		p.backup("g", "par2")
		p.backup("s", "par2")
		p.apply(state.InventoryApply, state.InventoryData{Servers: []state.Server{
			{Name: "par2-s2", Site: "par2", Capacity: state.Resources{Memory: gib / 8, Processes: 10, CPU: 1, Disk: gib}}}})
		for range 4 {
			p.pass(10*time.Second, "par2-s1", "par2-s2")
		}
		plan, err := planFailover(p.now(), Scope{Site: "par1"}, "")
		if err != nil {
			t.Fatal(err)
		}
		if len(plan.Accounts) != 1 || plan.Accounts[0].Account != "g" {
			t.Errorf("got %+v, want gold to have the room", plan.Accounts)
		}
		if len(plan.NotFit) != 1 || plan.NotFit[0].Reason != "no server of par2 has enough memory left" {
			t.Errorf("got %+v, want silver listed with the reason", plan.NotFit)
		}
	})
}

// failoverRun is the run that StartRun would record for a plan.
func (p *platform) failoverRun(id state.RunID, source string, plan *Plan) state.Run {
	run := state.Run{ID: id, Runbook: "site-loss", Source: source, Parameters: map[string]string{"site": string(plan.Scope.Site)},
		Created: p.at, Status: state.RunPreparing, PlanHash: plan.Hash}
	for _, s := range []string{"confirm", "fence", "assign", "rebuild", "verify"} {
		run.Steps = append(run.Steps, state.RunStep{ID: s, Type: s, Status: state.StepPending})
	}
	return run
}

// failover records a run as StartRun does, and confirms it.
func (p *platform) failover(source string, scope Scope) state.RunID {
	p.t.Helper()
	plan, err := planFailover(p.now(), scope, "")
	if err != nil {
		p.t.Fatal(err)
	}
	run := p.failoverRun("r1", source, plan)
	p.apply(state.RunCreate, state.RunCreateData{Run: run})
	p.apply(state.RunAccounts, state.RunAccountsData{Run: run.ID, Accounts: runAccounts(p.now(), run.ID, plan)})
	p.apply(state.RunUpdate, state.RunUpdateData{Run: run.ID, ExpectStatus: state.StepPending, Status: state.RunRunning, Steps: run.Steps})
	p.settle()
	var down []state.ServerName
	for _, s := range plan.Silent {
		down = append(down, s.Server)
	}
	p.apply(state.RunConfirm, state.RunConfirmData{Run: run.ID, PlanHash: plan.Hash, By: "operator/olga", Down: down})
	return run.ID
}

const siteLoss = `runbook: site-loss
title: test
role: operator
parameters: [{name: site, type: site, required: true}]
steps:
  - {id: confirm, type: confirm, by_hand: x}
  - {id: fence, type: fence, by_hand: x, with: {site: "${site}"}}
  - {id: assign, type: assign, by_hand: x, with: {site: "${site}"}}
  - {id: rebuild, type: rebuild, timeout: 30m}
  - {id: verify, type: verify, timeout: 10m}
`

func TestRun_siteLoss(t *testing.T) {
	p := lost(t, map[state.AccountName]state.Tier{"a": state.Gold})
	old := *p.view().Assignment("a")
	id := p.failover(siteLoss, Scope{Site: "par1"})
	p.settle()
	a := p.view().Assignment("a")
	if a.Run != id || !old.Token.Less(a.Token) {
		t.Fatalf("got assignment %+v, want a higher token given by the run", a)
	}
	if home := p.view().Repository("a").Home; home.Site != "par2" || home.Epoch != 2 {
		t.Errorf("got home %+v, want par2 under the next epoch", home)
	}
	if run := p.view().Run(id); run.Status != state.RunRunning || run.Steps[run.Step].Type != "rebuild" {
		t.Fatalf("got %s at step %d, want it to wait for the rebuild", run.Status, run.Step)
	}
	p.pass(5*time.Second, "par2-s1", "par2-s2")
	p.say("a", wire.Running)
	p.settle()
	var asks []probe
	for _, action := range decide(p.now()) {
		if ask, ok := action.(probe); ok {
			asks = append(asks, ask)
		}
	}
	if len(asks) != 1 || asks[0].from == "par2" {
		t.Fatalf("got probes %+v, want one, from another site than par2", asks)
	}
	p.seen.probed(asks[0].key, wire.ProbeResult{OK: true, At: p.at, Site: "par3"})
	p.settle()
	run := p.view().Run(id)
	if run.Status != state.RunDone {
		t.Fatalf("got %s (%s), want done", run.Status, run.Error)
	}
	if got, want := p.view().RunAccounts(id)[0].RPO, 30*time.Second; got != want {
		t.Errorf("got RPO %s, want %s", got, want)
	}
	if got, want := p.view().RunAccounts(id)[0].RTO, 45*time.Second; got != want {
		t.Errorf("got RTO %s, want from the last contact to the first good answer: %s", got, want)
	}
}

func TestRun_asksAServerThatAnswersToStop(t *testing.T) {
	p := lost(t, map[state.AccountName]state.Tier{"a": state.Gold})
	p.failover(siteLoss, Scope{Site: "par1"})
	server := p.view().Assignment("a").Server
	p.hear(server) // it comes back after the confirmation and before the fence
	p.settle()
	a := p.view().Assignment("a")
	if !a.Stop || a.Fenced != nil {
		t.Fatalf("got stop %v, fenced %+v; want it asked, and not taken for dead", a.Stop, a.Fenced)
	}
	p.say("a", wire.Stopped)
	p.settle()
	if a := p.view().Assignment("a"); a.Server == server || a.Token.Generation != 2 {
		t.Errorf("got %+v, want it assigned elsewhere once the stop was acknowledged", a)
	}
}

func TestRun_silentServerNeedsThePersonsWord(t *testing.T) {
	p := lost(t, map[state.AccountName]state.Tier{"a": state.Gold})
	id := p.failover(siteLoss, Scope{Site: "par1"})
	run := p.view().Run(id)
	if len(run.Down) != 2 {
		t.Fatalf("got %v confirmed down, want both servers", run.Down)
	}
	t.Run("without it nothing is fenced", func(t *testing.T) {
		p := lost(t, map[state.AccountName]state.Tier{"a": state.Gold})
		plan, err := planFailover(p.now(), Scope{Site: "par1"}, "")
		if err != nil {
			t.Fatal(err)
		}
		n := p.now()
		r := &state.Run{ID: "r", ConfirmedBy: "x", Steps: []state.RunStep{{}}}
		p.apply(state.RunCreate, state.RunCreateData{Run: state.Run{ID: "r", Runbook: "site-loss", Created: p.at, Status: state.RunPreparing, Steps: r.Steps}})
		p.apply(state.RunAccounts, state.RunAccountsData{Run: "r", Accounts: runAccounts(n, "r", plan)})
		out := fenceStep(p.now(), r, bound{})
		if out.done || len(out.actions) != 0 || !out.waiting {
			t.Errorf("got %+v, want it to wait for a person", out)
		}
	})
}

// A backup that meets damage counts as a failed check of the home's copy, once: each that fails would put the next check off.
func TestReportedOutcomes_Damaged(t *testing.T) {
	p := newPlatform(t)
	p.account("a", state.Gold, gib/4)
	p.start("a")
	p.backup("a")
	home := p.view().Repository("a").Home.Site
	checks := func() (c state.Failure, due bool) {
		if v := p.view().Verification("a", home); v != nil {
			c = v.Errors[state.Checked]
		}
		return c, slices.ContainsFunc(p.now().kept(p.view().Repository("a")).verifications(home), func(c chore) bool { return c.kind == state.Checked })
	}
	for n := range 3 {
		p.pass(time.Hour, "par1-s1", "par1-s2", "par2-s1", "par2-s2")
		p.settle()
		tasks := p.view().Tasks()
		if len(tasks) != 1 {
			t.Fatalf("%d tasks, want a backup", len(tasks))
		}
		report := wire.TaskReport{Task: tasks[0].ID, Error: fmt.Sprint("a tree is missing ", n), Damaged: n > 0}
		p.seen.agent(wire.AgentReport{Server: tasks[0].Server, Tasks: []wire.TaskReport{report}}, p.at)
		p.settle()
		if b := p.view().BackupStatus("a"); b.Failures != n+1 {
			t.Fatalf("got %+v, want %d failures", b, n+1)
		}
		failure, due := checks()
		switch {
		case n == 0 && (failure.Count != 0 || due):
			t.Errorf("a backup that fails for another reason: %+v, %t", failure, due)
		case n == 1 && (failure.Count != 1 || !strings.Contains(failure.Error, "a tree is missing 1") || due):
			t.Errorf("got %+v, %t; want a failed check, and the next one a while later", failure, due)
		case n == 2 && (failure.Count != 1 || !due):
			t.Errorf("got %+v, %t; want the first one alone to count", failure, due)
		}
	}
}
