package storetest

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// Proxy stands in front of a store, so that a test can do something between two requests of a client.
type Proxy struct {
	Endpoint string

	mu            sync.Mutex
	before, after func(Call)
}

// Watch has before called ahead of each request that a Double would know, and after when the store has answered and the
// client does not know yet. Both run on the request's goroutine, and the request waits. Either may be nil.
func (p *Proxy) Watch(before, after func(Call)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before, p.after = before, after
}

func (p *Proxy) watchers() (before, after func(Call)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.before, p.after
}

// NewProxy serves until the test ends.
func NewProxy(tb testing.TB, endpoint string) *Proxy {
	tb.Helper()
	target, err := url.Parse(endpoint)
	if err != nil {
		tb.Fatal(err)
	}
	p := &Proxy{}
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // it is signed
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		call, ok := callOf(r, key)
		before, after := p.watchers()
		if ok && before != nil {
			before(call)
		}
		forward.ServeHTTP(&answered{ResponseWriter: w, then: func() {
			if ok && after != nil {
				after(call)
			}
		}}, r)
	}))
	tb.Cleanup(server.Close)
	tb.Cleanup(server.CloseClientConnections)
	p.Endpoint = server.URL
	return p
}

// answered calls then before the first byte of an answer goes out.
type answered struct {
	http.ResponseWriter
	then func()
}

func (a *answered) WriteHeader(status int) {
	if a.then != nil {
		a.then()
		a.then = nil
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answered) Unwrap() http.ResponseWriter { return a.ResponseWriter }
