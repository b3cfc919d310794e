package orchestrator

import (
	"slices"
	"strings"
	"testing"
	"time"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// withTimeouts is siteLoss with limits for each account.
var withTimeouts = strings.NewReplacer("type: fence,", "type: fence, timeout: 10m,", "type: assign,", "type: assign, timeout: 10m,").Replace(siteLoss)

func (p *platform) item(id state.RunID, account state.AccountName) *state.RunAccount {
	p.t.Helper()
	for _, ra := range p.view().RunAccounts(id) {
		if ra.Account == account {
			return ra
		}
	}
	p.t.Fatalf("run %s has no account %s", id, account)
	return nil
}

// let lets time go by in small steps in which these servers are heard.
func (p *platform) let(d time.Duration, heard ...state.ServerName) {
	p.t.Helper()
	for end := p.at.Add(d); p.at.Before(end); {
		p.pass(5*time.Second, heard...)
		p.settle()
	}
}

func TestRun_targetSilentForAWhile(t *testing.T) {
	p := lost(t, map[state.AccountName]state.Tier{"a": state.Gold})
	id := p.failover(withTimeouts, Scope{Site: "par1"})
	p.at = p.at.Add(20 * time.Second) // nobody is heard
	p.settle()
	if ra := p.item(id, "a"); ra.Status != state.StepPending {
		t.Fatalf("got %s (%s), want it to wait for a server", ra.Status, ra.Message)
	}
	p.let(10*time.Second, "par2-s1", "par2-s2")
	if a := p.view().Assignment("a"); a.Run != id {
		t.Errorf("got %+v, want it assigned once the servers answer again", a)
	}
}

func TestRun_accountsLeftBehindCanBeFailedOverAgain(t *testing.T) {
	p := lost(t, map[state.AccountName]state.Tier{"a": state.Gold})
	id := p.failover(withTimeouts, Scope{Site: "par1"})
	p.at = p.at.Add(20 * time.Second)
	p.let(11 * time.Minute) // no server answers until the time is over
	if run := p.view().Run(id); run.Status != state.RunFailed {
		t.Fatalf("got %s, want the run to give up", run.Status)
	}
	p.let(time.Minute, "par1-s1", "par1-s2", "par2-s1", "par2-s2") // everybody is back
	plan, err := planFailover(p.now(), Scope{Site: "par1"}, "")
	if err != nil {
		t.Fatalf("everybody answers, and the account is fenced and runs nowhere: %v", err)
	}
	if len(plan.Accounts) != 1 || plan.Accounts[0].Account != "a" || len(plan.Silent) != 0 {
		t.Errorf("got %+v, want the account that was left behind", plan)
	}
}

func TestRun_oneThatCannotBeStoppedKeepsNobodyDown(t *testing.T) {
	p := newPlatform(t)
	p.account("a", state.Gold, gib/4)
	p.account("b", state.Gold, gib/4)
	p.start("a", "b")
	p.backup("a", "par2")
	p.backup("b", "par2")
	alive, dead := p.view().Assignment("a").Server, p.view().Assignment("b").Server
	p.let(40*time.Second, alive, "par2-s1", "par2-s2")
	id := p.failover(withTimeouts, Scope{Site: "par1"})
	p.let(20*time.Second, alive, "par2-s1", "par2-s2")
	if a := p.view().Assignment("b"); a.Run != id || a.Server == dead {
		t.Errorf("got %+v, want the account of the dead server assigned while the other cannot be stopped", a)
	}
	if a := p.view().Assignment("a"); a.Fenced != nil || !a.Stop {
		t.Fatalf("got %+v, want it asked to stop, and nothing more", a)
	}
	p.let(11*time.Minute, alive, "par2-s1", "par2-s2")
	if ra := p.item(id, "a"); ra.Status != state.StepFailed || !strings.Contains(ra.Message, "has not stopped it") {
		t.Errorf("got %s (%s), want it given up with the reason", ra.Status, ra.Message)
	}
}

func TestRun_wordFromBeforeTheLastContact(t *testing.T) {
	p := lost(t, map[state.AccountName]state.Tier{"a": state.Gold})
	id := p.failover(withTimeouts, Scope{Site: "par1"})
	server := p.view().Assignment("a").Server
	p.pass(5*time.Second, server) // it answers after it was confirmed as down
	p.settle()
	p.let(time.Minute, "par2-s1", "par2-s2") // and falls silent again
	if a := p.view().Assignment("a"); a.Fenced != nil {
		t.Fatalf("got fenced %+v, want the old word not to count", a.Fenced)
	}
	run := p.view().Run(id)
	if run.Status != state.RunWaiting || !strings.Contains(run.Steps[run.Step].Message, string(server)) {
		t.Errorf("got %s: %s; want it to wait for a new word about %s", run.Status, run.Steps[run.Step].Message, server)
	}
	p.apply(state.RunConfirm, state.RunConfirmData{Run: id, PlanHash: run.PlanHash, By: "operator/olga", Down: []state.ServerName{server}})
	p.let(10*time.Second, "par2-s1", "par2-s2")
	if a := p.view().Assignment("a"); a.Run != id {
		t.Errorf("got %+v, want it assigned after the new word", a)
	}
}

func TestRun_theSameStartAgain(t *testing.T) {
	p := lost(t, map[state.AccountName]state.Tier{"a": state.Gold})
	plan, err := planFailover(p.now(), Scope{Site: "par1"}, "")
	if err != nil {
		t.Fatal(err)
	}
	run := state.Run{ID: "r", Runbook: "site-loss", Created: p.at, Status: state.RunPreparing, PlanHash: plan.Hash, Steps: []state.RunStep{{ID: "confirm", Type: "confirm"}}}
	p.apply(state.RunCreate, state.RunCreateData{Run: run})
	p.apply(state.RunAccounts, state.RunAccountsData{Run: "r", Accounts: runAccounts(p.now(), "r", plan)})
	again, err := planFailover(p.now(), Scope{Site: "par1"}, "r")
	if err != nil || again.Hash != plan.Hash || len(again.Accounts) != 1 {
		t.Errorf("got %+v, %v; want the same plan for the run that was broken off", again, err)
	}
	other, err := planFailover(p.now(), Scope{Site: "par1"}, "other")
	if err != nil || len(other.Accounts) != 0 || len(other.NotFit) != 1 || !strings.Contains(other.NotFit[0].Reason, "run r already recovers it") {
		t.Errorf("got %+v, %v; want another run to leave the account to the first", other, err)
	}
}

func TestPlacement_countsWhatRunsWerePromised(t *testing.T) {
	p := lost(t, map[state.AccountName]state.Tier{"a": state.Gold, "b": state.Gold, "c": state.Gold})
	p.failover(withTimeouts, Scope{Site: "par1"})
	free := p.now().placement("", func(*state.Server) bool { return true })
	promised := free.used["par2-s1"].Memory + free.used["par2-s2"].Memory
	if want := 3 * gib / 4; promised != want {
		t.Errorf("got %d bytes promised at par2, want %d", promised, want)
	}
}

func TestRestoreFiles_twoOfOneAccountTakeTurns(t *testing.T) {
	p := newPlatform(t)
	p.account("a", state.Gold, gib/4)
	p.start("a")
	p.backup("a", "par2")
	for _, id := range []state.RunID{"r1", "r2"} {
		p.apply(state.RunCreate, state.RunCreateData{Run: state.Run{ID: id, Runbook: "restore-files", Source: restoreFiles, Created: p.at,
			Parameters: map[string]string{"account": "a", "path": string(id), "at": p.at.Format(time.RFC3339)},
			Status:     state.RunRunning, Steps: []state.RunStep{{ID: "restore", Type: "restore-files", Status: state.StepPending}}}})
	}
	p.settle()
	tasks := slices.DeleteFunc(p.view().Tasks(), func(t *state.Task) bool { return t.Kind != state.TaskRestoreFiles })
	if len(tasks) != 1 {
		t.Fatalf("got %d restores, want one at a time", len(tasks))
	}
	before := p.index
	p.settle()
	if p.index != before {
		t.Errorf("the one that waits proposed %d commands, want none", p.index-before)
	}
	p.apply(state.TaskFinish, state.TaskFinishData{Task: tasks[0].ID, Detail: "done"})
	p.settle()
	if got := p.view().Run(tasks[0].Run).Status; got != state.RunDone {
		t.Errorf("got %s, want the first run done", got)
	}
	if tasks := p.view().Tasks(); len(tasks) != 1 || tasks[0].Status != state.TaskPending {
		t.Errorf("got tasks %+v, want the second restore under way", tasks)
	}
}

const restoreFiles = `runbook: restore-files
title: test
role: support
parameters: [{name: account, type: account, required: true}, {name: path, type: path, required: true}, {name: at, type: time, default: now}]
steps:
  - {id: restore, type: restore-files, by_hand: x}
`

func TestRefusals_restLonger(t *testing.T) {
	at := time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)
	var r refusals
	key := propose{state.TaskForget, state.TaskForgetData{Task: "x"}}.key()
	for _, want := range []time.Duration{firstRest, 2 * firstRest, 4 * firstRest} {
		r.note(key, at)
		if !r.rests(key, at.Add(want-1)) || r.rests(key, at.Add(want)) {
			t.Errorf("want it to rest for %s", want)
		}
		at = at.Add(want)
	}
	if r.rests("another", at) {
		t.Error("another proposal rests too")
	}
	r.forget(at.Add(time.Hour))
	if len(r.rest) != 0 {
		t.Errorf("%d are remembered for ever", len(r.rest))
	}
}

