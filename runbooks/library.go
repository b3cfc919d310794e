package runbooks

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"drp/runbooks/strictyaml"
)

//go:embed library/*.yaml
var library embed.FS

// ErrUnknown is what Lookup answers for a name that no runbook has.
var ErrUnknown = errors.New("unknown runbook")

// Library reads the runbooks that ship with this binary, sorted by name. A test holds that it gives no error.
func Library() ([]*Runbook, error) {
	files, err := fs.Glob(library, "library/*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list runbooks: %w", err)
	}
	var books []*Runbook
	for _, file := range files {
		data, err := library.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read runbook: %w", err)
		}
		book, err := Parse(file, data)
		if err != nil {
			return nil, fmt.Errorf("read runbook: %w", err)
		}
		books = append(books, book)
	}
	slices.SortFunc(books, func(a, b *Runbook) int { return strings.Compare(a.Name, b.Name) })
	return books, nil
}

// Lookup returns the runbook of that name from the library, or ErrUnknown.
func Lookup(name string) (*Runbook, error) {
	books, err := Library()
	if err != nil {
		return nil, err
	}
	names := make([]string, len(books))
	for i, b := range books {
		if b.Name == name {
			return b, nil
		}
		names[i] = b.Name
	}
	return nil, fmt.Errorf("%w %q; %s", ErrUnknown, name, strictyaml.Hint(name, names))
}
