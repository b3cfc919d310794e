package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"drp/e2e/measure"
	"drp/e2e/verdict"
	"drp/replicator"
	"drp/replicator/worker"
)

// quiet is how many answers of the leader a worker gets after its pass, before its requests are counted.
const quiet = 3

// fast measures what a site's worker asks of the stores for a repository of which nothing is new: a leader knows from
// the gateways which snapshots there are and from the passes which were copied, and has nothing to say about it.
func (b *bench) fast(ctx context.Context) error {
	names, err := b.many(ctx)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(b.source.Path(), names[0], "snapshots"))
	if err != nil {
		return err
	}
	var requests atomic.Int64
	source, err := counting(b.source.Endpoint, &requests)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := counting(b.target.Endpoint, &requests)
	if err != nil {
		return err
	}
	defer target.Close()
	to, err := replicator.Open(replicator.StoreConfig{Endpoint: target.URL, Bucket: b.target.Bucket, Region: measure.Region, AccessKey: measure.AccessKey, SecretKey: measure.SecretKey})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := &oneJob{requests: &requests, end: cancel}
	l.job = worker.CopyJob{Account: names[0], From: "source", Home: worker.Home{Site: "source", Epoch: 1},
		Store: worker.StoreAddress{Endpoint: source.URL, Bucket: b.source.Bucket, Region: measure.Region}}
	for _, e := range entries {
		l.job.Snapshots = append(l.job.Snapshots, e.Name())
	}
	w := &worker.Worker{Site: "target", Store: to, Sources: map[string]worker.Key{"source": {Access: measure.AccessKey, Secret: measure.SecretKey}}, Leader: l, Poll: time.Second}
	if err := w.Run(ctx); err != nil {
		return err
	}
	if l.err != nil || l.answers < quiet {
		return errors.Join(l.err, errors.New("the worker did not copy and wait"))
	}
	after := requests.Load() - l.copied
	b.say(verdict.Verdict{Text: fmt.Sprintf("unchanged-fast drp=%d requests in %d polls (the copy before took %d)", after, quiet, l.copied), Limit: "0", OK: after == 0})
	return nil
}

// oneJob is a leader that wants one copy, and then waits.
type oneJob struct {
	job      worker.CopyJob
	requests *atomic.Int64
	end      context.CancelFunc
	done     bool
	copied   int64 // requests until it heard of the pass
	answers  int   // since
	err      error
}

func (l *oneJob) Sync(ctx context.Context, r worker.Report) (worker.Desired, error) {
	for _, p := range r.Passes {
		if p.Error != "" {
			l.err = errors.New(p.Error)
			l.end()
		}
		if !l.done {
			l.done, l.copied = true, l.requests.Load()
		}
	}
	desired := worker.Desired{Revision: 1, Copy: []worker.CopyJob{l.job}}
	if l.done {
		desired = worker.Desired{Revision: 2}
		if l.answers++; l.answers == quiet {
			l.end()
		}
	}
	if desired.Revision == r.Revision {
		select {
		case <-time.After(r.Wait):
		case <-ctx.Done():
		}
	}
	return desired, ctx.Err()
}

// counting is a proxy that counts what passes through it.
func counting(endpoint string, requests *atomic.Int64) (*httptest.Server, error) {
	target, err := url.Parse(endpoint)
	if err != nil {
		return nil, err
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}}
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		proxy.ServeHTTP(w, r)
	})), nil
}
