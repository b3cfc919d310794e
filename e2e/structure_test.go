// Package e2e holds what is true of the whole: its structure, and its behaviour from end to end.
package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// layers from the top down. A package may import those of its own layer's folder and of lower ones.
var layers = []string{
	"drp/e2e",
	"drp/cmd",
	"drp/orchestrator/api",
	"drp/orchestrator/agent",
	"drp/orchestrator",
	"drp/runbooks",
	"drp/replicator",
	"drp/raftstore",
}

// below are parts of a folder that stand lower than the rest of it: everybody may use them.
var below = map[string]bool{
	"drp/raftstore/state":    true,
	"drp/raftstore/identity": true,
	"drp/raftstore/audit":    true,
	"drp/raftstore/signed":   true,
}

// alongside are pairs that the order of layers alone would allow or forbid wrongly.
var alongside = map[[2]string]bool{
	{"drp/cmd/drp", "drp/e2e/lab"}:      true, // drp dev is the lab
	{"drp/cmd/drp", "drp/e2e/lab/host"}: true,

	{"drp/e2e/bench", "drp/raftstore"}:                    true, // it holds the store against a bare one, in one process
	{"drp/e2e/bench", "drp/raftstore/raftstoretest/bare"}: true,
}

type listed struct {
	ImportPath string
	Imports    []string
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range packages(t) {
		for _, imported := range p.Imports {
			if why := forbidden(p.ImportPath, imported); why != "" {
				t.Errorf("%s imports %s: %s", p.ImportPath, imported, why)
			}
		}
	}
}

func TestImportsPointDown_finds(t *testing.T) {
	for _, pair := range [][2]string{
		{"drp/replicator", "drp/orchestrator/wire"},
		{"drp/raftstore/state", "drp/raftstore"},
		{"drp/orchestrator", "drp/orchestrator/api"},
		{"drp/orchestrator/agent", "drp/raftstore"},
		{"drp/orchestrator", "github.com/hashicorp/raft"},
		{"drp/runbooks", "drp/replicator"},
	} {
		if forbidden(pair[0], pair[1]) == "" {
			t.Errorf("%s may import %s, want it forbidden", pair[0], pair[1])
		}
	}
}

func forbidden(from, to string) string {
	if strings.HasPrefix(to, "github.com/hashicorp/raft") && from != "drp/raftstore" && !strings.HasPrefix(from, "drp/raftstore/raftstoretest") {
		return "raftstore is the only importer of Raft"
	}
	if !strings.HasPrefix(to, "drp/") || alongside[[2]string{from, to}] || below[to] {
		return ""
	}
	if below[from] {
		return "what everybody uses stands on nothing of ours"
	}
	upper, lower := layer(from), layer(to)
	switch {
	case upper > lower:
		return "imports point down"
	case layers[lower] == "drp/raftstore" && layers[upper] != "drp/raftstore" && layers[upper] != "drp/cmd":
		return "only the coordinator's process holds the store; all others write through the leader's API"
	case layers[upper] == "drp/runbooks" && lower > upper:
		return "runbooks stand on nothing of ours"
	}
	return ""
}

func layer(path string) int {
	best := -1
	for i, l := range layers {
		if (path == l || strings.HasPrefix(path, l+"/")) && (best < 0 || len(l) > len(layers[best])) {
			best = i
		}
	}
	return best
}

func TestNoFileIsTooLong(t *testing.T) {
	const most = 600
	err := filepath.WalkDir(root(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "bin" || d.Name() == ".git") {
			return fs.SkipDir
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if lines := bytes.Count(data, []byte("\n")); lines > most {
			t.Errorf("%s has %d lines, want at most %d: split it", path, lines, most)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOnlyMainExits(t *testing.T) {
	err := filepath.WalkDir(root(t), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") || filepath.Base(path) == "main.go" {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		lines := bufio.NewScanner(f)
		for n := 1; lines.Scan(); n++ {
			if strings.Contains(lines.Text(), "os.Exit(") || strings.Contains(lines.Text(), "log.Fatal") {
				t.Errorf("%s:%d: only main exits", path, n)
			}
		}
		return lines.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
}

func packages(t testing.TB) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	decoder := json.NewDecoder(bytes.NewReader(out))
	for {
		var p listed
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// root is the folder of go.mod.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = parent
	}
}
