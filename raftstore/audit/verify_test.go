package audit

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"drp/raftstore/state"
)

func TestVerify(t *testing.T) {
	h := newHistory(t).live(30)
	text := h.segment(1, 0)
	got, err := Verify(bytes.NewReader(text), h.checkpoint(0), h.checkpoint(7))
	if err != nil {
		t.Fatal(err)
	}
	if got.Entries != 31 || got.First != 1 || got.Last != 31 || got.Head != h.state.View().AuditHead().Hash || got.Checkpoints != 2 || got.Vouched != 31 || got.Cluster != cluster {
		t.Errorf("got %+v", got)
	}
	if again := h.segment(1, 0); !bytes.Equal(again, text) {
		t.Error("the same entries gave other bytes")
	}
}

// wantFault holds that the sentence names the place and says what is wrong.
func wantFault(t *testing.T, err error, words ...string) {
	t.Helper()
	var fault *Fault
	if !errors.As(err, &fault) {
		t.Fatalf("got %v, want a fault", err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("got %q, want the words %q", err, w)
		}
	}
}

// What comes after the newest checkpoint anybody could have written: the report says from where on.
func TestVerify_vouched(t *testing.T) {
	h := newHistory(t).live(30)
	word := h.checkpoint(7)
	got, err := Verify(bytes.NewReader(h.segment(1, 0)), word)
	if err != nil || got.Vouched != word.Seq || got.Last <= word.Seq {
		t.Errorf("got %+v, %v, want entries up to %d vouched for, and no more", got, err, word.Seq)
	}
}

