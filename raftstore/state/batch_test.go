package state

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Entries that come together leave what they leave one by one, and are answered the same, refused ones among them too.
func TestProperty_BatchIsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		single, together := New(), New()
		b := together.Batch()
		for i := range rapid.IntRange(1, 60).Draw(t, "length") {
			index := uint64(i + 1)
			c := anyCommand(t, single.View(), index)
			if first := firstCommands(); i < len(first) {
				c = first[i]
			}
			before := together.View()
			want, err := single.Apply(index, c)
			if err != nil {
				t.Fatal(err)
			}
			got, err := b.Apply(index, c)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := encoded(t, got), encoded(t, want); got != want {
				t.Fatalf("%s: got %s, want %s", c.Name, got, want)
			}
			if got, want := b.Digest(), single.View().Digest(); got != want {
				t.Fatalf("after %s: got digest %s, want %s", c.Name, got, want)
			}
			if together.View().Index() != before.Index() {
				t.Fatalf("%s was seen before its commit", c.Name)
			}
			if rapid.Bool().Draw(t, "commit") {
				b.Commit()
				b = together.Batch()
			}
		}
		b.Commit()
		var got, want bytes.Buffer
		if err := together.Persist(&got); err != nil {
			t.Fatal(err)
		}
		if err := single.Persist(&want); err != nil {
			t.Fatal(err)
		}
		if got.String() != want.String() {
			t.Fatalf("got\n%s\nwant\n%s", &got, &want)
		}
	})
}

func encoded(t *rapid.T, r Result) string {
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// What stops a node takes nothing back of what came before it, and leaves nothing of its own.
func TestBatch_stops(t *testing.T) {
	s := New()
	b := s.Batch()
	c := NewCommand(ClusterInit, "1", epoch, "coordinator/a", ClusterInitData{UUID: "7d1f", Incarnation: 1})
	if _, err := b.Apply(1, c); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []Command{
		{Name: "no.such", ID: "2"}, {Name: ClusterInit, ID: "3", Data: json.RawMessage(`{"nothing":1}`)}, {Name: TokenRevoke, Data: json.RawMessage(`{"name":"x"}`)},
	} {
		if _, err := b.Apply(2, bad); err == nil {
			t.Errorf("got no error for %+v", bad)
		}
	}
	b.Commit()
	want := New()
	if _, err := want.Apply(1, c); err != nil {
		t.Fatal(err)
	}
	if got, want := string(persisted(t, s.View())), string(persisted(t, want.View())); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// An entry of the log is read the same by its short way and by the long one.
func TestCommands_OfOneLine(t *testing.T) {
	for _, c := range []Command{
		NewCommand(TokenRevoke, "id", epoch, "operator/ada", TokenRevokeData{Name: "x"}),
		NewCommand(TokenRevoke, `i"d\`, epoch, "operator/é<&>", TokenRevokeData{Name: "}"}),
		{Name: "n", ID: "", At: epoch, By: "", Data: json.RawMessage("null")},
	} {
		entry, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeCommand(entry)
		if err != nil {
			t.Fatal(err)
		}
		var want Command
		if err := json.Unmarshal(entry, &want); err != nil {
			t.Fatal(err)
		}
		if !got.At.Equal(want.At) || got.Name != want.Name || got.ID != want.ID || got.By != want.By || string(got.Data) != string(want.Data) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	for _, bad := range []string{"", "{}x", `{"name":"a","id":"b","at":"yesterday","by":"c","data":{}}`, `{"name":"a","more":1}`} {
		if c, err := decodeCommand([]byte(bad)); err == nil {
			t.Errorf("got %+v for %q, want an error", c, bad)
		}
	}
}

// Several commands in one entry are a line each. These bytes are forever, as those of the commands are.
func TestCommands_Bundle(t *testing.T) {
	var lines [][]byte
	for _, id := range []string{"1", "2\n"} {
		line, err := json.Marshal(NewCommand(TokenRevoke, id, epoch, "operator/ada", TokenRevokeData{Name: "a\nb"}))
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	entry := Bundle(lines...)
	want := `{"name":"token.revoke","id":"1","at":"` + epoch.Format(time.RFC3339Nano) + `","by":"operator/ada","data":{"name":"a\nb"}}` + "\n" +
		`{"name":"token.revoke","id":"2\n","at":"` + epoch.Format(time.RFC3339Nano) + `","by":"operator/ada","data":{"name":"a\nb"}}`
	if string(entry) != want {
		t.Errorf("got\n%s\nwant\n%s", entry, want)
	}
	var ids []string
	for c, err := range Commands(entry) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, c.ID)
	}
	if want := []string{"1", "2\n"}; !slices.Equal(ids, want) {
		t.Errorf("got %q, want %q", ids, want)
	}
	for _, bad := range []string{string(entry) + "\n", "\n" + string(entry), string(entry) + "\n{", ""} {
		wrong := 0
		for _, err := range Commands([]byte(bad)) {
			if err != nil {
				wrong++
			}
		}
		if wrong != 1 {
			t.Errorf("%q: got %d errors, want 1", bad, wrong)
		}
	}
}
