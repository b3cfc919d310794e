// Package runbooks reads runbooks: YAML files of typed steps, with typed parameters, that the orchestrator carries out
// and that print as a page for a person whose computer has died. It knows what a runbook may say, not how a step is done.
package runbooks

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"drp/runbooks/strictyaml"
)

// Roles that may run a runbook. An operator may run those of support too.
const (
	Operator = "operator"
	Support  = "support"
)

// Types of steps.
const (
	Confirm      = "confirm"       // a person has seen the plan and says which silent servers are down
	Fence        = "fence"         // it is made sure that nothing runs under the old tokens
	Assign       = "assign"        // each account gets a server and a new token
	Rebuild      = "rebuild"       // homes are restored, programs started, addresses announced
	Verify       = "verify"        // each service is asked from another site
	RestoreFiles = "restore-files" // a folder of one account comes back beside the live data
)

// Runbook is one that was read, and is without fault. It is not changed afterwards.
type Runbook struct {
	Name        string
	Title       string // one line
	Description string // when to use it
	Role        string // least role that may run it
	Parameters  []Parameter
	Steps       []Step
	WithoutDRP  string // what to do when not even one coordinator can be brought back
	Source      string // the YAML
}

// Parameter is what a run is given.
type Parameter struct {
	Name     string
	Type     string // site, server, account, path, time, text, duration, bool
	Required bool
	Default  string
	Help     string
}

// Step is one step.
type Step struct {
	ID      string
	Type    string
	Title   string
	ByHand  string            // what to do when the computer has died
	Timeout time.Duration     // zero: none
	With    map[string]string // arguments as written; see Arguments
}

// stepType is what a step of a type may and must be given.
type stepType struct {
	arguments map[string]string // name to type
	needs     []string          // of the arguments: all
	needsOne  []string          // of the arguments: exactly one
	after     string            // a step of this type stands before it
}

var (
	places    = map[string]string{"site": "site", "server": "server"}
	stepTypes = map[string]stepType{
		Confirm: {arguments: places},
		// The order is a promise: nothing starts under a new token before the old one is fenced, and no person is asked too late.
		Fence:        {arguments: places, needsOne: []string{"site", "server"}, after: Confirm},
		Assign:       {arguments: places, needsOne: []string{"site", "server"}, after: Fence},
		Rebuild:      {after: Assign},
		Verify:       {after: Rebuild},
		RestoreFiles: {arguments: map[string]string{"account": "account", "path": "path", "at": "time"}, needs: []string{"account", "path", "at"}},
	}
)

// Parameter returns the parameter of that name.
func (r *Runbook) Parameter(name string) (Parameter, bool) {
	i := slices.IndexFunc(r.Parameters, func(p Parameter) bool { return p.Name == name })
	if i < 0 {
		return Parameter{}, false
	}
	return r.Parameters[i], true
}

// Arguments are what a step works on, for parameters that Bind gave: what its "with" says, and else the run's
// parameter of the argument's name and type.
func (r *Runbook) Arguments(s Step, bound map[string]string) (map[string]string, error) {
	out := map[string]string{}
	for name, kind := range stepTypes[s.Type].arguments {
		if written, ok := s.With[name]; ok {
			value := expand(written, func(p string) string { return bound[p] })
			normal, err := parseValue(kind, value, time.Time{})
			if err != nil {
				return nil, fmt.Errorf("step %s of runbook %s: %s: %w", s.ID, r.Name, name, err)
			}
			out[name] = normal
		} else if p, ok := r.Parameter(name); ok && p.Type == kind {
			if value, given := bound[name]; given {
				out[name] = value
			}
		}
	}
	return out, nil
}

// references are the parameters that a text names as ${name}; bad is one that never ends.
func references(text string) (names []string, bad bool) {
	for {
		_, rest, found := strings.Cut(text, "${")
		if !found {
			return names, false
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return names, true
		}
		names, text = append(names, name), after
	}
}

// expand replaces each ${name}.
func expand(text string, value func(name string) string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			b.WriteString("${" + rest)
			return b.String()
		}
		b.WriteString(value(name))
		text = after
	}
}

func sortedKeys[T any](m map[string]T) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Errors are all faults of a runbook's text; Parse returns no other error.
type Errors = strictyaml.Errors
