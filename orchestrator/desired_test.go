package orchestrator

import (
	"errors"
	"slices"
	"testing"
	"time"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

var opened = opener{
	password:    func(*state.Repository) (string, bool) { return "secret", true },
	environment: func(_ *state.Account, p *state.Program) (map[string]string, bool) { return p.Environment, true },
}

func (p *platform) desired(server state.ServerName) wire.AgentDesired {
	p.t.Helper()
	report := p.seen.glance().reports[server]
	if report == nil {
		report = &wire.AgentReport{Server: server}
	}
	d, err := agentDesired(p.view(), report, opened)
	if err != nil {
		p.t.Fatal(err)
	}
	return d
}

func TestAgentDesired(t *testing.T) {
	p := lost(t, map[state.AccountName]state.Tier{"a": state.Gold})
	old := *p.view().Assignment("a")
	p.failover(siteLoss, Scope{Site: "par1"})
	p.settle()
	now := p.view().Assignment("a")

	t.Run("the new server restores through its own site's gateway", func(t *testing.T) {
		got := p.desired(now.Server).Accounts
		if len(got) != 1 || !got[0].Run || !got[0].New || got[0].Restore == nil || got[0].Token != now.Token {
			t.Fatalf("got %+v, want the account to be rebuilt under %s", got, now.Token)
		}
		if want := "rest:https://par2.test:7460/a/1.2/"; got[0].Repository.URLs[0] != want {
			t.Errorf("got %s, want %s", got[0].Repository.URLs[0], want)
		}
	})
	t.Run("the old one sets aside what it still holds", func(t *testing.T) {
		p.seen.agent(wire.AgentReport{Server: old.Server, Accounts: []wire.ObservedAccount{
			{Account: "a", Token: old.Token, Phase: wire.Running},
			{Account: "not-ours", Token: old.Token, Phase: wire.Running},
		}}, p.at)
		got := p.desired(old.Server).Accounts
		if len(got) != 1 || got[0].Run || !got[0].SetAside || got[0].Token != now.Token {
			t.Errorf("got %+v, want the account named alone, to be set aside for token %s", got, now.Token)
		}
	})
	t.Run("once it runs no password is sent without need", func(t *testing.T) {
		p.say("a", wire.Running)
		p.settle()
		for _, a := range p.desired(now.Server).Accounts {
			if a.Repository != nil || a.New {
				t.Errorf("got %+v, want neither access nor a new home", a)
			}
		}
	})
	t.Run("a server that is not in the inventory", func(t *testing.T) {
		if _, err := agentDesired(p.view(), &wire.AgentReport{Server: "x"}, opened); !errors.Is(err, state.ErrNotFound) {
			t.Errorf("got %v, want %v", err, state.ErrNotFound)
		}
	})
}

func TestGatewayView(t *testing.T) {
	p := lost(t, map[state.AccountName]state.Tier{"a": state.Gold})
	before := gatewayView(p.view(), "par1").Grants
	if len(before) != 1 || !before[0].Write {
		t.Fatalf("got %+v, want the home's server to write", before)
	}
	if got, want := before[0].Daily, 3*p.view().Account("a").Plan.Disk+1<<30; got != want {
		t.Errorf("got %d bytes a day, want %d", got, want)
	}
	if got := gatewayView(p.view(), "par2").Grants; len(got) != 0 {
		t.Errorf("got %+v at par2, want nobody there", got)
	}
	p.failover(siteLoss, Scope{Site: "par1"})
	p.settle()
	if got := gatewayView(p.view(), "par1").Grants; len(got) != 0 {
		t.Errorf("got %+v at the lost site, want nobody: a stale server must not write", got)
	}
	if got := gatewayView(p.view(), "par2").Grants; len(got) != 1 || !got[0].Write || got[0].Token.Generation != 2 {
		t.Errorf("got %+v, want the new server to write at its own site", got)
	}
}

func TestWorkerDesired(t *testing.T) {
	p := newPlatform(t)
	p.account("a", state.Gold, gib/4)
	p.settle()
	p.settle()
	d := workerDesired(p.view(), "par1", nil, opened, nil)
	if len(d.Initial) != 1 || d.Initial[0].Password != "secret" {
		t.Fatalf("got %+v; want a repository to be created", d)
	}
	p.start("a")
	id := p.backup("a")
	d = workerDesired(p.view(), "par2", nil, opened, nil)
	if len(d.Copy) != 1 || d.Copy[0].From != "par1" || d.Copy[0].Snapshots[0] != id {
		t.Fatalf("got %+v; want par2 to pull the snapshot from par1", d)
	}
	p.apply(state.ReplicationRecord, state.ReplicationRecordData{Account: "a", From: "par1", To: "par2", Snapshots: []state.SnapshotID{id}})
	if d = workerDesired(p.view(), "par2", nil, opened, nil); len(d.Copy) != 0 {
		t.Errorf("got %+v; want nothing left to do", d)
	}
}

// What only the lost site held is pulled from it when it is back, although it is the home no more.
func TestWorkerDesired_pullsFromASiteThatCameBack(t *testing.T) {
	p := newPlatform(t)
	p.account("a", state.Gold, gib/4)
	p.start("a")
	p.backup("a", "par2")
	p.pass(61*time.Minute, "par1-s1", "par1-s2", "par2-s1", "par2-s2")
	p.settle()
	only := p.backup("a")
	for range 4 {
		p.pass(10*time.Second, "par2-s1", "par2-s2")
	}
	p.settle()
	p.failover(siteLoss, Scope{Site: "par1"})
	p.settle()
	d := workerDesired(p.view(), "par2", nil, opened, nil)
	if len(d.Copy) != 1 || d.Copy[0].From != "par1" || d.Copy[0].Snapshots[0] != only {
		t.Errorf("got %+v; want the snapshot that par1 alone holds", d)
	}
}

// A site that was away for hours is given the highest tier first, and of each tier those that would lose the most.
func TestWorkerDesired_mostExposedFirst(t *testing.T) {
	p := newPlatform(t)
	for name, tier := range map[state.AccountName]state.Tier{"a": state.Bronze, "b": state.Gold, "c": state.Gold, "d": state.Silver, "e": state.Gold} {
		p.account(string(name), tier, gib/16)
		p.start(name)
	}
	backup := func(name state.AccountName, copied ...state.SiteName) {
		if !slices.ContainsFunc(p.view().Tasks(), func(t *state.Task) bool { return t.Account == name && t.Status == state.TaskPending }) {
			p.apply(state.TaskCreate, state.TaskCreateData{Task: newBackup(p.view().Assignment(name), p.at, p.at, "test")})
		}
		p.backup(name, copied...)
		p.pass(time.Minute, "par1-s1", "par1-s2", "par2-s1", "par2-s2")
	}
	backup("c", "par2")
	backup("e") // an older one alone will be missing
	backup("e", "par2")
	for _, name := range []state.AccountName{"a", "b", "c", "d"} {
		backup(name)
	}
	order := func() (names []state.AccountName, ranks []int) {
		for _, j := range workerDesired(p.view(), "par2", nil, opened, nil).Copy {
			names, ranks = append(names, j.Account), append(ranks, j.Rank)
		}
		return names, ranks
	}
	names, ranks := order()
	if want := []state.AccountName{"b", "c", "e", "d", "a"}; !slices.Equal(names, want) || !slices.Equal(ranks, []int{0, 0, 0, 1, 2}) {
		t.Errorf("got %v with ranks %v, want %v", names, ranks, want)
	}
	before := workerDesired(p.view(), "par2", nil, opened, nil).Revision
	p.pass(10*time.Second, "par1-s1")
	if workerDesired(p.view(), "par2", nil, opened, nil).Revision != before {
		t.Error("time alone makes another answer")
	}
}
