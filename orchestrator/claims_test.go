package orchestrator

import (
	"testing"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// A server that was given up comes back and runs an account under the token that the state takes for another one's. It goes on;
// when the account is moved it stops first, and only then is the token dead.
func TestResume_givenUpAndBack(t *testing.T) {
	c, o := recovered(t)
	a := *c.view().Assignment("a")
	c.rememberAll()
	given := state.Token{Incarnation: 1, Generation: 5}
	c.remember(a.Server, nil, wire.SeenToken{Account: "a", Token: given, Stopped: true})
	if err := o.Resume(t.Context(), "operator/olga", ResumeRequest{Cluster: "c"}); err != nil {
		t.Fatal(err)
	}
	back := wire.AgentReport{Server: "par2-s2", Accounts: []wire.ObservedAccount{runs("a", 1, 5)}}
	ordered := func() *wire.DesiredAccount {
		d, err := agentDesired(c.view(), &back, opened)
		if err != nil {
			t.Fatal(err)
		}
		for i := range d.Accounts {
			if d.Accounts[i].Account.Name == "a" {
				return &d.Accounts[i]
			}
		}
		return nil
	}
	c.seen.agent(back, c.at)
	if got := ordered(); got != nil {
		t.Errorf("got %+v ordered before the account is moved, want it left alone", got)
	}
	c.say("a", wire.Stopped)
	c.seen.agent(back, c.at)
	c.settle()
	if got := c.view().Assignment("a"); !got.Stop || got.Fenced != nil {
		t.Errorf("got %+v, want it not fenced while another server runs it", got)
	}
	if got := ordered(); got == nil || got.Run || got.SetAside || got.Token != given {
		t.Errorf("got %+v ordered, want it stopped", got)
	}
	back.Accounts[0].Phase = wire.Stopped
	c.seen.agent(back, c.at)
	c.settle()
	if got := c.view().Assignment("a"); got.Fenced == nil {
		t.Errorf("got %+v, want it fenced", got)
	}
}

// However many accounts one look asks for, it goes over the servers' reports once: of tens of thousands of accounts there may be many
// that are assigned to nobody.
func TestHeldSomewhere_once(t *testing.T) {
	p := newPlatform(t)
	p.account("a", state.Gold, 100*gib) // it fits nowhere
	p.seen.agent(wire.AgentReport{Server: "par1-s1", Accounts: []wire.ObservedAccount{runs("a", 1, 1)}}, p.at)
	n := p.brain().now(p.since)
	if h := n.heldSomewhere()["a"]; h.Server != "par1-s1" {
		t.Fatalf("got %+v", h)
	}
	if got := testing.AllocsPerRun(10, func() { n.heldSomewhere() }); got != 0 {
		t.Errorf("asked again it makes %v allocations", got)
	}
}
