package state

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// anySnapshots are what the catalogue of an account can hold.
func anySnapshots(t *rapid.T, account AccountName) []*Snapshot {
	name := rapid.SampledFrom([]string{"", "par1", "par2", "par1-s1", "btrfs", "live", "é"})
	at := rapid.Custom(func(t *rapid.T) time.Time {
		return time.UnixMilli(rapid.Int64Range(-1<<40, 1<<42).Draw(t, "milliseconds")).UTC()
	})
	return rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) *Snapshot {
		s := &Snapshot{
			ID:      SnapshotID(fmt.Sprintf("%064x", rapid.Uint64().Draw(t, "id"))),
			Account: account, Start: at.Draw(t, "start"), Finished: at.Draw(t, "finished"), Server: ServerName(name.Draw(t, "server")),
			Token: Token{rapid.Uint64().Draw(t, "incarnation"), rapid.Uint64().Draw(t, "generation")}, View: name.Draw(t, "view"),
			Files: rapid.Int64().Draw(t, "files"), Bytes: rapid.Int64().Draw(t, "bytes"),
		}
		for _, site := range rapid.SliceOfN(name, 0, 3).Draw(t, "sites") {
			s.Sites = append(s.Sites, Copy{SiteName(site), at.Draw(t, "copied")})
		}
		if rapid.Bool().Draw(t, "over") {
			s.ForgetAt = at.Draw(t, "forgotten")
		}
		s.Copied = rapid.IntRange(0, 1000).Draw(t, "SQLite files")
		s.Repository = rapid.SampledFrom([]int{0, 0, 2, 300}).Draw(t, "repository")
		for _, part := range rapid.SliceOfN(name, 0, 2).Draw(t, "parts") {
			s.Parts = append(s.Parts, Part{part, name.Draw(t, "failure")})
		}
		return s
	}), 0, 5, func(s *Snapshot) SnapshotID { return s.ID }).Draw(t, "snapshots")
}

// What is packed comes out again, newest first, and the same snapshots give the same bytes, in whatever order they came.
func TestProperty_Catalogue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := anySnapshots(t, "shop")
		packed := pack("shop", list)
		got, err := packed.unpack()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(list, got, cmpopts.EquateEmpty()); diff != "" { // pack has sorted it
			t.Fatal(diff)
		}
		rand.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
		if diff := cmp.Diff(packed, pack("shop", got)); diff != "" {
			t.Fatal(diff)
		}
		// Nothing that is cut short or turned round makes this package panic, and what is cut is refused.
		if n := len(packed.Records); n > 0 {
			cut := *packed
			cut.Records = packed.Records[:rapid.IntRange(0, n-1).Draw(t, "cut")]
			if left, err := cut.unpack(); err == nil && len(left) == len(list) {
				t.Fatal("cut records give as many snapshots")
			}
			broken := *packed
			broken.Records = append([]byte{}, packed.Records...)
			broken.Records[rapid.IntRange(0, n-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
			_, _ = broken.unpack()
		}
	})
}

