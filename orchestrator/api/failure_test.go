package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drp/orchestrator"
	"drp/raftstore/identity"
)

func TestFailure(t *testing.T) {
	gone, noLeader := errors.New("ask coordinator x: no such file"), &Error{Status: 503, Type: problemPrefix + "no-leader", Detail: "knows of no leader"}
	unknown := &Error{Status: 503, Type: problemPrefix + "unknown-outcome", Detail: "who knows"}
	sockets := []endpoint{{name: "/run/par1-c.sock"}, {name: "/run/par2-c.sock"}, {name: "/run/par3-c.sock"}}
	label(sockets)
	urls := []endpoint{{name: "https://a:1"}, {name: "/run/drp/server.sock"}}
	label(urls)
	for _, c := range []struct {
		name string
		f    failure
		is   error
		want string
	}{
		{"one answers, nobody leads", failure{endpoints: sockets, causes: []error{gone, gone, noLeader}}, ErrNoLeader,
			"par3-c answers, but nobody leads (two of three coordinators are needed); par1-c, par2-c do not answer"},
		{"all answer, nobody leads", failure{endpoints: sockets, causes: []error{noLeader, orchestrator.ErrNotLeader, noLeader}}, ErrNoLeader,
			"par1-c, par2-c, par3-c answer, but nobody leads (two of three coordinators are needed)"},
		{"two are known", failure{endpoints: urls, causes: []error{noLeader, gone}}, ErrNoLeader,
			"https://a:1 answers, but nobody leads (more than half of the coordinators are needed); /run/drp/server.sock does not answer"},
		{"all are gone", failure{endpoints: urls, causes: []error{gone, io.EOF}}, ErrUnreachable,
			"no coordinator answers (asked 2): ask coordinator x: no such file; EOF"},
		{"the only one has no leader", failure{endpoints: urls[:1], causes: []error{noLeader}}, ErrNoLeader, "knows of no leader"},
		{"it may be done", failure{endpoints: sockets, causes: []error{gone, gone, noLeader}, unknown: unknown}, orchestrator.ErrUnknownOutcome, "who knows"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.f.err()
			if !errors.Is(err, c.is) || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestClient_OneOfThreeIsLeft(t *testing.T) {
	r := newRig(t, "par1-c", "par2-c", "par3-c")
	r.elect("")
	r.nodes[0].stop()
	r.nodes[1].stop()
	dir := t.TempDir()
	c := newTestClient(t, ClientConfig{Coordinators: []string{
		"unix://" + r.nodes[2].socket, "unix://" + filepath.Join(dir, "par1-c.sock"), "unix://" + filepath.Join(dir, "par2-c.sock"),
	}})
	_, err := c.Status(t.Context())
	if !errors.Is(err, ErrNoLeader) || errors.Is(err, ErrUnreachable) {
		t.Fatalf("got %v, want %v", err, ErrNoLeader)
	}
	for _, want := range []string{r.nodes[2].socket + " answers, but nobody leads", "par2-c.sock do not answer"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want %q in it", err, want)
		}
	}
}

// A coordinator waits no longer for a leader than the client does.
func TestClient_PatienceBoundsTheLeadersWait(t *testing.T) {
	r := newRigWith(t, func(_ *rig, c *Config) { c.LeaderWait = time.Hour }, "par1-c")
	r.elect("")
	c := newTestClient(t, ClientConfig{Coordinators: r.urls(), Credentials: r.credentials(t, identity.Operator, "x"), Patience: 4 * time.Second}) // an hour would be noticed; a handshake of a busy machine is not
	if _, err := c.Status(t.Context()); !errors.Is(err, ErrNoLeader) {
		t.Errorf("got %v, want %v", err, ErrNoLeader)
	}
}

// One that takes connections and says nothing is left when the patience is over, and the next one is still asked.
func TestClient_LeavesASilentCoordinator(t *testing.T) {
	r := newRig(t, "par1-c")
	silent, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	c := newTestClient(t, ClientConfig{
		Coordinators: []string{"https://" + silent.Addr().String(), r.nodes[0].url},
		Credentials:  r.credentials(t, identity.Operator, "x"), Patience: time.Millisecond,
	})
	if _, err := c.Status(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestLeaderWait(t *testing.T) {
	for in, want := range map[string]time.Duration{"": 8 * time.Second, "x": 8 * time.Second, "-1s": 8 * time.Second, "1s": time.Second, "1h": 8 * time.Second} {
		h := http.Header{}
		h.Set(patienceHeader, in)
		if got := leaderWait(h, 8*time.Second); got != want {
			t.Errorf("%q: got %v, want %v", in, got, want)
		}
	}
}

func TestServer_ProblemsForWhatNoRouteTakes(t *testing.T) {
	r := newRig(t, "par1-c")
	client := newHTTPClient(clientTLS(r.credentials(t, identity.Operator, "x")))
	t.Cleanup(client.CloseIdleConnections)
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{"GET", "/v1/nothing", 404, ""}, {"POST", "/", 404, ""}, {"PUT", "/v1/status", 405, "GET, HEAD"}, {"GET", "/v1/inventory", 405, "POST"},
		{"GET", "/v1/openapi.json", 200, ""}, {"GET", "/v1/health", 200, ""},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, c.method, r.nodes[0].url+c.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.StatusCode != c.status || res.Header.Get("Allow") != c.allow {
				t.Errorf("got %d, Allow %q; want %d, %q", res.StatusCode, res.Header.Get("Allow"), c.status, c.allow)
			}
			if c.status == http.StatusOK {
				return
			}
			var p struct {
				Status int
				Detail string
			}
			if err := json.NewDecoder(res.Body).Decode(&p); err != nil || p.Status != c.status || p.Detail == "" {
				t.Errorf("got %+v, %v, want problem details", p, err)
			}
			if got, want := res.Header.Get("Content-Type"), "application/problem+json"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}
