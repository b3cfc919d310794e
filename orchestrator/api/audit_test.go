package api

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"drp/orchestrator"
	"drp/orchestrator/api/apitest"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// customersData is which routes show what is a customer's, and how the trail calls it; written down a second time on purpose.
func customersData() map[string]string {
	return map[string]string{
		"list-accounts":           "list accounts",
		"get-account":             "read account",
		"list-snapshots":          "read snapshots",
		"get-account-protection":  "read protection",
		"list-runs":               "list runs",
		"get-run":                 "read run",
		"list-run-accounts":       "read run's accounts",
		"plan-failover":           "plan failover",
		"renew-repositories":      "server compromised",
		"list-erasures":           "list erasures",
		"get-erasure":             "read erasure",
		"get-erasure-certificate": "read certificate of erasure",
		"erase-account":           "order erasure",
		"read-audit":              "read audit trail",
	}
}

// innocent routes show nothing that is a customer's, or are commands, which leave their own entry.
func innocent() []string {
	return []string{
		"get-health", "get-status", "get-protection", "verify-account", "list-pauses", "pause-backups", "resume-backups", "list-sites", "list-servers", "list-policies", "list-runbooks", "get-runbook",
		"apply-inventory", "back-up", "start-run", "confirm-run", "cancel-run", "create-token", "revoke-token",
		"list-members", "plan-removal", "verify-members", "join-member", "remove-member", "transfer", "snapshot-log", "acquainted",
		"get-recovery", "resume", "export-now", "export-state", // the latter two record themselves before they answer
		"get-root", "enrol", "renew", "create-enrolment", "get-ca", "request-issuer", "set-issuer", "list-certificates", "list-revocations", "revoke", "check-revocation",
		"sync-agent", "sync-gateway", "sync-worker", "probe", "tell-contacts",
		"cancel-erasure",
		"get-breakglass", "record-breakglass-test", "rotate-keys", // the first one counts, and names nobody
	}
}

// secretive has everything that a reader could want, under a name that no refusal would say by itself.
func secretive(n *node) {
	n.brain.Command(state.ClusterInit, state.ClusterInitData{UUID: "cluster-a", Incarnation: 1, Level: state.Level})
	n.brain.Command(state.InventoryApply, state.InventoryData{
		Sites:    []state.Site{{Name: "par1"}},
		Policies: []state.Policy{{Name: "daily", Schedule: "@every 24h", Replicas: []state.SiteName{"par1"}}},
		Accounts: []state.Account{{Name: "guestbook", Tier: state.Gold, Policy: "daily", Site: "par1",
			Plan: state.Resources{Memory: 1 << 20, Processes: 1, CPU: 1, Disk: 1 << 20}}},
	})
	n.brain.Set(func(b *apitest.Brain) {
		b.Plan = &orchestrator.Plan{Scope: orchestrator.Scope{Site: "par1"}, Hash: "guestbook"}
		b.Protected.Compromised = &orchestrator.CompromisedReport{Server: "par1-s1", Accounts: []orchestrator.CompromisedAccount{{Account: "guestbook"}}}
		b.Erased = []*orchestrator.ErasureStatus{{Erasure: &state.Erasure{Account: "guestbook"}}}
		b.Protected.Account = &orchestrator.AccountVerification{Protection: orchestrator.AccountProtection{Account: "guestbook"}}
	})
}

// reading is a request of a route that the rig can answer.
func reading(rt route) (path, body string) {
	path = strings.NewReplacer("{name}", "guestbook", "{id}", "run1", "{kind}", "account").Replace(rt.path)
	if rt.id == "plan-failover" {
		return path, `{"site":"par1"}`
	}
	if rt.id == "renew-repositories" {
		return path, `{"server":"par1-s1"}`
	}
	if rt.id == "erase-account" {
		return path, `{"account":"guestbook","after":3600000000000}`
	}
	return path, `{}`
}

func (a asking) send(t *testing.T, rt route) (int, string) {
	t.Helper()
	path, body := reading(rt)
	req, err := http.NewRequestWithContext(t.Context(), rt.method, a.base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentJSON)
	res, err := a.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := readAnswer(res)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(answer.body)
}

// Each route, each role: who reads a customer's data is recorded, through a coordinator that does not lead as well; who may
// not and is a person is recorded as refused; nobody else leaves an entry.
func TestAudit_routesXroles(t *testing.T) {
	r := newRig(t, "par1-c", "par2-c")
	leader, follower := r.nodes[0], r.nodes[1]
	secretive(leader)
	reads, harmless := customersData(), innocent()
	people := []identity.Role{identity.Operator, identity.Support}
	for _, rt := range leader.server.routes() {
		action, customers := reads[rt.id]
		if !customers && !slices.Contains(harmless, rt.id) {
			t.Errorf("route %s is new: does it show what is a customer's? Say so in its row, and here", rt.id)
		}
		for _, role := range []identity.Role{identity.Operator, identity.Support, identity.Agent, identity.Gateway, identity.Worker, identity.Coordinator} {
			for _, n := range []*node{leader, follower} {
				before := len(leader.brain.Records())
				way := asking{string(role), newHTTPClient(clientTLS(r.credentials(t, role, "x"))), n.url, ""}
				status, body := way.send(t, rt)
				var want []string
				switch may := slices.Contains(rt.roles, role); {
				case len(rt.roles) == 0:
				case may && customers:
					want = []string{action}
				case !may && slices.Contains(people, role):
					want = []string{"refused, " + rt.method}
					if status != http.StatusForbidden {
						t.Errorf("%s as %s: got %d, want 403: %s", rt.id, role, status, body)
					}
				}
				got := leader.brain.Records()[before:]
				if len(got) != len(want) {
					t.Errorf("%s as %s through %s: got the entries %q, want %q (status %d: %s)", rt.id, role, n.name, got, want, status, body)
					continue
				}
				for i := range want {
					if !strings.HasPrefix(got[i], string(role)+"/x: "+want[i]) {
						t.Errorf("%s as %s through %s: got the entry %q, want %q", rt.id, role, n.name, got[i], want[i])
					}
				}
			}
		}
	}
}

