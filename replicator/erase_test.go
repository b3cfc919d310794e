package replicator_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"drp/replicator"
	"drp/replicator/storetest"
)

// TestStore_KeepsVersions: a store that does not say what it keeps is not believed to keep nothing; one that knows no versions is.
func TestStore_KeepsVersions(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		kept   bool
		failed bool
	}{
		"enabled":     {200, "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>", true, false},
		"suspended":   {200, "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>", true, false},
		"never":       {200, "<VersioningConfiguration/>", false, false},
		"unknown":     {501, "<Error><Code>NotImplemented</Code></Error>", false, false},
		"not allowed": {403, "<Error><Code>AccessDenied</Code></Error>", false, true},
		"out of work": {500, "<Error><Code>InternalError</Code></Error>", false, true},
		"nonsense":    {200, "<html>", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := answering(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				fmt.Fprint(w, c.body)
			})
			if kept, err := s.KeepsVersions(t.Context()); kept != c.kept || (err != nil) != c.failed {
				t.Errorf("got %v, %v", kept, err)
			}
		})
	}
}

func answering(t *testing.T, answer http.HandlerFunc) *replicator.Store {
	t.Helper()
	s, err := replicator.Open(replicator.StoreConfig{Endpoint: storetest.Serve(t, answer), Bucket: "bucket", AccessKey: "a", SecretKey: "b", Retries: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// noListings are answers that say nothing of what a store has. minio-go takes each for a listing with nothing in it.
var noListings = map[string]string{
	"an error that says 200": "<Error><Code>InternalError</Code><Message>we are busy</Message></Error>",
	"a page for people":      "<html><body>back soon</body></html>",
	"another listing":        "<ListBucketResult></ListBucketResult>",
}

// TestStore_Versions: a listing of versions is all of them, or an error.
func TestStore_Versions(t *testing.T) {
	version := func(key, id string) string {
		return fmt.Sprintf("<Version><Key>%s</Key><VersionId>%s</VersionId><Size>3</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified></Version>", key, id)
	}
	more := func(key, id string) string {
		return fmt.Sprintf("<IsTruncated>true</IsTruncated><NextKeyMarker>%s</NextKeyMarker><NextVersionIdMarker>%s</NextVersionIdMarker>", key, id)
	}
	marker := "<DeleteMarker><Key>shop/a</Key><VersionId>3</VersionId><IsLatest>true</IsLatest><LastModified>2026-01-01T00:00:00.000Z</LastModified></DeleteMarker>"
	for name, c := range map[string]struct {
		pages map[string]string // by the key marker
		want  string
	}{
		"two pages":   {map[string]string{"": marker + version("shop/a", "2") + more("shop/a", "2"), "shop/a": version("shop/a", "1") + version("shop/b", "1")}, "4"},
		"in a circle": {map[string]string{"": version("shop/a", "2") + more("shop/a", "2"), "shop/a": version("shop/a", "2") + more("shop/a", "2")}, `named "shop/a" three times`},
		"a page that begins as the last one ended": {map[string]string{
			"": marker + version("shop/a", "2") + more("shop/a", "2"), "shop/a": version("shop/a", "2") + version("shop/a", "1") + version("shop/b", "1"),
		}, "4"},
		"of another":      {map[string]string{"": version("shop2/a", "2")}, `"shop2/a", which lies elsewhere`},
		"without version": {map[string]string{"": version("shop/a", "")}, `gives "shop/a" no version`},
		"a second page that fails": {map[string]string{"": version("shop/a", "2") + more("shop/a", "2")},
			"list versions of "},
		"another kind of listing": {map[string]string{"": "<Contents><Key>shop/a</Key></Contents>"}, "list versions of "},
	} {
		t.Run(name, func(t *testing.T) {
			s := answering(t, func(w http.ResponseWriter, r *http.Request) {
				page, ok := c.pages[r.URL.Query().Get("key-marker")]
				if !ok {
					w.WriteHeader(http.StatusInternalServerError)
					return
				}
				fmt.Fprint(w, "<ListVersionsResult>"+page+"</ListVersionsResult>")
			})
			list, err := s.Versions(t.Context(), "shop/", true)
			if got := fmt.Sprint(len(list)); err == nil && got != c.want || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %s, %v, want %s", got, err, c.want)
			}
			if err != nil {
				return
			}
			if v := list[0]; !v.Marker || !v.Latest || v.ID != "3" || list[1].Marker || list[3].Size != 3 {
				t.Errorf("got %+v", list)
			}
		})
	}
	for name, answer := range noListings {
		t.Run(name, func(t *testing.T) {
			s := answering(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) })
			if list, err := s.Versions(t.Context(), "shop/", true); err == nil {
				t.Errorf("got %v: nothing is there, it seems", list)
			}
		})
	}
	t.Run("ended", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // minio-go's listing ends without a word then
		s := answering(t, func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "<ListVersionsResult>"+version("shop/a", "2")+"</ListVersionsResult>")
		})
		if list, err := s.Versions(ctx, "shop/", true); err == nil {
			t.Errorf("got %v", list)
		}
	})
}

// TestStore_Unfinished: uploads in parts are listed to the end, or it is an error.
func TestStore_Unfinished(t *testing.T) {
	upload := func(key string) string { return "<Upload><Key>" + key + "</Key><UploadId>1</UploadId></Upload>" }
	const more = "<IsTruncated>true</IsTruncated><NextKeyMarker>shop/a</NextKeyMarker><NextUploadIdMarker>1</NextUploadIdMarker>"
	for name, c := range map[string]struct {
		pages map[string]string
		want  string
	}{
		"two pages":      {map[string]string{"": upload("shop/a") + more, "shop/a": upload("shop/b")}, "2"},
		"in a circle":    {map[string]string{"": upload("shop/a") + more, "shop/a": upload("shop/b") + more}, "does not get further"},
		"of another":     {map[string]string{"": upload("shop2/a")}, "lies elsewhere"},
		"a second fails": {map[string]string{"": upload("shop/a") + more}, "list unfinished uploads of"},
	} {
		t.Run(name, func(t *testing.T) {
			s := answering(t, func(w http.ResponseWriter, r *http.Request) {
				page, ok := c.pages[r.URL.Query().Get("key-marker")]
				if !ok {
					w.WriteHeader(http.StatusForbidden)
					return
				}
				fmt.Fprint(w, "<ListMultipartUploadsResult>"+page+"</ListMultipartUploadsResult>")
			})
			list, err := s.Unfinished(t.Context(), "shop/")
			if got := fmt.Sprint(len(list)); err == nil && got != c.want || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %s, %v, want %s", got, err, c.want)
			}
		})
	}
	for name, answer := range noListings {
		t.Run(name, func(t *testing.T) {
			s := answering(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, answer) })
			if list, err := s.Unfinished(t.Context(), "shop/"); err == nil {
				t.Errorf("got %v: nothing is there, it seems", list)
			}
		})
	}
}
