package orchestrator

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// withDatabase gives an account of the inventory two databases.
func (p *platform) withDatabases(name state.AccountName) {
	a := *p.view().Account(name)
	a.Databases = []state.Database{{Engine: state.PostgreSQL, Name: "shop"}, {Engine: state.MariaDB, Name: "blog"}}
	p.apply(state.InventoryApply, state.InventoryData{Accounts: []state.Account{a}})
}

func (p *platform) why(name state.AccountName) string {
	n := p.now()
	return exposure(n, n.view.Account(name), n.view.Repository(name))
}

func TestStatus_Parts(t *testing.T) {
	p := newPlatform(t)
	p.account("a", state.Gold, gib/4)
	p.start("a")
	p.backup("a", "par2")
	if got := p.why("a"); got != "" {
		t.Fatalf("without databases: %s", got)
	}
	p.withDatabases("a")
	if got := p.why("a"); !strings.Contains(got, "lacks postgresql/shop: it was not the account's yet; mysql/blog: it was") {
		t.Errorf("before their first backup: %q", got)
	}
	for _, test := range []struct {
		parts []state.Part
		want  string
	}{
		{[]state.Part{{Name: "postgresql/shop"}, {Name: "mysql/blog", Error: "gone"}}, "its newest snapshot lacks mysql/blog: gone"},
		{[]state.Part{{Name: "postgresql/shop"}, {Name: "mysql/blog"}}, ""},
	} {
		p.pass(time.Hour, "par1-s1", "par1-s2", "par2-s1", "par2-s2")
		p.settle()
		p.backupOf("a", test.parts, "par2")
		if got := p.why("a"); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
		if status := accountStatus(p.now(), p.view().Account("a")); status.Protected != (test.want == "") {
			t.Errorf("protected = %v: %s", status.Protected, status.Why)
		}
	}
}

// What an agent says beyond what can be committed is cut, and not what its account has.
func TestShortened_Parts(t *testing.T) {
	p := newPlatform(t)
	p.account("a", state.Gold, gib/4)
	p.withDatabases("a")
	made := &state.Snapshot{Parts: make([]state.Part, 0, 2*state.MaxParts)}
	for n := range state.MaxParts {
		made.Parts = append(made.Parts, state.Part{Name: fmt.Sprint("mysql/x", n)})
	}
	own := p.view().Account("a").Parts()
	for _, name := range own {
		made.Parts = append(made.Parts, state.Part{Name: name})
	}
	got := shortened(p.view(), "a", made)
	if lacks := got.Lacks(own); len(lacks) > 0 || len(got.Parts) != state.MaxParts {
		t.Errorf("%d parts, and it lacks %+v", len(got.Parts), lacks)
	}
}

// What the newest snapshot lacks comes from the newest one at the same site that has it.
func TestAgentDesired_OlderParts(t *testing.T) {
	p := newPlatform(t)
	p.account("a", state.Gold, gib/4)
	p.withDatabases("a")
	p.start("a")
	all := []string{"par1-s1", "par1-s2", "par2-s1", "par2-s2"}
	heard := make([]state.ServerName, len(all))
	for i, s := range all {
		heard[i] = state.ServerName(s)
	}
	next := func(blog string, sites ...state.SiteName) state.SnapshotID {
		p.pass(time.Hour, heard...)
		p.settle()
		return p.backupOf("a", []state.Part{{Name: "postgresql/shop", Error: "never"}, {Name: "mysql/blog", Error: blog}}, sites...)
	}
	next("", "par2") // too old
	whole := next("", "par2")
	next("gone", "par2")
	next("") // whole, and at the lost site alone
	newest := next("gone", "par2")
	p.pass(30*time.Second, heard...)
	p.settle()
	for range 4 {
		p.pass(10*time.Second, "par2-s1", "par2-s2")
	}
	p.settle()
	p.failover(siteLoss, Scope{Site: "par1"})
	p.settle()
	got := p.desired(p.view().Assignment("a").Server).Accounts
	if len(got) != 1 || got[0].Restore == nil || *got[0].Restore != newest {
		t.Fatalf("got %+v, want it restored from %s", got, newest)
	}
	if diff := cmp.Diff(map[string]state.SnapshotID{"postgresql/shop": "", "mysql/blog": whole}, got[0].Parts); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
}

