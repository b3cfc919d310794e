package replicator

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// errIdle ends a request on which nothing moves any more: a cut link sends no error.
var errIdle = errors.New("the store stopped answering")

// watch is a transport that gives up a request when no byte has moved for a while, and that takes an answer to a
// listing only when it is one.
type watch struct {
	base http.RoundTripper
	idle time.Duration
}

func (w *watch) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	timer := time.AfterFunc(w.idle, func() { cancel(errIdle) })
	out := r.WithContext(ctx)
	if r.Body != nil && r.Body != http.NoBody {
		out.Body = &watched{ReadCloser: r.Body, ctx: ctx, moved: func() { timer.Reset(w.idle) }, done: func() {}}
		out.GetBody = nil
	}
	response, err := w.base.RoundTrip(out)
	if err != nil {
		timer.Stop()
		if cause := context.Cause(ctx); errors.Is(cause, errIdle) {
			err = fmt.Errorf("%s: %w for %s", r.URL.Host, errIdle, w.idle)
		}
		cancel(nil)
		return nil, err
	}
	timer.Reset(w.idle)
	response.Body = &watched{
		ReadCloser: response.Body, ctx: ctx,
		moved: func() { timer.Reset(w.idle) },
		done:  func() { timer.Stop(); cancel(nil) },
	}
	if root := listingOf(r); root != "" && response.StatusCode == http.StatusOK {
		if err := wantListing(response, root); err != nil {
			return nil, err
		}
	}
	return response, nil
}

// listingOf is the document that answers a request for a listing; empty: it is for something else.
func listingOf(r *http.Request) string {
	switch query := r.URL.Query(); {
	case r.Method != http.MethodGet:
		return ""
	case query.Get("list-type") == "2":
		return "ListBucketResult"
	case query.Has("versions"):
		return "ListVersionsResult"
	case query.Has("uploads"):
		return "ListMultipartUploadsResult"
	}
	return ""
}

// wantListing reads the answer to a listing and refuses what is none. The decoder of minio-go takes any document, an
// <Error> too, for a listing without objects.
func wantListing(response *http.Response, want string) error {
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("read listing: %w", err)
	}
	decoder := xml.NewDecoder(bytes.NewReader(page))
	for {
		token, err := decoder.Token()
		if err != nil {
			return fmt.Errorf("read listing: %w", err)
		}
		if root, ok := token.(xml.StartElement); ok {
			if root.Name.Local != want {
				return fmt.Errorf("read listing: the store answered with <%s>", root.Name.Local)
			}
			break
		}
	}
	response.Body = io.NopCloser(bytes.NewReader(page))
	return nil
}

// watched is a body that tells when a part of it has moved and when it is closed.
type watched struct {
	io.ReadCloser
	ctx   context.Context
	moved func()
	once  sync.Once
	done  func()
}

func (b *watched) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.moved()
	}
	if err != nil && err != io.EOF && errors.Is(context.Cause(b.ctx), errIdle) {
		err = errIdle
	}
	return n, err
}

func (b *watched) Close() error {
	b.once.Do(b.done)
	return b.ReadCloser.Close()
}
