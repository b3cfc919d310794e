package replicator_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drp/replicator"
	"drp/replicator/storetest"
)

// shelf is a source and a destination in this process, with files at the source that are named as a repository's are.
type shelf struct {
	source, target *storetest.Double
	from, to       *replicator.Store
	snapshots      []string
	index, data    []string // keys
}

func newShelf(t *testing.T, packs int) *shelf {
	t.Helper()
	s := &shelf{source: storetest.NewDouble(t), target: storetest.NewDouble(t)}
	s.from, s.to = s.open(t, s.source), s.open(t, s.target)
	s.source.Store("shop/config", []byte("config"))
	s.add("keys", "key")
	for n := range packs {
		s.data = append(s.data, s.add("data", "pack "+strings.Repeat("x", n)))
	}
	s.index = append(s.index, s.add("index", "index 1"), s.add("index", "index 2"))
	id := s.add("snapshots", "snapshot")
	s.snapshots = append(s.snapshots, strings.TrimPrefix(id, "shop/snapshots/"))
	return s
}

func (s *shelf) open(t *testing.T, d *storetest.Double) *replicator.Store {
	t.Helper()
	store, err := replicator.Open(replicator.StoreConfig{
		Endpoint: d.Endpoint, Bucket: d.Bucket, AccessKey: "a", SecretKey: "b", Retries: 2, Idle: 5 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// add puts a file at the source under the name that its content gives it.
func (s *shelf) add(class, content string) (key string) {
	key = nameOf(class, content)
	s.source.Store(key, []byte(content))
	return key
}

func nameOf(class, content string) string {
	h := sha256.Sum256([]byte(content))
	name := hex.EncodeToString(h[:])
	if class == "data" {
		name = name[:2] + "/" + name
	}
	return "shop/" + class + "/" + name
}

func (s *shelf) pass(t *testing.T) (replicator.Report, error) {
	t.Helper()
	return replicator.Pass(t.Context(), s.from, s.to, "shop/", replicator.Options{})
}

// whole fails the test unless the destination holds all that the source does.
func (s *shelf) whole(t *testing.T) {
	t.Helper()
	if got, want := s.target.Objects(), s.source.Objects(); !cmp.Equal(got, want) {
		t.Errorf("the destination differs: %s", cmp.Diff(want, got))
	}
}

// holdsNo fails the test when the destination has files of these classes.
func (s *shelf) holdsNo(t *testing.T, classes ...string) {
	t.Helper()
	for key := range s.target.Objects() {
		for _, c := range classes {
			if strings.HasPrefix(key, "shop/"+c) {
				t.Errorf("the destination holds %s", key)
			}
		}
	}
}

func TestPass_WriteOrder(t *testing.T) {
	s := newShelf(t, 20)
	if _, err := s.pass(t); err != nil {
		t.Fatal(err)
	}
	s.whole(t)
	order := []string{"keys", "config", "data", "index", "snapshots"}
	last := 0
	for _, key := range s.target.Puts() {
		class, _, _ := strings.Cut(strings.TrimPrefix(key, "shop/"), "/")
		at := slices.Index(order, class)
		if at < last {
			t.Fatalf("%s was written after %s", key, order[last])
		}
		last = at
	}
}

// TestPass_Listing: a listing that does not end cleanly is an error, never a short listing.
func TestPass_Listing(t *testing.T) {
	for name, fault := range map[string]storetest.Fault{
		"cut in the middle":     {Truncate: true},
		"error with status 200": {Body: `<?xml version="1.0"?><Error><Code>InternalError</Code></Error>`},
		"a web page":            {Body: `<!DOCTYPE html><html><body>hello</body></html>`},
		"half a document":       {Body: `<?xml version="1.0"?><ListBucketResult><Name>bucket</Name>`},
		"no token":              {Listing: func(a *storetest.ListingAnswer) { a.IsTruncated, a.NextContinuationToken = true, "" }},
		"a circle":              {Listing: func(a *storetest.ListingAnswer) { a.IsTruncated, a.NextContinuationToken = true, "2" }},
		"503":                   {Status: http.StatusServiceUnavailable, Code: "SlowDown"},
		"403":                   {Status: http.StatusForbidden, Code: "AccessDenied"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t, 10)
			s.source.PageSize = 4
			s.source.Fault = func(c storetest.Call) *storetest.Fault {
				if c.Operation == storetest.List && c.Key == "shop/data/" && c.Page == 2 {
					return &fault
				}
				return nil
			}
			r, err := s.pass(t)
			if err == nil || len(r.Snapshots) > 0 {
				t.Errorf("got snapshots %v and error %v, want an error", r.Snapshots, err)
			}
			s.holdsNo(t, "data", "index", "snapshots")
		})
	}
	t.Run("nothing at all", func(t *testing.T) {
		s := newShelf(t, 10)
		s.source.Fault = func(c storetest.Call) *storetest.Fault {
			if c.Operation == storetest.List && c.Key == "shop/data/" {
				return &storetest.Fault{Listing: func(a *storetest.ListingAnswer) { a.Contents = nil }}
			}
			return nil
		}
		r, err := s.pass(t)
		if err == nil || len(r.Snapshots) > 0 {
			t.Errorf("got snapshots %v and error %v, want an error", r.Snapshots, err)
		}
		s.holdsNo(t, "index", "snapshots")
	})
	t.Run("in pages", func(t *testing.T) {
		s := newShelf(t, 10)
		s.source.PageSize, s.target.PageSize = 3, 3
		if _, err := s.pass(t); err != nil {
			t.Fatal(err)
		}
		s.whole(t)
	})
	t.Run("cancelled between two pages", func(t *testing.T) {
		s := newShelf(t, 10)
		s.source.PageSize = 3
		ctx, cancel := context.WithCancel(t.Context())
		s.source.Fault = func(c storetest.Call) *storetest.Fault {
			if c.Page == 2 {
				cancel()
			}
			return nil
		}
		list, err := s.from.List(ctx, "shop/data/")
		if !errors.Is(err, context.Canceled) || list != nil {
			t.Errorf("got %d objects and %v, want context.Canceled", len(list), err)
		}
	})
}

// TestPass_Index: the index is listed until it is the same before and after the data.
func TestPass_Index(t *testing.T) {
	t.Run("a backup writes a pack and an index meanwhile", func(t *testing.T) {
		s := newShelf(t, 3)
		var added string
		s.source.Fault = func(c storetest.Call) *storetest.Fault {
			if added == "" && c.Operation == storetest.List && c.Key == "shop/data/" {
				added = "once" // the listing of data is the only request in flight
				s.add("data", "late pack")
				s.add("index", "late index")
			}
			return nil
		}
		if _, err := s.pass(t); err != nil {
			t.Fatal(err)
		}
		s.whole(t)
	})
	t.Run("it never rests", func(t *testing.T) {
		s := newShelf(t, 3)
		var n atomic.Int32
		s.source.Fault = func(c storetest.Call) *storetest.Fault {
			if c.Operation == storetest.List && c.Key == "shop/data/" {
				s.add("index", "index "+strings.Repeat("y", int(n.Add(1))))
			}
			return nil
		}
		r, err := s.pass(t)
		if !errors.Is(err, replicator.ErrChanged) || len(r.Snapshots) > 0 {
			t.Errorf("got snapshots %v and %v, want ErrChanged", r.Snapshots, err)
		}
		s.holdsNo(t, "")
	})
}

// TestPass_Gone: listed objects vanish before they are read.
func TestPass_Gone(t *testing.T) {
	cases := map[string]struct {
		gone    func(*shelf) string
		keepsNo []string
	}{
		"data":  {func(s *shelf) string { return s.data[1] }, []string{"index", "snapshots"}},
		"index": {func(s *shelf) string { return s.index[0] }, []string{"snapshots"}},
		"key":   {func(*shelf) string { return nameOf("keys", "key") }, []string{"index", "snapshots"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t, 3)
			gone := c.gone(s)
			content := s.source.Objects()[gone]
			s.source.Fault = func(call storetest.Call) *storetest.Fault {
				if call.Operation == storetest.Get && call.Key == gone {
					s.source.Forget(gone)
				}
				return nil
			}
			r, err := s.pass(t)
			if !errors.Is(err, replicator.ErrChanged) || errors.Is(err, replicator.ErrBroken) {
				t.Errorf("got %v, want ErrChanged", err)
			}
			if !cmp.Equal(r.Missing, []string{gone}) || len(r.Snapshots) > 0 {
				t.Errorf("got %+v, want %s missing and no snapshots", r, gone)
			}
			s.holdsNo(t, c.keepsNo...)
			s.source.Fault = nil
			s.source.Store(gone, content)
			if r, err := s.pass(t); err != nil || len(r.Snapshots) != 1 {
				t.Errorf("the next pass: %+v, %v", r, err)
			}
			s.whole(t)
		})
	}
	t.Run("snapshot", func(t *testing.T) {
		s := newShelf(t, 3)
		gone := s.add("snapshots", "forgotten")
		s.source.Fault = func(call storetest.Call) *storetest.Fault {
			if call.Operation == storetest.Get && call.Key == gone {
				return &storetest.Fault{Status: http.StatusNotFound, Code: "NoSuchKey"}
			}
			return nil
		}
		r, err := s.pass(t)
		if err != nil || !cmp.Equal(r.Snapshots, s.snapshots) {
			t.Errorf("got %+v and %v, want the other snapshot and no error", r, err)
		}
	})
}

