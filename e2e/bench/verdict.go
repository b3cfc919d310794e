package main

import (
	"fmt"
	"slices"
)

// verdict is one line of the bench. One without a limit only informs.
type verdict struct {
	text  string
	limit string
	ok    bool
}

func (v verdict) String() string {
	switch {
	case v.limit == "":
		return "bench: " + v.text
	case v.ok:
		return fmt.Sprintf("bench: %s limit=%s ok", v.text, v.limit)
	}
	return fmt.Sprintf("bench: %s limit=%s SHORT", v.text, v.limit)
}

func median(list []float64) float64 {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[len(sorted)/2]
}
