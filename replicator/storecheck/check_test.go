package storecheck

import (
	"context"
	"encoding/pem"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"drp/replicator"
	"drp/replicator/storetest"
)

// clockOf is a time that only waiting moves.
type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) wait(_ context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return nil
}

// honest is a store in this process that lies in nothing, and a check of it.
func honest(t *testing.T) (*storetest.Double, Check) {
	t.Helper()
	clock := &fakeClock{now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}
	d := storetest.NewDouble(t)
	d.Clock, d.Lock, d.PageSize = clock.Now, true, 15
	return d, Check{
		Store:  replicator.StoreConfig{Endpoint: d.Endpoint, Bucket: d.Bucket, AccessKey: "key", SecretKey: "secret", Retries: 1},
		Folder: "customers/", keys: 40, large: 1 << 20, rounds: 2, races: 2, now: clock.Now, wait: clock.wait,
	}
}

func run(t *testing.T, c Check) *Report {
	t.Helper()
	r, err := c.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// nothingLeft fails when a check has left, or taken, anything.
func nothingLeft(t *testing.T, d *storetest.Double, want ...string) {
	t.Helper()
	var got []string
	for key := range d.Objects() {
		got = append(got, key)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) || d.Versions() > 0 || len(d.Uploads()) > 0 {
		t.Errorf("the store holds %q, %d versions and uploads of %q, want %q", got, d.Versions(), d.Uploads(), want)
	}
}

func TestCheck(t *testing.T) {
	d, c := honest(t)
	d.Store("customers/a/config", []byte("config"))
	r := run(t, c)
	for _, x := range r.Results {
		if x.Answer != OK {
			t.Errorf("%s: %s: %s", x.Property, x.Answer, x.Detail)
		}
	}
	if len(r.Results) != len(properties) || !r.Fit || len(r.Lacking()) > 0 {
		t.Errorf("got %d results, fit %t, lacking %v", len(r.Results), r.Fit, r.Lacking())
	}
	if len(r.Measured) == 0 || r.Measured[0].Requests != 2 {
		t.Errorf("measured %+v", r.Measured)
	}
	for _, key := range d.Puts() {
		if !strings.HasPrefix(key, "customers/.drp-check-") {
			t.Errorf("it wrote %s", key)
		}
	}
	nothingLeft(t, d, "customers/a/config")
}

// TestCheck_liars: each property has a store that lies in it alone, and only that is found. What hashes are sent as could
// differ between http and https.
func TestCheck_liars(t *testing.T) {
	for name, lie := range liars {
		property, _, _ := strings.Cut(name, " ")
		for _, scheme := range []string{"http", "https"} {
			if scheme == "https" && !strings.HasPrefix(property, "sha256-") {
				continue // the same, and slower
			}
			t.Run(name+"/"+scheme, func(t *testing.T) {
				d, c := honest(t)
				c.Store.Endpoint = serve(t, scheme, lie(d))
				r, err := c.Run(t.Context())
				if err != nil && name != "list-after-delete" { // of such a one it cannot know that nothing is left
					t.Fatal(err)
				}
				for _, x := range r.Results {
					want := OK
					if x.Property == property {
						want = No
					}
					if x.Answer != want && !slices.Contains(follows[property], x.Property) {
						t.Errorf("%s: got %s (%s), want %s", x.Property, x.Answer, x.Detail, want)
					}
					if x.Property == property && (x.NotGuaranteed == "" || x.Instead == "") {
						t.Errorf("%s: it does not say what follows", property)
					}
					if x.Property == property && r.Fit == x.Needed {
						t.Errorf("%s: needed is %t, and fit is %t", property, x.Needed, r.Fit)
					}
				}
				if name != "delete" {
					nothingLeft(t, d)
				}
			})
		}
	}
	for _, p := range properties {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(liars)), func(name string) bool { return name == p.name || strings.HasPrefix(name, p.name+" ") }) {
			t.Errorf("no store lies in %s", p.name)
		}
	}
}

func serve(t *testing.T, scheme string, store http.Handler) string {
	t.Helper()
	if scheme == "http" {
		return storetest.Serve(t, store)
	}
	server := httptest.NewTLSServer(store)
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", file)
	return server.URL
}

