package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drp/orchestrator"
	"drp/orchestrator/api/apitest"
	"drp/orchestrator/wire"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

func TestServer_ForwardsToLeader(t *testing.T) {
	r := newRig(t, "par1-c", "par2-c")
	leader, follower := r.nodes[0], r.nodes[1]
	token := r.addToken("alice", "operator", time.Hour)
	for _, c := range []struct {
		name   string
		client *Client
		want   string
	}{
		{"certificate", r.client(t, identity.Operator, "claire", follower.url), "BackupNow operator/claire: [blog]"},
		{"token", newTestClient(t, ClientConfig{Coordinators: []string{follower.url}, Credentials: r.anonymous(t), Token: token}), "BackupNow operator/token/alice: [blog]"},
		{"socket", newTestClient(t, ClientConfig{Coordinators: []string{"unix://" + follower.socket}}), "BackupNow operator/unix/" + ownUser(t) + ": [blog]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(leader.brain.Calls())
			if _, err := c.client.BackupNow(t.Context(), []state.AccountName{"blog"}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{c.want}, leader.brain.Calls()[before:]); diff != "" {
				t.Errorf("what the leader was asked (-want +got):\n%s", diff)
			}
		})
	}
	if calls := follower.brain.Calls(); len(calls) > 0 {
		t.Errorf("the follower decided something: %v", calls)
	}
}

func TestServer_ForwardedHeadersCountFromCoordinatorsOnly(t *testing.T) {
	r := newRig(t, "par1-c")
	n := r.nodes[0]
	token := r.addToken("alice", "support", time.Hour)
	for _, c := range []struct {
		name, auth, want string
		http             *http.Client
		base             string
	}{
		{"support certificate", "", "BackupNow support/sam: [blog]", newHTTPClient(clientTLS(r.credentials(t, identity.Support, "sam"))), n.url},
		{"token", "Bearer " + token, "BackupNow support/token/alice: [blog]", newHTTPClient(clientTLS(r.anonymous(t))), n.url},
		{"coordinator", "", "BackupNow operator/mallory: [blog]", newHTTPClient(clientTLS(r.credentials(t, identity.Coordinator, "par2-c"))), n.url},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(n.brain.Calls())
			status := postAs(t, c.http, c.base+"/v1/backups", `{"accounts":["blog"]}`, c.auth, identity.Operator, "mallory")
			if status != http.StatusOK {
				t.Fatalf("got status %d", status)
			}
			if diff := cmp.Diff([]string{c.want}, n.brain.Calls()[before:]); diff != "" {
				t.Errorf("on whose behalf (-want +got):\n%s", diff)
			}
		})
	}
	t.Run("agent that names another", func(t *testing.T) {
		h := newHTTPClient(clientTLS(r.credentials(t, identity.Agent, "par1-s1")))
		if got, want := postAs(t, h, n.url+"/v1/agent/sync", `{"server":"par1-s2"}`, "", identity.Agent, "par1-s2"), http.StatusForbidden; got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	})
	t.Run("a coordinator cannot speak for a coordinator", func(t *testing.T) {
		h := newHTTPClient(clientTLS(r.credentials(t, identity.Coordinator, "par2-c")))
		if got, want := postAs(t, h, n.url+"/v1/internal/contacts", `{}`, "", identity.Coordinator, "par3-c"), http.StatusForbidden; got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	})
}

func postAs(t *testing.T, h *http.Client, url, body, auth string, role identity.Role, name string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentJSON)
	setForwarded(req.Header, Caller{Role: role, Name: name})
	if auth != "" {
		req.Header.Set("Authorization", auth)
	}
	res, err := h.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	return res.StatusCode
}

func TestServer_NeverForwardsTwice(t *testing.T) {
	// Both take the other for the leader.
	r := newRigWith(t, func(_ *rig, c *Config) {
		other := map[string]string{"par1-c": "par2-c", "par2-c": "par1-c"}[c.Name]
		c.Leader = func() (string, bool) { return other, true }
		c.API.(*apitest.Brain).Follower = true
	}, "par1-c", "par2-c")
	_, err := r.client(t, identity.Operator, "x", r.nodes[0].url).Sites(t.Context())
	if !errors.Is(err, ErrNoLeader) {
		t.Errorf("got %v, want %v", err, ErrNoLeader)
	}
}

