// Package audit is the form in which the audit trail leaves a coordinator, and its verification. It needs no cluster.
//
// A segment is a text of lines, each one JSON object: a header (which cluster, the first entry's number, the hash before
// it), the entries, a trailer (how many, the last one's number and hash, the SHA-256 of all lines before). Each entry
// carries its hash, which is of the hash before it and of the entry. A line is only good in the very bytes that this
// package writes: what is decoded is encoded again and compared, so that a changed byte is a fault wherever it is,
// though it be a blank or the case of a letter.
//
// Hashes alone do not tell a trail from another one that somebody made anew from some entry on. Checkpoints do: a
// coordinator's signed word on the hash of one entry.
package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"drp/raftstore/state"
)

// Format is the first field of each segment.
const Format = "drp audit 1"

// maxLine bounds a line, and with it the memory that a hostile file can take.
const maxLine = 1 << 20

// Header is a segment's first line.
type Header struct {
	Format   string       `json:"format"`
	Cluster  string       `json:"cluster"`  // UUID
	First    uint64       `json:"first"`    // number of the first entry
	Previous state.Digest `json:"previous"` // hash of the entry before the first; zero before entry 1
}

// trailer is a segment's last line.
type trailer struct {
	Entries uint64       `json:"entries"`
	Last    uint64       `json:"last"`
	Head    state.Digest `json:"head"`   // hash of the last entry
	SHA256  state.Digest `json:"sha256"` // of all lines before this one
}

// trailerStart tells a trailer from an entry.
var trailerStart = []byte(`{"entries":`)

// encode gives a line's only good form.
func encode(v any) ([]byte, error) {
	line, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return append(line, '\n'), nil
}

// errForm is a line that says what it says in other bytes than ours.
var errForm = errors.New("it is not in the form that drp writes, byte for byte: somebody changed it")

// decode reads a line that has to be in its only good form.
func decode(line []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("it cannot be read: %s", plain(err))
	}
	again, err := encode(into)
	if err != nil {
		return fmt.Errorf("it cannot be read: %s", plain(err))
	}
	if !bytes.Equal(again, line) {
		return errForm
	}
	return nil
}

// plain makes an error of a decoder one line for a person, without what a hostile file may want a terminal to do.
func plain(err error) string {
	s := strings.TrimPrefix(err.Error(), "json: ")
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		s = "it ends too early"
	}
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) || r == '\uFFFD' {
			return '?'
		}
		return r
	}, s)
}
