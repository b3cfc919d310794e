package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"drp/raftstore/signed"
	"drp/raftstore/state"
)

// victim is an exported log, as three segments that were written after one another, with the checkpoint of each.
type victim struct {
	tb       testing.TB
	history  *history
	segments [][]byte
	words    []Checkpoint
	r        *rand.Rand
}

// mutation changes the segments. What it gives is never what was there.
type mutation struct {
	name string
	do   func(v *victim, segments [][]byte)
}

// onOne is a mutation of one of the segments.
func onOne(name string, do func(v *victim, text []byte) []byte) mutation {
	return mutation{name, func(v *victim, segments [][]byte) {
		i := v.r.IntN(len(segments))
		segments[i] = do(v, segments[i])
	}}
}

// onLines is one that takes lines.
func onLines(name string, do func(v *victim, all []string) []string) mutation {
	return onOne(name, func(v *victim, text []byte) []byte { return []byte(strings.Join(do(v, lines(text)), "")) })
}

// inLine is one of a place in a line: each match of the pattern may become what change gives.
func inLine(name, pattern string, change func(v *victim, match string) string) mutation {
	p := regexp.MustCompile(pattern)
	return onLines(name, func(v *victim, all []string) []string {
		for {
			i := v.r.IntN(len(all))
			at := p.FindAllStringIndex(all[i], -1)
			if len(at) == 0 {
				continue
			}
			m := at[v.r.IntN(len(at))]
			all[i] = all[i][:m[0]] + change(v, all[i][m[0]:m[1]]) + all[i][m[1]:]
			return all
		}
	})
}