func TestServer_WaitsForLeader(t *testing.T) {
	t.Run("nobody is elected", func(t *testing.T) {
		r := newRig(t, "par1-c")
		r.elect("")
		res, err := newHTTPClient(clientTLS(r.credentials(t, identity.Operator, "x"))).Get(r.nodes[0].url + "/v1/sites")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
			t.Errorf("got %d with Retry-After %q, want 503 with one", res.StatusCode, res.Header.Get("Retry-After"))
		}
	})
	t.Run("one is elected meanwhile", func(t *testing.T) {
		var looks atomic.Int64
		r := newRigWith(t, func(r *rig, c *Config) {
			c.LeaderWait = time.Minute
			if c.Name == "par1-c" {
				c.Leader = func() (string, bool) {
					if looks.Add(1) == 3 {
						r.elect("par2-c")
					}
					return r.leads()
				}
			}
		}, "par1-c", "par2-c")
		r.elect("")
		if _, err := r.client(t, identity.Operator, "x", r.nodes[0].url).Sites(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("the leader has just lost it", func(t *testing.T) {
		// It still takes itself for the leader when it is asked first.
		var looks atomic.Int64
		r := newRigWith(t, func(r *rig, c *Config) {
			c.LeaderWait = time.Minute
			if c.Name == "par1-c" {
				c.Leader = func() (string, bool) {
					if looks.Add(1) <= 2 {
						r.elect("par2-c")
						return "par1-c", true
					}
					return r.leads()
				}
			}
		}, "par1-c", "par2-c")
		tasks, err := r.client(t, identity.Operator, "x", r.nodes[0].url).BackupNow(t.Context(), []state.AccountName{"blog"})
		if err != nil || len(tasks) != 1 {
			t.Fatalf("got %v, %v", tasks, err)
		}
		if got, want := r.nodes[1].brain.Calls(), []string{"BackupNow operator/x: [blog]"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestServer_LeaderDiesDuringLongPoll(t *testing.T) {
	r := newRigWith(t, func(_ *rig, c *Config) { c.LeaderWait = time.Minute }, "par1-c", "par2-c")
	agent := r.client(t, identity.Agent, "par1-s1", r.nodes[1].url)
	answered := make(chan error, 1)
	go func() {
		// Revision 7 is no news to the brain: it holds the request.
		_, err := agent.AgentSync(t.Context(), wire.AgentReport{Server: "par1-s1", Revision: 7, Wait: 50 * time.Millisecond})
		answered <- err
	}()
	r.nodes[0].awaitCall(t)
	r.nodes[0].stop()
	r.elect("par2-c")
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

func TestServer_BrokenForwardOfWhatMayNotBeRepeated(t *testing.T) {
	// The leader takes each request, and then its connection breaks.
	r := newRigWith(t, func(r *rig, c *Config) {
		breaking := startBreaking(t, r)
		c.Peers = func(name string) string { return map[string]string{"par1-c": breaking}[name] }
	}, "par1-c", "par2-c")
	_, err := r.client(t, identity.Operator, "x", r.nodes[1].url).CreateToken(t.Context(), "ci", "support", time.Hour)
	if !errors.Is(err, orchestrator.ErrUnknownOutcome) {
		t.Errorf("got %v, want %v", err, orchestrator.ErrUnknownOutcome)
	}
}

func TestServer_LeavesDeposedLeader(t *testing.T) {
	r := newRig(t, "par1-c", "par2-c", "par3-c")
	ctx, cancel := context.WithCancel(t.Context())
	agent := r.client(t, identity.Agent, "par1-s1", r.nodes[2].url)
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Revision 7 is no news to a brain: it holds the request.
		_, _ = agent.AgentSync(ctx, wire.AgentReport{Server: "par1-s1", Revision: 7, Wait: time.Minute})
	}()
	r.nodes[0].awaitCall(t)
	r.elect("par2-c") // the first one does not notice, and holds on
	r.nodes[1].awaitCall(t)
	cancel()
	<-done
}
