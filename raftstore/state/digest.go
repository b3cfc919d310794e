package state

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
)

// Digest is a SHA-256, or a sum of them. As text it is 64 hexadecimal digits.
type Digest [sha256.Size]byte

// Sum returns the digest of these bytes.
func Sum(data []byte) Digest { return sha256.Sum256(data) }

// String gives 64 hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// IsZero reports whether there is no digest.
func (d Digest) IsZero() bool { return d == Digest{} }

// MarshalText gives what String does.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(d)) {
		return fmt.Errorf("read digest: it has %d characters, and needs %d", len(text), hex.EncodedLen(len(d)))
	}
	if _, err := hex.Decode(d[:], text); err != nil {
		return fmt.Errorf("read digest: %w", err)
	}
	return nil
}

// The digest of a state is the sum, modulo 2²⁵⁶, of the SHA-256 of each of its rows. So Apply keeps it with the rows that
// an entry changed alone; it does not depend on the way that led to the state; and it can be computed anew from the
// rows at any time, after a restore for one. It finds faults, not forgers: nobody chooses rows for it to collide.

func (d *Digest) add(e Digest) { d.combine(e, bits.Add64) }

func (d *Digest) subtract(e Digest) { d.combine(e, bits.Sub64) }

func (d *Digest) combine(e Digest, op func(x, y, carry uint64) (uint64, uint64)) {
	var carry uint64
	for at := len(d) - 8; at >= 0; at -= 8 {
		var word uint64
		word, carry = op(binary.BigEndian.Uint64(d[at:]), binary.BigEndian.Uint64(e[at:]), carry)
		binary.BigEndian.PutUint64(d[at:], word)
	}
}

// digester makes digests of rows, and keeps its room from one to the next: Apply makes half a dozen for each entry.
type digester struct{ room []byte }

// row is the digest of a row in its table. Progress has none: it holds the digest itself.
func (d *digester) row(table string, row any) (Digest, error) {
	text, err := appendRow(append(append(d.room[:0], table...), separator...), row)
	if err != nil {
		return Digest{}, fmt.Errorf("digest row of %s: %w", table, err)
	}
	d.room = text
	return Sum(text), nil
}

// after is the digest when the changes of a transaction have been made.
func (d Digest) after(changes []rowChange) (Digest, error) {
	var of digester
	for _, c := range changes {
		if c.table.title() == progressTable.name {
			continue
		}
		if c.before != nil {
			row, err := of.row(c.table.title(), c.before)
			if err != nil {
				return d, err
			}
			d.subtract(row)
		}
		if c.after != nil {
			row, err := of.row(c.table.title(), c.after)
			if err != nil {
				return d, err
			}
			d.add(row)
		}
	}
	return d, nil
}

// Digest of this state, as Apply has kept it.
func (v *View) Digest() Digest {
	if p := progressTable.get(v.txn, ""); p != nil {
		return p.Digest
	}
	return Digest{}
}

// Recompute makes the digest anew from all rows. It takes as long as writing the state does. One that differs from
// Digest tells of broken memory, or of a fault in this package.
func (v *View) Recompute() (Digest, error) {
	var d Digest
	var of digester
	for _, t := range allTables() {
		if t.title() == progressTable.name {
			continue
		}
		for row := range t.rows(v.txn) {
			one, err := of.row(t.title(), row)
			if err != nil {
				return Digest{}, err
			}
			d.add(one)
		}
	}
	return d, nil
}