func mutations() []mutation {
	insert := func(text []byte, at int, b ...byte) []byte { return slices.Insert(text, at, b...) }
	return []mutation{
		onOne("bit flipped", func(v *victim, text []byte) []byte {
			text[v.r.IntN(len(text))] ^= 1 << v.r.IntN(8)
			return text
		}),
		onOne("byte changed", func(v *victim, text []byte) []byte {
			text[v.r.IntN(len(text))] += byte(1 + v.r.IntN(255))
			return text
		}),
		onOne("byte inserted", func(v *victim, text []byte) []byte {
			return insert(text, v.r.IntN(len(text)+1), byte(v.r.IntN(256)))
		}),
		onOne("byte deleted", func(v *victim, text []byte) []byte {
			i := v.r.IntN(len(text))
			return slices.Delete(text, i, i+1)
		}),
		onOne("truncated", func(v *victim, text []byte) []byte { return text[:v.r.IntN(len(text))] }),
		onOne("something behind", func(v *victim, text []byte) []byte { return append(text, text[v.r.IntN(len(text)):]...) }),
		onLines("line deleted", func(v *victim, all []string) []string {
			i := v.r.IntN(len(all))
			return slices.Delete(all, i, i+1)
		}),
		onLines("line twice", func(v *victim, all []string) []string {
			return slices.Insert(all, v.r.IntN(len(all)+1), all[v.r.IntN(len(all))])
		}),
		onLines("line inserted", func(v *victim, all []string) []string {
			return slices.Insert(all, v.r.IntN(len(all)+1), []string{"\n", "{}\n", "null\n", "[]\n", all[1][:len(all[1])-1] + " \n"}[v.r.IntN(5)])
		}),
		onLines("lines swapped", func(v *victim, all []string) []string {
			i := v.r.IntN(len(all) - 1)
			j := i + 1 + v.r.IntN(len(all)-i-1)
			all[i], all[j] = all[j], all[i]
			return all
		}),
		onLines("block of lines moved", func(v *victim, all []string) []string {
			i := 1 + v.r.IntN(len(all)-3)
			return slices.Concat(all[:1], all[i+1:], all[1:i+1])
		}),
		inLine("case of a field's name", `"[a-z0-9_]+":`, func(_ *victim, s string) string {
			return strings.ToUpper(s)
		}),
		inLine("blank", `[,:{}]`, func(v *victim, s string) string { return s + []string{" ", "\t", "\r", "  "}[v.r.IntN(4)] }),
		inLine("line's end", `\n`, func(*victim, string) string { return "\r\n" }),
		inLine("form of a number", `:[0-9]+[,}]`, func(v *victim, s string) string {
			n, end := s[1:len(s)-1], s[len(s)-1:]
			return ":" + []string{n + ".0", n + "e0", "0" + n, "+" + n, "-" + n, `"` + n + `"`, n + "0"}[v.r.IntN(7)] + end
		}),
		inLine("escape", `[a-z]`, func(_ *victim, s string) string { return fmt.Sprintf(`\u%04x`, s[0]) }),
		inLine("field twice", `"[a-z0-9_]+":[^,}]+,`, func(_ *victim, s string) string { return s + s }),
		inLine("empty field", `"by":`, func(_ *victim, s string) string { return `"refused":"",` + s }),
		inLine("unknown field", `"by":`, func(_ *victim, s string) string { return `"note":1,` + s }),
		inLine("null", `:"[^"]*"`, func(*victim, string) string { return ":null" }),
		inLine("time in another zone", `"at":"[^"]*Z"`, func(_ *victim, s string) string { return strings.TrimSuffix(s, `Z"`) + `+00:00"` }),
		onLines("fields in another order", func(v *victim, all []string) []string {
			i := v.r.IntN(len(all))
			var fields map[string]json.RawMessage // encoded by name
			if err := json.Unmarshal([]byte(all[i]), &fields); err != nil {
				v.tb.Fatal(err)
			}
			again, err := signed.Encode(fields)
			if err != nil {
				v.tb.Fatal(err)
			}
			all[i] = string(again)
			return all
		}),
		onOne("entry changed, its own hash and the trailer's sum made anew", func(v *victim, text []byte) []byte {
			all := lines(text)
			i := 1 + v.r.IntN(len(all)-3) // not the last entry: its hash is the head
			e := v.entry(all[i])
			e.By = "operator/eve"
			var before state.Digest
			if i > 1 {
				before = v.entry(all[i-1]).Hash
			} else {
				var h Header
				if err := signed.Decode([]byte(all[0]), &h); err != nil {
					v.tb.Fatal(err)
				}
				before = h.Previous
			}
			e.Hash = e.Chain(before)
			all[i] = v.line(e)
			return summed(all)
		}),
		onOne("entry changed, the trailer's sum made anew", func(v *victim, text []byte) []byte {
			all := lines(text)
			i := 1 + v.r.IntN(len(all)-2)
			e := v.entry(all[i])
			switch v.r.IntN(5) {
			case 0:
				e.By += "x"
			case 1:
				e.At = e.At.Add(1)
			case 2:
				e.Refused = "no"
			case 3:
				e.Payload[v.r.IntN(32)] ^= 1
			default:
				e.Index++
			}
			all[i] = v.line(e)
			return summed(all)
		}),
		onOne("trailer changed", func(v *victim, text []byte) []byte {
			all := lines(text)
			var t trailer
			if err := signed.Decode([]byte(all[len(all)-1]), &t); err != nil {
				v.tb.Fatal(err)
			}
			switch v.r.IntN(4) {
			case 0:
				t.Entries++
			case 1:
				t.Last--
			case 2:
				t.Head[v.r.IntN(32)] ^= 1
			default:
				t.SHA256[v.r.IntN(32)] ^= 1
			}
			all[len(all)-1] = v.line(t)
			return []byte(strings.Join(all, ""))
		}),
		onOne("header changed, the sum made anew", func(v *victim, text []byte) []byte {
			all := lines(text)
			var h Header
			if err := signed.Decode([]byte(all[0]), &h); err != nil {
				v.tb.Fatal(err)
			}
			switch v.r.IntN(4) {
			case 0:
				h.Cluster += "x"
			case 1:
				h.First++
			case 2:
				h.Previous[v.r.IntN(32)] ^= 1
			default:
				h.Format += "1"
			}
			all[0] = v.line(h)
			return summed(all)
		}),
		{"segment left out", func(v *victim, segments [][]byte) {
			i := 1 + v.r.IntN(2)
			segments[i] = segments[i-1] // one that lacks the beginning is a trail of its own, and says so
		}},
		{"parts of segments swapped", func(v *victim, segments [][]byte) {
			x, y := v.two(segments)
			a, b := lines(segments[x]), lines(segments[y])
			i, j := 1+v.r.IntN(len(a)-2), 1+v.r.IntN(len(b)-2)
			a[i], b[j] = b[j], a[i]
			segments[x], segments[y] = summed(a), summed(b)
		}},
		{"headers swapped", func(v *victim, segments [][]byte) {
			x, y := v.two(segments)
			a, b := lines(segments[x]), lines(segments[y])
			a[0], b[0] = b[0], a[0]
			segments[x], segments[y] = summed(a), summed(b)
		}},
		{"tail rewritten with right hashes", func(v *victim, segments [][]byte) {
			v.rewrite(segments, func(entries []*state.AuditEntry, i int) []*state.AuditEntry {
				e := *entries[i]
				e.By = fmt.Sprintf("operator/eve%d", v.r.IntN(1000))
				entries[i] = &e
				return entries
			})
		}},
		{"entry cut out and all after it rewritten", func(v *victim, segments [][]byte) {
			v.rewrite(segments, func(entries []*state.AuditEntry, i int) []*state.AuditEntry { return slices.Delete(entries, i, i+1) })
		}},
		{"entry invented and all after it rewritten", func(v *victim, segments [][]byte) {
			v.rewrite(segments, func(entries []*state.AuditEntry, i int) []*state.AuditEntry {
				return slices.Insert(entries, i, entries[0])
			})
		}},
		{"recovery invented and all after it rewritten", func(v *victim, segments [][]byte) {
			v.rewrite(segments, func(entries []*state.AuditEntry, i int) []*state.AuditEntry {
				e := *entries[i]
				e.Command = state.ClusterRecover
				entries[i] = &e
				return entries
			})
		}},
		{"end cut off with a right trailer", func(v *victim, segments [][]byte) {
			first := v.history.firstOf(segments[2])
			segments[2] = v.history.segment(first, first+uint64(v.r.IntN(int(v.history.last()-first))))
		}},
	}
}

