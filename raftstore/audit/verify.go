package audit

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
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
	Cluster     string
	First, Last uint64
	Entries     uint64
	Head        state.Digest
	Checkpoints int    // that lie on it
	Lost        []Lost // what recoveries of the cluster could not save
}

// Lost are entries of an incarnation that the next one does not have: it began with an older state.
type Lost struct {
	Incarnation   uint64
	From, Through uint64
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
	report      Report
	incarnation uint64
	parts       []*part
	recoveries  []uint64
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

// join makes one trail of all parts: first those of each incarnation, then, from the newest incarnation back, the trail
// that each one went on from.
func join(all []*part) (*trail, error) {
	byIncarnation := map[uint64][]*part{}
	for _, p := range all {
		byIncarnation[p.Incarnation] = append(byIncarnation[p.Incarnation], p)
	}
	var trails []*trail
	for incarnation, parts := range byIncarnation {
		t, err := chain(incarnation, parts)
		if err != nil {
			return nil, err
		}
		trails = append(trails, t)
	}
	slices.SortFunc(trails, func(a, b *trail) int { return cmp.Compare(b.incarnation, a.incarnation) })
	main := trails[0]
	for _, older := range trails[1:] {
		if err := main.goesOnFrom(older); err != nil {
			return nil, err
		}
	}
	main.report.Entries = main.report.Last - main.report.First + 1
	return main, nil
}

// chain puts the parts of one incarnation in order.
func chain(incarnation uint64, parts []*part) (*trail, error) {
	slices.SortFunc(parts, func(a, b *part) int { return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(b.Last, a.Last)) })
	t := &trail{incarnation: incarnation, report: Report{
		Cluster: parts[0].Cluster, First: parts[0].First, Last: parts[0].Last, Head: parts[0].Head}}
	for _, p := range parts {
		if p.First > t.report.Last+1 {
			return nil, missing(t.report.Last+1, p.First-1, p)
		}
		if err := t.agrees(p); err != nil {
			return nil, err
		}
		t.parts = append(t.parts, p)
		t.recoveries = append(t.recoveries, p.recoveries...)
		if p.Last > t.report.Last {
			t.report.Last, t.report.Head = p.Last, p.Head
		}
	}
	slices.Sort(t.recoveries)
	t.recoveries = slices.Compact(t.recoveries)
	return t, nil
}

func missing(from, through uint64, next *part) error {
	return &Fault{File: next.file.Name, Seq: from, What: fmt.Sprintf("entries %d to %d are missing: no file holds them", from, through)}
}

// agrees holds a part to the hashes that the others have for the same entries.
func (t *trail) agrees(p *part) error {
	for _, seq := range edgesOf(p) {
		if h, other := t.at(seq); other != nil && h != p.at[seq] {
			return differs(seq, p, other)
		}
	}
	return nil
}

func edgesOf(p *part) []uint64 {
	edges := make([]uint64, 0, len(p.at))
	for seq := range p.at {
		edges = append(edges, seq)
	}
	slices.Sort(edges)
	return edges
}

func differs(seq uint64, p, other *part) error {
	return &Fault{File: p.file.Name, Seq: seq, What: fmt.Sprintf("up to here it differs from %s: one of the two was changed", other.file.Name)}
}

// goesOnFrom joins an older incarnation's trail. The two may part only at a recovery: what the older one has from there on
// was lost with it.
func (t *trail) goesOnFrom(older *trail) error {
	if older.report.Last+1 < t.report.First {
		return missing(older.report.Last+1, t.report.First-1, t.parts[0])
	}
	if older.report.First > t.report.Last {
		return &Fault{File: older.parts[0].file.Name, Seq: older.report.First, What: fmt.Sprintf(
			"it begins after the end of incarnation %d, which went on from incarnation %d: files are missing", t.incarnation, older.incarnation)}
	}
	var agreed uint64 // the last entry that both have, and alike
	parted := false
	for _, p := range older.parts {
		for _, seq := range edgesOf(p) {
			h, other := t.at(seq)
			switch {
			case other == nil:
			case h == p.at[seq]:
				agreed = max(agreed, seq)
			case slices.ContainsFunc(t.recoveries, func(r uint64) bool { return r <= seq && older.has(r-1, t) }):
				parted = true
			default:
				return differs(seq, p, other)
			}
		}
	}
	if past := older.report.Last > t.report.Last; parted || past {
		if !slices.Contains(t.recoveries, agreed+1) {
			return &Fault{Seq: agreed + 1, What: fmt.Sprintf(
				"incarnations %d and %d part here, and no recovery of the cluster is recorded here: one of the two was changed", older.incarnation, t.incarnation)}
		}
		t.report.Lost = append(t.report.Lost, Lost{older.incarnation, agreed + 1, older.report.Last})
	}
	if older.report.First < t.report.First {
		t.report.First = older.report.First
	}
	for _, p := range older.parts {
		if older.report.Last > agreed && (parted || older.report.Last > t.report.Last) {
			maps.DeleteFunc(p.at, func(seq uint64, _ state.Digest) bool { return seq > agreed }) // lost: no part of the trail
		}
	}
	t.parts = append(t.parts, older.parts...)
	t.recoveries = append(t.recoveries, older.recoveries...)
	return nil
}

// has reports whether both trails have this entry, and alike.
func (t *trail) has(seq uint64, other *trail) bool {
	mine, p := t.at(seq)
	theirs, q := other.at(seq)
	return p != nil && q != nil && mine == theirs
}

// hold holds the trail to signed words on it.
func (t *trail) hold(checkpoints []Checkpoint) error {
	var matched uint64 // incarnation of the newest checkpoint that lies on it
	var wrong []Checkpoint
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
		case c.Incarnation > t.incarnation:
			return fault("its checkpoint is of incarnation %d, and the header says %d: the header was changed", c.Incarnation, t.incarnation)
		default:
			t.report.Checkpoints++
			matched = max(matched, c.Incarnation)
		}
	}
	for _, c := range wrong {
		// After a recovery from an older state, word was given of entries that are lost. That counts only when a coordinator
		// of the newer incarnation has given its word on this trail.
		recovered := slices.ContainsFunc(t.recoveries, func(r uint64) bool { return r <= c.Seq })
		switch {
		case recovered && c.Incarnation < matched:
			t.lost(c)
		case c.Seq > t.report.Last:
			return &Fault{Seq: t.report.Last + 1, What: fmt.Sprintf("the trail ends before it, and there is a checkpoint of entry %d: its end was cut off", c.Seq)}
		default:
			return &Fault{Seq: c.Seq, What: fmt.Sprintf("its hash is not that of the checkpoint signed at %s: the trail was written anew from some entry up to this one on", c.At.Format("2006-01-02T15:04:05Z07:00"))}
		}
	}
	if len(checkpoints) > 0 && t.report.Checkpoints == 0 {
		return &Fault{What: "none of the checkpoints is of an entry that is here: they say nothing about this trail"}
	}
	return nil
}

// lost notes that a checkpoint speaks of entries that a recovery could not save.
func (t *trail) lost(c Checkpoint) {
	for _, l := range t.report.Lost {
		if l.Incarnation == c.Incarnation && l.Through >= c.Seq {
			return
		}
	}
	from := c.Seq
	for _, r := range t.recoveries {
		if r <= c.Seq {
			from = r
		}
	}
	t.report.Lost = append(t.report.Lost, Lost{c.Incarnation, from, c.Seq})
}
