package runbooks

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"drp/runbooks/strictyaml"
)

var nameForm = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// reader collects a runbook, and remembers where its parts stand.
type reader struct {
	book       Runbook
	parameters map[string]strictyaml.Position
	steps      map[string]strictyaml.Position
}

// Parse reads a runbook. The name is that of the file, for messages. Its error is Errors.
func Parse(name string, data []byte) (*Runbook, error) {
	var problems strictyaml.Problems
	r := &reader{
		book:       Runbook{Source: string(data)},
		parameters: map[string]strictyaml.Position{}, steps: map[string]strictyaml.Position{},
	}
	documents := strictyaml.Documents(name, data, &problems)
	switch {
	case len(documents) > 1:
		documents[1].Fail("a second document", "a file holds one runbook")
	case len(documents) == 1:
		r.runbook(documents[0])
	case problems.Count() == 0:
		problems.Add(strictyaml.Position{File: name, Line: 1, Column: 1}, "no runbook in here", "write one, beginning with: runbook: NAME")
	}
	if err := problems.Err(); err != nil {
		return nil, err
	}
	return &r.book, nil
}

func (r *reader) runbook(v strictyaml.Value) {
	b := &r.book
	if name := v.Peek("runbook"); name != "" {
		v = v.About("runbook " + name)
	}
	m, ok := v.Map("runbook", "title", "description", "role", "parameters", "steps", "without_drp")
	if !ok {
		return
	}
	if m.Require("runbook", "runbook: site-loss") {
		b.Name = name(m, "runbook")
	}
	m.Require("title", "title: A datacenter is lost")
	b.Title = m.Text("title")
	b.Role = m.Text("role")
	if m.Require("role", "role: operator") && b.Role != "" && b.Role != Operator && b.Role != Support {
		v, _ := m.Field("role")
		v.Bare().Fail(fmt.Sprintf("unknown role %q", b.Role), strictyaml.Hint(b.Role, []string{Operator, Support}))
	}
	for _, v := range m.List("parameters") {
		r.parameter(v)
	}
	b.Description, b.WithoutDRP = r.text(m, "description"), r.text(m, "without_drp")
	if !m.Require("steps", "steps: [{id: confirm, type: confirm}]") {
		return
	}
	list := m.List("steps")
	if field, _ := m.Field("steps"); list != nil && len(list) == 0 {
		field.Bare().Fail("there are no steps", "")
	}
	for _, v := range list {
		r.step(v)
	}
}

// name reads a name; on a fault it is empty.
func name(m strictyaml.Map, field string) string {
	v, ok := m.Field(field)
	if !ok {
		return ""
	}
	text, ok := v.Text()
	if ok && !nameForm.MatchString(text) {
		v.Fail(fmt.Sprintf("%q is no name", text), "a name begins with a letter and has up to 32 of a-z, 0-9 and -")
		return ""
	}
	return text
}

// text reads a text for people, which may name parameters.
func (r *reader) text(m strictyaml.Map, field string) string {
	v, ok := m.Field(field)
	if !ok {
		return ""
	}
	text, _ := v.Text()
	r.checkReferences(v, text)
	return strings.TrimSpace(text)
}

func (r *reader) checkReferences(v strictyaml.Value, text string) bool {
	names, bad := references(text)
	if bad {
		v.Fail("a ${ without }", "write ${name}")
		return false
	}
	for _, n := range names {
		if _, known := r.parameters[n]; !known {
			v.Fail(fmt.Sprintf("unknown parameter ${%s}", n), strictyaml.Hint(n, sortedKeys(r.parameters)))
			return false
		}
	}
	return true
}

func (r *reader) parameter(v strictyaml.Value) {
	subject := "parameter"
	if n := v.Peek("name"); n != "" {
		subject += " " + n
	}
	m, ok := v.About(subject).Map("name", "type", "required", "default", "help")
	if !ok {
		return
	}
	m.Require("name", "name: site")
	p := Parameter{Name: name(m, "name"), Type: m.Text("type"), Required: m.Bool("required"), Help: m.Text("help")}
	if first, twice := r.parameters[p.Name]; twice && p.Name != "" {
		m.Fail("the name is there twice", "the first is at "+first.String())
		return
	}
	if m.Require("type", "type: site") && p.Type != "" && !slices.Contains(valueTypes, p.Type) {
		v, _ := m.Field("type")
		v.Bare().Fail(fmt.Sprintf("unknown type %q", p.Type), strictyaml.Hint(p.Type, valueTypes))
	} else if d, ok := m.Field("default"); ok && p.Type != "" {
		p.Default = readDefault(d, p)
	}
	if p.Name != "" {
		r.parameters[p.Name] = m.At("name")
		r.book.Parameters = append(r.book.Parameters, p)
	}
}

