package storecheck

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"drp/replicator"
)

const (
	atOnce = 16
	small  = 4 << 10 // bytes of an object on which time is measured
)

// prober does the requests of a check. What it writes it remembers, so that nothing of it stays.
type prober struct {
	Check
	core   *minio.Core
	store  *replicator.Store // the same bucket, as drp itself lists it
	prefix string
	meter  *meter
	dates  *dates

	mu       sync.Mutex
	written  map[string]bool
	versions map[string][]string // the ids that the store gave to what was written, by key
	uploads  map[string]string   // the keys of uploads in parts that were begun, by id
	retains  bool                // something was written that cannot be removed for a while
	listing  []string            // of the long listing, in the store's order; nil: none was taken
}

func newProber(c Check, prefix string) (*prober, error) {
	store, err := replicator.Open(c.Store)
	if err != nil {
		return nil, err
	}
	c.Store = store.Config() // with its defaults
	u, err := url.Parse(c.Store.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("open store: endpoint: %w", err)
	}
	base, err := minio.DefaultTransport(u.Scheme == "https")
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", c.Store.Endpoint, err)
	}
	d := &dates{base: base, now: c.now}
	core, err := minio.NewCore(u.Host, &minio.Options{
		Creds: credentials.NewStaticV4(c.Store.AccessKey, c.Store.SecretKey, ""), Secure: u.Scheme == "https", Region: c.Store.Region,
		Transport: d, MaxRetries: c.Store.Retries,
	})
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", c.Store.Endpoint, err)
	}
	return &prober{
		Check: c, core: core, store: store, prefix: prefix, meter: newMeter(), dates: d,
		written: make(map[string]bool), versions: make(map[string][]string), uploads: make(map[string]string),
	}, nil
}

// reachable fails when there is no sense in asking anything.
func (p *prober) reachable(ctx context.Context) error {
	there, err := p.store.HasBucket(ctx)
	if err == nil && !there {
		err = fmt.Errorf("look for bucket %s: it is not there, or the key may not see it", p.store)
	}
	return err
}

// content is random: no store has it already.
func content(size int64) []byte {
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // never fails
	b := make([]byte, size)
	_, _ = rand.NewChaCha8(seed).Read(b)
	return b
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// key of a new object.
func (p *prober) key(name string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := p.prefix + name
	p.written[key] = true
	return key
}

// put writes as the gateway does.
func (p *prober) put(ctx context.Context, key string, b []byte) (minio.UploadInfo, error) {
	return p.offer(ctx, key, bytes.NewReader(b), int64(len(b)), "", sum(b), minio.PutObjectOptions{})
}

// offer is put with anything to say about the content.
func (p *prober) offer(ctx context.Context, key string, body io.Reader, size int64, md5, sha256 string, o minio.PutObjectOptions) (minio.UploadInfo, error) {
	o.DisableContentSha256, o.DisableMultipart = true, true
	info, err := p.core.PutObject(ctx, p.Store.Bucket, key, body, size, md5, sha256, o)
	if err != nil {
		return info, fmt.Errorf("write: %w", err)
	}
	if info.VersionID != "" {
		p.mu.Lock()
		p.versions[key] = append(p.versions[key], info.VersionID)
		p.mu.Unlock()
	}
	return info, nil
}

// gaveVersions reports whether anything that was written got a version.
func (p *prober) gaveVersions() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.versions) > 0
}

// begun notes an upload in parts, so that it does not stay.
func (p *prober) begun(key, id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.uploads[id] = key
}

func (p *prober) get(ctx context.Context, key string) ([]byte, error) {
	b, _, err := p.getWith(ctx, key, minio.GetObjectOptions{})
	return b, err
}

func (p *prober) getWith(ctx context.Context, key string, o minio.GetObjectOptions) ([]byte, http.Header, error) {
	body, _, header, err := p.core.GetObject(ctx, p.Store.Bucket, key, o)
	if err != nil {
		return nil, nil, fmt.Errorf("read: %w", err)
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		return nil, nil, fmt.Errorf("read: %w", err)
	}
	return b, header, nil
}

func (p *prober) remove(ctx context.Context, key string) error {
	if err := p.core.RemoveObject(ctx, p.Store.Bucket, key, minio.RemoveObjectOptions{}); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	return nil
}

// list names what lies below the prefix, as the store orders it.
func (p *prober) list(ctx context.Context, below string) ([]string, error) {
	found, err := p.store.List(ctx, p.prefix+below)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(found))
	for n, o := range found {
		names[n] = o.Key
	}
	return names, nil
}

// timed measures a request that succeeds.
func (p *prober) timed(kind string, bytes int64, request func() error) error {
	began := time.Now()
	err := request()
	if took := time.Since(began); err == nil {
		p.mu.Lock()
		p.meter.add(kind, bytes, took)
		p.mu.Unlock()
	}
	return err
}

// gone is err, unless that says that there is nothing to remove.
func gone(err error) error {
	switch code(err) {
	case minio.NoSuchKey, "NoSuchVersion":
		return nil
	}
	return err
}

// code is the store's word for what is wrong; empty: it said nothing.
func code(err error) string {
	var answer minio.ErrorResponse
	errors.As(err, &answer)
	return answer.Code
}

// answered reports whether an error is the store's word: it blames the request, or does not know what is asked.
func answered(err error) (minio.ErrorResponse, bool) {
	var answer minio.ErrorResponse
	ok := errors.As(err, &answer) && (answer.StatusCode >= 400 && answer.StatusCode < 500 || answer.StatusCode == http.StatusNotImplemented)
	return answer, ok
}

// dates is a transport that compares the store's clock with ours. The quickest answer tells it best.
type dates struct {
	base http.RoundTripper
	now  func() time.Time

	mu    sync.Mutex
	known bool
	ahead time.Duration // of the store's clock
	doubt time.Duration // how long that answer took
}

func (d *dates) RoundTrip(r *http.Request) (*http.Response, error) {
	sent := d.now()
	response, err := d.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	took := d.now().Sub(sent)
	date, err := http.ParseTime(response.Header.Get("Date"))
	if err != nil {
		return response, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.known || took < d.doubt {
		d.known, d.doubt = true, took
		d.ahead = date.Add(500 * time.Millisecond).Sub(sent.Add(took / 2)) // a Date is cut to the second
	}
	return response, nil
}
