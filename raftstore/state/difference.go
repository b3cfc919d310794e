package state

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// noteDifference notes what changes when an object replaces old, which may be nil. It reports whether anything does.
func (c *change) noteDifference(what, name string, old, object any) bool {
	if reflect.ValueOf(old).IsNil() {
		c.note("%s %s: created", what, name)
		return true
	}
	differences := differ("", reflect.ValueOf(old).Elem(), reflect.ValueOf(object).Elem())
	if len(differences) == 0 {
		return false
	}
	c.note("%s %s: %s", what, name, strings.Join(differences, ", "))
	return true
}

// differ compares two structs field by field, and names fields as their JSON does. An empty list is the same as none.
func differ(prefix string, a, b reflect.Value) []string {
	var found []string
	for i := range a.NumField() {
		name, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("json"), ",")
		found = append(found, differField(prefix+name, a.Field(i), b.Field(i))...)
	}
	return found
}

func differField(name string, a, b reflect.Value) []string {
	if empty(a) && empty(b) || reflect.DeepEqual(a.Interface(), b.Interface()) {
		return nil
	}
	_, plain := spell(a)
	switch {
	case !plain && a.Kind() == reflect.Struct:
		return differ(name+".", a, b)
	case a.Kind() == reflect.Pointer && !a.IsNil() && !b.IsNil():
		return differ(name+".", a.Elem(), b.Elem())
	case !plain && empty(a):
		return []string{name + " added"}
	case !plain && empty(b):
		return []string{name + " removed"}
	case !plain:
		return []string{name + " changed"}
	}
	before, _ := spell(a)
	after, _ := spell(b)
	return []string{name + " " + before + " → " + after}
}

func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	case reflect.Pointer:
		return v.IsNil()
	default:
		return false
	}
}

// spell writes a value that fits into a sentence, and reports whether it is one.
func spell(v reflect.Value) (string, bool) {
	switch x := v.Interface().(type) {
	case time.Duration:
		return x.String(), true
	case encoding.TextMarshaler:
		return fmt.Sprint(x), true
	}
	switch v.Kind() {
	case reflect.String:
		if v.Len() == 0 {
			return "none", true
		}
		return v.String(), true
	case reflect.Slice:
		var parts []string
		if _, plain := spell(reflect.Zero(v.Type().Elem())); !plain {
			return "", false
		}
		for i := range v.Len() {
			part, _ := spell(v.Index(i))
			parts = append(parts, part)
		}
		if len(parts) == 0 {
			return "none", true
		}
		return strings.Join(parts, " "), true
	case reflect.Struct, reflect.Map, reflect.Pointer:
		return "", false
	default:
		return fmt.Sprint(v.Interface()), true
	}
}