func readDefault(v strictyaml.Value, p Parameter) string {
	if p.Required {
		v.Bare().Fail("a required parameter has no default", "remove one of the two")
	}
	text, ok := v.Text()
	if !ok {
		return ""
	}
	if _, err := parseValue(p.Type, text, time.Time{}); err != nil {
		fail(v, err)
	}
	return text
}

func fail(v strictyaml.Value, err *valueError) { v.Fail(err.message, err.fix) }

func (r *reader) step(v strictyaml.Value) {
	subject := "step"
	if id := v.Peek("id"); id != "" {
		subject += " " + id
	}
	m, ok := v.About(subject).Map("id", "type", "title", "by_hand", "timeout", "with")
	if !ok {
		return
	}
	m.Require("id", "id: confirm")
	s := Step{ID: name(m, "id"), Type: m.Text("type"), Timeout: m.Duration("timeout")}
	s.Title, s.ByHand = r.text(m, "title"), r.text(m, "by_hand")
	if first, twice := r.steps[s.ID]; twice && s.ID != "" {
		m.Fail("the id is there twice", "the first is at "+first.String())
		return
	}
	r.steps[s.ID] = m.At("id")
	kind, known := stepTypes[s.Type]
	switch {
	case !m.Require("type", "type: confirm") || s.Type == "":
	case !known:
		v, _ := m.Field("type")
		v.Bare().Fail(fmt.Sprintf("unknown type %q", s.Type), strictyaml.Hint(s.Type, sortedKeys(stepTypes)))
	default:
		s.With = r.with(m, s.Type, kind)
		r.checkNeeds(m, s, kind)
	}
	r.book.Steps = append(r.book.Steps, s)
}

// with reads a step's arguments. Each is of its type already, or will be whatever the parameter is.
func (r *reader) with(m strictyaml.Map, typ string, kind stepType) map[string]string {
	v, ok := m.Field("with")
	if !ok {
		return nil
	}
	if len(kind.arguments) == 0 {
		v.Bare().Fail(fmt.Sprintf("a step of type %s takes nothing with it", typ), "remove with")
		return nil
	}
	arguments, ok := v.Map(sortedKeys(kind.arguments)...)
	if !ok {
		return nil
	}
	with := map[string]string{}
	for _, name := range sortedKeys(kind.arguments) {
		v, ok := arguments.Field(name)
		if !ok {
			continue
		}
		text, ok := v.Text()
		with[name] = text // a wrong one counts as given: it was reported
		if ok && r.checkReferences(v, text) {
			r.checkArgument(v, text, kind.arguments[name])
		}
	}
	return with
}

func (r *reader) checkArgument(v strictyaml.Value, text, want string) {
	names, _ := references(text)
	switch {
	case len(names) == 0 && want == "time":
		v.Fail("a fixed time in a runbook is always the wrong one", "refer to a parameter of type time")
	case len(names) == 0:
		if _, err := parseValue(want, text, time.Time{}); err != nil {
			fail(v, err)
		}
	case len(names) == 1 && text == "${"+names[0]+"}":
		i := slices.IndexFunc(r.book.Parameters, func(p Parameter) bool { return p.Name == names[0] })
		if p := r.book.Parameters[i]; p.Type != want {
			v.Fail(fmt.Sprintf("want type %s, but parameter %s has type %s", want, p.Name, p.Type), "")
		}
	case want != "path" && want != "text":
		v.Fail(fmt.Sprintf("a value of type %s cannot be put together from parts", want), `write one parameter alone, as in "${`+names[0]+`}"`)
	}
}

// checkNeeds holds that a step has what it works on, and stands where it may.
func (r *reader) checkNeeds(m strictyaml.Map, s Step, kind stepType) {
	given := func(name string) bool {
		p, ok := r.book.Parameter(name)
		_, written := s.With[name]
		return written || ok && p.Type == kind.arguments[name]
	}
	for _, name := range kind.needs {
		if !given(name) {
			m.Fail(fmt.Sprintf("a step of type %s needs %s", s.Type, name),
				fmt.Sprintf("add a parameter %s of type %s, or write it under with", name, kind.arguments[name]))
		}
	}
	if len(kind.needsOne) > 0 {
		count := 0
		for _, name := range kind.needsOne {
			if given(name) {
				count++
			}
		}
		if count != 1 {
			list := strings.Join(kind.needsOne, " or ")
			m.Fail(fmt.Sprintf("a step of type %s needs one %s, and has %d", s.Type, list, count), "have one parameter of that name and type, or write one under with")
		}
	}
	if kind.after != "" && !slices.ContainsFunc(r.book.Steps, func(s Step) bool { return s.Type == kind.after }) {
		m.Fail(fmt.Sprintf("a step of type %s has to stand behind one of type %s", s.Type, kind.after), "")
	}
}
