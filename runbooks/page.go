package runbooks

import (
	"fmt"
	"strings"

	"drp/runbooks/strictyaml"
)

// Page is the runbook as Markdown that can be read as plain text, for a person whose computer has died. Parameters stand
// there as their names in capitals.
func (r *Runbook) Page() string { return r.PageFor(nil) }

// PageFor is Page with the values that are known already.
func (r *Runbook) PageFor(bound map[string]string) string {
	value := func(name string) string {
		if v, ok := bound[name]; ok {
			return v
		}
		return placeholder(name)
	}
	fill := func(text string) string { return expand(text, value) }
	var b strings.Builder
	fmt.Fprintf(&b, "# %s: %s\n", r.Name, fill(r.Title))
	if r.Description != "" {
		fmt.Fprintf(&b, "\n%s\n", fill(r.Description))
	}
	fmt.Fprintf(&b, "\nWho may run it: %s\n", map[string]string{Operator: "operators.", Support: "support staff and operators."}[r.Role])
	fmt.Fprintf(&b, "\n    drp run start %s", r.Name)
	for _, p := range r.Parameters {
		if p.Required {
			fmt.Fprintf(&b, " -p %s=%s", p.Name, value(p.Name))
		}
	}
	b.WriteString(" --watch\n")
	if len(r.Parameters) > 0 {
		b.WriteString("\n## What has to be known\n\n")
	}
	for _, p := range r.Parameters {
		fmt.Fprintf(&b, "- %s (%s%s)%s\n", value(p.Name), kindOf(p), defaultOf(p), helpOf(p))
	}
	b.WriteString("\n## Steps\n")
	for i, s := range r.Steps {
		title := s.Title
		if title == "" {
			title = s.ID
		}
		fmt.Fprintf(&b, "\n### %d. %s\n\nStep %s, of type %s%s\n", i+1, fill(title), s.ID, s.Type, timeoutOf(s))
		if s.ByHand != "" {
			fmt.Fprintf(&b, "\nBy hand:\n\n%s\n", fill(s.ByHand))
		}
	}
	if r.WithoutDRP != "" {
		fmt.Fprintf(&b, "\n## When drp cannot be brought back\n\n%s\n", fill(r.WithoutDRP))
	}
	return b.String()
}

func placeholder(name string) string {
	return strings.ReplaceAll(strings.ToUpper(name), "-", "_")
}

func kindOf(p Parameter) string {
	if p.Required {
		return p.Type + ", required"
	}
	return p.Type
}

func defaultOf(p Parameter) string {
	if p.Default == "" {
		return ""
	}
	return ", if not given: " + p.Default
}

func helpOf(p Parameter) string {
	if p.Help == "" {
		return ""
	}
	return ": " + p.Help
}

func timeoutOf(s Step) string {
	if s.Timeout == 0 {
		return ""
	}
	return ", given up after " + strictyaml.FormatDuration(s.Timeout)
}