// An agent's word on parts is recorded only where every coordinator knows them.
func TestReportedOutcomes_Parts(t *testing.T) {
	p := newPlatform(t)
	p.account("a", state.Gold, gib/4)
	p.start("a")
	task := p.view().Tasks()[0]
	report := wire.AgentReport{Server: task.Server, Tasks: []wire.TaskReport{{Task: task.ID, Snapshot: &state.Snapshot{
		ID: state.SnapshotID(strings.Repeat("0", 64)), Parts: []state.Part{{Name: "mysql/blog", Error: strings.Repeat("x", 5000)}}}}}}
	p.seen.agent(report, p.at)
	reported := func() []state.Part {
		for _, a := range reportedOutcomes(p.now()) {
			if c, ok := a.(propose); ok && c.name == state.TaskFinish {
				return c.payload.(state.TaskFinishData).Snapshot.Parts
			}
		}
		t.Fatal("nothing is proposed")
		return nil
	}
	level := p.view().Level()
	got := reported()
	if level < state.LevelParts && len(got) > 0 {
		t.Errorf("at level %d: %v", level, got)
	}
	if level < state.LevelParts {
		p.apply(state.ClusterLevel, state.ClusterLevelData{Level: state.LevelParts})
		got = reported()
	}
	if len(got) != 1 || len(got[0].Error) > 300 {
		t.Errorf("got %v", got)
	}
}

// A database goes where its engine is. An agent that says nothing of engines is an older one, and stops nobody.
func TestPlanFailover_engines(t *testing.T) {
	engines := func(list ...state.Engine) *wire.Engines { return &wire.Engines{List: list} }
	both := engines(state.PostgreSQL, state.MariaDB)
	for _, test := range []struct {
		name     string
		one, two *wire.Engines
		memory   int64 // of the account
		to       state.ServerName
		why      string
	}{
		{"one server has them", engines(state.MariaDB), both, gib / 4, "par2-s2", ""},
		{"no server has both", engines(state.MariaDB), engines(state.PostgreSQL), gib / 4, "", "no server of par2 that answers has MariaDB, which its database blog needs"},
		{"none has any", engines(), engines(), gib / 4, "", "no server of par2 that answers has PostgreSQL, which its database shop needs"},
		{"the one that has them is full", engines(), both, 2 * gib, "", "no server of par2 has enough memory left"},
		{"agents that do not say", nil, nil, gib / 4, "par2-s1", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPlatform(t)
			p.account("a", state.Gold, gib/4)
			p.withDatabases("a")
			p.start("a")
			p.backup("a", "par2")
			grown := *p.view().Account("a")
			grown.Plan.Memory = test.memory
			p.apply(state.InventoryApply, state.InventoryData{Accounts: []state.Account{grown}})
			p.pass(30*time.Second, "par2-s1", "par2-s2")
			p.pass(10 * time.Second)
			p.seen.agent(wire.AgentReport{Server: "par2-s1", Engines: test.one}, p.at)
			p.seen.agent(wire.AgentReport{Server: "par2-s2", Engines: test.two}, p.at)
			plan, err := planFailover(p.now(), Scope{Site: "par1"}, "")
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case test.to != "" && (len(plan.Accounts) != 1 || plan.Accounts[0].To != test.to):
				t.Errorf("got %+v, %+v, want it to go to %s", plan.Accounts, plan.NotFit, test.to)
			case test.to == "" && (len(plan.NotFit) != 1 || plan.NotFit[0].Reason != test.why):
				t.Errorf("got %+v, %+v, want: %s", plan.Accounts, plan.NotFit, test.why)
			}
		})
	}
}

// The plan says what is older than the files of its account, and what does not come back.
func TestPlanFailover_olderParts(t *testing.T) {
	p := newPlatform(t)
	p.account("a", state.Gold, gib/4)
	p.withDatabases("a")
	p.start("a")
	whole := p.backupOf("a", []state.Part{{Name: "mysql/blog"}}, "par2")
	at := p.at
	p.pass(time.Hour, "par1-s1", "par1-s2", "par2-s1", "par2-s2")
	p.settle()
	p.backupOf("a", []state.Part{{Name: "mysql/blog", Error: "gone"}}, "par2")
	for range 4 {
		p.pass(10*time.Second, "par2-s1", "par2-s2")
	}
	plan, err := planFailover(p.now(), Scope{Site: "par1"}, "")
	if err != nil {
		t.Fatal(err)
	}
	want := []PlanPart{{Part: "mysql/blog", Snapshot: whole, Start: at}, {Part: "postgresql/shop"}}
	if len(plan.Accounts) != 1 {
		t.Fatalf("got %+v", plan)
	}
	if diff := cmp.Diff(want, plan.Accounts[0].Older); diff != "" {
		t.Errorf("older parts (-want +got):\n%s", diff)
	}
}