func (v *victim) entry(line string) *state.AuditEntry {
	var e state.AuditEntry
	if err := signed.Decode([]byte(line), &e); err != nil {
		v.tb.Fatal(err)
	}
	return &e
}

func (v *victim) line(of any) string {
	line, err := signed.Encode(of)
	if err != nil {
		v.tb.Fatal(err)
	}
	return string(line)
}

func (h *history) firstOf(segment []byte) uint64 {
	var header Header
	if err := signed.Decode([]byte(lines(segment)[0]), &header); err != nil {
		h.tb.Fatal(err)
	}
	return header.First
}

// two different segments.
func (v *victim) two(segments [][]byte) (x, y int) {
	x = v.r.IntN(len(segments))
	return x, (x + 1 + v.r.IntN(len(segments)-1)) % len(segments)
}

// rewrite changes one entry, and makes all segments anew with right numbers and hashes.
func (v *victim) rewrite(segments [][]byte, change func(entries []*state.AuditEntry, i int) []*state.AuditEntry) {
	all := v.history.state.View().Audit(1, 1000)
	first := []int{0, int(v.history.firstOf(segments[1])) - 1, int(v.history.firstOf(segments[2])) - 1}
	all = change(all, v.r.IntN(len(all)))
	header := Header{Cluster: cluster, First: 1}
	for i := range segments {
		last := len(all)
		if i+1 < len(first) {
			last = first[i+1]
		}
		segments[i] = rewritten(v.tb, header, all[first[i]:last])
		seg, err := Scan(bytes.NewReader(segments[i]), nil)
		if err != nil {
			v.tb.Fatal(err)
		}
		header.First, header.Previous = seg.Last+1, seg.Head
	}
}

// TestVerify_Mutations is the promise of the whole package: of 10,000 changes to an exported log none goes unseen, and
// each is told in one sentence.
func TestVerify_Mutations(t *testing.T) {
	const runs = 10_000
	v := &victim{tb: t, history: newHistory(t).live(15), r: rand.New(rand.NewPCG(3, 60))}
	v.segments = [][]byte{v.history.segment(1, 5), v.history.segment(6, 10), v.history.segment(11, 0)}
	v.words = []Checkpoint{v.history.checkpoint(5), v.history.checkpoint(10), v.history.checkpoint(0)}
	verify := func(segments [][]byte) error {
		_, err := VerifyFiles([]File{file("1", segments[0]), file("2", segments[1]), file("3", segments[2])}, v.words...)
		return err
	}
	if err := verify(v.segments); err != nil {
		t.Fatal(err)
	}
	all := mutations()
	for i := 0; i < runs; {
		m := all[i%len(all)]
		changed := [][]byte{bytes.Clone(v.segments[0]), bytes.Clone(v.segments[1]), bytes.Clone(v.segments[2])}
		m.do(v, changed)
		if slices.EqualFunc(changed, v.segments, bytes.Equal) {
			continue // it drew what was there already
		}
		err := verify(changed)
		if err == nil {
			t.Fatalf("run %d, %s: not found:\n%s", i, m.name, bytes.Join(changed, nil))
		}
		if len(err.Error()) > 600 || strings.ContainsAny(err.Error(), "\n\r\x1b") {
			t.Fatalf("run %d, %s: got %q, want one sentence", i, m.name, err)
		}
		i++
	}
	t.Logf("mutations=%d kinds=%d found=%d", runs, len(all), runs)
}