// These bytes are in snapshots and exports for ever.
func TestCatalogue_Golden(t *testing.T) {
	s := &Snapshot{
		ID: snapshotID("a"), Start: epoch, Finished: epoch.Add(time.Second), Server: "par1-s1", Token: Token{1, 2}, View: "btrfs", Files: 3, Bytes: 4,
		Sites: []Copy{{"par1", epoch.Add(time.Second)}, {"par2", epoch.Add(time.Minute)}}, ForgetAt: epoch.Add(time.Hour),
		Parts: []Part{{"mysql/shop", "gone"}, {"postgresql/shop", ""}}, Copied: 5, Repository: 2,
	}
	const want = `{"account":"shop","names":["par1-s1","btrfs","par1","par2"],"records":"qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqAnrX1lGfQDwABAgEGCAIC0A8DwKkHAYC6twM="}`
	s.Account = "shop"
	for field, zero := range zeroFields("Snapshot", reflect.ValueOf(*s)) {
		if zero {
			t.Errorf("%s is not set in the example", field)
		}
	}
	const parts = `{"account":"shop","names":["par1-s1","btrfs","par1","par2","mysql/shop","gone","postgresql/shop",""],"records":"qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqAnrX1lGfQDwABAgEGCAIC0A8DwKkH`
	for _, form := range []struct {
		what, want string
		next       func()
	}{
		{"in a later repository", parts + `D4C6twMCBAUGBwUC"}`, func() { s.Repository = 0 }},
		{"with copied files", parts + `B4C6twMCBAUGBwU="}`, func() { s.Copied = 0 }},
		{"with parts", parts + `A4C6twMCBAUGBw=="}`, func() { s.Parts = nil }},
	} {
		if got := string(pack("shop", []*Snapshot{s}).appendJSON(nil)); got != form.want {
			t.Errorf("%s: got  %s\nwant %s", form.what, got, form.want)
		}
		var whole catalogue
		if err := json.Unmarshal([]byte(form.want), &whole); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]*Snapshot{s}, whole.snapshots()); diff != "" {
			t.Errorf("%s: %s", form.what, diff)
		}
		form.next()
	}
	packed := pack("shop", []*Snapshot{s})
	if diff := cmp.Diff([]*Snapshot{s}, packed.snapshots()); diff != "" {
		t.Error(diff)
	}
	if got := string(packed.appendJSON(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var back catalogue
	if err := json.Unmarshal([]byte(want), &back); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		strings.Replace(want, `"par2"]`, `"par2"],"more":1`, 1),
		strings.Replace(want, `,"par2"]`, `]`, 1), // a name that is not there
		strings.Replace(want, `kHAYC6twM=`, ``, 1),
	} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

// At the level at which every member can read catalogues all snapshots move into them, and nothing else changes.
func TestClusterLevel_PacksSnapshots(t *testing.T) {
	n, home := threeSnapshots(t) // at level 2
	before := n.view()
	if len(snapshotTable.list(before.txn)) != 3 {
		t.Fatal("the snapshots are no rows of their own")
	}
	n.must(ClusterLevel, ClusterLevelData{Level: LevelCatalogues})
	after := n.view()
	if diff := cmp.Diff(before.Snapshots("guestbook"), after.Snapshots("guestbook")); diff != "" {
		t.Error(diff)
	}
	if left := len(snapshotTable.list(after.txn)); left != 0 {
		t.Errorf("%d snapshots are rows of their own", left)
	}
	got, err := after.Recompute()
	if err != nil || got != after.Digest() {
		t.Errorf("got digest %s, %v; the rows give %s", after.Digest(), err, got)
	}
	// And from here on they live there.
	n.must(SnapshotsForget, SnapshotsForgetData{Account: "guestbook", Home: home, Snapshots: []SnapshotID{snapshotID("a")}})
	n.must(MaintenanceRecord, MaintenanceRecordData{Account: "guestbook", Home: home, Forgotten: []SnapshotID{snapshotID("a")}})
	n.must(ReplicationRecord, ReplicationRecordData{Account: "guestbook", From: "par1", To: "par2", Snapshots: []SnapshotID{snapshotID("c")}})
	if list := n.view().Snapshots("guestbook"); len(list) != 2 || len(list[0].Sites) != 2 || n.view().Snapshot("guestbook", snapshotID("a")) != nil {
		t.Errorf("got %+v", list)
	}
}

// What a packed snapshot costs a coordinator. There are thirty for each account of a platform, and a hundred thousand accounts.
func TestCatalogue_IsSmall(t *testing.T) {
	const accounts, each = 500, 30
	memory := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := memory()
	var rows []*catalogue
	for a := range accounts {
		var list []*Snapshot
		for i := range each {
			start := epoch.AddDate(0, 0, i).Add(time.Duration(a) * 1234 * time.Millisecond)
			list = append(list, &Snapshot{
				ID: SnapshotID(fmt.Sprintf("%064x", a*each+i)), Start: start, Finished: start.Add(17 * time.Second), Server: "par1-s1", Token: Token{1, 3},
				View: "btrfs", Files: 20_000, Bytes: 3 << 30, Sites: []Copy{{"par1", start.Add(18 * time.Second)}, {"par2", start.Add(time.Minute)}},
			})
		}
		rows = append(rows, pack("shop", list))
	}
	if each := (memory() - before) / (accounts * each); each > 100 {
		t.Errorf("a snapshot costs %d bytes, and at most 100 are allowed", each)
	}
	runtime.KeepAlive(rows)
}
