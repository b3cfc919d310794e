package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// allowed is who may ask what, written down a second time on purpose: a slip in the table of routes shows here.
func allowed() map[string]string {
	const people, operator = "operator support", "operator"
	return map[string]string{
		"GET /v1/health":                      "nobody coordinator agent gateway worker operator support",
		"GET /v1/status":                      people,
		"GET /v1/sites":                       people,
		"GET /v1/servers":                     people,
		"GET /v1/policies":                    people,
		"GET /v1/accounts":                    people,
		"GET /v1/accounts/{name}":             people,
		"GET /v1/accounts/{name}/snapshots":   people,
		"GET /v1/accounts/{name}/protection":  people,
		"POST /v1/accounts/{name}/verify":     people,
		"GET /v1/protection":                  people,
		"GET /v1/pauses":                      people,
		"POST /v1/pauses":                     operator,
		"DELETE /v1/pauses/{kind}/{name}":     operator,
		"POST /v1/compromised":                operator,
		"GET /v1/erasures":                    operator,
		"GET /v1/erasures/{name}":             operator,
		"GET /v1/erasures/{name}/certificate": operator,
		"POST /v1/erasures":                   operator,
		"DELETE /v1/erasures/{name}":          operator,
		"GET /v1/breakglass":                  people,
		"POST /v1/breakglass/tests":           operator,
		"POST /v1/keys/rotations":             operator,
		"GET /v1/audit":                       operator,
		"POST /v1/inventory":                  operator,
		"POST /v1/plans/failover":             operator,
		"POST /v1/backups":                    people,
		"GET /v1/runbooks":                    people,
		"GET /v1/runbooks/{name}":             people,
		"GET /v1/runs":                        people,
		"GET /v1/runs/{id}":                   people,
		"GET /v1/runs/{id}/accounts":          people,
		"POST /v1/runs":                       people,
		"POST /v1/runs/{id}/confirm":          people,
		"POST /v1/runs/{id}/cancel":           people,
		"POST /v1/tokens":                     operator,
		"DELETE /v1/tokens/{name}":            operator,
		"GET /v1/raft/members":                operator,
		"GET /v1/raft/members/{name}/removal": operator,
		"GET /v1/raft/verify":                 operator,
		"POST /v1/raft/members":               operator,
		"DELETE /v1/raft/members/{name}":      operator,
		"POST /v1/raft/transfer":              operator,
		"POST /v1/raft/snapshot":              operator,
		"GET /v1/internal/members/{name}":     "coordinator",
		"GET /v1/recovery":                    people,
		"POST /v1/recovery/resume":            operator,
		"POST /v1/exports":                    operator,
		"POST /v1/exports/file":               operator,
		"POST /v1/agent/sync":                 "agent",
		"POST /v1/gateway/sync":               "gateway",
		"POST /v1/worker/sync":                "worker",
		"POST /v1/internal/probe":             "coordinator",
		"POST /v1/internal/contacts":          "coordinator",
		"GET /v1/root":                        "nobody coordinator agent gateway worker operator support",
		"POST /v1/enrol":                      "nobody coordinator agent gateway worker operator support",
		"POST /v1/renew":                      "coordinator agent gateway worker operator support",
		"POST /v1/enrolments":                 operator,
		"GET /v1/ca":                          people,
		"POST /v1/ca/issuer/request":          operator,
		"POST /v1/ca/issuer":                  operator,
		"GET /v1/certificates":                people,
		"GET /v1/revocations":                 people,
		"POST /v1/revocations":                operator,
		"POST /v1/revocations/check":          operator,
	}
}

// asking is one way to come to a coordinator.
type asking struct {
	name string // role, or nobody
	http *http.Client
	base string
	auth string
}

func TestServer_RolesByRoutes(t *testing.T) {
	r := newRig(t, "par1-c")
	n := r.nodes[0]
	var ways []asking
	for _, role := range []identity.Role{identity.Coordinator, identity.Agent, identity.Gateway, identity.Worker, identity.Operator, identity.Support} {
		ways = append(ways, asking{string(role), newHTTPClient(clientTLS(r.credentials(t, role, "x"))), n.url, ""})
	}
	anybody := newHTTPClient(clientTLS(r.anonymous(t)))
	ways = append(ways, asking{"nobody", anybody, n.url, ""})
	for _, role := range []string{"operator", "support"} {
		token := r.addToken(role, role, time.Hour)
		ways = append(ways, asking{role, anybody, n.url, "Bearer " + token})
	}
	ways = append(ways, asking{"operator", newSocketClient(n.socket), "http://drp.local", ""}) // tests run as the coordinator's own user

	want := allowed()
	for _, rt := range n.server.routes() {
		roles, ok := want[rt.pattern()]
		if !ok {
			t.Errorf("route %s is not in the test's table", rt.pattern())
			continue
		}
		delete(want, rt.pattern())
		for _, way := range ways {
			status, body := way.ask(t, rt)
			got := status != http.StatusUnauthorized && status != http.StatusForbidden
			if may := slices.Contains(strings.Fields(roles), way.name); got != may {
				t.Errorf("%s as %s (token %t): got status %d, want allowed %t: %s", rt.pattern(), way.name, way.auth != "", status, may, body)
			}
			if way.name == "nobody" && roles != want["GET /v1/health"] && len(rt.roles) > 0 && status != http.StatusUnauthorized {
				t.Errorf("%s without anything: got status %d, want 401", rt.pattern(), status)
			}
		}
	}
	for pattern := range want {
		t.Errorf("route %s is gone", pattern)
	}
	for _, call := range n.brain.Calls() {
		if strings.Contains(call, "coordinator/") {
			t.Errorf("a coordinator's certificate did something of its own: %s", call)
		}
	}
}

