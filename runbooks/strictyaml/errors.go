// Package strictyaml reads YAML that people write and says everything that is wrong with it at once, each fault
// with its file, line and column and, where there is one, the fix.
//
// It reads a subset on purpose: mappings, lists and scalars. Anchors, aliases, merge keys, tags, directives and
// complex keys are refused, so that what stands at a place is what counts there and no short file can grow large.
package strictyaml

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Position is a place in a file; lines and columns count from 1, columns in characters.
type Position struct {
	File         string
	Line, Column int
}

func (p Position) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Error is one fault.
type Error struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
	Fix     string `json:"fix,omitempty"` // what to do about it
}

func (e Error) Error() string {
	s := fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
	if e.Fix != "" {
		s += "; " + e.Fix
	}
	return s
}

// Errors are all faults of some files, in the order in which a reader meets them.
type Errors []Error

// Error gives one line for each fault.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// maxErrors bounds what one answer holds: nobody reads more, and a file of another kind would give one per line.
const maxErrors = 500

// Problems collects faults. The zero value is ready; it belongs to one goroutine.
type Problems struct{ list Errors }

// Add records a fault. Fix may be empty.
func (p *Problems) Add(at Position, message, fix string) {
	p.list = append(p.list, Error{File: at.File, Line: at.Line, Column: at.Column, Message: message, Fix: fix})
}

// Count is the number of faults so far.
func (p *Problems) Count() int { return len(p.list) }

// Err is nil, or Errors sorted by file and place.
func (p *Problems) Err() error {
	if len(p.list) == 0 {
		return nil
	}
	list := slices.Clone(p.list)
	slices.SortStableFunc(list, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if more := len(list) - maxErrors; more > 0 {
		list = list[:maxErrors]
		last := list[maxErrors-1]
		last.Message, last.Fix = fmt.Sprintf("%d more errors follow", more+1), "repair the ones above first"
		list[maxErrors-1] = last
	}
	return list
}
