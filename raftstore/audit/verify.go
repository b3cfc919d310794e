package audit

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"

	"drp/raftstore/state"
)

// File is one segment to verify. Open may be called more than once.
type File struct {
	Name string
	Open func() (io.ReadCloser, error)
}

// Report is what a good trail holds.
type Report struct {
	Cluster     string       `json:"cluster"`
	First       uint64       `json:"first"`
	Last        uint64       `json:"last"`
	Entries     uint64       `json:"entries"`
	Head        state.Digest `json:"head"`
	Checkpoints int          `json:"checkpoints"`    // that lie on it
	Vouched     uint64       `json:"vouched"`        // the newest entry that a checkpoint speaks for; what comes after it anybody could have written
	Lost        []Lost       `json:"lost,omitempty"` // what recoveries of the cluster could not save
}

// Lost are entries that there were and that a recovery of the cluster did not have: it began with an older state.
type Lost struct {
	From    uint64 `json:"from"`
	Through uint64 `json:"through"`
}

// Verify reads one segment to its end. With checkpoints, at least one has to lie on it, and each that can has to.
func Verify(r io.Reader, checkpoints ...Checkpoint) (Report, error) {
	open := func() (io.ReadCloser, error) { return io.NopCloser(r), nil } // one file overlaps none: it is read once
	return VerifyFiles([]File{{Open: open}}, checkpoints...)
}

// VerifyFiles verifies segments as one trail, in whatever order they are given. They may overlap where they are equal;
// a gap is a fault. Its memory grows with the number of files and checkpoints, not with the entries.
func VerifyFiles(files []File, checkpoints ...Checkpoint) (Report, error) {
	if len(files) == 0 {
		return Report{}, errors.New("verify audit trail: no segment")
	}
	wanted := map[uint64]bool{}
	for _, c := range checkpoints {
		wanted[c.Seq] = true
	}
	var all []*part
	for _, f := range files {
		p := &part{file: f}
		if err := p.read(wanted); err != nil {
			return Report{}, err
		}
		if len(all) > 0 && p.Cluster != all[0].Cluster {
			return Report{}, &Fault{File: f.Name, Line: 1, What: fmt.Sprintf("it is of cluster %.80q, and %s of %.80q", p.Cluster, all[0].file.Name, all[0].Cluster)}
		}
		all = append(all, p)
	}
	if err := readOverlaps(all, wanted); err != nil {
		return Report{}, err
	}
	t, err := join(all)
	if err != nil {
		return Report{}, err
	}
	if err := t.hold(checkpoints); err != nil {
		return Report{}, err
	}
	return t.report, nil
}

// part is one file: what it holds, and the hashes at the entries where it has to agree with others.
type part struct {
	Segment
	file       File
	at         map[uint64]state.Digest
	recoveries []uint64 // entries with which an incarnation began
}

// mostRecoveries bounds what a hostile file can make us remember. Nobody recovers a cluster so often.
const mostRecoveries = 10_000

func (p *part) read(wanted map[uint64]bool) error {
	r, err := p.file.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	p.at, p.recoveries = map[uint64]state.Digest{}, nil
	p.Segment, err = Scan(r, func(e *state.AuditEntry) error {
		if wanted[e.Seq] {
			p.at[e.Seq] = e.Hash
		}
		if e.Command == state.ClusterRecover && e.Refused == "" {
			if len(p.recoveries) == mostRecoveries {
				return &Fault{Seq: e.Seq, What: "the cluster was recovered more often than can be"}
			}
			p.recoveries = append(p.recoveries, e.Seq)
		}
		return nil
	})
	var fault *Fault
	if errors.As(err, &fault) {
		fault.File = p.file.Name
	}
	if err != nil {
		return err
	}
	if said, ok := ParseName(path.Base(p.file.Name)); ok && !said.Matches(p.Segment) {
		return &Fault{File: p.file.Name, What: fmt.Sprintf("it holds entries %d to %d, and not those that its name speaks of", p.First, p.Last)}
	}
	p.at[p.First-1], p.at[p.Last] = p.Previous, p.Head
	return nil
}

func (p *part) covers(seq uint64) bool { return p.First-1 <= seq && seq <= p.Last }