func TestPass_Reads(t *testing.T) {
	flip := func(b []byte) []byte { b[len(b)/2] ^= 1; return b }
	once := map[string]storetest.Fault{
		"503 SlowDown":    {Status: http.StatusServiceUnavailable, Code: "SlowDown"},
		"a flipped bit":   {Change: flip},
		"a cut answer":    {Truncate: true},
		"a shorter one":   {Change: func(b []byte) []byte { return b[:len(b)-1] }},
		"another content": {Body: "something else"},
	}
	for name, fault := range once {
		t.Run("once "+name, func(t *testing.T) {
			s := newShelf(t, 3)
			var n atomic.Int32
			s.source.Fault = func(c storetest.Call) *storetest.Fault {
				if c.Operation == storetest.Get && c.Key == s.data[2] && n.Add(1) == 1 {
					return &fault
				}
				return nil
			}
			r, err := s.pass(t)
			if err != nil || len(r.Broken) > 0 {
				t.Errorf("got %+v and %v", r, err)
			}
			s.whole(t)
		})
	}
	t.Run("always 503 SlowDown", func(t *testing.T) {
		s := newShelf(t, 3)
		s.source.Fault = func(c storetest.Call) *storetest.Fault {
			if c.Operation == storetest.Get && c.Key == s.data[2] {
				return &storetest.Fault{Status: http.StatusServiceUnavailable, Code: "SlowDown"}
			}
			return nil
		}
		r, err := s.pass(t)
		if err == nil || errors.Is(err, replicator.ErrBroken) || errors.Is(err, replicator.ErrChanged) {
			t.Errorf("got %v, want the store's error", err)
		}
		if len(r.Snapshots) > 0 {
			t.Errorf("snapshots: %v", r.Snapshots)
		}
		s.holdsNo(t, "index", "snapshots")
	})
	t.Run("always a flipped bit", func(t *testing.T) {
		s := newShelf(t, 3)
		s.source.Fault = func(c storetest.Call) *storetest.Fault {
			if c.Operation == storetest.Get && c.Key == s.data[2] {
				return &storetest.Fault{Change: flip}
			}
			return nil
		}
		r, err := s.pass(t)
		if !errors.Is(err, replicator.ErrBroken) || !cmp.Equal(r.Broken, []string{s.data[2]}) || len(r.Snapshots) > 0 {
			t.Errorf("got %+v and %v", r, err)
		}
		s.holdsNo(t, "index", "snapshots")
		if _, ok := s.target.Objects()[s.data[2]]; ok {
			t.Error("the broken pack was written")
		}
	})
	t.Run("a store that hangs", func(t *testing.T) {
		s := newShelf(t, 3)
		from, err := replicator.Open(replicator.StoreConfig{
			Endpoint: s.source.Endpoint, Bucket: s.source.Bucket, Retries: 1, Idle: 50 * time.Millisecond,
		})
		if err != nil {
			t.Fatal(err)
		}
		s.source.Fault = func(c storetest.Call) *storetest.Fault {
			if c.Operation == storetest.Get && c.Key == s.data[2] {
				return &storetest.Fault{Hang: make(chan struct{})}
			}
			return nil
		}
		if _, err := replicator.Pass(t.Context(), from, s.to, "shop/", replicator.Options{}); err == nil {
			t.Error("no error")
		}
	})
	t.Run("broken snapshot, others are good", func(t *testing.T) {
		s := newShelf(t, 3)
		bad := s.add("snapshots", "another")
		s.source.Store(bad, []byte("anothex"))
		r, err := s.pass(t)
		if !errors.Is(err, replicator.ErrBroken) || !cmp.Equal(r.Snapshots, s.snapshots) {
			t.Errorf("got %+v and %v, want the other snapshot and ErrBroken", r, err)
		}
	})
}

