package api

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"drp/orchestrator"
)

// failure is why a call had no answer: what each coordinator said last, in the order of the endpoints.
type failure struct {
	endpoints []endpoint
	causes    []error // nil for one that was not asked
	unknown   error   // somebody may have done what was asked
}

// err is the most telling of all reasons. That a request may have been carried out goes before all; that somebody
// answers and nobody leads says more than that the others are gone.
func (f failure) err() error {
	if f.unknown != nil {
		return f.unknown
	}
	var answer, silent []string
	var asked []error
	for i, cause := range f.causes {
		if cause == nil {
			continue
		}
		asked = append(asked, cause)
		if leaderless(cause) {
			answer = append(answer, f.endpoints[i].label)
		} else {
			silent = append(silent, f.endpoints[i].label)
		}
	}
	switch {
	case len(asked) == 1 && len(answer) == 1:
		return asked[0]
	case len(answer) == 0:
		return &joined{text: fmt.Sprintf("%v (asked %d): %s", ErrUnreachable, len(asked), sentence(asked)), causes: append(asked, ErrUnreachable)}
	}
	text := fmt.Sprintf("%s %s, but nobody leads (%s)", strings.Join(answer, ", "), verb(answer, "answers", "answer"), needed(len(f.endpoints)))
	if len(silent) > 0 {
		text += fmt.Sprintf("; %s %s not answer", strings.Join(silent, ", "), verb(silent, "does", "do"))
	}
	return &joined{text: text, causes: []error{ErrNoLeader}}
}

func leaderless(err error) bool {
	return errors.Is(err, ErrNoLeader) || errors.Is(err, orchestrator.ErrNotLeader)
}

// joined is a sentence made of several errors.
type joined struct {
	text   string
	causes []error
}

func (j *joined) Error() string   { return j.text }
func (j *joined) Unwrap() []error { return j.causes }

func sentence(errs []error) string {
	words := make([]string, len(errs))
	for i, err := range errs {
		words[i] = err.Error()
	}
	return strings.Join(words, "; ")
}

func verb(subjects []string, one, many string) string {
	if len(subjects) == 1 {
		return one
	}
	return many
}

// needed says how many coordinators elect a leader. Whoever is told of one or two only need not know of all.
func needed(known int) string {
	if known < 3 {
		return "more than half of the coordinators are needed"
	}
	numbers := []string{"", "one", "two", "three", "four", "five", "six", "seven"}
	word := func(n int) string {
		if n < len(numbers) {
			return numbers[n]
		}
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s of %s coordinators are needed", word(known/2+1), word(known))
}

// label gives short names: of several sockets in one directory the file says which coordinator it is.
func label(endpoints []endpoint) {
	var files []string
	for i, e := range endpoints {
		endpoints[i].label = e.name
		if filepath.IsAbs(e.name) && filepath.Dir(e.name) == filepath.Dir(endpoints[0].name) {
			files = append(files, strings.TrimSuffix(filepath.Base(e.name), ".sock"))
		}
	}
	if len(endpoints) < 2 || len(files) < len(endpoints) || slices.Contains(files, "") {
		return
	}
	for i := range endpoints {
		endpoints[i].label = files[i]
	}
}
