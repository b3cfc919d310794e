package audit

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"drp/raftstore/signed"
	"drp/raftstore/state"
)

// Writer writes one segment. What it writes follows from header and entries alone: two coordinators that write the same
// entries write the same bytes.
type Writer struct {
	to      io.Writer
	sum     hash.Hash
	next    uint64
	entries uint64
	head    state.Digest
}

// NewWriter begins a segment. Nobody has to set the header's Format.
func NewWriter(to io.Writer, h Header) (*Writer, error) {
	h.Format = Format
	if h.Cluster == "" || h.First == 0 {
		return nil, errors.New("write audit segment: it takes a cluster, and entries count from 1")
	}
	w := &Writer{to: to, sum: sha256.New(), next: h.First, head: h.Previous}
	return w, w.line(h)
}

// Add writes the next entry. It refuses one that does not follow the one before: a fault in the state is found here, and
// not exported.
func (w *Writer) Add(e *state.AuditEntry) error {
	if e.Seq != w.next {
		return fmt.Errorf("write audit segment: entry %d comes where %d is due", e.Seq, w.next)
	}
	if e.Hash != e.Chain(w.head) {
		return fmt.Errorf("write audit segment: the hash of entry %d does not follow from the entry and the one before it", e.Seq)
	}
	if err := w.line(e); err != nil {
		return err
	}
	w.next, w.head, w.entries = w.next+1, e.Hash, w.entries+1
	return nil
}

// Close writes the trailer. It does not close what it writes to.
func (w *Writer) Close() error {
	t := trailer{Entries: w.entries, Last: w.next - 1, Head: w.head}
	w.sum.Sum(t.SHA256[:0])
	return w.line(t)
}

// Head is the hash of the newest entry, and its number.
func (w *Writer) Head() (seq uint64, head state.Digest) { return w.next - 1, w.head }

func (w *Writer) line(v any) error {
	line, err := signed.Encode(v)
	if err != nil {
		return fmt.Errorf("write audit segment: %w", err)
	}
	if len(line) > maxLine {
		return fmt.Errorf("write audit segment: a line has %d bytes, and %d are allowed", len(line), maxLine)
	}
	w.sum.Write(line) // a hash takes everything
	if _, err := w.to.Write(line); err != nil {
		return fmt.Errorf("write audit segment: %w", err)
	}
	return nil
}
