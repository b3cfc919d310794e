package state

import (
	"strconv"
	"strings"
	"testing"
)

// Every command leaves one entry that says who, what and when: those that were refused too, and a retry none.
func TestAudit_everyCommand(t *testing.T) {
	n := newPlatform(t)
	for name, payload := range examples() {
		before := n.view().AuditHead()
		c := n.command(name, payload)
		r := n.applyCommand(c)
		head := n.view().AuditHead()
		if got, want := head.Seq, before.Seq+1; got != want {
			t.Fatalf("%s: got entry %d, want %d", name, got, want)
		}
		e := n.view().Audit(head.Seq, 1)[0]
		if e.Command != name || e.By != "operator/ada" || e.ID != c.ID || e.Index != n.index || !e.At.Equal(c.At) || e.Payload != Sum(c.Data) {
			t.Errorf("%s: got entry %+v", name, e)
		}
		if e.Subject == "" {
			t.Errorf("%s: its entry does not say what it is about", name)
		}
		if (e.Refused == "") != (r.Err == nil) {
			t.Errorf("%s: got refused %q, want it to say %v", name, e.Refused, r.Err)
		}
		n.applyCommand(c)
		if got := n.view().AuditHead(); got != head {
			t.Errorf("%s: a retry moved the trail from %+v to %+v", name, head, got)
		}
	}
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
	n := newNode(t)
	n.must(ClusterInit, ClusterInitData{UUID: "7d1f", Incarnation: 1})
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
	txn := s.begin()
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
	n := newNode(t)
	long := strings.Repeat("é", 1<<14)
	n.must(AuditNote, AuditNoteData{Action: long, Subject: long, Detail: long})
	if got := len(n.view().Audit(1, 1)[0].Line()); got > 8<<10 {
		t.Errorf("got a line of %d bytes", got)
	}
	n.refused(ErrInvalid, "what was done", AuditNote, AuditNoteData{})
}
