package state

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
)

// Restore reads what Persist wrote. It refuses what was cut short, and what a newer binary wrote and this one would
// only half understand.
//
// Most of its time goes into decoding, and a coordinator that starts has nothing else to do: batches of lines are decoded
// by as many goroutines as there are processors, and taken over in their order.
func Restore(r io.Reader) (*State, error) {
	s := New()
	if err := s.read(bufio.NewReaderSize(r, 1<<16)); err != nil {
		return nil, fmt.Errorf("restore state: %w", err)
	}
	return s, nil
}

const linesPerBatch = 256

// batch is some lines, and what they hold.
type batch struct {
	text   []byte   // of the lines, in one piece
	lines  [][]byte // parts of it, while they are decoded
	err    error    // of reading them; the lines before it are good
	first  int      // number of the first row, from 1
	rows   []loadedRow
	digest Digest // of the rows
	of     digester
	end    *int // of the last line of all
	done   chan struct{}
}

type loadedRow struct {
	table storedTable
	row   any
}

func (s *State) read(r *bufio.Reader) error {
	format, err := readHeader(r)
	if err != nil {
		return err
	}
	tables := map[string]storedTable{}
	for _, t := range allTables() {
		tables[t.title()] = t
	}
	inOrder := make(chan *batch, runtime.GOMAXPROCS(0))
	stop := make(chan struct{})
	defer close(stop)
	go readBatches(r, tables, inOrder, stop)
	txn := s.db.fill()
	var digest Digest
	var full storedTable // the last row's: where another one begins, it has all of its rows
	count := 0
	for b := range inOrder {
		<-b.done
		for _, l := range b.rows {
			if full != nil && full.title() != l.table.title() {
				txn.pack(full)
			}
			l.table.insert(txn, l.row)
			full = l.table
		}
		count += len(b.rows)
		digest.add(b.digest)
		switch {
		case b.err != nil:
			return b.err
		case b.end == nil:
		case *b.end != count:
			return fmt.Errorf("got %d rows, want %d", count, *b.end)
		default:
			if err := acceptDigest(txn, format, digest); err != nil {
				return err
			}
			txn.commit()
			return nil
		}
	}
	return fmt.Errorf("read row %d: %w", count+1, io.ErrUnexpectedEOF)
}

func readHeader(r *bufio.Reader) (format int, err error) {
	var header persistedHeader
	line, err := readLine(r)
	if err == nil {
		err = decodeStrict(line, &header)
	}
	if err != nil {
		return 0, fmt.Errorf("read header: %w", err)
	}
	if header.Format != persistedFormat && header.Format != withoutDigest {
		return 0, fmt.Errorf("format %d is not known (want %d): a newer drp wrote it; upgrade this one", header.Format, persistedFormat)
	}
	return header.Format, nil
}

func readLine(r *bufio.Reader) ([]byte, error) { return appendLine(nil, r) }

// appendLine reads one line, to the end of text.
func appendLine(text []byte, r *bufio.Reader) ([]byte, error) {
	for {
		part, err := r.ReadSlice('\n')
		text = append(text, part...)
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return text, io.ErrUnexpectedEOF // even of the last line: each has its end
		default:
			return text, err
		}
	}
}

// readBatches sends batches in their order, each while it is being decoded, until the last line or the first error.
func readBatches(r *bufio.Reader, tables map[string]storedTable, inOrder chan<- *batch, stop <-chan struct{}) {
	defer close(inOrder)
	var room sync.Pool // of texts
	for first := 1; ; first += linesPerBatch {
		b := &batch{first: first, done: make(chan struct{})}
		text, _ := room.Get().(*[]byte)
		if text == nil {
			text = new([]byte)
		}
		last := b.readLines(r, (*text)[:0])
		go func() {
			b.decode(tables)
			*text, b.text = b.text, nil
			room.Put(text)
			close(b.done)
		}()
		select {
		case inOrder <- b:
		case <-stop:
			return
		}
		if last {
			return
		}
	}
}

// readLines reads what belongs to one batch. It reports whether nothing comes after it.
func (b *batch) readLines(r *bufio.Reader, text []byte) (last bool) {
	ends := make([]int, 0, linesPerBatch)
	for begin := 0; len(ends) < linesPerBatch && !last; begin = len(text) {
		var err error
		if text, err = appendLine(text, r); err != nil {
			b.err, last = fmt.Errorf("read row %d: %w", b.first+len(ends), err), true
			break
		}
		ends = append(ends, len(text))
		last = bytes.HasPrefix(text[begin:], []byte(`{"end":`))
	}
	b.text, b.lines = text, make([][]byte, len(ends))
	for i, begin := 0, 0; i < len(ends); i, begin = i+1, ends[i] {
		b.lines[i] = text[begin:ends[i]]
	}
	return last
}

func (b *batch) decode(tables map[string]storedTable) {
	b.rows = make([]loadedRow, 0, len(b.lines))
	for i, line := range b.lines {
		if err := b.decodeLine(tables, line); err != nil {
			b.err = fmt.Errorf("row %d: %w", b.first+i, err)
			return
		}
	}
}

func (b *batch) decodeLine(tables map[string]storedTable, line []byte) error {
	name, data, ok := cutRow(line)
	if !ok {
		var row persistedRow
		if err := decodeStrict(line, &row); err != nil {
			return err
		}
		if b.end = row.End; b.end != nil {
			return nil
		}
		name, data = row.Table, row.Row
	}
	t, known := tables[name]
	if !known {
		return fmt.Errorf("unknown table %q: a newer drp wrote it; upgrade this one", name)
	}
	row, err := t.decode(data)
	if err != nil {
		return err
	}
	b.rows = append(b.rows, loadedRow{t, row})
	if name == progressTable.name {
		return nil
	}
	// Of the row as we would write it, not of the bytes that were read: so it is known that nothing is lost on the way.
	one, err := b.of.row(name, row)
	if err != nil {
		return err
	}
	b.digest.add(one)
	return nil
}

// cutRow takes a line apart that is exactly as Persist writes it.
func cutRow(line []byte) (table string, row json.RawMessage, ok bool) {
	rest, ok := bytes.CutPrefix(line, []byte(`{"t":"`))
	if !ok {
		return "", nil, false
	}
	name, rest, ok := bytes.Cut(rest, []byte(`","r":`))
	if !ok {
		return "", nil, false
	}
	rest, ok = bytes.CutSuffix(rest, []byte(rowEnd))
	return string(name), rest, ok
}

// ErrDigest: a snapshot's rows are not those that were written.
var ErrDigest = errors.New("the rows do not give the digest that was written with them")

func acceptDigest(txn *transaction, format int, rows Digest) error {
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
