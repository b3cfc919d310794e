package orchestrator

import (
	"errors"
	"strings"
	"testing"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// A server that obeys a later incarnation is told nothing by coordinators from before that, and does not count as heard. Ones
// that are being recovered themselves ask it all the same, and begin a higher one.
func TestAgentSync_superseded(t *testing.T) {
	c, o := recovered(t)
	sync := func() error {
		_, err := o.AgentSync(t.Context(), wire.AgentReport{Server: "par1-s1", Incarnation: 5, Memory: &wire.Memory{}})
		return err
	}
	if err := sync(); err != nil {
		t.Fatalf("held: %v", err)
	}
	c.rememberAll()
	if err := sync(); err != nil {
		t.Fatalf("held: %v", err)
	}
	if err := o.Resume(t.Context(), "operator/olga", ResumeRequest{Cluster: "c"}); err != nil {
		t.Fatal(err)
	}
	if got := c.view().Cluster().Incarnation; got != 6 {
		t.Errorf("got incarnation %d, want one above all that servers obey", got)
	}
	c.seen.reset()
	if _, err := o.AgentSync(t.Context(), wire.AgentReport{Server: "par1-s1", Incarnation: 7}); !errors.Is(err, ErrSuperseded) {
		t.Errorf("got %v, want %v", err, ErrSuperseded)
	}
	if got := c.seen.glance().reports["par1-s1"]; got != nil {
		t.Errorf("got %+v, want it not heard", got)
	}
	d, err := o.AgentSync(t.Context(), wire.AgentReport{Server: "par1-s1", Incarnation: 6})
	if err != nil || d.Incarnation != 6 {
		t.Errorf("got %+v (%v), want the word of incarnation 6", d, err)
	}
}

// The same for gateways and workers. They are asked, too, while the cluster is held: what begins is above what they obey.
func TestSiteSync_superseded(t *testing.T) {
	for name, sync := range map[string]func(o *Orchestrator, incarnation uint64) (uint64, error){
		"gateway": func(o *Orchestrator, incarnation uint64) (uint64, error) {
			d, err := o.GatewaySync(t.Context(), wire.GatewayReport{Site: "par1", Incarnation: incarnation})
			return d.Incarnation, err
		},
		"worker": func(o *Orchestrator, incarnation uint64) (uint64, error) {
			d, err := o.WorkerSync(t.Context(), wire.WorkerReport{Site: "par1", Incarnation: incarnation})
			return d.Incarnation, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, o := recovered(t)
			c.rememberAll()
			if _, err := sync(o, 5); err != nil {
				t.Fatalf("held: %v", err)
			}
			if err := o.Resume(t.Context(), "operator/olga", ResumeRequest{Cluster: "c"}); err != nil {
				t.Fatal(err)
			}
			if got, err := sync(o, 6); err != nil || got != 6 {
				t.Errorf("got %d (%v), want the word of an incarnation above what it obeys", got, err)
			}
			if _, err := sync(o, 7); !errors.Is(err, ErrSuperseded) {
				t.Errorf("got %v, want %v", err, ErrSuperseded)
			}
		})
	}
}

// Where the inventory has no store at all there is none to leave word in.
func TestResume_withoutStores(t *testing.T) {
	c, o, _, _ := exportingCouncil(t)
	var sites []state.Site
	for _, s := range c.view().Sites() {
		without := *s
		without.Store, without.Gateways = nil, nil
		sites = append(sites, without)
	}
	c.apply(state.InventoryApply, state.InventoryData{Sites: sites})
	c.recover(2)
	c.rememberAll()
	if err := o.Resume(t.Context(), "operator/olga", ResumeRequest{Cluster: "c"}); err != nil || held(c.view()) {
		t.Errorf("got %v, want it to act", err)
	}
}

// Servers have seen a later incarnation than the recovered one. A coordinator that joined and is down now would not learn of the
// next, and nobody talks to it any more.
func TestResume_coordinatorThatWouldMissIt(t *testing.T) {
	for _, raised := range []bool{true, false} {
		c, o := newCouncil(t, map[string]bool{"par1-c": true, "par2-c": false})
		o.observed = c.seen
		c.recover(2)
		c.rememberAll()
		if raised {
			c.remember("par2-s2", nil, wire.SeenToken{Account: "gone", Token: state.Token{Incarnation: 6, Generation: 1}, Stopped: true})
		}
		err := o.Resume(t.Context(), "operator/olga", ResumeRequest{Cluster: "c"})
		if refused := errors.Is(err, ErrRefused) && strings.Contains(err.Error(), "par2-c does not answer") && held(c.view()); refused != raised {
			t.Errorf("incarnation raised: %v: got %v", raised, err)
		}
	}
}
