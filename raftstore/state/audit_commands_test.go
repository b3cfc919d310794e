package state

import (
	"maps"
	"slices"
	"testing"
	"time"
)

// Every command there is leaves an entry that says who, when, what and about what, whether it is carried out or refused.
// A new command without a subject fails here.
func TestAudit_EveryCommand(t *testing.T) {
	examples := examples()
	for _, name := range slices.Sorted(maps.Keys(handlers)) {
		t.Run(string(name), func(t *testing.T) {
			for situation, n := range map[string]*node{"empty state": newNode(t), "platform": newPlatform(t)} {
				before := n.state.View().AuditHead()
				c := NewCommand(name, "the-id", epoch.Add(42*time.Minute), "operator/eve", examples[name])
				r := n.applyCommand(c)
				head := n.state.View().AuditHead()
				if head.Seq != before.Seq+1 {
					t.Fatalf("%s: got %d entries, want 1", situation, head.Seq-before.Seq)
				}
				e := n.state.View().Audit(head.Seq, 1)[0]
				if e.By != "operator/eve" || !e.At.Equal(c.At) || e.Command != name || e.ID != "the-id" || e.Index != n.index || e.Payload != Sum(c.Data) {
					t.Errorf("%s: got %+v", situation, e)
				}
				if e.Subject == "" && e.Detail == "" {
					t.Errorf("%s: it does not say what it was about", situation)
				}
				if (r.Err != nil) != (e.Refused != "") {
					t.Errorf("%s: the answer was %v, the entry says refused %q", situation, r.Err, e.Refused)
				}
				if e.Hash != e.Chain(before.Hash) || head.Hash != e.Hash {
					t.Errorf("%s: its hash does not follow from the entry before", situation)
				}
				n.applyCommand(c) // a retry was done once, and is told once
				if got := n.state.View().AuditHead().Seq; got != head.Seq {
					t.Errorf("%s: a retry left %d entries more", situation, got-head.Seq)
				}
			}
		})
	}
}
