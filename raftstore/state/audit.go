package state

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"time"
)

// How many entries of the audit trail the state holds. Entries that are in a store may leave once there are more than
// auditKept. Those that are in none stay up to auditLimit; then the oldest are dropped, and counted.
const (
	auditKept  = 5_000
	auditLimit = 50_000
)

// AuditEntry says who did what, and when. There is one for each command, made by the same Apply: what was done and not
// recorded, or recorded and not done, does not exist. Each holds the hash of all before it.
type AuditEntry struct {
	Seq     uint64    `json:"seq"`   // from 1, without gaps
	Index   uint64    `json:"index"` // of the log
	At      time.Time `json:"at"`    // the proposer's clock
	By      string    `json:"by"`    // role/name
	Command Name      `json:"command"`
	ID      string    `json:"id"` // the command's
	Subject string    `json:"subject,omitempty"`
	Detail  string    `json:"detail,omitempty"`
	Refused string    `json:"refused,omitempty"` // why nothing was changed; empty: it was carried out
	Payload Digest    `json:"payload"`           // SHA-256 of the command's data
	Hash    Digest    `json:"hash,omitzero"`     // SHA-256 of the hash before, and of Line
}

// Line is what is hashed: the entry as JSON, without its hash. The same entry always gives the same bytes.
func (e *AuditEntry) Line() []byte {
	plain := *e
	plain.Hash = Digest{}
	return plain.appendJSON(make([]byte, 0, 512))
}

// Chain is the hash of this entry after the one whose hash is before.
func (e *AuditEntry) Chain(before Digest) Digest {
	h := sha256.New()
	h.Write(before[:]) // a hash takes everything
	h.Write(e.Line())
	var d Digest
	h.Sum(d[:0])
	return d
}

// AuditHead is where the trail stands.
type AuditHead struct {
	Seq      uint64 `json:"seq"`  // of the newest entry
	Hash     Digest `json:"hash"` // of the newest entry
	First    uint64 `json:"first"`
	Exported uint64 `json:"exported,omitempty"` // entries up to this one are in a store
	Dropped  uint64 `json:"dropped,omitempty"`  // entries that left before they were in any store
}

func auditKey(seq uint64) string { return string(binary.BigEndian.AppendUint64(nil, seq)) }

// hasTrail reports whether commands leave entries. They begin to when every member makes them: rows that only newer
// members have would look like a state gone wrong.
func hasTrail(txn *transaction) bool {
	cluster := clusterTable.get(txn, "")
	return cluster != nil && cluster.Level >= 2
}

// auditEntry of a command and its answer. What people and agents wrote is cut to what fits into a line.
func (c *change) auditEntry(index uint64, cmd Command, result Result) *AuditEntry {
	e := &AuditEntry{
		Index: index, At: c.at, By: Shorten(cmd.By), Command: cmd.Name, ID: cmd.ID,
		Subject: Shorten(c.subject), Detail: strings.TrimSpace(Shorten(c.detail)), Payload: Sum(cmd.Data),
	}
	if result.Err != nil {
		e.Refused = Shorten(result.Err.Error())
	}
	return e
}

// extend adds the entry of one command, and lets at most two old ones go: no single Apply pays for many.
func (h *AuditHead) extend(txn *transaction, e *AuditEntry) {
	h.Seq++
	e.Seq = h.Seq
	e.Hash = e.Chain(h.Hash)
	h.Hash = e.Hash
	if h.First == 0 {
		h.First = 1
	}
	auditTable.put(txn, e)
	for range 2 {
		held, exported := h.Seq-h.First+1, h.First < h.Exported // the newest exported one stays: the next export begins with its hash
		if held <= auditKept || (!exported && held <= auditLimit) {
			return
		}
		if h.First > h.Exported {
			h.Dropped++
		}
		if old := auditTable.get(txn, auditKey(h.First)); old != nil {
			auditTable.drop(txn, old)
		}
		h.First++
	}
}

// AuditHead of this state.
func (v *View) AuditHead() AuditHead {
	if p := progressTable.get(v.txn, ""); p != nil {
		return p.Audit
	}
	return AuditHead{}
}

// Audit returns the entries from seq on, oldest first, and no more than limit.
func (v *View) Audit(from uint64, limit int) []*AuditEntry {
	var list []*AuditEntry
	if limit <= 0 {
		return nil
	}
	v.txn.from(v.txn.db.first[auditTable.name], auditKey(from), func(_ string, row any) bool {
		list = append(list, row.(*AuditEntry))
		return len(list) < limit
	})
	return list
}

// applyAuditNote changes nothing but the trail: something was read, or tried. Its entry says what.
func applyAuditNote(_ *change, d AuditNoteData) (bool, error) {
	if d.Action == "" {
		return false, refuse(ErrInvalid, "a note in the audit trail says what was done")
	}
	return true, nil
}

// applyAuditExported records that the trail up to an entry is in stores. The hash has to be that entry's.
func applyAuditExported(c *change, d AuditExportedData) (bool, error) {
	e := auditTable.get(c.Txn, auditKey(d.Through))
	switch {
	case len(d.Sites) == 0:
		return false, refuse(ErrInvalid, "audit trail up to %d: it is not said in which sites' stores it is", d.Through)
	case d.Through <= c.progress.Audit.Exported:
		return false, nil
	case e == nil:
		return false, refuse(ErrNotFound, "the audit trail has no entry %d", d.Through)
	case e.Hash != d.Hash:
		return false, refuse(ErrConflict, "entry %d of the audit trail has hash %s, and not %s", d.Through, e.Hash, d.Hash)
	}
	c.progress.Audit.Exported = d.Through
	return true, nil
}