// TestCheck_interrupted: whenever it is ended, nothing of it stays.
func TestCheck_interrupted(t *testing.T) {
	for _, at := range []string{"read-after-write", "list-complete", "conditional-write", "retention", "list-versions", "delete-version", "clock"} {
		t.Run(at, func(t *testing.T) {
			d, c := honest(t)
			ctx, cancel := context.WithCancel(t.Context())
			var inside atomic.Bool // requests of the property before may still be served
			c.Progress = func(property string) { inside.Store(property == at) }
			d.Fault = func(call storetest.Call) *storetest.Fault {
				if inside.Load() && call.Operation == storetest.Put {
					cancel()
				}
				return nil
			}
			if _, err := c.Run(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			nothingLeft(t, d)
		})
	}
}

func TestCheck_unreachable(t *testing.T) {
	d, c := honest(t)
	c.Store.Bucket = "other"
	if r, err := c.Run(t.Context()); err == nil || r != nil || len(d.Puts()) > 0 {
		t.Errorf("got %+v and %v", r, err)
	}
}

// TestCheck_fails: a store that answers with errors has not been found to do anything; nor to be fit.
func TestCheck_fails(t *testing.T) {
	d, c := honest(t)
	broken := false
	d.Fault = func(call storetest.Call) *storetest.Fault {
		if broken && call.Operation == storetest.Put {
			return &storetest.Fault{Status: http.StatusInternalServerError, Code: "InternalError"}
		}
		return nil
	}
	c.Progress = func(property string) { broken = property == "range" }
	r := run(t, c)
	if got := r.Lacking(); !slices.Equal(got, []string{"range"}) || r.Fit || r.Count(Unknown) != 1 {
		t.Errorf("lacking %q, fit %t, %d unknown", got, r.Fit, r.Count(Unknown))
	}
	nothingLeft(t, d)
}

// TestCheck_mayNotWrite: a store that refuses every write was not seen to refuse wrong ones, nor to leave nothing of one that breaks off.
func TestCheck_mayNotWrite(t *testing.T) {
	d, c := honest(t)
	d.Fault = func(call storetest.Call) *storetest.Fault {
		if call.Operation == storetest.Put {
			return &storetest.Fault{Status: http.StatusForbidden, Code: "AccessDenied"}
		}
		return nil
	}
	r := run(t, c)
	for _, name := range []string{"sha256-signed", "sha256-checksum", "content-md5", "truncated-put"} {
		if x := r.of(name); x.Answer != Unknown || !strings.Contains(x.Detail, "write: ") {
			t.Errorf("%s: got %s: %s", name, x.Answer, x.Detail)
		}
	}
	nothingLeft(t, d)
}

// TestCheck_cannotClean: what it had to leave is said, with the place.
func TestCheck_cannotClean(t *testing.T) {
	d, c := honest(t)
	d.Lock = false
	d.Fault = func(call storetest.Call) *storetest.Fault {
		if call.Operation == storetest.Delete {
			return &storetest.Fault{Status: http.StatusForbidden, Code: "AccessDenied"}
		}
		return nil
	}
	_, err := c.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "customers/.drp-check-") {
		t.Errorf("got %v", err)
	}
}

// TestCheck_realStore is what is known of the store that the other tests use.
func TestCheck_realStore(t *testing.T) {
	s, versioned := storetest.Start(t), storetest.StartVersioned(t)
	for name, c := range map[string]struct {
		server     *storetest.Server
		makeBucket func(string)
		versions   string
	}{
		"plain":     {s, s.Bucket, "the bucket keeps no versions, and says so"},
		"locked":    {versioned, versioned.LockedBucket, "the bucket keeps versions, and says so"},
		"versioned": {versioned, versioned.VersionedBucket, "the bucket keeps versions, and says so"},
		"suspended": {versioned, versioned.SuspendedBucket, "the bucket keeps versions, and says so"},
	} {
		t.Run(name, func(t *testing.T) {
			c.makeBucket(name)
			store := replicator.StoreConfig{Endpoint: c.server.Endpoint, Bucket: name, AccessKey: c.server.Admin.Access, SecretKey: c.server.Admin.Secret}
			check := Check{Store: store, retention: 2 * time.Second}
			if name != "plain" {
				check.large = 1 << 20 // one look at the largest pack is enough
			}
			r := run(t, check)
			for _, x := range r.Results {
				t.Log(x.Property, x.Answer, x.Detail)
				if slices.Contains(ofErasure, x.Property) && x.Answer != OK || x.Property == "versioning" && x.Detail != c.versions {
					t.Errorf("%s: %s: %s", x.Property, x.Answer, x.Detail)
				}
			}
			if !r.Fit {
				t.Errorf("lacking %q", r.Lacking())
			}
			for _, m := range r.Measured {
				t.Logf("%+v", m)
			}
			nothingListed(t, store)
		})
	}
}