// A reader who cannot be recorded gets nothing: not a byte of the data, and the state was not even looked at.
func TestAudit_notRecordedNotServed(t *testing.T) {
	r := newRig(t, "par1-c")
	n := r.nodes[0]
	secretive(n)
	reads := customersData()
	operator := asking{"operator", newHTTPClient(clientTLS(r.credentials(t, identity.Operator, "x"))), n.url, ""}
	var looked []string
	n.brain.Set(func(b *apitest.Brain) {
		b.Fail["Record"] = errors.New("the disk is full")
		b.Hook = func(_ *apitest.Brain, method string) {
			if method != "Record" {
				looked = append(looked, method)
			}
		}
	})
	for _, rt := range n.server.routes() {
		if reads[rt.id] == "" {
			continue
		}
		status, body := operator.send(t, rt)
		if status != http.StatusServiceUnavailable || !strings.Contains(body, "not-recorded") || strings.Contains(body, `"account"`) {
			t.Errorf("%s: got %d, want 503 and nothing else: %s", rt.id, status, body)
		}
	}
	n.brain.Set(func(*apitest.Brain) {
		if len(looked) > 0 {
			t.Errorf("the state was read for whom nobody recorded: %v", looked)
		}
	})
	t.Run("a refusal stands", func(t *testing.T) {
		support := asking{"support", newHTTPClient(clientTLS(r.credentials(t, identity.Support, "x"))), n.url, ""}
		status, body := support.send(t, route{method: http.MethodDelete, path: "/v1/tokens/{name}"})
		if status != http.StatusForbidden {
			t.Errorf("got %d, want 403: %s", status, body)
		}
	})
}

func TestAudit_aRunbookThatSupportMayNotRun(t *testing.T) {
	r := newRig(t, "par1-c")
	c := r.client(t, identity.Support, "eve")
	_, err := c.StartRun(t.Context(), orchestrator.StartRequest{ID: "run-12345678", Runbook: "site-loss", Parameters: map[string]string{"site": "par1"}})
	if !errors.Is(err, ErrForbidden) {
		t.Fatalf("got %v, want it forbidden", err)
	}
	got := r.nodes[0].brain.Records()
	if len(got) != 1 || !strings.HasPrefix(got[0], "support/eve: refused, POST /v1/runs") {
		t.Errorf("got the entries %q", got)
	}
}

func TestAudit_pages(t *testing.T) {
	r := newRig(t, "par1-c")
	n := r.nodes[0]
	secretive(n)
	for range auditLook {
		n.brain.Command(state.AuditNote, state.AuditNoteData{Action: "read snapshots", Account: "guestbook"})
	}
	c := r.client(t, identity.Operator, "ada")
	first, err := c.Audit(t.Context(), 0, time.Time{}, "", "")
	if err != nil {
		t.Fatal(err)
	}
	rest, err := c.Audit(t.Context(), first.Next, time.Time{}, "", "")
	if err != nil {
		t.Fatal(err)
	}
	if len(first.Entries) != auditLook || len(rest.Entries) != 2 || rest.Next != rest.Head.Seq+1 || first.Cluster != "cluster-a" || first.Incarnation != 1 {
		t.Errorf("got %d and %d entries, next %d of %+v", len(first.Entries), len(rest.Entries), rest.Next, rest.Head)
	}
	for _, e := range slices.Concat(first.Entries, rest.Entries) {
		var before state.Digest
		if e.Seq > 1 {
			before = slices.Concat(first.Entries, rest.Entries)[e.Seq-2].Hash
		}
		if e.Chain(before) != e.Hash {
			t.Fatalf("entry %d does not survive the way over the wire", e.Seq)
		}
	}
	for _, q := range []struct {
		name, account, by string
		since             time.Time
		want              int
	}{
		{"of an account", "guestbook", "", time.Time{}, auditLook - 1}, // all but the first, which is about the cluster: the inventory named it, too
		{"of another", "guest", "", time.Time{}, 0},
		{"by somebody", "", "coordinator/test", time.Time{}, auditLook},
		{"by a name", "", "test", time.Time{}, auditLook},
		{"by another", "", "tes", time.Time{}, 0},
		{"since then", "", "", apitest.Start.Add(time.Second), 0},
	} {
		t.Run(q.name, func(t *testing.T) {
			page, err := c.Audit(t.Context(), 0, q.since, q.account, q.by)
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Entries) != q.want || page.Next != first.Next {
				t.Errorf("got %d entries, want %d; next %d", len(page.Entries), q.want, page.Next)
			}
		})
	}
}
