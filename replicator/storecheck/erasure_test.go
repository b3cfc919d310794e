package storecheck

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"drp/replicator"
	"drp/replicator/storetest"
)

// ofErasure are the properties that the erasure of an account needs.
var ofErasure = []string{"versioning", "list-versions", "delete-version", "unfinished-uploads"}

func (r *Report) of(property string) Result {
	n := slices.IndexFunc(r.Results, func(x Result) bool { return x.Property == property })
	return r.Results[n]
}

// nothingListed fails when a real store lists anything in a bucket, in whatever way.
func nothingListed(t *testing.T, of replicator.StoreConfig, but ...string) {
	t.Helper()
	s, err := replicator.Open(of)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	kept, err := s.KeepsVersions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	versions, err := s.Versions(t.Context(), "", kept)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, v := range versions {
		if !slices.Contains(but, v.Key) {
			left = append(left, v.Key)
		}
	}
	uploads, err := s.Unfinished(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range uploads {
		if !slices.Contains(but, u.Key) {
			left = append(left, u.Key)
		}
	}
	if len(left) > 0 {
		t.Errorf("%d objects are left, as %s", len(left), left[0])
	}
}

// TestCheck_keepsNone: a store that knows neither versions nor uploads in parts lacks nothing, and says what it is like. One that keeps
// versions and says that it does not is found also where it tells none to who writes.
func TestCheck_keepsNone(t *testing.T) {
	d, c := honest(t)
	d.Lock = false
	noUploads := answer(d, func(r *http.Request) bool {
		return r.URL.Query().Has("uploads") || r.URL.Query().Has("uploadId")
	}, http.StatusNotImplemented, "NotImplemented")
	c.Store.Endpoint = storetest.Serve(t, noUploads)
	r := run(t, c)
	for property, want := range map[string]string{
		"versioning": "the bucket keeps no versions, and says so", "list-versions": keepsNone, "delete-version": keepsNone,
		"unfinished-uploads": "the store knows no uploads in parts",
	} {
		if x := r.of(property); x.Answer != OK || x.Detail != want || x.NotGuaranteed != "" {
			t.Errorf("%s: got %+v, want %q", property, x, want)
		}
	}
	nothingLeft(t, d)

	const line = "<Version><Key>%s</Key><VersionId>%d</VersionId><LastModified>2026-01-01T00:00:00.000Z</LastModified></Version>"
	c.Store.Endpoint = storetest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if prefix := r.URL.Query().Get("prefix"); r.URL.Query().Has("versions") && strings.HasSuffix(prefix, "/versioning") {
			fmt.Fprintf(w, "<ListVersionsResult>"+line+line+"</ListVersionsResult>", prefix, 1, prefix, 2)
			return
		}
		d.ServeHTTP(w, r)
	}))
	if x := run(t, c).of("versioning"); x.Answer != No || !strings.Contains(x.Detail, "lists 2 of one object") {
		t.Errorf("got %+v", x)
	}
}

// TestCheck_lockedForErasure: what keeps an account from being erased here is not a right that the key lacks.
func TestCheck_lockedForErasure(t *testing.T) {
	d, c := honest(t)
	until := c.now().Add(time.Hour)
	c.Store.Endpoint = storetest.Serve(t, with(d, func(r *http.Request) {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/by-version") { // the bucket's default retention
			r.Header.Set("X-Amz-Object-Lock-Retain-Until-Date", until.Format(time.RFC3339))
		}
	}))
	r, err := c.Run(t.Context())
	if x := r.of("delete-version"); x.Answer != No || !strings.Contains(x.Detail, "object lock keeps all that is written, for now until "+until.Format(time.RFC3339)) {
		t.Errorf("got %+v", x)
	}
	if err == nil || !strings.Contains(err.Error(), "3 versions: ") { // one reason for all of them
		t.Errorf("what stays: %v", err)
	}
}

// TestCheck_interruptedUpload: an upload in parts that was begun does not stay.
func TestCheck_interruptedUpload(t *testing.T) {
	d, c := honest(t)
	ctx, cancel := context.WithCancel(t.Context())
	begun := false
	c.Store.Endpoint = storetest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.ServeHTTP(w, r)
		if r.Method == http.MethodPost && r.URL.Query().Has("uploads") {
			begun = len(d.Uploads()) == 1
			cancel() // before the answer gets there, perhaps
		}
	}))
	if _, err := c.Run(ctx); !errors.Is(err, context.Canceled) || !begun {
		t.Errorf("got %v, begun %t", err, begun)
	}
	nothingLeft(t, d)
}

