package state

import (
	"bytes"
	"testing"
)

// A refusal may repeat what it was given. Whatever bytes those are, a node that was restored has the same rows.
func TestRefusal_ofBytesThatAreNoText(t *testing.T) {
	s := New()
	for i, c := range []Command{
		NewCommand(ClusterInit, "1", epoch, "coordinator/a", ClusterInitData{UUID: "7d1f", Incarnation: 1, Level: Level}),
		NewCommand(IssuerSet, "2", epoch, "operator/ada", IssuerSetData{Certificate: []byte("x"), SealedKey: []byte("drp1 \xff\xfe\nage")}),
	} {
		if _, err := s.Apply(uint64(i+1), c); err != nil {
			t.Fatal(err)
		}
	}
	data := persisted(t, s.View())
	again, err := Restore(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if got := persisted(t, again.View()); !bytes.Equal(got, data) {
		t.Errorf("got\n%s\nwant\n%s", got, data)
	}
}