func pathOf(rt route) string {
	return strings.NewReplacer("{name}", "none", "{id}", "none", "{kind}", "site").Replace(rt.path)
}

func (a asking) ask(t *testing.T, rt route) (int, string) {
	t.Helper()
	path := pathOf(rt)
	body := `{}`
	if rt.id == "sync-agent" {
		body = `{"server":"x"}`
	}
	req, err := http.NewRequestWithContext(t.Context(), rt.method, a.base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentJSON)
	if a.auth != "" {
		req.Header.Set("Authorization", a.auth)
	}
	res, err := a.http.Do(req)
	if err != nil {
		t.Fatalf("%s as %s: %v", rt.pattern(), a.name, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

func (r *rig) addToken(name, role string, validity time.Duration) string {
	token := tokenPrefix + name + strings.Repeat("k", 40)
	sum := sha256.Sum256([]byte(token))
	tokens := append(slices.Clone(*r.tokens.Load()), &state.APIToken{Name: name, Role: role, SHA256: sum[:], Expires: time.Now().Add(validity)})
	r.tokens.Store(&tokens)
	return token
}

func TestServer_Token(t *testing.T) {
	r := newRig(t, "par1-c")
	good := r.addToken("alice", "operator", time.Hour)
	old := r.addToken("bob", "operator", -time.Second)
	odd := r.addToken("odd", "coordinator", time.Hour)
	anybody := newHTTPClient(clientTLS(r.anonymous(t)))
	for _, c := range []struct {
		name, auth string
		want       int
	}{
		{"good", "Bearer " + good, 200},
		{"scheme in other letters", "bearer " + good, 200},
		{"expired", "Bearer " + old, 401},
		{"unknown", "Bearer drp_nobody", 401},
		{"not ours", "Bearer abc", 401},
		{"password", "Basic " + good, 401},
		{"of a role that tokens cannot have", "Bearer " + odd, 403},
		{"longer than the real one", "Bearer " + good + "x", 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := asking{"token", anybody, r.nodes[0].url, c.auth}
			status, body := a.ask(t, route{method: "GET", path: "/v1/sites"})
			if status != c.want {
				t.Errorf("got %d, want %d: %s", status, c.want, body)
			}
		})
	}
	t.Run("is what the record names", func(t *testing.T) {
		c := newTestClient(t, ClientConfig{Coordinators: r.urls(), Credentials: r.anonymous(t), Token: good})
		if err := c.RevokeToken(t.Context(), "bob"); err != nil {
			t.Fatal(err)
		}
		calls := r.nodes[0].brain.Calls()
		if got, want := calls[len(calls)-1], "RevokeToken operator/token/alice: bob"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("is in no log", func(t *testing.T) {
		for _, secret := range []string{good, old, odd} {
			if strings.Contains(r.log.String(), secret) {
				t.Errorf("token %q is in the log", secret)
			}
		}
	})
}

func TestServer_AgentSpeaksForItself(t *testing.T) {
	r := newRig(t, "par1-c")
	a := asking{"agent", newHTTPClient(clientTLS(r.credentials(t, identity.Agent, "par1-s1"))), r.nodes[0].url, ""}
	req, err := http.NewRequestWithContext(t.Context(), "POST", a.base+"/v1/agent/sync", strings.NewReader(`{"server":"par1-s2"}`))
	if err != nil {
		t.Fatal(err)
	}
	res, err := a.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got, want := res.StatusCode, http.StatusForbidden; got != want {
		t.Errorf("report for another server: got %d, want %d", got, want)
	}
}

func TestServer_Limits(t *testing.T) {
	r := newRig(t, "par1-c")
	client := newHTTPClient(clientTLS(r.credentials(t, identity.Operator, "x")))
	body, err := json.Marshal(ApplyRequest{ID: "12345678", Files: []InventoryFile{{Name: "a", Text: strings.Repeat("x", maxBody)}}})
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Post(r.nodes[0].url+"/v1/inventory", contentJSON, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if got, want := res.StatusCode, http.StatusUnprocessableEntity; got != want {
		t.Errorf("a body beyond the limit: got %d, want %d", got, want)
	}
	if calls := r.nodes[0].brain.Calls(); len(calls) > 0 {
		t.Errorf("it was carried out: %v", calls)
	}
}

func TestServer_OpenAPI(t *testing.T) {
	r := newRig(t, "par1-c")
	res, err := newHTTPClient(clientTLS(r.anonymous(t))).Get(r.nodes[0].url + "/v1/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var doc struct {
		OpenAPI string                    `json:"openapi"`
		Paths   map[string]map[string]any `json:"paths"`
	}
	if err := json.NewDecoder(res.Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("got OpenAPI %q, want 3.1", doc.OpenAPI)
	}
	for _, rt := range r.nodes[0].server.routes() {
		if doc.Paths[rt.path][strings.ToLower(rt.method)] == nil {
			t.Errorf("%s is not described", rt.pattern())
		}
	}
}
