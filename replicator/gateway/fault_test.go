package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"drp/replicator/storetest"
)

// failing answers the first n requests with a fault.
func failing(n int, with storetest.Fault) func(storetest.Call) *storetest.Fault {
	var asked atomic.Int64
	return func(storetest.Call) *storetest.Fault {
		if asked.Add(1) <= int64(n) {
			return &with
		}
		return nil
	}
}

func TestGateway_holdsWhileTheStoreRestarts(t *testing.T) {
	for _, fault := range []storetest.Fault{{Status: 503, Code: "SlowDown"}, {Status: 500, Code: "InternalError"}, {Truncate: true}} {
		d, store := double(t)
		p := newPlatform(t, store)
		p.grant(writable)
		agent := p.agent(server)
		content := []byte("a lock")
		path, listed := "locks/"+name(content), `["`+name(content)+`"]`+"\n"

		d.Fault = failing(2, fault)
		if fault.Truncate {
			d.Fault = nil // an answer to PUT and HEAD has no body to cut
		}
		p.want(http.StatusOK, agent, "POST", path, content)
		d.Fault = failing(2, fault)
		if got := p.want(http.StatusOK, agent, "GET", "locks/", nil); string(got.body) != listed {
			t.Errorf("list: got %s, want %s", got.body, listed)
		}
		if !fault.Truncate {
			d.Fault = failing(2, fault)
			p.want(http.StatusOK, agent, "HEAD", path, nil)
			d.Fault = failing(2, fault)
			p.want(http.StatusOK, agent, "GET", path, nil)
			d.Fault = failing(2, fault)
			p.want(http.StatusOK, agent, "DELETE", path, nil)
		}
	}
}

// Whoever loses patience before the gateway does must not be the only one who knows of it.
func TestGateway_clientLosesPatience(t *testing.T) {
	d, store := double(t)
	p := newPlatform(t, store)
	lines := make(logLines, 100)
	p.gateway.Log = slog.New(slog.NewTextHandler(lines, nil))
	p.grant(writable)
	ctx, cancel := context.WithCancel(t.Context())
	var asked atomic.Int64
	d.Fault = func(storetest.Call) *storetest.Fault {
		if asked.Add(1) == 3 {
			cancel()
		}
		return &storetest.Fault{Status: 500, Code: "InternalError"}
	}
	r, err := http.NewRequestWithContext(ctx, "GET", p.url+"/"+account+"/"+token+"/locks/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.agent(server).Do(r); err == nil {
		t.Fatal("an answer")
	}
	select {
	case line := <-lines:
		if !strings.Contains(line, "site=par1") || !strings.Contains(line, "InternalError") {
			t.Errorf("the log says %s", line)
		}
	case <-t.Context().Done():
		t.Error("the log says nothing")
	}
}

// logLines are what a log says.
type logLines chan string

