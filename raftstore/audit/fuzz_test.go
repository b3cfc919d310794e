package audit

import (
	"bytes"
	"testing"

	"drp/raftstore/signed"
	"drp/raftstore/state"
)

// FuzzScan: no text makes the decoder panic, and one that it takes for good is the only form of what it says.
func FuzzScan(f *testing.F) {
	h := newHistory(f).live(6)
	text := h.segment(1, 0)
	f.Add(text)
	f.Add(h.segment(3, 5))
	f.Add(write(f, Header{Cluster: cluster, First: 1}, nil))
	f.Add(text[:len(text)-9])
	f.Add([]byte("{}\n{\"entries\":0}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var entries []*state.AuditEntry
		seg, err := Scan(bytes.NewReader(text), func(e *state.AuditEntry) error {
			entries = append(entries, e)
			return nil
		})
		if err != nil {
			return
		}
		if again := write(t, seg.Header, entries); !bytes.Equal(again, text) {
			t.Errorf("taken for good:\n%q\nwritten:\n%q", text, again)
		}
	})
}

// FuzzReadCheckpoint: the same of checkpoints.
func FuzzReadCheckpoint(f *testing.F) {
	body, err := Sign(newHistory(f).live(3).checkpoint(0), newAuthority(f, nil).holder("drp://"+cluster+"/coordinator/par1-c").sign)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Add([]byte(`{"checkpoint":{}}` + "\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := ReadCheckpoint(body)
		if err != nil {
			return
		}
		if again, err := signed.Encode(s); err != nil || !bytes.Equal(again, body) {
			t.Errorf("taken for good: %q, written: %q (%v)", body, again, err)
		}
	})
}
