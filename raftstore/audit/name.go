package audit

import (
	"fmt"
	"regexp"
	"strconv"

	"drp/raftstore/state"
)

// Objects in a store sort by the number of their first entry, and no two that differ share a name: it has a
// part of what identifies the content.

// SegmentName is the name of a segment in a store.
func SegmentName(first, last uint64, head state.Digest) string {
	return fmt.Sprintf("%020d-%020d-%.16s.jsonl", first, last, head)
}

// CheckpointName is the name of a checkpoint in a store. Its body is what Sign gave.
func CheckpointName(seq uint64, body []byte) string {
	return fmt.Sprintf("%020d-%.16s.checkpoint", seq, state.Sum(body))
}

var (
	segmentName    = regexp.MustCompile(`^([0-9]{20})-([0-9]{20})-([0-9a-f]{16})\.jsonl$`)
	checkpointName = regexp.MustCompile(`^([0-9]{20})-([0-9a-f]{16})\.checkpoint$`)
)

// Named is what a name says of an object.
type Named struct {
	Checkpoint  bool
	First, Last uint64 // equal for a checkpoint
	part        string // hexadecimal digits of what identifies the content
}

// ParseName reads a name; ok is false for any that is none of ours.
func ParseName(name string) (n Named, ok bool) {
	if m := segmentName.FindStringSubmatch(name); m != nil {
		first, err := strconv.ParseUint(m[1], 10, 64)
		last, err2 := strconv.ParseUint(m[2], 10, 64)
		return Named{First: first, Last: last, part: m[3]}, err == nil && err2 == nil
	}
	if m := checkpointName.FindStringSubmatch(name); m != nil {
		seq, err := strconv.ParseUint(m[1], 10, 64)
		return Named{Checkpoint: true, First: seq, Last: seq, part: m[2]}, err == nil
	}
	return Named{}, false
}

// Matches reports whether a verified segment is the one that the name speaks of.
func (n Named) Matches(s Segment) bool {
	return !n.Checkpoint && n.First == s.First && n.Last == s.Last && n.part == s.Head.String()[:len(n.part)]
}

// MatchesCheckpoint reports whether a checkpoint of this text is the one that the name speaks of.
func (n Named) MatchesCheckpoint(c Checkpoint, body []byte) bool {
	return n.Checkpoint && n.Last == c.Seq && n.part == state.Sum(body).String()[:len(n.part)]
}
