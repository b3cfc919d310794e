package strictyaml

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"256MiB": 256 << 20, "1.5GiB": 3 << 29, "1 KiB": 1024, "7B": 7, "2TiB": 2 << 40, "0B": 0, "0.5KiB": 512,
	} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%s: got %d %v, want %d", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                     `"" is no size; write a number and a unit, as in "256MiB"`,
		"-1MiB":                `"-1MiB" is no size; write a number and a unit, as in "256MiB"`,
		"MiB":                  `"MiB" is no size; write a number and a unit, as in "256MiB"`,
		"256":                  `the size "256" has no unit; write "256KiB", "256MiB" or "256GiB"`,
		"256MB":                `the size "256MB" has an unknown unit; write "256MiB"`,
		"2g":                   `the size "2g" has an unknown unit; write "2GiB"`,
		"2XB":                  `the size "2XB" has an unknown unit; units are B, KiB, MiB, GiB and TiB`,
		"0.3B":                 `the size "0.3B" is too large, or no whole number of bytes`,
		"8388608TiB":           `the size "8388608TiB" is too large, or no whole number of bytes`,
		"99999999999999999TiB": `the size "99999999999999999TiB" is too large, or no whole number of bytes`,
	} {
		if _, err := ParseSize(text); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"15s": 15 * time.Second, "1h30m": 90 * time.Minute, "7d": 168 * time.Hour, "2w": 336 * time.Hour, "250ms": 250 * time.Millisecond,
		"1.5h": 90 * time.Minute, "1m30s": 90 * time.Second,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%s: got %v %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "15", "h", "-1h", "1h 30m", "7 days", "1y", "0.0000000001s", "999999999d", "106751d24h"} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

func TestFormat_RoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(0, math.MaxInt64).Draw(t, "size")
		if got, err := ParseSize(FormatSize(size)); err != nil || got != size {
			t.Errorf("%s: got %d %v, want %d", FormatSize(size), got, err, size)
		}
		d := time.Duration(rapid.Int64Range(0, math.MaxInt64/int64(time.Millisecond)).Draw(t, "duration")) * time.Millisecond
		if got, err := ParseDuration(FormatDuration(d)); err != nil || got != d {
			t.Errorf("%s: got %v %v, want %v", FormatDuration(d), got, err, d)
		}
	})
}

func TestHint(t *testing.T) {
	for _, test := range []struct {
		word  string
		known []string
		want  string
	}{
		{"memmory", []string{"disk", "memory"}, `did you mean "memory"?`},
		{"pra1", []string{"par2", "par1"}, `did you mean "par1"?`},
		{"PAR1", []string{"par1"}, `did you mean "par1"?`},
		{"madrid", []string{"par2", "par1"}, "known: par1, par2"},
		{"x", nil, "none is known yet"},
		{strings.Repeat("x", 100_000), []string{"par1"}, "known: par1"},
	} {
		if got := Hint(test.word, test.known); got != test.want {
			t.Errorf("%.20s: got %s, want %s", test.word, got, test.want)
		}
	}
}

// What could keep the parser busy, or its stack growing, ends before it runs.
func TestDocuments_Bounds(t *testing.T) {
	const n = 300_000
	for name, text := range map[string]string{
		"open lists":       strings.Repeat("[", n),
		"open mappings":    strings.Repeat("{a: ", n),
		"lists in a line":  strings.Repeat("- ", n),
		"steps":            steps(1000),
		"keys":             strings.Repeat("a: b\n", n/2),
		"one long line":    strings.Repeat("x", 2*MaxDocument),
		"too large a file": strings.Repeat("---\na: 1\n", MaxFile/8),
		"anchors":          "a: &a " + strings.Repeat("[*a, *a]", 10),
	} {
		t.Run(name, func(t *testing.T) {
			var p Problems
			values := Documents("a.yaml", []byte(text), &p)
			if len(values) != 0 || p.Count() == 0 {
				t.Errorf("got %d values, %d problems; want a refusal", len(values), p.Count())
			}
		})
	}
}

func steps(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%sa:\n", strings.Repeat(" ", i))
	}
	return b.String()
}

func TestDocuments_BadBytes(t *testing.T) {
	for text, want := range map[string]string{
		"a: 1\nb: \xff\n":     "a.yaml:2:4: this is not UTF-8; save the file as plain UTF-8 text",
		"a: 1\nbé: x\x00\n":   "a.yaml:2:6: the control character U+0000 does not belong in a text file; save the file as plain UTF-8 text",
		"a: \"x\\0\"\n":       "a.yaml:1:4: a: the text has a NUL character; remove it",
		"\ufeffa: \ufeff1\n":  "a.yaml:1:4: the control character U+FEFF does not belong in a text file; save the file as plain UTF-8 text",
		"a: 1\rb: 1\n":        "a.yaml:1:5: a carriage return stands in the middle of a line; save the file as plain UTF-8 text",
		"a: 1\n---\nb: [\n":   "a.yaml:3:4: the list that begins here with [ never ends; close it with ]",
		"a: 1\n...\nb: [\n":   "a.yaml:3:4: the list that begins here with [ never ends; close it with ]",
		"a: |\n  x\n---\nb [": "a.yaml:4:1: want a mapping, got the text \"b [\"; write it as in {name: value}",
	} {
		t.Run(text, func(t *testing.T) {
			var p Problems
			for _, v := range Documents("a.yaml", []byte(text), &p) {
				if m, ok := v.Map("a", "b"); ok && m.Has("a") {
					if n, isText := m.Field("a"); isText && n.kind() != "the number 1" {
						n.Text()
					}
				}
			}
			if err := p.Err(); err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
}

func TestProblems_Err(t *testing.T) {
	var p Problems
	if err := p.Err(); err != nil {
		t.Errorf("got %v, want nil", err)
	}
	for i := range maxErrors + 10 {
		p.Add(Position{"a.yaml", maxErrors + 10 - i, 1}, "wrong", "")
	}
	var errs Errors
	if !errors.As(p.Err(), &errs) || len(errs) != maxErrors {
		t.Fatalf("got %d errors, want %d", len(errs), maxErrors)
	}
	if got, want := errs[0].Error(), "a.yaml:1:1: wrong"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := errs[maxErrors-1].Error(), "a.yaml:500:1: 11 more errors follow; repair the ones above first"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func FuzzDocuments(f *testing.F) {
	for _, seed := range []string{"a: [1, {b: c}]\n", "---\n---\na: 'x'\n", "a: |\n  b\n", "%YAML 1.2\n---\n? a\n: b\n", "a: \"\\ud800\"\n", "- - - a\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var p Problems
		for _, v := range Documents("a.yaml", data, &p) {
			walk(v)
		}
		_ = p.Err()
	})
}

// walk reads everything as everything.
func walk(v Value) {
	v.Position()
	v.Text()
	v.Number()
	v.Size()
	v.Duration()
	v.Bool()
	list, _ := v.List()
	for _, v := range list {
		walk(v)
	}
	entries, _ := v.Entries()
	for _, e := range entries {
		walk(e.Value)
	}
}