// readOverlaps reads those files again inside of which others begin or end, or a recovery took place: equal hashes there
// mean equal entries before.
func readOverlaps(all []*part, wanted map[uint64]bool) error {
	if len(all) == 1 {
		return nil
	}
	edges := map[uint64]bool{}
	for _, p := range all {
		edges[p.First-1], edges[p.Last] = true, true
		for _, r := range p.recoveries {
			edges[r-1] = true
		}
	}
	for _, p := range all {
		again := map[uint64]bool{}
		for seq := range edges {
			if _, known := p.at[seq]; p.covers(seq) && !known {
				again[seq] = true
			}
		}
		if len(again) == 0 {
			continue
		}
		before := p.Segment
		for seq := range wanted {
			again[seq] = true
		}
		if err := p.read(again); err != nil {
			return err
		}
		if p.Segment != before {
			return &Fault{File: p.file.Name, What: "it changed while it was read"}
		}
	}
	return nil
}

// trail is what files hold together.
type trail struct {
	report     Report
	parts      []*part
	recoveries []uint64
}

// at is the hash of an entry where it is known.
func (t *trail) at(seq uint64) (state.Digest, *part) {
	for _, p := range t.parts {
		if h, ok := p.at[seq]; ok {
			return h, p
		}
	}
	return state.Digest{}, nil
}

// meeting is where two trails were compared.
type meeting struct {
	agreed, differ uint64 // the last entry that both have alike, the first in which they differ; noEntry: there is none
	mine, other    *part  // that differ
}

const noEntry = ^uint64(0)

func (t *trail) meet(parts ...*part) meeting {
	m := meeting{agreed: noEntry, differ: noEntry}
	for _, p := range parts {
		for seq, h := range p.at {
			mine, q := t.at(seq)
			switch {
			case q == nil:
			case mine == h && (m.agreed == noEntry || seq > m.agreed):
				m.agreed = seq
			case mine != h && (m.differ == noEntry || seq < m.differ):
				m.differ, m.mine, m.other = seq, q, p
			}
		}
	}
	return m
}

// join makes one trail of all parts. There are several while a recovery of the cluster is among them: what came after the
// state that it began with was lost, and is another trail.
func join(all []*part) (*trail, error) {
	slices.SortFunc(all, func(a, b *part) int { return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(b.Last, a.Last)) })
	var trails []*trail
	for _, p := range all {
		if reached := furthest(trails); len(trails) > 0 && p.First > reached+1 {
			return nil, &Fault{File: p.file.Name, Seq: reached + 1, What: fmt.Sprintf("entries %d to %d are missing: no file holds them", reached+1, p.First-1)}
		}
		taken := false
		for _, t := range trails {
			if m := t.meet(p); m.agreed != noEntry && m.differ == noEntry {
				t.add(p)
				taken = true
				break
			}
		}
		if !taken {
			t := &trail{report: Report{Cluster: p.Cluster, First: p.First, Last: p.First - 1, Head: p.Previous}}
			t.add(p)
			trails = append(trails, t)
		}
	}
	return newest(trails)
}

func furthest(trails []*trail) uint64 {
	var last uint64
	for _, t := range trails {
		last = max(last, t.report.Last)
	}
	return last
}

func (t *trail) add(p *part) {
	t.parts = append(t.parts, p)
	t.recoveries = append(t.recoveries, p.recoveries...)
	if p.Last > t.report.Last {
		t.report.Last, t.report.Head = p.Last, p.Head
	}
}

// newest finds the trail that went on from all others, and what they had that it lost.
func newest(trails []*trail) (*trail, error) {
	main := trails[0]
	for _, t := range trails[1:] {
		after, err := wentOn(main, t)
		if err != nil {
			return nil, err
		}
		main = after
	}
	for _, t := range trails {
		if t == main {
			continue
		}
		if after, err := wentOn(main, t); err != nil || after != main {
			return nil, errors.Join(err, &Fault{What: "the files hold trails of which none went on from all others"})
		}
		agreed := main.meet(t.parts...).agreed
		main.report.First = min(main.report.First, t.report.First)
		main.report.Lost = append(main.report.Lost, Lost{agreed + 1, t.report.Last})
		for _, p := range t.parts {
			maps.DeleteFunc(p.at, func(seq uint64, _ state.Digest) bool { return seq > agreed }) // no part of the trail
		}
		main.parts = append(main.parts, t.parts...)
		main.recoveries = append(main.recoveries, slices.DeleteFunc(t.recoveries, func(r uint64) bool { return r > agreed })...)
	}
	main.report.Entries = main.report.Last - main.report.First + 1
	return main, nil
}