func TestPass_Writes(t *testing.T) {
	target := func(s *shelf, f storetest.Fault, times int32) {
		var n atomic.Int32
		s.target.Fault = func(c storetest.Call) *storetest.Fault {
			if c.Operation == storetest.Put && c.Key == s.data[2] && n.Add(1) <= times {
				return &f
			}
			return nil
		}
	}
	t.Run("once 503 SlowDown", func(t *testing.T) {
		s := newShelf(t, 3)
		target(s, storetest.Fault{Status: http.StatusServiceUnavailable, Code: "SlowDown"}, 1)
		if _, err := s.pass(t); err != nil {
			t.Fatal(err)
		}
		s.whole(t)
	})
	t.Run("always 507", func(t *testing.T) {
		s := newShelf(t, 3)
		target(s, storetest.Fault{Status: http.StatusInsufficientStorage, Code: "XMinioStorageFull"}, 1000)
		r, err := s.pass(t)
		if err == nil || len(r.Snapshots) > 0 {
			t.Errorf("got snapshots %v and %v, want an error", r.Snapshots, err)
		}
		s.holdsNo(t, "index", "snapshots")
	})
	for name, etag := range map[string]func(string, []byte) string{
		"MD5":    nil,
		"no MD5": func(string, []byte) string { return "0123456789abcdef0123456789abcdef-2" },
	} {
		t.Run("a store that keeps something else, ETag "+name, func(t *testing.T) {
			s := newShelf(t, 3)
			s.target.ETag = etag
			target(s, storetest.Fault{Change: func(b []byte) []byte { return bytes.Repeat([]byte{'z'}, len(b)) }}, 1)
			r, err := s.pass(t)
			if err == nil || len(r.Snapshots) > 0 {
				t.Errorf("got snapshots %v and %v, want an error", r.Snapshots, err)
			}
			s.holdsNo(t, "index", "snapshots")
			if _, err := s.pass(t); err != nil {
				t.Errorf("the next pass: %v", err)
			}
			s.whole(t)
		})
	}
}