// TestCheck_rights: of a key that may not do one thing of an erasure, in a real bucket that keeps versions, exactly that is told, by
// the name of the right, and all else is found as it is. Nothing but the probes is touched.
func TestCheck_rights(t *testing.T) {
	s := storetest.StartVersioned(t)
	const bucket = "kept"
	s.VersionedBucket(bucket)
	admin := replicator.StoreConfig{Endpoint: s.Endpoint, Bucket: bucket, AccessKey: s.Admin.Access, SecretKey: s.Admin.Secret}
	others := writeOthers(t, admin)
	for right, c := range map[string]struct{ property, stays string }{
		"":                              {"", ""},
		"s3:GetBucketVersioning":        {"versioning", ""},
		"s3:ListBucketVersions":         {"list-versions", "the markers of what was deleted stay"},
		"s3:DeleteObjectVersion":        {"delete-version", "versions: "},
		"s3:ListBucketMultipartUploads": {"unfinished-uploads", ""},
		"s3:AbortMultipartUpload":       {"unfinished-uploads", ""},
	} {
		t.Run(right, func(t *testing.T) {
			if right == "" {
				s.Allow(bucket)
			} else {
				s.Allow(bucket, right)
			}
			check := Check{
				Store:  replicator.StoreConfig{Endpoint: s.Endpoint, Bucket: bucket, AccessKey: s.Reader.Access, SecretKey: s.Reader.Secret},
				Folder: "customers/", keys: 40, large: 1 << 20, rounds: 2, races: 2,
			}
			r, err := check.Run(t.Context())
			if r == nil || !r.Fit || len(r.Results) != len(properties) {
				t.Fatalf("got %+v, %v", r, err)
			}
			for _, name := range ofErasure {
				x := r.of(name)
				switch {
				case name == c.property:
					if x.Answer != No || !strings.Contains(x.Detail, "this key lacks the right "+right+" (403 AccessDenied)") {
						t.Errorf("%s: got %s: %s", name, x.Answer, x.Detail)
					}
				case name == "delete-version" && c.property == "list-versions":
					if x.Answer != Unknown || !strings.Contains(x.Detail, "of the markers of deletions it cannot be told") {
						t.Errorf("%s: got %s: %s", name, x.Answer, x.Detail)
					}
				case x.Answer != OK:
					t.Errorf("%s: got %s: %s", name, x.Answer, x.Detail)
				}
			}
			if c.stays == "" {
				if err != nil {
					t.Error(err)
				}
				nothingListed(t, admin, others...)
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.stays) || strings.Count(err.Error(), "\n") > 3 {
				t.Errorf("what stays: %v", err)
			}
			removeProbes(t, admin, c.property == "list-versions")
		})
	}
	stay(t, admin, others)
}

// writeOthers writes what is not the check's: an object beside its probes, twice, one that is hidden, and an upload.
func writeOthers(t *testing.T, c replicator.StoreConfig) (keys []string) {
	t.Helper()
	client := clientOf(t, c)
	keys = []string{"customers/a/config", "customers/.drp-check", "customers/a/upload"}
	for range 2 {
		for _, key := range keys[:2] {
			if _, err := client.PutObject(t.Context(), c.Bucket, key, strings.NewReader("own"), 3, "", "", minio.PutObjectOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := client.RemoveObject(t.Context(), c.Bucket, keys[1], minio.RemoveObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.NewMultipartUpload(t.Context(), c.Bucket, keys[2], minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	return keys
}

// stay fails when anything of what was written by writeOthers is gone.
func stay(t *testing.T, c replicator.StoreConfig, keys []string) {
	t.Helper()
	s, err := replicator.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	versions, err := s.Versions(t.Context(), "", true)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int)
	for _, v := range versions {
		got[v.Key]++
	}
	uploads, err := s.Unfinished(t.Context(), "customers/")
	if err != nil {
		t.Fatal(err)
	}
	if got[keys[0]] != 2 || got[keys[1]] != 3 || len(uploads) != 1 || uploads[0].Key != keys[2] {
		t.Errorf("versions %v, uploads %v", got, uploads)
	}
}

// removeProbes removes what a check had to leave. If it could do all but list, that is nothing that holds anything.
func removeProbes(t *testing.T, c replicator.StoreConfig, markersAlone bool) {
	t.Helper()
	s, err := replicator.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	versions, err := s.Versions(t.Context(), "customers/.drp-check-", true)
	if err != nil || len(versions) == 0 {
		t.Fatal(len(versions), err)
	}
	for _, v := range slices.Backward(versions) {
		if markersAlone && !v.Marker && !strings.HasSuffix(v.Key, "/copy-to") { // of a copy no version was told
			t.Errorf("left: %s", v.Key)
		}
		if err := s.Erase(t.Context(), v); err != nil {
			t.Fatal(err)
		}
	}
}

func clientOf(t *testing.T, c replicator.StoreConfig) *minio.Core {
	t.Helper()
	client, err := minio.NewCore(strings.TrimPrefix(c.Endpoint, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4(c.AccessKey, c.SecretKey, ""), Region: "us-east-1",
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}