func TestVerify_says(t *testing.T) {
	h := newHistory(t).live(9)
	text := h.segment(1, 0)
	all := lines(text)
	change := func(i int, old, new string) []byte {
		t.Helper()
		changed := append([]string(nil), all...)
		if changed[i] = strings.Replace(changed[i], old, new, 1); changed[i] == all[i] {
			t.Fatalf("line %d has no %q: %s", i, old, all[i])
		}
		return []byte(strings.Join(changed, ""))
	}
	drop := func(i int) []byte {
		return []byte(strings.Join(append(append([]string(nil), all[:i]...), all[i+1:]...), ""))
	}
	for _, c := range []struct {
		name  string
		text  []byte
		words []string
	}{
		{"who is another", change(3, "ada", "bob"), []string{"line 4", "entry 3", "does not follow"}},
		{"a blank", change(3, `,"by"`, `, "by"`), []string{"line 4", "entry 3", "byte for byte"}},
		{"a field in capitals", change(3, `"by"`, `"By"`), []string{"line 4", "byte for byte"}},
		{"a field twice", change(3, `"by":`, `"by":"x","by":`), []string{"line 4", "byte for byte"}},
		{"an escape", change(3, "ada", `\u0061da`), []string{"line 4", "byte for byte"}},
		{"an unknown field", change(3, `"by"`, `"bye"`), []string{"line 4", "cannot be read", "unknown field"}},
		{"an entry is gone", drop(4), []string{"line 5", "entry 4", "entry 5 stands here", "missing"}},
		{"the last one is gone", drop(10), []string{"line 11", "10 entries up to 10, and there are 9"}},
		{"the trailer is gone", drop(11), []string{"line 12", "cut off"}},
		{"the header is gone", drop(0), []string{"line 1", "no header"}},
		{"an entry twice", []byte(strings.Join(all[:5], "") + strings.Join(all[4:], "")), []string{"line 6", "entry 5", "twice"}},
		{"cut in a line", text[:len(text)/2], []string{"in the middle of a line"}},
		{"more behind", append(bytes.Clone(text), '\n'), []string{"line 13", "more after the trailer"}},
		{"another cluster", change(0, "7d1f", "7d10"), []string{"line 12", "the header was changed"}},
		{"nothing", nil, []string{"line 1", "cut off"}},
		{"a line without end", bytes.Repeat([]byte("x"), maxLine+1), []string{"line 1", "more than"}},
		{"another format", change(0, "drp audit 1", "drp audit 2"), []string{"line 1", `"drp audit 2"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Verify(bytes.NewReader(c.text))
			wantFault(t, err, c.words...)
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q, want one line", err)
			}
		})
	}
}

func TestVerify_checkpoints(t *testing.T) {
	h := newHistory(t).live(20)
	word := h.checkpoint(15)
	entries := h.state.View().Audit(1, 100)
	forged := *entries[9]
	forged.By = "operator/eve"
	entries[9] = &forged
	tail := rewritten(t, Header{Cluster: cluster, First: 1}, entries)
	if _, err := Verify(bytes.NewReader(tail)); err != nil {
		t.Fatalf("without a checkpoint nobody can tell: %v", err)
	}
	_, err := Verify(bytes.NewReader(tail), word)
	wantFault(t, err, "entry 15", "written anew")

	short := h.segment(1, 12)
	_, err = Verify(bytes.NewReader(short), word)
	wantFault(t, err, "entry 13", "checkpoint of entry 15", "cut off")

	other := word
	other.Cluster = "another"
	_, err = Verify(bytes.NewReader(h.segment(1, 0)), other)
	wantFault(t, err, "cluster")

	_, err = Verify(bytes.NewReader(h.segment(10, 0)), h.checkpoint(3))
	wantFault(t, err, "none of the checkpoints")

	foreign := rewritten(t, Header{Cluster: "another", First: 1}, h.state.View().Audit(1, 100))
	_, err = Verify(bytes.NewReader(foreign), word)
	wantFault(t, err, "cluster")
}

func TestVerifyFiles(t *testing.T) {
	h := newHistory(t).live(40)
	a, b, c := file("a", h.segment(1, 10)), file("b", h.segment(11, 25)), file("c", h.segment(26, 0))
	within, across := file("within", h.segment(13, 17)), file("across", h.segment(5, 30))
	empty := file("empty", write(t, Header{Cluster: cluster, First: 11, Previous: h.state.View().Audit(10, 1)[0].Hash}, nil))
	for name, files := range map[string][]File{
		"in order": {a, b, c}, "in any order": {c, a, b}, "one inside": {a, b, within, c}, "one across": {across, c, b, a},
		"twice": {a, a, b, b, c}, "with an empty one": {a, empty, b, c},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := VerifyFiles(files, h.checkpoint(14), h.checkpoint(0))
			if err != nil {
				t.Fatal(err)
			}
			if got.Entries != 41 || got.Head != h.state.View().AuditHead().Hash || got.Checkpoints != 2 || len(got.Lost) > 0 {
				t.Errorf("got %+v", got)
			}
		})
	}

	t.Run("gap", func(t *testing.T) {
		_, err := VerifyFiles([]File{a, c})
		wantFault(t, err, "c: ", "entries 11 to 25 are missing")
	})
	forge := func(first, last, which uint64) []byte {
		entries := h.state.View().Audit(first, int(last-first+1))
		forged := *entries[which-first]
		forged.By = "operator/eve"
		entries[which-first] = &forged
		return rewritten(t, Header{Cluster: cluster, First: first, Previous: h.state.View().Audit(first-1, 1)[0].Hash}, entries)
	}
	for name, files := range map[string][]File{
		"one was made anew":         {a, file("b", forge(11, 25, 20)), c},
		"one inside was made anew":  {a, b, c, file("within", forge(13, 17, 15))},
		"one across was made anew":  {a, b, c, file("across", forge(5, 30, 15))},
		"the last one, against one": {a, b, c, file("last", forge(26, 30, 28))},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := VerifyFiles(files)
			wantFault(t, err, "differs from")
		})
	}
	t.Run("another cluster", func(t *testing.T) {
		_, err := VerifyFiles([]File{a, file("x", write(t, Header{Cluster: "other", First: 11}, nil))})
		wantFault(t, err, "of cluster")
	})
	t.Run("files that changed their names", func(t *testing.T) {
		name := SegmentName(1, 10, h.state.View().Audit(10, 1)[0].Hash)
		if _, err := VerifyFiles([]File{file("audit/"+name, h.segment(1, 10)), b, c}); err != nil {
			t.Error(err)
		}
		_, err := VerifyFiles([]File{a, file("audit/"+name, h.segment(11, 25)), c})
		wantFault(t, err, name, "its name")
	})
	t.Run("a fault names its file", func(t *testing.T) {
		_, err := VerifyFiles([]File{a, file("b", h.segment(11, 25)[:100])})
		wantFault(t, err, "b: line 1")
	})
}

func TestVerifyFiles_recovery(t *testing.T) {
	old := newHistory(t).live(20)
	recovered := old.fork().recover(2)
	begun := recovered.last() // its first entry
	old.live(20)
	recovered.live(30)
	lostWord, newWord := old.checkpoint(0), recovered.checkpoint(0)
	a, lost := file("a", old.segment(1, 15)), file("lost", old.segment(16, 0))
	next, rest := file("next", recovered.segment(16, 30)), file("rest", recovered.segment(31, 0))
	for name, files := range map[string][]File{
		"all": {a, lost, next, rest}, "short new segment first": {a, rest, next, lost}, "lost one and all of it": {lost, file("full", recovered.segment(1, 0))},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := VerifyFiles(files, lostWord, newWord)
			if err != nil {
				t.Fatal(err)
			}
			want := Lost{begun, old.last()}
			if got.Head != recovered.state.View().AuditHead().Hash || len(got.Lost) != 1 || got.Lost[0] != want || got.Checkpoints != 1 {
				t.Errorf("got %+v, want %v lost", got, want)
			}
		})
	}
	t.Run("the checkpoint alone tells of what is lost", func(t *testing.T) {
		got, err := VerifyFiles([]File{a, next, rest}, lostWord, newWord)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Lost) != 1 || got.Lost[0] != (Lost{begun, lostWord.Seq}) {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("a recovery that no coordinator vouches for", func(t *testing.T) {
		_, err := VerifyFiles([]File{a, next, rest}, lostWord)
		wantFault(t, err, "written anew")
	})
	t.Run("a recovery that only older words are there for", func(t *testing.T) {
		_, err := VerifyFiles([]File{a, next, rest}, old.checkpoint(12), lostWord)
		wantFault(t, err, "written anew")
	})
	t.Run("two recoveries of one state", func(t *testing.T) {
		rival := newHistory(t).live(20).recover(3).live(30)
		_, err := VerifyFiles([]File{a, next, rest, file("rival", rival.segment(16, 0))})
		wantFault(t, err, "recovered here twice")
	})
	t.Run("and once more", func(t *testing.T) {
		again := recovered.fork().recover(5).live(5)
		recovered.live(3)
		got, err := VerifyFiles([]File{a, lost, next, file("third", again.segment(31, 0)), file("rest", recovered.segment(31, 0))}, lostWord, newWord, again.checkpoint(0))
		if err != nil {
			t.Fatal(err)
		}
		if got.Last != again.last() || len(got.Lost) != 2 {
			t.Errorf("got %+v", got)
		}
	})
}

func TestWriter_refuses(t *testing.T) {
	h := newHistory(t).live(5)
	entries := h.state.View().Audit(1, 10)
	forged := *entries[0]
	forged.By = "x"
	for name, e := range map[string]*state.AuditEntry{"out of order": entries[1], "with another hash": &forged} {
		w, err := NewWriter(&bytes.Buffer{}, Header{Cluster: cluster, First: 1})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Add(e); err == nil {
			t.Errorf("an entry %s was written", name)
		}
	}
}

// endless is a line without end, and counts what is read of it.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	e.read += len(p)
	return copy(p, bytes.Repeat([]byte("x"), len(p))), nil
}

func TestVerify_boundedLine(t *testing.T) {
	e := &endless{}
	r := io.MultiReader(io.LimitReader(e, 64<<20), strings.NewReader("\n"))
	_, err := Verify(r)
	wantFault(t, err, "line 1", "more than")
	if e.read > 2*maxLine {
		t.Errorf("%d bytes of a line were read before it was refused", e.read)
	}
}
