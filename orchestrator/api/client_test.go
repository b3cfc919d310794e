package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drp/orchestrator"
	"drp/orchestrator/api/apitest"
	"drp/orchestrator/inventory"
	"drp/orchestrator/wire"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// startBreaking is a coordinator that takes every request and then breaks the connection.
func startBreaking(t testing.TB, r *rig) string {
	t.Helper()
	l, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	hs := &http.Server{
		Handler:           http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
		TLSConfig:         r.credentials(t, identity.Coordinator, "breaking").ServerOptional(identity.Operator, identity.Coordinator),
		ReadHeaderTimeout: time.Second,
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = hs.ServeTLS(l, "", "") // ends with ErrServerClosed
	}()
	t.Cleanup(func() {
		_ = hs.Close()
		<-done
	})
	return "https://" + l.Addr().String()
}

func TestErrors_SurviveTheWire(t *testing.T) {
	r := newRig(t, "par1-c", "par2-c")
	for _, c := range []struct {
		err    error
		status int
	}{
		{state.ErrNotFound, 404}, {state.ErrConflict, 409}, {state.ErrInvalid, 422},
		{orchestrator.ErrRefused, 409}, {orchestrator.ErrUnknownOutcome, 503},
	} {
		t.Run(c.err.Error(), func(t *testing.T) {
			r.nodes[0].brain.Set(func(b *apitest.Brain) {
				b.Fail["Status"] = fmt.Errorf("read status: the reason: %w", c.err)
			})
			for _, n := range r.nodes { // at the leader, and through a follower
				_, err := r.client(t, identity.Operator, "x", n.url).Status(t.Context())
				if !errors.Is(err, c.err) {
					t.Fatalf("got %v, want %v", err, c.err)
				}
				var e *Error
				if !errors.As(err, &e) || e.Status != c.status || !strings.Contains(err.Error(), "the reason") {
					t.Errorf("got %v, want status %d and the reason", err, c.status)
				}
			}
		})
	}
	t.Run("unexpected", func(t *testing.T) {
		r.nodes[0].brain.Set(func(b *apitest.Brain) { b.Fail["Status"] = errors.New("disk on fire") })
		_, err := r.client(t, identity.Operator, "x").Status(t.Context())
		var e *Error
		if !errors.As(err, &e) || e.Status != 500 || e.Unwrap() != nil {
			t.Errorf("got %v, want a 500 without a sentinel", err)
		}
		if !strings.Contains(r.log.String(), "disk on fire") {
			t.Error("it is not in the log")
		}
	})
	t.Run("inventory", func(t *testing.T) {
		r.nodes[0].brain.Set(func(b *apitest.Brain) {
			b.Fail["Apply"] = fmt.Errorf("apply: %w", inventory.Errors{
				{File: "a.yaml", Line: 3, Column: 7, Message: "unknown field", Fix: "did you mean tier?"},
				{File: "b.yaml", Line: 1, Column: 1, Message: "no kind"},
			})
		})
		_, err := r.client(t, identity.Operator, "x").Apply(t.Context(), "12345678", []inventory.File{{Name: "a.yaml"}}, false)
		var e *Error
		if !errors.Is(err, state.ErrInvalid) || !errors.As(err, &e) {
			t.Fatalf("got %v, want %v", err, state.ErrInvalid)
		}
		want := []Detail{
			{File: "a.yaml", Line: 3, Column: 7, Message: "unknown field", Fix: "did you mean tier?"},
			{File: "b.yaml", Line: 1, Column: 1, Message: "no kind"},
		}
		if diff := cmp.Diff(want, e.Details); diff != "" {
			t.Errorf("details (-want +got):\n%s", diff)
		}
		if got, want := e.Details[0].String(), "a.yaml:3:7: unknown field; did you mean tier?"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("body that does not fit", func(t *testing.T) {
		_, err := r.client(t, identity.Operator, "x").Apply(t.Context(), "short", nil, false)
		if !errors.Is(err, state.ErrInvalid) {
			t.Errorf("got %v, want %v", err, state.ErrInvalid)
		}
	})
}

func TestClient_TriesOthers(t *testing.T) {
	r := newRig(t, "par1-c", "par2-c", "par3-c")
	var moves atomic.Int64
	c := newTestClient(t, ClientConfig{
		Coordinators: r.urls(), Credentials: r.credentials(t, identity.Operator, "x"),
		Patience: time.Minute, Moved: func(string, string, error) { moves.Add(1) },
	})
	if _, err := c.Sites(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := c.Coordinator(), r.nodes[0].url; got != want {
		t.Errorf("asks %s first, want the nearest, %s", got, want)
	}
	r.nodes[0].stop()
	r.elect("par3-c")
	for range 2 {
		if _, err := c.Sites(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := c.Coordinator(), r.nodes[1].url; got != want {
		t.Errorf("asks %s first, want the next one, %s", got, want)
	}
	if got := moves.Load(); got != 1 {
		t.Errorf("moved %d times, want once", got)
	}
}

func TestClient_NobodyAnswers(t *testing.T) {
	r := newRig(t, "par1-c")
	c := r.client(t, identity.Operator, "x")
	r.nodes[0].stop()
	if _, err := c.Sites(t.Context()); !errors.Is(err, ErrUnreachable) {
		t.Errorf("got %v, want %v", err, ErrUnreachable)
	}
}

func TestClient_BrokenConnection(t *testing.T) {
	r := newRig(t, "par1-c")
	c := r.client(t, identity.Operator, "x", startBreaking(t, r), r.nodes[0].url)
	t.Run("what may be repeated goes to the next", func(t *testing.T) {
		if _, err := c.BackupNow(t.Context(), []state.AccountName{"blog"}); err != nil {
			t.Error(err)
		}
	})
	t.Run("what may not has an unknown outcome", func(t *testing.T) {
		c := r.client(t, identity.Operator, "x", startBreaking(t, r), r.nodes[0].url)
		before := len(r.nodes[0].brain.Calls())
		if _, err := c.CreateToken(t.Context(), "ci", "support", time.Hour); !errors.Is(err, orchestrator.ErrUnknownOutcome) {
			t.Errorf("got %v, want %v", err, orchestrator.ErrUnknownOutcome)
		}
		if got := r.nodes[0].brain.Calls()[before:]; len(got) > 0 {
			t.Errorf("it was repeated: %v", got)
		}
	})
}

func TestClient_RefusesOtherServers(t *testing.T) {
	r, other := newRig(t, "par1-c"), newRig(t, "par1-c")
	for name, c := range map[string]*identity.Credentials{
		"of another authority": other.credentials(t, identity.Operator, "x"),
		"anonymous":            other.anonymous(t),
	} {
		t.Run(name, func(t *testing.T) {
			client := newTestClient(t, ClientConfig{Coordinators: r.urls(), Credentials: c, Token: "drp_secret"})
			if _, err := client.Health(t.Context()); !errors.Is(err, ErrUnreachable) {
				t.Errorf("got %v, want %v", err, ErrUnreachable)
			}
		})
	}
}

func TestClient_Daemons(t *testing.T) {
	r := newRig(t, "par1-c", "par2-c")
	ctx := t.Context()
	if d, err := r.client(t, identity.Agent, "par1-s1").AgentSync(ctx, wire.AgentReport{Server: "par1-s1"}); err != nil || d.Revision != 1 {
		t.Errorf("agent: got %v, %v", d, err)
	}
	if d, err := r.client(t, identity.Gateway, "par1").GatewaySync(ctx, wire.GatewayReport{Site: "par1"}); err != nil || d.Revision != 1 {
		t.Errorf("gateway: got %v, %v", d, err)
	}
	if d, err := r.client(t, identity.Worker, "par1").WorkerSync(ctx, wire.WorkerReport{Site: "par1"}); err != nil || d.Revision != 1 {
		t.Errorf("worker: got %v, %v", d, err)
	}
	peer := r.client(t, identity.Coordinator, "par1-c", r.nodes[1].url)
	result, err := peer.Probe(ctx, wire.Probe{Address: account(t).Addresses[0], URL: "http://[::1]/", Timeout: time.Second})
	if err != nil || !result.OK {
		t.Errorf("probe: got %v, %v", result, err)
	}
	said, err := peer.TellContacts(ctx, wire.Contacts{Last: map[state.ServerName]time.Time{"par1-s1": apitest.Start}})
	if err != nil || said.Recipient != "age1fake" {
		t.Errorf("contacts: got %v, %v, want the other to introduce itself", said, err)
	}
	if got, want := r.nodes[1].brain.Calls(), []string{"SetContacts: 1"}; !cmp.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestClient_ContextEndsWait(t *testing.T) {
	r := newRig(t, "par1-c")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := r.client(t, identity.Agent, "s").AgentSync(ctx, wire.AgentReport{Server: "s", Revision: 3, Wait: time.Minute})
		done <- err
	}()
	r.nodes[0].awaitCall(t)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

// A coordinator behind a cut link sends neither answers nor resets.
func TestTransport_LeavesCutLink(t *testing.T) {
	r := newRig(t, "par1-c")
	link := newLink(t, strings.TrimPrefix(r.nodes[0].url, "https://"))
	client := newPingingClient(clientTLS(r.credentials(t, identity.Agent, "s")), 20*time.Millisecond, 20*time.Millisecond)
	failed := make(chan error, 1)
	go func() {
		res, err := client.Post("https://"+link.address+"/v1/agent/sync", contentJSON, strings.NewReader(`{"server":"s","revision":3,"wait":60000000000}`))
		if err == nil {
			err = res.Body.Close()
		}
		failed <- err
	}()
	r.nodes[0].awaitCall(t)
	link.cut()
	if err := <-failed; err == nil {
		t.Error("got an answer through a cut link")
	}
}

// link passes bytes to a coordinator until it is cut; then it swallows them.
type link struct {
	address string
	dead    atomic.Bool
}

func (l *link) cut() { l.dead.Store(true) }

func newLink(t testing.TB, to string) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{address: listener.Addr().String()}
	var all sync.WaitGroup
	pipe := func(from, to net.Conn) {
		defer from.Close()
		defer to.Close()
		b := make([]byte, 4096)
		for {
			n, err := from.Read(b)
			if err != nil {
				return
			}
			if l.dead.Load() {
				continue
			}
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
	}
	all.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				return
			}
			all.Go(func() { pipe(in, out) })
			all.Go(func() { pipe(out, in) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		all.Wait()
	})
	return l
}
