package state

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	memdb "github.com/hashicorp/go-memdb"
)

// A persisted state is JSON, one value a line: the format, each row with its table, and at the end the number of rows.
// The same state always gives the same bytes. Format 2 holds the digest in its row of progress; the rows have to give it.

const (
	persistedFormat = 2
	withoutDigest   = 1
)

type persistedHeader struct {
	Format int `json:"drp_state"`
}

type persistedRow struct {
	Table string          `json:"t,omitempty"`
	Row   json.RawMessage `json:"r,omitempty"`
	// End is set on the last line alone: how many rows there were.
	End *int `json:"end,omitempty"`
}

// Persist writes the state as it is at the call. Commands may be applied meanwhile.
func (s *State) Persist(w io.Writer) error { return s.View().Persist(w) }

// Persist writes the state that this view shows.
func (v *View) Persist(w io.Writer) error {
	buffered := bufio.NewWriterSize(w, 1<<16)
	if err := v.write(json.NewEncoder(buffered)); err != nil {
		return fmt.Errorf("persist state: %w", err)
	}
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("persist state: %w", err)
	}
	return nil
}

func (v *View) write(lines *json.Encoder) error {
	if err := lines.Encode(persistedHeader{Format: persistedFormat}); err != nil {
		return err
	}
	count := 0
	for _, t := range allTables() {
		for row := range t.rows(v.txn) {
			data, err := json.Marshal(row)
			if err != nil {
				return err
			}
			if err := lines.Encode(persistedRow{Table: t.title(), Row: data}); err != nil {
				return err
			}
			count++
		}
	}
	return lines.Encode(persistedRow{End: &count})
}

// Restore reads what Persist wrote. It refuses what was cut short, and what a newer binary wrote and this one would
// only half understand.
func Restore(r io.Reader) (*State, error) {
	s := New()
	if err := s.read(json.NewDecoder(bufio.NewReaderSize(r, 1<<16))); err != nil {
		return nil, fmt.Errorf("restore state: %w", err)
	}
	return s, nil
}

func (s *State) read(lines *json.Decoder) error {
	lines.DisallowUnknownFields()
	var header persistedHeader
	if err := lines.Decode(&header); err != nil {
		return fmt.Errorf("read header: %w", err)
	}
	if header.Format != persistedFormat && header.Format != withoutDigest {
		return fmt.Errorf("format %d is not known (want %d): a newer drp wrote it; upgrade this one", header.Format, persistedFormat)
	}
	tables := map[string]storedTable{}
	for _, t := range allTables() {
		tables[t.title()] = t
	}
	txn := s.db.Txn(true)
	defer txn.Abort()
	var digest Digest
	for count := 0; ; count++ {
		var line persistedRow
		if err := lines.Decode(&line); err != nil {
			return fmt.Errorf("read row %d: %w", count+1, unexpectedEnd(err))
		}
		if line.End != nil {
			if *line.End != count {
				return fmt.Errorf("got %d rows, want %d", count, *line.End)
			}
			if err := acceptDigest(txn, header.Format, digest); err != nil {
				return err
			}
			txn.Commit()
			return nil
		}
		t, ok := tables[line.Table]
		if !ok {
			return fmt.Errorf("row %d: unknown table %q: a newer drp wrote it; upgrade this one", count+1, line.Table)
		}
		row, err := t.load(txn, line.Row)
		if err != nil {
			return fmt.Errorf("row %d: %w", count+1, err)
		}
		if t.title() == progressTable.name {
			continue
		}
		// Of the row as we would write it, not of the bytes that were read: so it is known that nothing is lost on the way.
		one, err := digestOfRow(t.title(), row)
		if err != nil {
			return fmt.Errorf("row %d: %w", count+1, err)
		}
		digest.add(one)
	}
}

// ErrDigest: a snapshot's rows are not those that were written.
var ErrDigest = errors.New("the rows do not give the digest that was written with them")

func acceptDigest(txn *memdb.Txn, format int, rows Digest) error {
	p := progressOf(txn)
	if format == withoutDigest {
		p.Digest = rows
		progressTable.put(txn, &p)
		return nil
	}
	if p.Digest != rows {
		return fmt.Errorf("%w: got %s, want %s", ErrDigest, rows, p.Digest)
	}
	return nil
}

func unexpectedEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
