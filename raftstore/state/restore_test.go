package state

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A row that was read again from a snapshot has the bytes of the one in memory, whatever it was made of: lists that are
// empty and lists that are none, times of any zone and with a monotonic clock, pointers to nothing much. Else a node that was
// restored would have another digest than one that never ended.
func TestProperty_RowsAreTheSameAfterRestore(t *testing.T) {
	types := map[string]reflect.Type{}
	for _, table := range allTables() {
		row, err := table.decode(json.RawMessage("{}"))
		if err != nil {
			t.Fatal(err)
		}
		types[table.title()] = reflect.TypeOf(row).Elem()
	}
	rapid.Check(t, func(t *rapid.T) {
		for _, table := range allTables() {
			row := reflect.New(types[table.title()])
			fill(t, row.Elem())
			if c, ok := row.Interface().(*catalogue); ok {
				*c = *pack(c.Account, anySnapshots(t, c.Account))
			}
			want, err := appendRow(nil, row.Interface())
			if err != nil {
				t.Fatal(err)
			}
			again, err := table.decode(want)
			if err != nil {
				t.Fatalf("%s: %v in %s", table.title(), err, want)
			}
			got, err := appendRow(nil, again)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("%s: got %s after a restore, want %s", table.title(), got, want)
			}
		}
	})
}

// fill gives a value anything that its type can hold.
func fill(t *rapid.T, v reflect.Value) {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "<&>", "\u2028", "\x00\x7f", "\ufffd", `"\`}))
	switch v.Interface().(type) {
	case time.Time:
		zone := rapid.SampledFrom([]*time.Location{time.UTC, time.Local, time.FixedZone("", 2*3600), time.FixedZone("x", -3600-1800)}).Draw(t, "zone")
		at := rapid.OneOf(rapid.Just(time.Time{}), rapid.Just(time.Now()), rapid.Custom(func(t *rapid.T) time.Time {
			return time.Unix(rapid.Int64Range(-1<<33, 1<<37).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds"))
		})).Draw(t, "time")
		if !at.IsZero() {
			at = at.In(zone)
		}
		v.Set(reflect.ValueOf(at))
		return
	case netip.Addr:
		v.Set(reflect.ValueOf(rapid.SampledFrom([]netip.Addr{{}, netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("::ffff:1.2.3.4"), netip.MustParseAddr("192.0.2.1")}).Draw(t, "address")))
		return
	case netip.Prefix:
		v.Set(reflect.ValueOf(rapid.SampledFrom([]netip.Prefix{{}, netip.MustParsePrefix("2001:db8::1/32"), netip.MustParsePrefix("::/0")}).Draw(t, "prefix")))
		return
	case Result:
		r := Result{Changed: rapid.Bool().Draw(t, "changed")}
		fill(t, reflect.ValueOf(&r.Notes).Elem())
		fill(t, reflect.ValueOf(&r.Token).Elem())
		if rapid.Bool().Draw(t, "refused") {
			r.Err = refuse(ErrInvalid, "%s", text.Draw(t, "why")+rapid.SampledFrom([]string{"", "\xff"}).Draw(t, "no text"))
		}
		v.Set(reflect.ValueOf(r))
		return
	}
	some := func() int { return rapid.IntRange(-1, 2).Draw(t, "length") } // -1: none
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	case reflect.Pointer:
		if rapid.Bool().Draw(t, "is there") {
			v.Set(reflect.New(v.Type().Elem()))
			fill(t, v.Elem())
		}
	case reflect.Slice:
		if n := some(); n >= 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				fill(t, v.Index(i))
			}
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i))
		}
	case reflect.Map:
		if n := some(); n >= 0 {
			v.Set(reflect.MakeMap(v.Type()))
			for range n {
				k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
				fill(t, k)
				fill(t, e)
				v.SetMapIndex(k, e)
			}
		}
	case reflect.String:
		v.SetString(text.Draw(t, "text"))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Int, reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, "number"))
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(rapid.Uint64().Draw(t, "number") >> (64 - v.Type().Bits()))
	case reflect.Float64:
		v.SetFloat(rapid.Float64().Draw(t, "number"))
	default:
		t.Fatalf("a row has a %s, of which this test knows nothing", v.Type())
	}
}
