package api

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drp/orchestrator"
	"drp/orchestrator/api/apitest"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

func threeMembers(name string) apitest.Cluster {
	return apitest.Cluster{Name: name, Members: []orchestrator.Member{
		apitest.Member("par1-c", "par1", orchestrator.RoleLeader, true),
		apitest.Member("par2-c", "par2", orchestrator.RoleVoter, true),
		apitest.Member("par3-c", "par3", orchestrator.RoleVoter, false),
	}}
}

func TestClient_Members(t *testing.T) {
	r := newRig(t, "par1-c", "par2-c")
	for _, n := range r.nodes {
		n.brain.Set(func(b *apitest.Brain) { b.Cluster = threeMembers(n.name) })
	}
	follower := r.client(t, identity.Operator, "claire", r.nodes[1].url)
	for _, c := range []struct{ leader, from string }{{"par1-c", "par1-c"}, {"", "par2-c"}} {
		t.Run(fmt.Sprintf("leader %q", c.leader), func(t *testing.T) {
			r.elect(c.leader)
			report, err := follower.Members(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got, want := report.From, c.from; got != want {
				t.Errorf("got the view of %s, want that of %s", got, want)
			}
			if got, want := report.Quorum, (orchestrator.Quorum{Voters: 3, Needed: 2, Answering: 2}); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestClient_ChangesMembers(t *testing.T) {
	r := newRig(t, "par1-c", "par2-c")
	leader := r.nodes[0].brain
	leader.Set(func(b *apitest.Brain) { b.Cluster = threeMembers("par1-c") })
	c := r.client(t, identity.Operator, "claire", r.nodes[1].url)
	if _, err := c.Join(t.Context(), orchestrator.JoinRequest{Name: "par3-d", Site: "par3", Address: "[::1]:1", API: "https://[::1]:2", Recipient: "age1something"}); err != nil {
		t.Fatal(err)
	}
	plan, err := c.PlanRemoval(t.Context(), "par3-c")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.RemoveMember(t.Context(), "par3-c", "another"); !errors.Is(err, orchestrator.ErrRefused) {
		t.Errorf("removal under another plan: got %v, want %v", err, orchestrator.ErrRefused)
	}
	if err := c.RemoveMember(t.Context(), "par3-c", ""); !errors.Is(err, state.ErrInvalid) {
		t.Errorf("removal without a plan: got %v, want %v", err, state.ErrInvalid)
	}
	if err := c.RemoveMember(t.Context(), "par3-c", plan.Hash); err != nil {
		t.Error(err)
	}
	if _, err := c.PlanRemoval(t.Context(), "par9-c"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("removal of nobody: got %v, want %v", err, state.ErrNotFound)
	}
	if leads, err := c.Transfer(t.Context(), "par2-c"); err != nil || leads != "par2-c" {
		t.Errorf("transfer: got %q, %v", leads, err)
	}
	if err := c.SnapshotLog(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := c.VerifyMembers(t.Context()); err != nil {
		t.Error(err)
	}
	want := []string{
		"Join operator/claire: par3-d par3 [::1]:1 https://[::1]:2 age1something", "RemoveMember operator/claire: par3-c",
		"RemoveMember operator/claire: par3-c", "Transfer operator/claire: par2-c",
		"SnapshotLog operator/claire: ", "VerifyMembers operator/claire: ",
	}
	if diff := cmp.Diff(want, leader.Calls()); diff != "" {
		t.Errorf("what the leader was asked (-want +got):\n%s", diff)
	}
}

// The leader that is told to remove itself gives the leadership away and says that it does not lead: the request goes on
// at the next one.
func TestServer_RemovalOfTheLeaderGoesOnAtTheNext(t *testing.T) {
	r := newRig(t, "par1-c", "par2-c")
	for _, n := range r.nodes {
		n.brain.Set(func(b *apitest.Brain) { b.Cluster = threeMembers(n.name) })
	}
	r.nodes[0].brain.Set(func(b *apitest.Brain) {
		b.Hook = func(b *apitest.Brain, method string) {
			if method == "RemoveMember" {
				b.Follower = true
				next := "par2-c"
				r.leader.Store(&next)
			}
		}
	})
	r.nodes[1].brain.Set(func(b *apitest.Brain) {
		b.Hook = func(b *apitest.Brain, _ string) { b.Follower = false }
	})
	c := r.client(t, identity.Operator, "claire", r.nodes[0].url)
	plan, err := c.PlanRemoval(t.Context(), "par3-c")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.RemoveMember(t.Context(), "par3-c", plan.Hash); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"RemoveMember operator/claire: par3-c"}, r.nodes[1].brain.Calls()); diff != "" {
		t.Errorf("what the next leader was asked (-want +got):\n%s", diff)
	}
}

func TestClient_Acquainted(t *testing.T) {
	r := newRig(t, "par1-c")
	r.nodes[0].brain.Set(func(b *apitest.Brain) {
		b.Cluster = threeMembers("par1-c")
		b.Cluster.Heard = []string{"par3-c"}
	})
	c := newTestClient(t, ClientConfig{Coordinators: r.urls(), Credentials: r.credentials(t, identity.Coordinator, "par3-c"), Patience: time.Millisecond})
	a, err := c.Acquainted(t.Context(), "par3-c")
	if err != nil {
		t.Fatal(err)
	}
	if want := (orchestrator.Acquaintance{From: "par1-c", Leader: "par1-c", Member: true, Heard: true}); a != want {
		t.Errorf("got %+v, want %+v", a, want)
	}
}
