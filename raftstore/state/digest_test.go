package state

import (
	"errors"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The digest that Apply keeps is that of the rows, whatever was applied, refused or asked again.
func TestProperty_DigestIsThatOfTheRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New()
		for i := range rapid.IntRange(1, 60).Draw(t, "length") {
			index := uint64(i + 1)
			c := anyCommand(t, s.View(), index)
			if first := firstCommands(); i < len(first) {
				c = first[i]
			}
			applyTo(t, s, index, c)
			want, err := s.View().Recompute()
			if err != nil {
				t.Fatal(err)
			}
			if got := s.View().Digest(); got != want {
				t.Fatalf("after %s: got digest %s, want %s", c.Name, got, want)
			}
		}
	})
}

func TestDigest_sum(t *testing.T) {
	one := Digest{31: 1}
	var d Digest
	d.subtract(one)
	if got, want := d.String(), strings.Repeat("f", 64); got != want {
		t.Errorf("got 0 − 1 = %s, want %s", got, want)
	}
	d.add(one)
	if !d.IsZero() {
		t.Errorf("got %s, want 0 again", d)
	}
	a, b := Sum([]byte("a")), Sum([]byte("b"))
	there, back := a, b
	there.add(b)
	back.add(a)
	if there != back {
		t.Errorf("got %s and %s, want the order not to matter", there, back)
	}
	for _, bad := range []string{"", "00", strings.Repeat("g", 64), strings.Repeat("0", 66)} {
		if err := new(Digest).UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("got no error for %q", bad)
		}
	}
}

func TestRestore_refusesOtherRows(t *testing.T) {
	n, _, _ := backedUp(t)
	data := string(persisted(t, n.view()))
	for _, change := range [][2]string{
		{`"as":64512`, `"as":64513`},
		{`"tier":"gold"`, `"tier":"bronze"`},
		{`"generation":1`, `"generation":2`},
		{`"server":"par1-s1"`, `"server":"par1-s2"`},
	} {
		broken := strings.Replace(data, change[0], change[1], 1)
		if broken == data {
			t.Fatalf("%s is not in the snapshot", change[0])
		}
		if _, err := Restore(strings.NewReader(broken)); !errors.Is(err, ErrDigest) {
			t.Errorf("%s for %s: got %v, want ErrDigest", change[1], change[0], err)
		}
	}
}

// What earlier releases wrote is read for ever, and what this one writes is written by the next.
func TestPersist_Golden(t *testing.T) {
	n, _, _ := backedUp(t)
	want, err := os.ReadFile("testdata/snapshot-2.golden")
	if errors.Is(err, os.ErrNotExist) && *addGolden {
		want = persisted(t, n.view())
		err = os.WriteFile("testdata/snapshot-2.golden", want, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := persisted(t, n.view()); string(got) != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	f, err := os.Open("testdata/snapshot-1.golden")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	old, err := Restore(f)
	if err != nil {
		t.Fatal(err)
	}
	// While a member is old, what is written is what it reads.
	written, err := os.ReadFile("testdata/snapshot-1.golden")
	if err != nil {
		t.Fatal(err)
	}
	if got := persisted(t, old.View()); string(got) != string(written) {
		t.Errorf("format 1: got\n%s\nwant\n%s", got, written)
	}
	sum, err := old.View().Recompute()
	if err != nil {
		t.Fatal(err)
	}
	if got := old.View().Digest(); got != sum || got.IsZero() {
		t.Errorf("format 1: got digest %s, want %s", got, sum)
	}
	if a := old.View().Assignment("guestbook"); a == nil || a.Server != "par1-s1" {
		t.Errorf("format 1: got assignment %+v, want one to par1-s1", a)
	}
	if got, want := old.View().Level(), 1; got != want {
		t.Errorf("format 1: got level %d, want %d", got, want)
	}
}
