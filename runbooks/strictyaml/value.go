package strictyaml

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// Value is a piece of a document. Its methods report what is wrong with it to the Problems that Documents was given
// and then answer false, so that reading goes on and finds the rest.
type Value struct {
	node    ast.Node
	source  *source
	subject string // whose value it is, for messages: "account guestbook"
	path    string // which of its fields: "plan.memory"
	secret  bool   // no message shows what stands there
}

// About gives the same value under another subject; fields below it are named from there.
func (v Value) About(subject string) Value {
	v.subject, v.path = subject, ""
	return v
}

// Secret gives the same value for messages that show nothing of it, nor of what is in it.
func (v Value) Secret() Value {
	v.secret = true
	return v
}

// Bare gives the same value for messages that name the field themselves.
func (v Value) Bare() Value { return v.About(v.subject) }

// Position is where the value begins.
func (v Value) Position() Position {
	if m, ok := v.node.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		return v.source.position(m.Values[0].Key.GetToken())
	}
	if v.node == nil {
		return Position{File: v.source.file, Line: v.source.line + 1, Column: 1}
	}
	return v.source.position(v.node.GetToken())
}

// Fail reports that something is wrong with this value.
func (v Value) Fail(message, fix string) { v.failAt(v.Position(), message, fix) }

func (v Value) failAt(at Position, message, fix string) {
	if v.path != "" {
		message = v.path + ": " + message
	}
	if v.subject != "" {
		message = v.subject + ": " + message
	}
	v.source.problems.Add(at, message, fix)
}

// kind names what stands there, for messages.
func (v Value) kind() string {
	switch n := v.node.(type) {
	case nil, *ast.NullNode:
		return "nothing"
	case *ast.StringNode:
		if v.secret {
			return "a text"
		}
		return fmt.Sprintf("the text %q", shorten(n.Value))
	case *ast.LiteralNode:
		return "a block of text"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		if v.secret {
			return "a number"
		}
		return "the number " + n.GetToken().Value
	case *ast.BoolNode:
		if v.secret {
			return "true or false"
		}
		return n.GetToken().Value
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	default:
		return strings.ToLower(v.node.Type().String())
	}
}

func shorten(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}

// Text reads a text.
func (v Value) Text() (string, bool) {
	switch n := v.node.(type) {
	case *ast.StringNode:
		return v.withoutNUL(n.Value)
	case *ast.LiteralNode:
		return v.withoutNUL(n.Value.Value)
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		fix := "put it in quotes"
		if !v.secret {
			fix = fmt.Sprintf("put it in quotes: %q", n.GetToken().Value)
		}
		v.Fail("want a text, got "+v.kind(), fix)
	case nil, *ast.NullNode:
		v.Fail("want a text, got nothing", `write "" for an empty one`)
	default:
		v.Fail("want a text, got "+v.kind(), "")
	}
	return "", false
}

// withoutNUL refuses what no argument, variable or path can hold; "\0" gets it past the look at the file's bytes.
func (v Value) withoutNUL(s string) (string, bool) {
	if strings.ContainsRune(s, 0) {
		v.Fail("the text has a NUL character", "remove it")
		return "", false
	}
	return s, true
}

// Int reads a whole number from lowest to highest.
func (v Value) Int(lowest, highest int64) (int64, bool) {
	fix := fmt.Sprintf("write a number from %d to %d", lowest, highest)
	if highest == math.MaxInt64 {
		fix = fmt.Sprintf("write a number, %d or more", lowest)
	}
	n, ok := v.node.(*ast.IntegerNode)
	if !ok {
		v.Fail("want a whole number, got "+v.kind(), fix)
		return 0, false
	}
	// Only plain decimal: 010 would be 8, and 1_000 is not what everybody reads as a thousand.
	text := n.Token.Value
	if n.Token.Type != token.IntegerType || strings.Contains(text, "_") {
		v.Fail(fmt.Sprintf("the number %s is not in plain decimal", text), fix)
		return 0, false
	}
	i, err := strconv.ParseInt(text, 10, 64)
	if err != nil || i < lowest || i > highest {
		v.Fail(fmt.Sprintf("the number %s is out of range", text), fix)
		return 0, false
	}
	return i, true
}

// numberForm is plain decimal; 010 is 8 for some readers.
var numberForm = regexp.MustCompile(`^(0|[1-9][0-9]*)(\.[0-9]+)?$`)

// Number reads a positive number, whole or not.
func (v Value) Number() (float64, bool) {
	switch n := v.node.(type) {
	case *ast.IntegerNode, *ast.FloatNode:
		f, err := strconv.ParseFloat(n.GetToken().Value, 64)
		if err == nil && f > 0 && f <= math.MaxInt32 && numberForm.MatchString(n.GetToken().Value) {
			return f, true
		}
		v.Fail(fmt.Sprintf("the number %s is out of range", n.GetToken().Value), `write a number above 0, as in "0.5"`)
	default:
		v.Fail("want a number, got "+v.kind(), `write a number above 0, as in "0.5"`)
	}
	return 0, false
}

