package orchestrator

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

func (c *college) service(account state.AccountName) state.Service {
	c.t.Helper()
	a := c.View().Account(account)
	if a == nil {
		c.t.Fatalf("there is no account %s", account)
	}
	return a.Services[0]
}

func TestOrchestrator_Apply_environments(t *testing.T) {
	c := newCollege(t, "a", "b", "c")
	a := c.lead("a")
	apply := func(secret string, changes int) {
		t.Helper()
		got, err := a.give(t, "shop", secret)
		if err != nil || len(got) != changes {
			t.Fatalf("got %q, %v; want %d changes", got, err, changes)
		}
		if text := strings.Join(got, " "); strings.Contains(text, secret) || strings.Contains(text, "drp1") {
			t.Errorf("what changed shows what is in it: %s", text)
		}
	}
	apply("hunter2", 1)
	first := c.service("shop")
	if first.Environment != nil || len(first.SealedEnvironment) == 0 || !slices.Equal(first.Variables, []string{"SECRET", "TZ"}) {
		t.Errorf("got %+v, want the environment sealed, and the names beside it", first)
	}
	apply("hunter2", 0)
	apply("hunter3", 1)
	if got := c.service("shop"); bytes.Equal(got.SealedEnvironment, first.SealedEnvironment) {
		t.Error("another value, and the same bytes")
	}

	t.Run("the same again after the key was exchanged", func(t *testing.T) {
		c.remove("c")
		c.lead("b")
		b := c.members["b"]
		second := c.service("shop")
		if got, err := b.give(t, "shop", "hunter3"); err != nil || len(got) != 0 {
			t.Errorf("got %q, %v; want no change", got, err)
		}
		if got := c.service("shop"); !bytes.Equal(got.SealedEnvironment, second.SealedEnvironment) {
			t.Error("no change, and other bytes")
		}
	})
	t.Run("a dry run", func(t *testing.T) {
		b := c.members["b"]
		before := c.index
		got, err := b.dryRun(t, "shop", "hunter4")
		if err != nil || len(got) != 1 || strings.Contains(got[0], "hunter") || c.index != before {
			t.Errorf("got %q, %v; want to hear of one change, without it", got, err)
		}
		if got, err := b.dryRun(t, "shop", "hunter3"); err != nil || len(got) != 0 {
			t.Errorf("as it is: got %q, %v; want no change", got, err)
		}
	})
}

// Agents get environments in clear, those that run, and do not notice that a key was exchanged: with another environment
// a container would be started again.
func TestOrchestrator_AgentSync_environments(t *testing.T) {
	c := newCollege(t, "a", "b", "c")
	a := c.lead("a")
	if _, err := a.give(t, "shop", "hunter2"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.give(t, "blog", "hunter3"); err != nil {
		t.Fatal(err)
	}
	for _, account := range []state.AccountName{"shop", "blog"} {
		a.createRepository(t.Context(), createRepository{account, "par1"})
		c.must(state.Assign, state.AssignData{Account: account, Server: "par1-s1"})
	}
	sync := func(f *fellow) wire.AgentDesired {
		t.Helper()
		d, err := f.AgentSync(t.Context(), wire.AgentReport{Server: "par1-s1"})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	want := sync(a)
	if len(want.Accounts) != 2 || want.Accounts[1].Account.Services[0].Environment["SECRET"] != "hunter2" {
		t.Fatalf("got %+v, want both accounts with their environments", want.Accounts)
	}
	if data, err := json.Marshal(want); err != nil || bytes.Contains(data, []byte("sealed_environment")) || bytes.Contains(data, []byte("variables")) {
		t.Errorf("the agent gets what it has no use for: %s", data)
	}
	c.remove("c")
	b := c.lead("b")
	if got := sync(b); got.Revision != want.Revision {
		t.Errorf("got revision %d after the exchange, want %d: nothing has changed for the agent", got.Revision, want.Revision)
	}

	t.Run("one that cannot be opened is left as it is", func(t *testing.T) {
		broken := *c.View().Account("shop")
		broken.Services = slices.Clone(broken.Services)
		broken.Services[0].SealedEnvironment = []byte("not age's")
		c.must(state.InventoryApply, state.InventoryData{Accounts: []state.Account{broken}})
		if got := sync(b).Accounts; len(got) != 1 || got[0].Account.Name != "blog" {
			t.Errorf("got %+v, want the other account alone", got)
		}
	})
	t.Run("it can be stopped all the same, and nothing is told for that", func(t *testing.T) {
		for _, account := range []state.AccountName{"shop", "blog"} {
			c.must(state.AssignmentStop, state.AssignmentStopData{Account: account, Token: c.View().Assignment(account).Token})
		}
		got := sync(b).Accounts
		if len(got) != 2 {
			t.Fatalf("got %+v, want both to be stopped", got)
		}
		for _, d := range got {
			if d.Run || d.Account.Services[0].Environment != nil {
				t.Errorf("got %+v, want a stop without an environment", d)
			}
		}
	})
}

// From sealing to the commit no key is exchanged: it could be one that nobody has any more.
func TestOrchestrator_holdsKeysWhileSecretsAreOnTheirWay(t *testing.T) {
	c := newCollege(t, "a")
	a := c.lead("a")
	seen := map[state.Name]int{}
	c.asked = func(cmd state.Command) {
		seen[cmd.Name]++
		if a.secrets.committing.TryLock() {
			a.secrets.committing.Unlock()
			t.Errorf("%s is proposed while keys can be exchanged", cmd.Name)
		}
	}
	if _, err := a.give(t, "shop", "hunter2"); err != nil {
		t.Fatal(err)
	}
	a.createRepository(t.Context(), createRepository{"shop", "par1"})
	if seen[state.InventoryApply] != 1 || seen[state.RepositoryCreate] != 1 {
		t.Errorf("got proposals %v, want one of each", seen)
	}
}