func TestWrongClocks(t *testing.T) {
	t.Run("a contact that has not come yet", func(t *testing.T) {
		p := newPlatform(t)
		p.seen.heard(wire.Contacts{Last: map[state.ServerName]time.Time{"par1-s1": p.at.Add(time.Hour)}})
		p.at = p.at.Add(time.Minute)
		if n := p.now(); n.maybeAlive("par1-s1") {
			t.Errorf("last contact %s at %s counts, want it not to", n.lastContact("par1-s1"), n.at)
		}
	})
	t.Run("a backup that was due in the future", func(t *testing.T) {
		p := newPlatform(t)
		p.account("a", state.Gold, gib/4)
		p.start("a")
		p.at = p.at.Add(48 * time.Hour)
		p.hear("par1-s1", "par1-s2", "par2-s1", "par2-s2")
		p.backup("a", "par2")
		p.at = p.at.Add(-48 * time.Hour)
		p.seen = newObserved()
		p.hear("par1-s1", "par1-s2", "par2-s1", "par2-s2")
		p.settle()
		if got := len(p.view().Tasks()); got != 1 {
			t.Errorf("got %d backups under way, want one although the last is from the future", got)
		}
	})
}

func TestRun_newServerIsLostAsWell(t *testing.T) {
	p := lost(t, map[state.AccountName]state.Tier{"a": state.Gold})
	id := p.failover(withTimeouts, Scope{Site: "par1"})
	p.let(5*time.Second, "par2-s1", "par2-s2")
	to := p.view().Assignment("a").Server
	other := state.ServerName("par2-s1")
	if to == other {
		other = "par2-s2"
	}
	p.let(time.Minute, other)
	if ra := p.item(id, "a"); ra.Status != state.StepFailed || !strings.Contains(ra.Message, "drp failover server "+string(to)) {
		t.Fatalf("got %s (%s), want it let go of, with what to type", ra.Status, ra.Message)
	}
	plan, err := planFailover(p.now(), Scope{Server: to}, "")
	if err != nil || len(plan.Accounts) != 1 || plan.Accounts[0].To != other {
		t.Errorf("got %+v, %v; want the account to come back on %s", plan, err, other)
	}
}
