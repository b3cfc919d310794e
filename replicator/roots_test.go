package replicator_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"drp/replicator"
)

// rootForm is how a folder of ours in a bucket is called.
var rootForm = regexp.MustCompile(`^\.[a-z][a-z0-9-]*/`)

// TestPlaces: whatever names a folder of ours in a bucket has it among the places that the erasure of an account knows, or no
// account's name is in its keys.
func TestPlaces(t *testing.T) {
	known := map[string]string{
		replicator.ErasingRoot: "marks of erasures",
		replicator.ErasedRoot:  "marks of erasures, which stay",
		".drp/":                "exports and the trail: of the cluster, and sealed",
		".drp-check-":          "of drp store check, under random names",
		".drp-probe":           "tries whether hashes are checked",
	}
	for _, p := range replicator.Places {
		if p.Before != "" {
			known[p.Before] = "a place"
		}
	}
	if len(known) != 5+7 {
		t.Errorf("%d places are known", len(known)-5)
	}
	found := make(map[string]bool)
	for _, dir := range []string{".", "../orchestrator", "../cmd"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			for _, text := range literals(t, path) {
				root := rootForm.FindString(text)
				if root == "" {
					if strings.HasPrefix(text, ".drp-") && strings.HasPrefix(path, "storecheck") || text == ".drp-probe" {
						root = text
					}
				}
				if root == "" {
					continue
				}
				found[root] = true
				if known[root] == "" {
					t.Errorf("%s names %q: if it is a folder in a bucket, it is to be one of replicator.Places, so that it goes when an account is erased, or named in this test", path, text)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for root := range known {
		if !found[root] {
			t.Errorf("no code names %s any more", root)
		}
	}
}

// literals are the strings that a source file has.
func literals(t *testing.T, path string) (all []string) {
	t.Helper()
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), path, source, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
			if text, err := strconv.Unquote(l.Value); err == nil {
				all = append(all, text)
			}
		}
		return true
	})
	return slices.Compact(all)
}
