package maintenance_test

import (
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"drp/replicator"
	"drp/replicator/maintenance"
	"drp/replicator/storetest"
)

// TestAccounts_Many: the trash of a site has millions of objects, and none of them is kept in memory to learn whose they are.
func TestAccounts_Many(t *testing.T) {
	const pages, accounts = 20, 4
	var first, last uint64
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	store, err := replicator.Open(replicator.StoreConfig{
		Endpoint: storetest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			page, _ := strconv.Atoi(r.URL.Query().Get("continuation-token"))
			switch page {
			case 2: // connections and buffers are there
				first = heap()
			case pages - 1:
				last = heap()
			}
			var body strings.Builder
			body.WriteString("<ListBucketResult>")
			for n := range 1000 {
				fmt.Fprintf(&body, "<Contents><Key>.trash/shop%d/1-20260101T000000-abc/data/%064d</Key><Size>1</Size>"+
					"<ETag>%032d</ETag><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>", page*accounts/pages, page*1000+n, n)
			}
			if page < pages-1 {
				fmt.Fprintf(&body, "<IsTruncated>true</IsTruncated><NextContinuationToken>%d</NextContinuationToken>", page+1)
			}
			body.WriteString("</ListBucketResult>")
			_, _ = w.Write([]byte(body.String()))
		})),
		Bucket: "bucket", AccessKey: "a", SecretKey: "b", Retries: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	found, err := (&maintenance.Keeper{Store: store}).Accounts(t.Context())
	if err != nil || !slices.Equal(found, []string{"shop0", "shop1", "shop2", "shop3"}) {
		t.Errorf("got %v, %v", found, err)
	}
	if last > first+2<<20 {
		t.Errorf("after %d objects %d KiB more are in use than after 2,000", pages*1000, (last-first)>>10)
	}
}
