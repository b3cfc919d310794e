package api

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"drp/orchestrator"
	"drp/orchestrator/api/apitest"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// staleReads are those that have a stale answer, written down a second time. None shows a customer's data: that is recorded
// before it is shown, which takes a quorum.
var staleReads = []string{"GET /v1/status", "GET /v1/sites", "GET /v1/servers", "GET /v1/policies"}

// Whatever is asked of a coordinator while nobody leads: a stale answer only comes where it was asked for, bears its age,
// and is given to the same roles.
func TestServer_StaleReads(t *testing.T) {
	r := newRig(t, "par1-c", "par2-c")
	r.elect("")
	follower := r.nodes[1]
	follower.brain.Set(func(b *apitest.Brain) { b.Cluster.Name, b.Cluster.StaleAge = "par2-c", 1500*time.Millisecond })
	follower.brain.Command(state.InventoryApply, state.InventoryData{Sites: []state.Site{{Name: "par1", Witness: true}}})
	operator := newHTTPClient(clientTLS(r.credentials(t, identity.Operator, "claire")))
	agent := newHTTPClient(clientTLS(r.credentials(t, identity.Agent, "par1-s1")))
	for _, rt := range follower.server.routes() {
		if rt.method != http.MethodGet || !rt.leader || rt.own || rt.poll {
			continue
		}
		t.Run(rt.pattern(), func(t *testing.T) {
			fresh, _ := asking{"operator", operator, follower.url, ""}.askFor(t, rt, "")
			if got, want := fresh.StatusCode, http.StatusServiceUnavailable; got != want {
				t.Errorf("not asked to be stale: got status %d, want %d", got, want)
			}
			stale, body := asking{"operator", operator, follower.url, ""}.askFor(t, rt, "?stale=true")
			if !slices.Contains(staleReads, rt.pattern()) {
				if got, want := stale.StatusCode, http.StatusUnprocessableEntity; got != want {
					t.Errorf("stale where there is no such answer: got status %d, want %d: %s", got, want, body)
				}
				return
			}
			if got, want := stale.StatusCode, http.StatusOK; got != want {
				t.Errorf("stale: got status %d, want %d: %s", got, want, body)
			}
			if got, want := stale.Header.Get("Drp-Stale-Age"), "1.5s"; got != want {
				t.Errorf("got Drp-Stale-Age %q, want %q", got, want)
			}
			if got, want := stale.Header.Get("Drp-Stale-From"), "par2-c"; got != want {
				t.Errorf("got Drp-Stale-From %q, want %q", got, want)
			}
			refused, _ := asking{"agent", agent, follower.url, ""}.askFor(t, rt, "?stale=true")
			if got, want := refused.StatusCode, http.StatusForbidden; got != want {
				t.Errorf("stale, by an agent: got status %d, want %d", got, want)
			}
		})
	}
}

func TestServer_StaleParameter(t *testing.T) {
	r := newRig(t, "par1-c")
	a := asking{"operator", newHTTPClient(clientTLS(r.credentials(t, identity.Operator, "claire"))), r.nodes[0].url, ""}
	rt := route{method: http.MethodGet, path: "/v1/sites"}
	for query, want := range map[string]int{
		"": http.StatusOK, "?stale=false": http.StatusOK, "?stale=true": http.StatusOK, "?stale": http.StatusUnprocessableEntity,
		"?stale=1": http.StatusUnprocessableEntity, "?stale=false&stale=true": http.StatusUnprocessableEntity,
	} {
		res, body := a.askFor(t, rt, query)
		if got := res.StatusCode; got != want {
			t.Errorf("%q: got %d, want %d: %s", query, got, want, body)
		}
		if got, want := res.Header.Get("Drp-Stale-Age") != "", query == "?stale=true"; got != want {
			t.Errorf("%q: got a mark %t, want %t", query, got, want)
		}
	}
}

func (a asking) askFor(t *testing.T, rt route, query string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), rt.method, a.base+pathOf(rt)+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(patienceHeader, "10ms")
	res, err := a.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func TestClient_Stale(t *testing.T) {
	r := newRig(t, "par1-c", "par2-c")
	r.elect("")
	for _, n := range r.nodes {
		n.brain.Set(func(b *apitest.Brain) { b.Cluster.Name, b.Cluster.StaleAge = n.name, time.Minute })
	}
	client := newTestClient(t, ClientConfig{Coordinators: r.urls()[1:], Credentials: r.credentials(t, identity.Operator, "claire"), Patience: time.Millisecond})
	var marks []orchestrator.StaleMark
	stale := client.Stale(func(m orchestrator.StaleMark) { marks = append(marks, m) })
	report, err := stale.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := orchestrator.StaleMark{From: "par2-c", Age: time.Minute}
	if report.Stale == nil || *report.Stale != want || !slices.Equal(marks, []orchestrator.StaleMark{want}) {
		t.Errorf("got marks %v and %v, want %v", report.Stale, marks, want)
	}
	if _, err := client.Status(t.Context()); !errors.Is(err, ErrNoLeader) {
		t.Errorf("the client that was not told to: got %v, want %v", err, ErrNoLeader)
	}
	if _, err := stale.Runs(t.Context()); !errors.Is(err, state.ErrInvalid) {
		t.Errorf("runs: got %v, want %v", err, state.ErrInvalid)
	}
}

func TestStaleMark_unknownAge(t *testing.T) {
	r := newRig(t, "par1-c")
	r.nodes[0].brain.Set(func(b *apitest.Brain) { b.Cluster.Name, b.Cluster.StaleAge = "par1-c", orchestrator.AgeUnknown })
	var mark orchestrator.StaleMark
	client := r.client(t, identity.Operator, "claire").Stale(func(m orchestrator.StaleMark) { mark = m })
	if _, err := client.Sites(t.Context()); err != nil {
		t.Fatal(err)
	}
	if want := (orchestrator.StaleMark{From: "par1-c", Age: orchestrator.AgeUnknown}); mark != want {
		t.Errorf("got %+v, want %+v", mark, want)
	}
}
