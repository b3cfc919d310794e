package obedience

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"drp/raftstore/identity"
)

// File is the journal of a process that has no other: one small file. Of another cluster it remembers nothing, so that a
// machine may join another platform.
type File struct {
	Path    string
	Cluster string // its UUID
}

type remembered struct {
	Cluster     string `json:"cluster"`
	Incarnation uint64 `json:"incarnation"`
}

// Obeyed reads it. A file that is there and cannot be read is an error: to begin anew would be to obey anybody.
func (f File) Obeyed() (uint64, error) {
	data, err := os.ReadFile(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	var r remembered
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		return 0, fmt.Errorf("read the incarnation that was obeyed from %s (without it, remove the file only when no coordinator from before a recovery can answer): %w", f.Path, err)
	}
	if r.Cluster != f.Cluster {
		return 0, nil
	}
	return r.Incarnation, nil
}

// Obey writes it.
func (f File) Obey(incarnation uint64) error {
	data, err := json.Marshal(remembered{f.Cluster, incarnation})
	if err == nil {
		err = identity.WriteFile(f.Path, append(data, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write incarnation %d into %s: %w", incarnation, f.Path, err)
	}
	return nil
}
