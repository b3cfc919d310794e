// Package verdict is how the benches say what they measured: a line each, with its limit and whether it holds.
package verdict

import (
	"fmt"
	"io"
	"slices"
)

// Verdict is one line of a bench. One without a limit only informs.
type Verdict struct {
	Text  string
	Limit string
	OK    bool
}

func (v Verdict) String() string {
	switch {
	case v.Limit == "":
		return "bench: " + v.Text
	case v.OK:
		return fmt.Sprintf("bench: %s limit=%s ok", v.Text, v.Limit)
	}
	return fmt.Sprintf("bench: %s limit=%s SHORT", v.Text, v.Limit)
}

// Tally prints verdicts and counts them.
type Tally struct {
	Out          io.Writer
	holds, short int
}

// Say prints one.
func (t *Tally) Say(v Verdict) {
	fmt.Fprintln(t.Out, v)
	switch {
	case v.Limit == "":
	case v.OK:
		t.holds++
	default:
		t.short++
	}
}

func (t *Tally) String() string { return fmt.Sprintf("holds=%d short=%d", t.holds, t.short) }

// Median of a list that is not empty.
func Median(list []float64) float64 {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}