func (l logLines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// A read that breaks off in the middle must not look like a whole one.
func TestGateway_readBreaksOff(t *testing.T) {
	d, store := double(t)
	p := newPlatform(t, store)
	p.grant(writable)
	content := pattern(1, 1<<20)
	d.Store(target{account: account, folder: data, name: name(content)}.key(), content)
	d.Fault = failing(1, storetest.Fault{Truncate: true})
	agent := p.agent(server)
	if got, err := p.do(agent, "GET", "data/"+name(content), nil); err == nil {
		t.Errorf("got %d and %d bytes without an error", got.status, len(got.body))
	}
	if got := p.want(http.StatusOK, agent, "GET", "data/"+name(content), nil); !bytes.Equal(got.body, content) {
		t.Error("read again: other content")
	}
}

func TestGateway_storeErrors(t *testing.T) {
	tests := []struct {
		name   string
		fault  storetest.Fault
		status int
	}{
		{"full", storetest.Fault{Status: 507, Code: "InsufficientStorage"}, http.StatusInsufficientStorage},
		{"quota", storetest.Fault{Status: 403, Code: "QuotaExceeded"}, http.StatusInsufficientStorage},
		{"denied", storetest.Fault{Status: 403, Code: "AccessDenied"}, http.StatusForbidden},
		{"wrong key", storetest.Fault{Status: 403, Code: "SignatureDoesNotMatch"}, http.StatusForbidden},
		{"down", storetest.Fault{Status: 503, Code: "SlowDown"}, http.StatusServiceUnavailable},
		{"hash refused", storetest.Fault{Status: 400, Code: "XAmzContentSHA256Mismatch"}, http.StatusServiceUnavailable},
		{"no bucket", storetest.Fault{Status: 404, Code: "NoSuchBucket"}, http.StatusServiceUnavailable},
	}
	for _, x := range tests {
		t.Run(x.name, func(t *testing.T) {
			d, store := double(t)
			p := newPlatform(t, store)
			p.gateway.HoldFor = time.Millisecond
			p.grant(writable)
			agent := p.agent(server)
			for _, content := range [][]byte{pattern(1, 100), pattern(2, 1<<20)} {
				d.Fault = func(c storetest.Call) *storetest.Fault {
					if c.Operation == storetest.Put {
						return &x.fault
					}
					return nil
				}
				got := p.want(x.status, agent, "POST", "data/"+name(content), content)
				if retry := got.header.Get("Retry-After"); (x.status == 503) != (retry != "") {
					t.Errorf("%d with Retry-After %q", got.status, retry)
				}
				if len(d.Objects()) != 0 {
					t.Error("something was stored")
				}
				d.Fault = nil
				p.want(http.StatusOK, agent, "POST", "data/"+name(content), content)
				d.Forget(target{account: account, folder: data, name: name(content)}.key())
			}
			if x.status == http.StatusServiceUnavailable {
				d.Fault = failing(1000, x.fault)
				p.want(http.StatusForbidden, agent, "DELETE", "locks/"+name(nil), nil) // restic would hang on a 503
			}
		})
	}
}

// The reply to a write is lost, and the object is there.
func TestGateway_unknownOutcome(t *testing.T) {
	d, store := double(t)
	p := newPlatform(t, store)
	p.gateway.HoldFor = time.Millisecond
	p.grant(writable)
	var heard atomic.Int64
	p.gateway.OnSnapshot = func(string, string) { heard.Add(1) }
	agent := p.agent(server)
	content := pattern(9, 1<<20)
	path, key := "snapshots/"+name(content), account+"/snapshots/"+name(content)
	d.Fault = func(c storetest.Call) *storetest.Fault {
		if c.Operation != storetest.Put {
			return nil
		}
		d.Store(key, content)
		return &storetest.Fault{Status: 500, Code: "InternalError"}
	}
	p.want(http.StatusServiceUnavailable, agent, "POST", path, content)
	if got := heard.Load(); got != 0 {
		t.Errorf("heard of %d snapshots before one was acknowledged", got)
	}
	d.Fault = nil
	p.want(http.StatusForbidden, agent, "DELETE", path, nil) // restic does that first
	p.want(http.StatusOK, agent, "POST", path, content)
	if got := heard.Load(); got != 1 {
		t.Errorf("heard of %d snapshots, want 1", got)
	}
	if puts := d.Puts(); len(puts) != 0 {
		t.Errorf("written again: %v", puts)
	}
}

// What is stored and damaged is neither acknowledged as good nor replaced.
func TestGateway_damagedObjectStays(t *testing.T) {
	d, store := double(t)
	p := newPlatform(t, store)
	p.grant(writable)
	content := pattern(4, 1<<20)
	damaged := bytes.Clone(content)
	damaged[1000] ^= 1
	for _, stored := range [][]byte{damaged, content[:500], {}} {
		key := target{account: account, folder: data, name: name(content)}.key()
		d.Store(key, stored)
		p.want(http.StatusForbidden, p.agent(server), "POST", "data/"+name(content), content)
		if !bytes.Equal(d.Objects()[key], stored) {
			t.Error("a stored object was replaced")
		}
	}
}

// upload sends the first half of an object, waits until the gateway has taken it, calls between, and sends the rest.
func upload(t *testing.T, p *platform, content []byte, between func(w *io.PipeWriter) (goOn bool)) (answer, error) {
	t.Helper()
	body, w := io.Pipe()
	r, err := http.NewRequestWithContext(t.Context(), "POST", p.url+"/"+account+"/"+token+"/data/"+name(content), body)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = int64(len(content))
	agent := p.agent(server)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		if _, err := w.Write(content[:len(content)/2]); err != nil {
			return
		}
		if between(w) {
			w.Write(content[len(content)/2:]) //nolint:errcheck // the answer tells
			w.Close()
		}
	}()
	res, err := agent.Do(r)
	body.CloseWithError(errors.New("answered"))
	<-sent
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return answer{status: res.StatusCode, body: b}, err
}

