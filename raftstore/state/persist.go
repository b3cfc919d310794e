package state

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
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
	if err := v.write(buffered); err != nil {
		return fmt.Errorf("persist state: %w", err)
	}
	if err := buffered.Flush(); err != nil {
		return fmt.Errorf("persist state: %w", err)
	}
	return nil
}

func (v *View) write(w *bufio.Writer) error {
	lines := json.NewEncoder(w)
	format := v.format()
	if err := lines.Encode(persistedHeader{Format: format}); err != nil {
		return err
	}
	count := 0
	var (
		data []byte
		err  error
	)
	for _, t := range allTables() {
		begin := rowBegin(t.title())
		for row := range t.rows(v.txn) {
			if p, ok := row.(*progress); ok && format == withoutDigest {
				plain := *p
				plain.Digest = Digest{}
				row = &plain
			}
			data, err = appendRow(data[:0], row)
			if err != nil {
				return err
			}
			// What encoding a persistedRow gives, without going over the row's bytes once more.
			for _, part := range [][]byte{begin, data, []byte(rowEnd)} {
				if _, err := w.Write(part); err != nil {
					return err
				}
			}
			count++
		}
	}
	return lines.Encode(persistedRow{End: &count})
}

// format is one that every member reads: a leader sends its snapshot to who lags, and that may be an older member.
func (v *View) format() int {
	if v.Level() < 2 {
		return withoutDigest
	}
	return persistedFormat
}

// rowBegin and rowEnd are what stands round a row of a table.
func rowBegin(table string) []byte { return []byte(`{"t":"` + table + `","r":`) }

const rowEnd = "}\n"
