// Package audit is the form in which the audit trail leaves a coordinator, and its verification. It needs no cluster.
//
// A segment is a text of lines, each one JSON object: a header (which cluster, the first entry's number, the hash before
// it), the entries, a trailer (how many, the last one's number and hash, the SHA-256 of all lines before). Each entry
// carries its hash, which is of the hash before it and of the entry. A line is only good in the very bytes that this
// package writes: see package signed.
//
// Hashes alone do not tell a trail from another one that somebody made anew from some entry on. Checkpoints do: a
// coordinator's signed word on the hash of one entry.
package audit

import "drp/raftstore/state"

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
