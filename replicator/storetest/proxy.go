package storetest

import (
	"io"
	"maps"
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
	fault         func(Call) *Fault
}

// Break has fault asked of each request that a Double would know, on its goroutine; nil, or a nil answer: no fault. A
// fault of what is read changes answers that have a body, and Hang, Body and Listing are a Double's alone.
func (p *Proxy) Break(fault func(Call) *Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = fault
}

// Watch has before called ahead of each request that a Double would know, and after when the store has answered and the
// client does not know yet. Both run on the request's goroutine, and the request waits. Either may be nil.
func (p *Proxy) Watch(before, after func(Call)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before, p.after = before, after
}

func (p *Proxy) watchers() (before, after func(Call), fault func(Call) *Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.before, p.after, p.fault
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
		before, after, fault := p.watchers()
		if ok && before != nil {
			before(call)
		}
		then := &answered{ResponseWriter: w, then: func() {
			if ok && after != nil {
				after(call)
			}
		}}
		if ok && fault != nil {
			if f := fault(call); f != nil {
				f.serve(then, r, forward)
				return
			}
		}
		forward.ServeHTTP(then, r)
	}))
	tb.Cleanup(server.Close)
	tb.Cleanup(server.CloseClientConnections)
	p.Endpoint = server.URL
	return p
}

// serve is a request with a fault on its way to a store, or back.
func (f *Fault) serve(w http.ResponseWriter, r *http.Request, store http.Handler) {
	switch {
	case f.Down:
		panic(http.ErrAbortHandler)
	case f.Status != 0:
		answerError(w, f.Status, f.Code)
	case f.Lost:
		store.ServeHTTP(&unheard{ResponseWriter: w}, r)
		panic(http.ErrAbortHandler)
	case f.Pace != nil:
		r.Body = &slowBody{r.Body, f.Pace}
		store.ServeHTTP(&slowAnswer{w, f.Pace}, r)
	case f.Truncate || f.Change != nil:
		answer := httptest.NewRecorder()
		store.ServeHTTP(answer, r)
		maps.Copy(w.Header(), answer.Header())
		if answer.Body.Len() == 0 || answer.Code >= http.StatusMultipleChoices {
			w.WriteHeader(answer.Code)
			_, _ = w.Write(answer.Body.Bytes()) // a client that has gone
			return
		}
		sendPart(w, answer.Code, answer.Body.Bytes(), *f)
	}
}

// slowBody is a request's, and slowAnswer what comes back: a kilobyte at a time.
type slowBody struct {
	io.ReadCloser
	pace func()
}

func (b *slowBody) Read(p []byte) (int, error) {
	b.pace()
	return b.ReadCloser.Read(p[:min(len(p), 1024)])
}

type slowAnswer struct {
	http.ResponseWriter
	pace func()
}

func (a *slowAnswer) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		a.pace()
		m, err := a.ResponseWriter.Write(p[:min(len(p), 1024)])
		if n += m; err != nil {
			return n, err
		}
		p = p[m:]
		_ = http.NewResponseController(a.ResponseWriter).Flush() // what is not flushed comes with the next
	}
	return n, nil
}

func (a *slowAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

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
