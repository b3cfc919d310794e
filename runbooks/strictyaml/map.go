package strictyaml

import (
	"fmt"
	"time"
)

// Map is a mapping with known fields. Its readers give the zero value for a field that is absent, and for one that
// is wrong, which is reported.
type Map struct {
	Value
	entries map[string]Entry
}

// Has reports whether a field is there.
func (m Map) Has(field string) bool {
	_, ok := m.entries[field]
	return ok
}

// Field gives a field's value. The caller has asked Has, or takes an absent one as not ok.
func (m Map) Field(field string) (Value, bool) {
	e, ok := m.entries[field]
	return e.Value, ok
}

// At is the place of a field's value, or of the mapping when the field is absent.
func (m Map) At(field string) Position {
	if v, ok := m.Field(field); ok {
		return v.Position()
	}
	return m.Position()
}

// Require reports a field that is absent; example shows one: "memory: 256MiB".
func (m Map) Require(field, example string) bool {
	if m.Has(field) {
		return true
	}
	if example == "" {
		m.Fail(fmt.Sprintf("%q is missing", field), "")
	} else {
		m.Fail(fmt.Sprintf("%q is missing", field), "add it, such as: "+example)
	}
	return false
}

func read[T any](m Map, field string, get func(Value) (T, bool)) T {
	var t T
	if v, ok := m.Field(field); ok {
		t, _ = get(v)
	}
	return t
}

// Text reads a text.
func (m Map) Text(field string) string { return read(m, field, Value.Text) }

// Bool reads true or false.
func (m Map) Bool(field string) bool { return read(m, field, Value.Bool) }

// Number reads a number above zero.
func (m Map) Number(field string) float64 { return read(m, field, Value.Number) }

// Size reads a size in bytes.
func (m Map) Size(field string) int64 { return read(m, field, Value.Size) }

// Duration reads a duration.
func (m Map) Duration(field string) time.Duration { return read(m, field, Value.Duration) }

// Int reads a whole number from lowest to highest.
func (m Map) Int(field string, lowest, highest int64) int64 {
	return read(m, field, func(v Value) (int64, bool) { return v.Int(lowest, highest) })
}

// List reads a list.
func (m Map) List(field string) []Value { return read(m, field, Value.List) }
