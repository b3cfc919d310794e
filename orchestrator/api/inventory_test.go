package api

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"drp/orchestrator"
	"drp/orchestrator/api/apitest"
	"drp/orchestrator/inventory"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

func account(t testing.TB) state.Account {
	t.Helper()
	return state.Account{
		Name: "guestbook", Tier: state.Gold, Policy: "hourly",
		Plan:      state.Resources{Memory: 256 << 20, Processes: 100, CPU: 1, Disk: 1 << 30},
		Addresses: []netip.Addr{netip.MustParseAddr("2001:db8:a::100")},
		Services: []state.Service{{
			Program: state.Program{Name: "web", Command: []string{"php", "-S", "[::]:80"}, User: 1000, Environment: map[string]string{"DB_PASSWORD": "hunter2"}},
			Check:   &state.Check{HTTP: "http://[::1]:80/health", Every: 5 * time.Second},
		}},
		CronJobs: []state.CronJob{{Program: state.Program{Name: "clean", Command: []string{"php", "clean.php"}, User: 1000,
			Environment: map[string]string{"DB_PASSWORD": "hunter2"}}, Schedule: "@daily", TimeZone: "Europe/Paris", Timeout: time.Hour}},
	}
}

func fill(t testing.TB, b *apitest.Brain) {
	t.Helper()
	b.Command(state.InventoryApply, state.InventoryData{
		Provider: &state.Provider{Name: "example", AS: 64512, Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8:a::/48")}},
		Sites:    []state.Site{{Name: "par1", Gateways: []string{"https://[2001:db8::1]:7460"}, Store: &state.Store{Endpoint: "http://[2001:db8::2]:7480", Bucket: "drp-par1"}}, {Name: "par3", Witness: true}},
		Servers:  []state.Server{{Name: "par1-s1", Site: "par1", Capacity: state.Resources{Memory: 1 << 34, Processes: 1000, CPU: 8, Disk: 1 << 40}}},
		Policies: []state.Policy{{Name: "hourly", Schedule: "0 * * * *", Replicas: []state.SiteName{"par1"}, RPO: time.Hour}},
		Accounts: []state.Account{account(t)},
	})
}

func TestClient_Inventory(t *testing.T) {
	r := newRig(t, "par1-c", "par2-c")
	fill(t, r.nodes[0].brain)
	c, ctx := r.client(t, identity.Support, "sam", r.nodes[1].url), t.Context()
	sites, err := c.Sites(ctx)
	if err != nil || len(sites) != 2 || sites[0].Store.Bucket != "drp-par1" || !sites[1].Witness {
		t.Errorf("sites: got %v, %v", sites, err)
	}
	servers, err := c.Servers(ctx)
	if err != nil || len(servers) != 1 || servers[0].Capacity.CPU != 8 {
		t.Errorf("servers: got %v, %v", servers, err)
	}
	policies, err := c.Policies(ctx)
	if err != nil || len(policies) != 1 || policies[0].RPO != time.Hour {
		t.Errorf("policies: got %v, %v", policies, err)
	}
	want := account(t)
	want.Services[0].Environment = map[string]string{"DB_PASSWORD": hidden}
	want.CronJobs[0].Environment = map[string]string{"DB_PASSWORD": hidden}
	accounts, err := c.Accounts(ctx)
	if err != nil || len(accounts) != 1 {
		t.Fatalf("accounts: got %v, %v", accounts, err)
	}
	compare := cmpopts.EquateComparable(netip.Addr{})
	if diff := cmp.Diff(want, *accounts[0], compare); diff != "" {
		t.Errorf("account in the list (-want +got):\n%s", diff)
	}
	detail, err := c.Account(ctx, "guestbook")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, *detail.Account, compare); diff != "" {
		t.Errorf("account alone (-want +got):\n%s", diff)
	}
	r.nodes[0].brain.Command(state.RepositoryCreate, state.RepositoryCreateData{Account: "guestbook", Site: "par1", SealedPassword: []byte("sealed")})
	for role, want := range map[identity.Role]string{identity.Support: "", identity.Operator: "sealed"} {
		d, err := r.client(t, role, "x").Account(ctx, "guestbook")
		if err != nil || string(d.SealedPassword) != want {
			t.Errorf("sealed password for %s: got %q, %v, want %q", role, d.SealedPassword, err, want)
		}
	}
	if _, err := c.Account(ctx, "nobody"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("unknown account: got %v", err)
	}
	if _, err := c.Snapshots(ctx, "nobody"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("snapshots of an unknown account: got %v", err)
	}
	if list, err := c.Snapshots(ctx, "guestbook"); err != nil || len(list) != 0 {
		t.Errorf("snapshots: got %v, %v", list, err)
	}
	// What the API hides is still in the state.
	v, err := r.nodes[0].brain.View(ctx)
	if err != nil || v.Account("guestbook").Services[0].Environment["DB_PASSWORD"] != "hunter2" {
		t.Errorf("the state's own row was changed: %v", err)
	}
}

func TestClient_Apply(t *testing.T) {
	r := newRig(t, "par1-c")
	c := r.client(t, identity.Operator, "claire")
	files := []inventory.File{{Name: "a.yaml", Data: []byte("kind: site\nname: é\x00\n")}}
	changes, err := c.Apply(t.Context(), "id-of-client", files, true)
	if err != nil || len(changes) != 1 {
		t.Fatalf("got %v, %v", changes, err)
	}
	want := []string{`Apply operator/claire: a.yaml "kind: site\nname: é\x00\n" dry=true`}
	if diff := cmp.Diff(want, r.nodes[0].brain.Calls()); diff != "" {
		t.Errorf("what arrived (-want +got):\n%s", diff)
	}
}

func TestClient_PlanFailover(t *testing.T) {
	r := newRig(t, "par1-c")
	plan := &orchestrator.Plan{Scope: orchestrator.Scope{Site: "par1"}, At: apitest.Start, Hash: "h",
		Accounts: []orchestrator.PlanAccount{{Account: "guestbook", Loss: 12 * time.Second, Token: state.Token{Incarnation: 1, Generation: 2}}}}
	r.nodes[0].brain.Set(func(b *apitest.Brain) { b.Plan = plan })
	c := r.client(t, identity.Operator, "claire")
	got, err := c.PlanFailover(t.Context(), plan.Scope)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plan, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	for name, scope := range map[string]orchestrator.Scope{"neither": {}, "both": {Site: "par1", Server: "par1-s1"}} {
		if _, err := c.PlanFailover(t.Context(), scope); !errors.Is(err, state.ErrInvalid) {
			t.Errorf("%s: got %v, want %v", name, err, state.ErrInvalid)
		}
	}
}
