package state

import (
	"strconv"
	"strings"
	"testing"
)

func TestAudit_chainSurvivesARestore(t *testing.T) {
	n, _, _ := backedUp(t)
	checkChain(t, n.view())
	n.state = restored(t, persisted(t, n.view()))
	checkChain(t, n.view())
}

func checkChain(tb testing.TB, v *View) {
	tb.Helper()
	var hash Digest
	list := v.Audit(0, 1<<20)
	for i, e := range list {
		if i > 0 {
			if e.Seq != list[i-1].Seq+1 {
				tb.Fatalf("entry %d follows %d", e.Seq, list[i-1].Seq)
			}
			if got := e.Chain(hash); got != e.Hash {
				tb.Fatalf("entry %d: got hash %s, want %s", e.Seq, e.Hash, got)
			}
		}
		hash = e.Hash
	}
	if head := v.AuditHead(); head.Hash != hash || uint64(len(list)) != head.Seq-head.First+1 {
		tb.Fatalf("got head %+v over %d entries that end in %s", head, len(list), hash)
	}
}

func TestAudit_leavesMemoryOnceExported(t *testing.T) {
	n := newCluster(t)
	note := func() {
		n.index++
		c := Command{Name: TaskForget, ID: "n" + strconv.FormatUint(n.index, 10), At: epoch, Data: []byte(`{"task":"t"}`)}
		if _, err := n.state.Apply(n.index, c); err != nil {
			t.Fatal(err)
		}
	}
	for range auditKept + 500 {
		note()
	}
	head := n.view().AuditHead()
	if head.First != 1 || head.Dropped != 0 {
		t.Fatalf("got %+v, want all entries kept that are in no store", head)
	}
	e := n.view().Audit(head.Seq, 1)[0]
	exported := AuditExportedData{Through: e.Seq, Hash: e.Hash, Sites: []SiteName{"par1"}}
	wrong := exported
	wrong.Hash = Sum(nil)
	n.refused(ErrConflict, "has hash", AuditExported, wrong)
	wrong = exported
	wrong.Through += 1000
	n.refused(ErrNotFound, "no entry", AuditExported, wrong)
	n.must(AuditExported, exported)
	n.same(AuditExported, exported)
	for range 1000 {
		note()
	}
	head = n.view().AuditHead()
	if got, want := head.Seq-head.First+1, uint64(auditKept); got != want || head.Dropped != 0 {
		t.Errorf("got %d entries and %d dropped, want %d and none", got, head.Dropped, want)
	}
	checkChain(t, n.view())
}

func TestAudit_dropsAndCountsAboveItsLimit(t *testing.T) {
	s := New()
	txn := s.db.write()
	h := AuditHead{}
	for range auditLimit + 10 {
		h.extend(txn, &AuditEntry{Command: TaskForget})
	}
	if got, want := h.Dropped, uint64(10); got != want {
		t.Errorf("got %d dropped, want %d", got, want)
	}
	if got, want := len(auditTable.list(txn)), auditLimit; got != want {
		t.Errorf("got %d entries, want %d", got, want)
	}
}

func TestAudit_bounded(t *testing.T) {
	n := newPlatform(t)
	long := strings.Repeat("é", 1<<14)
	n.must(AuditNote, AuditNoteData{Action: long, Subject: long, Detail: long})
	if got := len(n.view().Audit(n.view().AuditHead().Seq, 1)[0].Line()); got > 8<<10 {
		t.Errorf("got a line of %d bytes", got)
	}
	n.refused(ErrInvalid, "what was done", AuditNote, AuditNoteData{})
}

// Members of an earlier release make no entries, so nobody does before all are of this one: their states would differ.
func TestAudit_beginsWhenAllMembersMakeEntries(t *testing.T) {
	n := newNode(t)
	n.must(ClusterInit, ClusterInitData{UUID: "7d1f", Incarnation: 1})
	n.must(InventoryApply, inventory())
	if got := n.view().AuditHead(); got != (AuditHead{}) || len(n.view().Audit(0, 10)) > 0 {
		t.Errorf("got a trail at level 1: %+v", got)
	}
	n.must(ClusterLevel, ClusterLevelData{Level: 2})
	if got, want := n.view().AuditHead().Seq, uint64(1); got != want {
		t.Errorf("got entry %d for the change of level, want %d", got, want)
	}
	checkChain(t, n.view())
}