// Bool reads true or false.
func (v Value) Bool() (bool, bool) {
	if n, ok := v.node.(*ast.BoolNode); ok {
		return n.Value, true
	}
	v.Fail("want true or false, got "+v.kind(), "")
	return false, false
}

// Size reads a size above zero (see ParseSize), in bytes.
func (v Value) Size() (int64, bool) {
	if n, ok := v.node.(*ast.IntegerNode); ok {
		v.Fail("the size "+n.Token.Value+" has no unit", `write a number and a unit, as in "256MiB"`)
		return 0, false
	}
	s, ok := v.Text()
	if !ok {
		return 0, false
	}
	n, err := ParseSize(s)
	if err != nil {
		v.failForm(err)
		return 0, false
	}
	if n == 0 {
		v.Fail("the size is zero", `write a number and a unit, as in "256MiB"`)
		return 0, false
	}
	return n, true
}

// Duration reads a duration above zero (see ParseDuration).
func (v Value) Duration() (time.Duration, bool) {
	if n, ok := v.node.(*ast.IntegerNode); ok {
		v.Fail("the duration "+n.Token.Value+" has no unit", fmt.Sprintf("write %q, %q or %q", n.Token.Value+"s", n.Token.Value+"m", n.Token.Value+"h"))
		return 0, false
	}
	s, ok := v.Text()
	if !ok {
		return 0, false
	}
	d, err := ParseDuration(s)
	if err != nil {
		v.failForm(err)
		return 0, false
	}
	if d == 0 {
		v.Fail("the duration is zero", `write a number and a unit, as in "15m"`)
		return 0, false
	}
	return d, true
}

func (v Value) failForm(err error) {
	if e, ok := err.(*FormError); ok {
		v.Fail(e.Message, e.Fix)
		return
	}
	v.Fail(err.Error(), "")
}

// List reads a list; it may be empty.
func (v Value) List() ([]Value, bool) {
	n, ok := v.node.(*ast.SequenceNode)
	if !ok {
		v.Fail("want a list, got "+v.kind(), "write it as in [a, b]")
		return nil, false
	}
	list := make([]Value, len(n.Values))
	for i, node := range n.Values {
		list[i] = Value{node: node, source: v.source, subject: v.subject, path: v.path, secret: v.secret}
	}
	return list, true
}

// Entry is one field of a mapping.
type Entry struct {
	Key   string
	At    Position // of the key
	Value Value
}

// Fail reports that something is wrong with the key.
func (e Entry) Fail(message, fix string) { e.Value.failAt(e.At, message, fix) }

// Entries reads a mapping whose keys are anything. Of a key that stands there twice, which is reported, the first counts.
func (v Value) Entries() ([]Entry, bool) {
	var values []*ast.MappingValueNode
	switch n := v.node.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		v.Fail("want a mapping, got "+v.kind(), "write it as in {name: value}")
		return nil, false
	}
	entries := make([]Entry, 0, len(values))
	seen := make(map[string]Position, len(values))
	for _, mv := range values {
		e := Entry{At: v.source.position(mv.Key.GetToken())}
		switch k := mv.Key.(type) {
		case *ast.StringNode:
			e.Key = k.Value
		case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
			e.Key = k.GetToken().Value
		default:
			v.failAt(e.At, "this key is no text", "")
			continue
		}
		if first, twice := seen[e.Key]; twice {
			v.failAt(e.At, fmt.Sprintf("%q is there twice", e.Key), fmt.Sprintf("the first is in line %d", first.Line))
			continue
		}
		seen[e.Key] = e.At
		e.Value = Value{node: mv.Value, source: v.source, subject: v.subject, path: e.Key, secret: v.secret}
		if v.path != "" {
			e.Value.path = v.path + "." + e.Key
		}
		entries = append(entries, e)
	}
	return entries, true
}

// Map reads a mapping that has these fields and no others.
func (v Value) Map(fields ...string) (Map, bool) {
	entries, ok := v.Entries()
	m := Map{Value: v, entries: make(map[string]Entry, len(entries))}
	for _, e := range entries {
		if !slices.Contains(fields, e.Key) {
			v.Bare().failAt(e.At, fmt.Sprintf("unknown field %q", e.Key), Hint(e.Key, fields))
			continue
		}
		m.entries[e.Key] = e
	}
	return m, ok
}

// Peek reads a text field of a mapping and reports nothing: to name the subject before the rest is read.
func (v Value) Peek(field string) string {
	m, ok := v.node.(*ast.MappingNode)
	if !ok {
		return ""
	}
	for _, mv := range m.Values {
		key, isText := mv.Key.(*ast.StringNode)
		if value, ok := mv.Value.(*ast.StringNode); ok && isText && key.Value == field {
			return value.Value
		}
	}
	return ""
}
