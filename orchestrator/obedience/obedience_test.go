package obedience_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"drp/orchestrator/obedience"
)

func open(t testing.TB, file obedience.File) *obedience.Obedience {
	t.Helper()
	o, err := obedience.New(file)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func take(t testing.TB, o *obedience.Obedience, incarnation uint64, recovering, want bool) {
	t.Helper()
	if err := o.Take(incarnation, recovering); (err == nil) != want {
		t.Errorf("incarnation %d, recovering %v: got %v, want it taken: %v", incarnation, recovering, err, want)
	}
}

// What was obeyed once is obeyed after a restart, and nothing lower.
func TestObedience(t *testing.T) {
	file := obedience.File{Path: filepath.Join(t.TempDir(), "obeyed"), Cluster: "cluster-a"}
	o := open(t, file)
	take(t, o, 0, false, true) // an older coordinator does not say
	if got := o.Told(); got != 0 {
		t.Errorf("got %d told of a cluster that was never recovered", got)
	}
	take(t, o, 5, true, true) // orders nothing
	take(t, o, 1, false, true)
	take(t, o, 3, false, true)
	for range 2 {
		if got := o.Told(); got != 3 {
			t.Errorf("got %d told, want 3", got)
		}
		take(t, o, 2, false, false)
		take(t, o, 0, false, false)
		take(t, o, 2, true, true)
		take(t, o, 3, false, true)
		o = open(t, file)
	}
	take(t, open(t, obedience.File{Path: file.Path, Cluster: "cluster-b"}), 1, false, true)
}

// Nothing is done under an incarnation that is not on the disk, and a file that cannot be read is not taken for none.
func TestObedience_disk(t *testing.T) {
	dir := t.TempDir()
	o := open(t, obedience.File{Path: filepath.Join(dir, "missing", "obeyed"), Cluster: "cluster-a"})
	take(t, o, 2, false, false)
	if got := o.Told(); got != 0 {
		t.Errorf("got %d told, which was never written", got)
	}
	path := filepath.Join(dir, "obeyed")
	if err := os.WriteFile(path, []byte(`{"cluster":"cluster-a","incarn`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := obedience.New(obedience.File{Path: path, Cluster: "cluster-a"}); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want a file cut short refused", err)
	}
}
