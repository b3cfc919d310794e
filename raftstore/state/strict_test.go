package state

import (
	"fmt"
	"strings"
	"testing"
)

// Decoders are used again and again: none remembers what it read before.
func TestDecodeStrict_again(t *testing.T) {
	type value struct {
		Name string `json:"name"`
	}
	for i := range 200 {
		want := strings.Repeat("x", i*31%3000)
		var got value
		if err := decodeStrict(fmt.Appendf(nil, ` {"name":%q} %s`, want, strings.Repeat(" ", i%7)), &got); err != nil {
			t.Fatal(err)
		}
		if got.Name != want {
			t.Fatalf("got %q, want %q", got.Name, want)
		}
		for _, bad := range []string{``, ` `, `{"name":"a"`, `{"name":"a"}{`, `{"name":"a"} {"name":"b"}`, `{"more":1}`, `{"name":1}`, `]`, `{"name":"a"}]`} {
			got := value{}
			if err := decodeStrict([]byte(bad), &got); err == nil {
				t.Fatalf("got %+v for %q, want an error", got, bad)
			}
		}
	}
}