func TestGateway_grantEndsDuringAnUpload(t *testing.T) {
	for _, size := range []int{1000, 20 * withheld} {
		d, store := double(t)
		p := newPlatform(t, store)
		p.grant(writable)
		content := pattern(5, size)
		got, err := upload(t, p, content, func(*io.PipeWriter) bool {
			p.grant(Grant{Account: account, Server: server, Token: token})
			return true
		})
		if err != nil || got.status != http.StatusForbidden {
			t.Errorf("%d bytes: got %d %s, %v, want 403", size, got.status, got.body, err)
		}
		if len(d.Objects()) != 0 {
			t.Errorf("%d bytes: stored after the grant had ended", size)
		}
	}
}

func TestGateway_clientDisappears(t *testing.T) {
	_, c := realStore(t)
	p := newPlatform(t, openStore(t, c))
	p.grant(writable)
	for _, size := range []int{1000, 100 * withheld} {
		_, err := upload(t, p, pattern(6, size), func(w *io.PipeWriter) bool {
			w.CloseWithError(errors.New("power cut"))
			return false
		})
		if err == nil {
			t.Errorf("%d bytes: acknowledged", size)
		}
	}
	if got := contents(t, c); len(got) != 0 {
		t.Errorf("stored: %v", got)
	}
}

func TestGateway_silentClient(t *testing.T) {
	d, store := double(t)
	p := newPlatform(t, store)
	p.gateway.BodyIdle = 50 * time.Millisecond
	p.grant(writable)
	got, err := upload(t, p, pattern(7, 20*withheld), func(*io.PipeWriter) bool {
		return false // and nothing more
	})
	if err == nil && got.status != http.StatusBadRequest {
		t.Errorf("got %d, want it broken off", got.status)
	}
	if len(d.Objects()) != 0 {
		t.Error("something was stored")
	}
}

func TestGateway_views(t *testing.T) {
	d, store := double(t)
	p := newPlatform(t, store)
	var now atomic.Int64
	p.gateway.Uptime = func() time.Duration { return time.Hour + time.Duration(now.Load()) }
	agent := p.agent(server)
	content := []byte("x")
	path := "data/" + name(content)
	lock := "locks/" + name(content)

	p.want(http.StatusServiceUnavailable, agent, "GET", "data/", nil) // before the first view

	p.grant(writable)
	p.want(http.StatusOK, agent, "POST", path, content)
	p.want(http.StatusOK, agent, "POST", lock, content)

	now.Store(int64(61 * time.Second))
	got := p.want(http.StatusServiceUnavailable, agent, "POST", "index/"+name(content), content)
	if got.header.Get("Retry-After") == "" {
		t.Error("stale view: no Retry-After")
	}
	p.want(http.StatusServiceUnavailable, agent, "POST", lock, content)
	p.want(http.StatusOK, agent, "GET", path, nil)
	p.want(http.StatusOK, agent, "DELETE", lock, nil)

	now.Store(int64(16 * time.Minute))
	p.want(http.StatusServiceUnavailable, agent, "GET", path, nil)
	p.want(http.StatusForbidden, agent, "DELETE", lock, nil)

	// It counts from when the view was asked for, not from when it came.
	p.gateway.SetView(View{Grants: []Grant{writable}, At: time.Now().Add(-2 * time.Minute)}) // asked before the one we have
	p.want(http.StatusServiceUnavailable, agent, "GET", path, nil)
	p.grant(writable)
	p.want(http.StatusOK, agent, "POST", "index/"+name(content), content)

	// An answer that was overtaken gives nothing back.
	asked := time.Now()
	p.grant()
	p.gateway.SetView(View{Grants: []Grant{writable}, At: asked})
	p.want(http.StatusForbidden, agent, "GET", path, nil)
	if len(d.Objects()) != 2 {
		t.Errorf("got %d objects, want 2", len(d.Objects()))
	}
}

// A server that hears of its assignment before the gateway does is not turned away.
func TestGateway_waitsForTheView(t *testing.T) {
	_, store := double(t)
	p := newPlatform(t, store)
	p.gateway.SettleFor = time.Hour
	p.grant()
	agent := p.agent(server)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.want(http.StatusOK, agent, "GET", "data/", nil)
	}()
	for range 3 {
		waitFor(t, func() bool {
			p.gateway.views.mu.Lock()
			defer p.gateway.views.mu.Unlock()
			return p.gateway.views.changed != nil
		})
		p.grant() // changes, but not in its favour
	}
	p.grant(writable)
	<-done
}

func waitFor(t testing.TB, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("the test has ended")
		}
	}
}
