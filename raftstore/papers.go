package raftstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// papers are what lies in a coordinator's directory beside log and snapshots, and says whether it may start.
type papers interface {
	// has reports whether there is such a paper.
	has(name string) (bool, error)
	read(name string) ([]byte, error)
	// put writes one, for good when it returns.
	put(name string, data []byte) error
	// remove takes one away, for good. Where there is none it does nothing.
	remove(name string) error
}

const (
	firstStartName = "first-start"     // a coordinator of a new cluster: it may begin with nothing
	joiningName    = "joining"         // a coordinator that waits to be added: it may begin with nothing, and never votes
	quarantineName = "quarantine.json" // its state was wrong: it may not start
)

// folder are the papers in a directory.
type folder struct{ dir string }

func (f folder) path(name string) string { return filepath.Join(f.dir, name) }

func (f folder) has(name string) (bool, error) {
	switch _, err := os.Lstat(f.path(name)); {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, fmt.Errorf("look for %s: %w", name, err)
	}
}

func (f folder) read(name string) ([]byte, error) { return os.ReadFile(f.path(name)) }

func (f folder) put(name string, data []byte) error {
	file, err := os.OpenFile(f.path(name), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = file.Write(data)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := syncDirectory(f.dir); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func (f folder) remove(name string) error {
	err := os.Remove(f.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = syncDirectory(f.dir)
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