// TestPass_ETag: an ETag is never proof against a hash.
func TestPass_ETag(t *testing.T) {
	wrong := func(string, []byte) string { return "0123456789abcdef0123456789abcdef" }
	t.Run("wrong at the source", func(t *testing.T) {
		s := newShelf(t, 3)
		s.source.ETag = wrong
		for range 2 {
			if r, err := s.pass(t); err != nil || len(r.Broken) > 0 || !cmp.Equal(r.Snapshots, s.snapshots) {
				t.Errorf("got %+v and %v", r, err)
			}
			s.whole(t)
		}
		if got, want := len(s.target.Puts()), len(s.source.Objects()); got != want {
			t.Errorf("%d writes, want %d", got, want)
		}
	})
	t.Run("another content of the same length at the destination", func(t *testing.T) {
		s := newShelf(t, 3)
		if _, err := s.pass(t); err != nil {
			t.Fatal(err)
		}
		s.target.Store(s.data[2], bytes.Repeat([]byte{'z'}, len(s.source.Objects()[s.data[2]])))
		if r, err := s.pass(t); err != nil || r.Objects != 1 {
			t.Errorf("got %+v and %v, want one object repaired", r, err)
		}
		s.whole(t)
	})
	t.Run("another content of the same length at the source", func(t *testing.T) {
		s := newShelf(t, 3)
		if _, err := s.pass(t); err != nil {
			t.Fatal(err)
		}
		before := s.target.Objects()
		s.source.Store(s.data[2], bytes.Repeat([]byte{'z'}, len(before[s.data[2]])))
		r, err := s.pass(t)
		if err != nil || !cmp.Equal(r.Broken, []string{s.data[2]}) || !cmp.Equal(r.Snapshots, s.snapshots) {
			t.Errorf("got %+v and %v, want the pack named as broken and the copy complete", r, err)
		}
		if got := s.target.Objects(); !cmp.Equal(got, before) {
			t.Errorf("the destination changed: %s", cmp.Diff(before, got))
		}
	})
}