// wentOn says which of two trails began with a recovery where they part.
func wentOn(a, b *trail) (*trail, error) {
	m := a.meet(b.parts...)
	if m.agreed != noEntry && (m.differ == noEntry || m.agreed < m.differ) {
		first, second := slices.Contains(a.recoveries, m.agreed+1), slices.Contains(b.recoveries, m.agreed+1)
		switch {
		case first && !second:
			return a, nil
		case second && !first:
			return b, nil
		case first && second:
			return nil, &Fault{Seq: m.agreed + 1, What: fmt.Sprintf(
				"the cluster was recovered here twice, in %s and in %s: two clusters went on from the same state", a.name(), b.name())}
		}
	}
	if m.differ == noEntry {
		return nil, &Fault{What: fmt.Sprintf("%s and %s do not join", a.name(), b.name())}
	}
	return nil, &Fault{File: m.other.file.Name, Seq: m.differ, What: fmt.Sprintf(
		"up to this entry it differs from %s, and no recovery of the cluster is recorded where they part: one of the two was changed", m.mine.file.Name)}
}

func (t *trail) name() string { return t.parts[len(t.parts)-1].file.Name }

// hold holds the trail to signed words on it.
func (t *trail) hold(checkpoints []Checkpoint) error {
	var right, wrong []Checkpoint
	for _, c := range checkpoints {
		fault := func(format string, args ...any) error {
			return &Fault{Seq: c.Seq, What: fmt.Sprintf(format, args...)}
		}
		if c.Cluster != t.report.Cluster {
			return fault("the checkpoint is of cluster %.80q, the trail of %.80q", c.Cluster, t.report.Cluster)
		}
		h, p := t.at(c.Seq)
		switch {
		case c.Seq < t.report.First-1: // nothing is said about what is not here
		case p == nil || h != c.Hash:
			wrong = append(wrong, c)
		default:
			right = append(right, c)
		}
	}
	for _, c := range wrong {
		// After a recovery from an older state, word was given of entries that are lost. That counts only when a coordinator
		// of the newer incarnation has given its word on this trail.
		vouched := slices.ContainsFunc(t.recoveries, func(r uint64) bool {
			return r <= c.Seq && slices.ContainsFunc(right, func(n Checkpoint) bool { return n.Incarnation > c.Incarnation && n.Seq >= r })
		})
		switch {
		case vouched:
			t.lost(c)
		case c.Seq > t.report.Last:
			return &Fault{Seq: t.report.Last + 1, What: fmt.Sprintf("the trail ends before it, and there is a checkpoint of entry %d: its end was cut off", c.Seq)}
		default:
			return &Fault{Seq: c.Seq, What: fmt.Sprintf("its hash is not that of the checkpoint signed at %s: the trail was written anew from some entry up to this one on", c.At.Format("2006-01-02T15:04:05Z07:00"))}
		}
	}
	t.report.Checkpoints = len(right)
	for _, c := range right {
		t.report.Vouched = max(t.report.Vouched, c.Seq)
	}
	if len(checkpoints) > 0 && len(right) == 0 {
		return &Fault{What: "none of the checkpoints is of an entry that is here: they say nothing about this trail"}
	}
	return nil
}

// lost notes that a checkpoint speaks of entries that a recovery did not have.
func (t *trail) lost(c Checkpoint) {
	from := uint64(1)
	for _, r := range t.recoveries {
		if r <= c.Seq {
			from = max(from, r)
		}
	}
	for _, l := range t.report.Lost {
		if l.From <= from && c.Seq <= l.Through {
			return
		}
	}
	t.report.Lost = append(t.report.Lost, Lost{from, c.Seq})
}
