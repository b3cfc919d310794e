package accountinit

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"drp/raftstore/state"
)

// A variable that is there twice is another one for each program.
func TestEnvironment(t *testing.T) {
	t.Setenv("PATH", "/usr/bin")
	got := environment(state.Program{Environment: map[string]string{"LANG": "fr_FR.UTF-8", "HOME": "/tmp", "KEY": "a=b"}}, "/home/a")
	if want := []string{"HOME=/tmp", "KEY=a=b", "LANG=fr_FR.UTF-8", "PATH=/usr/bin"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	got = environment(state.Program{}, "/home/a")
	if want := []string{"HOME=/home/a", "LANG=C.UTF-8", "PATH=/usr/bin"}; !slices.Equal(got, want) {
		t.Errorf("without any: got %q, want %q", got, want)
	}
}

func TestLook(t *testing.T) {
	home := t.TempDir()
	program := filepath.Join(home, "bin", "send")
	if err := os.Mkdir(filepath.Dir(program), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"bin/send", "./bin/send", program} {
		if got, err := look(command, home); got != program || err != nil {
			t.Errorf("%s: got %q, %v; want it where the program starts", command, got, err)
		}
	}
	if got, err := look("send", home); err == nil {
		t.Errorf("a bare name: got %q, want only what PATH has", got)
	}
}
