package audit

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"drp/raftstore/signed"
	"drp/raftstore/state"
)

// Fault is the first thing that is wrong with a trail.
type Fault struct {
	File string // empty when there is but one
	Line int    // from 1; 0: it is about no line
	Seq  uint64 // of the entry; 0: it is about none
	What string
}

func (f *Fault) Error() string {
	var at string
	if f.File != "" {
		at = f.File + ": "
	}
	if f.Line > 0 {
		at += fmt.Sprintf("line %d: ", f.Line)
	}
	if f.Seq > 0 {
		at += fmt.Sprintf("entry %d: ", f.Seq)
	}
	return at + f.What
}

// Segment is what a good segment holds.
type Segment struct {
	Header
	Entries uint64
	Last    uint64       // First − 1 when there is no entry
	Head    state.Digest // hash of the last entry
}

// Scan reads one segment line by line, and gives each entry to visit once it is known to follow the one before. An error
// of visit's ends it. What is wrong with the text is a *Fault. Its memory is bounded, whatever it reads.
func Scan(r io.Reader, visit func(*state.AuditEntry) error) (Segment, error) {
	s := scanner{lines: bufio.NewReaderSize(r, 8<<10), sum: sha256.New()}
	if err := s.header(); err != nil {
		return s.seg, err
	}
	for {
		done, err := s.next(visit)
		if done || err != nil {
			return s.seg, err
		}
	}
}

type scanner struct {
	lines *bufio.Reader
	long  []byte // a line that does not fit into the reader
	line  int
	sum   hash.Hash // of all lines before the present one
	seg   Segment
}

func (s *scanner) fault(seq uint64, format string, args ...any) *Fault {
	return &Fault{Line: s.line, Seq: seq, What: fmt.Sprintf(format, args...)}
}

// read gives the next line with its end. It is good until the next call.
func (s *scanner) read(want string) ([]byte, error) {
	s.line++
	line, err := s.lines.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		s.long = s.long[:0]
		for errors.Is(err, bufio.ErrBufferFull) && len(s.long) <= maxLine {
			s.long = append(s.long, line...)
			line, err = s.lines.ReadSlice('\n')
		}
		s.long = append(s.long, line...)
		line = s.long
	}
	switch {
	case len(line) > maxLine:
		return nil, s.fault(0, "it has more than %d bytes, which no line of an audit trail has", maxLine)
	case err == nil:
		return line, nil
	case errors.Is(err, io.EOF) && len(line) == 0:
		return nil, s.fault(0, "the file ends here, before %s: its end was cut off", want)
	case errors.Is(err, io.EOF):
		return nil, s.fault(0, "the file ends in the middle of a line: its end was cut off")
	default:
		return nil, fmt.Errorf("read audit segment: %w", err)
	}
}

func (s *scanner) header() error {
	line, err := s.read("the header")
	if err != nil {
		return err
	}
	h := &s.seg.Header
	switch err := signed.Decode(line, h); {
	case err != nil:
		return s.fault(0, "this is no header of an audit trail: %s", err)
	case h.Format != Format:
		return s.fault(0, "its format is %.40q, and this drp reads %q", h.Format, Format)
	case h.Cluster == "" || h.First == 0:
		return s.fault(0, "the header names no cluster, or no first entry")
	case h.First == 1 && !h.Previous.IsZero():
		return s.fault(0, "the header has a hash of what came before entry 1, and nothing did")
	}
	s.seg.Last, s.seg.Head = h.First-1, h.Previous
	s.sum.Write(line)
	return nil
}

// next reads an entry, or the trailer, which is the end.
func (s *scanner) next(visit func(*state.AuditEntry) error) (done bool, err error) {
	line, err := s.read("the trailer")
	if err != nil {
		return false, err
	}
	if bytes.HasPrefix(line, trailerStart) {
		return true, s.trailer(line)
	}
	due := s.seg.Last + 1
	var e state.AuditEntry
	if err := signed.Decode(line, &e); err != nil {
		return false, s.fault(due, "%s", err)
	}
	switch {
	case e.Seq > due:
		return false, s.fault(due, "entry %d stands here: entries are missing, or out of order", e.Seq)
	case e.Seq < due:
		return false, s.fault(due, "entry %d stands here: it is there twice, or out of order", e.Seq)
	case e.Chain(s.seg.Head) != e.Hash:
		return false, s.fault(due, "its hash does not follow from it and from the entry before: one of the two was changed")
	}
	if visit != nil {
		if err := visit(&e); err != nil {
			return false, err
		}
	}
	s.seg.Entries, s.seg.Last, s.seg.Head = s.seg.Entries+1, due, e.Hash
	s.sum.Write(line)
	return false, nil
}

func (s *scanner) trailer(line []byte) error {
	var t trailer
	if err := signed.Decode(line, &t); err != nil {
		return s.fault(0, "the trailer: %s", err)
	}
	var sum state.Digest
	s.sum.Sum(sum[:0])
	switch {
	case t.Entries != s.seg.Entries || t.Last != s.seg.Last:
		return s.fault(0, "the trailer tells of %d entries up to %d, and there are %d up to %d", t.Entries, t.Last, s.seg.Entries, s.seg.Last)
	case t.Head != s.seg.Head:
		return s.fault(0, "the trailer has another hash than the last entry")
	case t.SHA256 != sum:
		return s.fault(0, "the trailer's SHA-256 is not that of the lines before it: the header was changed")
	}
	s.line++
	if _, err := s.lines.ReadByte(); err == nil {
		return s.fault(0, "there is more after the trailer")
	} else if !errors.Is(err, io.EOF) {
		return fmt.Errorf("read audit segment: %w", err)
	}
	return nil
}
