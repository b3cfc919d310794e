package runbooks

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"drp/runbooks/strictyaml"
)

// valueTypes are the types of parameters and arguments.
var valueTypes = []string{"site", "server", "account", "path", "time", "text", "duration", "bool"}

// ParameterError says what is wrong with one parameter of a run.
type ParameterError struct {
	Parameter string `json:"parameter"`
	Message   string `json:"message"`
	Fix       string `json:"fix,omitempty"`
}

func (e ParameterError) Error() string {
	s := fmt.Sprintf("parameter %s: %s", e.Parameter, e.Message)
	if e.Fix != "" {
		s += "; " + e.Fix
	}
	return s
}

// ParameterErrors are all that is wrong with a run's parameters, sorted by name.
type ParameterErrors []ParameterError

func (es ParameterErrors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Bind holds parameters against the runbook and gives them in their normal form, with defaults. A time without a zone
// is UTC. An empty value is as none. Its error is ParameterErrors.
func (r *Runbook) Bind(given map[string]string) (map[string]string, error) {
	return r.BindAt(given, time.Now().UTC())
}

// BindAt is Bind at a moment, in the zone of which times without one are read.
func (r *Runbook) BindAt(given map[string]string, now time.Time) (map[string]string, error) {
	var errs ParameterErrors
	names := make([]string, len(r.Parameters))
	bound := map[string]string{}
	for i, p := range r.Parameters {
		names[i] = p.Name
		value := given[p.Name]
		if value == "" {
			value = p.Default
		}
		if value == "" {
			if p.Required {
				errs = append(errs, ParameterError{p.Name, "is missing", fmt.Sprintf("give one of type %s", p.Type)})
			}
			continue
		}
		normal, err := parseValue(p.Type, value, now)
		if err != nil {
			errs = append(errs, ParameterError{p.Name, err.message, err.fix})
			continue
		}
		bound[p.Name] = normal
	}
	for name := range given {
		if !slices.Contains(names, name) {
			errs = append(errs, ParameterError{name, fmt.Sprintf("runbook %s has no such parameter", r.Name), strictyaml.Hint(name, names)})
		}
	}
	if len(errs) > 0 {
		slices.SortStableFunc(errs, func(a, b ParameterError) int { return strings.Compare(a.Parameter, b.Parameter) })
		return nil, errs
	}
	return bound, nil
}

type valueError struct{ message, fix string }

func (e *valueError) Error() string {
	if e.fix == "" {
		return e.message
	}
	return e.message + "; " + e.fix
}

// parseValue gives the normal form of a value of a type. A time is RFC 3339 in UTC; now is what ages count from and what no
// time is after, or zero when nobody knows.
func parseValue(kind, value string, now time.Time) (string, *valueError) {
	switch kind {
	case "site", "server", "account":
		if !nameForm.MatchString(value) {
			return "", &valueError{fmt.Sprintf("%q is no valid %s name", value, kind), "a name begins with a letter and has up to 32 of a-z, 0-9 and -"}
		}
		return value, nil
	case "path":
		return parsePath(value)
	case "time":
		return parseTime(value, now)
	case "duration":
		d, err := strictyaml.ParseDuration(value)
		if err != nil || d == 0 {
			return "", &valueError{fmt.Sprintf("%q is no duration", value), `write a number and a unit, as in "15m"`}
		}
		return strictyaml.FormatDuration(d), nil
	case "bool":
		if value != "true" && value != "false" {
			return "", &valueError{fmt.Sprintf("want true or false, got %q", value), ""}
		}
		return value, nil
	case "text":
		if message := badText(value); message != "" {
			return "", &valueError{message, ""}
		}
		return value, nil
	default:
		return "", &valueError{fmt.Sprintf("unknown type %q", kind), ""}
	}
}

const maxText = 4096 // bytes

func badText(s string) string {
	switch {
	case len(s) > maxText:
		return fmt.Sprintf("has more than %d bytes", maxText)
	case !utf8.ValidString(s):
		return "is not UTF-8"
	case strings.ContainsFunc(s, unicode.IsControl):
		return "has control characters"
	}
	return ""
}

// parsePath reads a path inside of an account's home. What could lead out of it is refused here; that no link does
// is for whoever restores.
func parsePath(value string) (string, *valueError) {
	if message := badText(value); message != "" {
		return "", &valueError{"the path " + message, ""}
	}
	if strings.HasPrefix(value, "/") || strings.HasPrefix(value, "~") {
		return "", &valueError{fmt.Sprintf("the path %q is absolute", value), `write it from the account's home on, as in "www/images"`}
	}
	if slices.Contains(strings.Split(value, "/"), "..") {
		return "", &valueError{fmt.Sprintf("the path %q leads upwards", value), `write it from the account's home on, without ".."`}
	}
	return path.Clean(value), nil
}

var timeForms = [...]string{"2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02T15:04:05"}

func parseTime(value string, now time.Time) (string, *valueError) {
	t, err := time.Parse(time.RFC3339, value)
	if err != nil {
		for _, form := range timeForms {
			if t, err = time.ParseInLocation(form, value, now.Location()); err == nil {
				break
			}
		}
	}
	if ago, durationErr := strictyaml.ParseDuration(value); durationErr == nil {
		t, err = wholeSecond(now.Add(-ago)), nil
	}
	if value == "now" {
		t, err = wholeSecond(now), nil
	}
	if err != nil {
		return "", &valueError{fmt.Sprintf("%q is no time", value), `write it as in "2026-11-23 14:00" (UTC), "2026-11-23T14:00:00+01:00", or how long ago, as in "2h"`}
	}
	if !now.IsZero() && t.After(now.Add(time.Second)) {
		return "", &valueError{fmt.Sprintf("%s lies in the future", t.UTC().Format(time.RFC3339)), "snapshots are of the past; without a zone, a time is UTC"}
	}
	return t.UTC().Format(time.RFC3339), nil
}

// wholeSecond rounds up: a snapshot of just now is not after now.
func wholeSecond(t time.Time) time.Time {
	if cut := t.Truncate(time.Second); cut.Before(t) {
		return cut.Add(time.Second)
	}
	return t
}