// TestPass_LyingDestination: a store that gives back less than it has, of which no listing tells whether it is the right
// content: what is there is not deleted for that.
func TestPass_LyingDestination(t *testing.T) {
	s := newShelf(t, 3)
	s.target.ETag = func(string, []byte) string { return "0123456789abcdef0123456789abcdef" } // as with SSE-KMS
	if _, err := s.pass(t); err != nil {
		t.Fatal(err)
	}
	s.whole(t)
	s.target.Fault = func(c storetest.Call) *storetest.Fault {
		if c.Operation == storetest.Get && c.Key == s.data[2] {
			return &storetest.Fault{Change: func(b []byte) []byte { return b[:len(b)-1] }}
		}
		return nil
	}
	if r, err := s.pass(t); err == nil || len(r.Snapshots) > 0 || !strings.Contains(err.Error(), s.target.Endpoint) {
		t.Errorf("got %+v and %v, want an error that names the store", r, err)
	}
	s.whole(t)
	if _, err := replicator.Repair(t.Context(), s.from, s.to, "shop/", []string{s.data[2]}, replicator.Options{}); err == nil {
		t.Error("repaired, by a store that lies")
	}
	s.whole(t)
	s.target.Fault = nil
	if r, err := s.pass(t); err != nil || !cmp.Equal(r.Snapshots, s.snapshots) {
		t.Errorf("once it is well: %+v and %v", r, err)
	}
}

func TestPass_StrangeNames(t *testing.T) {
	s := newShelf(t, 2)
	for _, key := range []string{
		"shop/data/ab/readme", "shop/data/", "shop/index/ABCDEF", "shop/snapshots/" + strings.Repeat("A", 64),
		"shop/data/00/" + strings.Repeat("a", 64), "shop/tmp/x",
	} {
		s.source.Store(key, []byte("strange"))
	}
	if _, err := s.pass(t); err != nil {
		t.Fatal(err)
	}
	for key, content := range s.target.Objects() {
		if string(content) == "strange" {
			t.Errorf("%s was copied", key)
		}
	}
}
