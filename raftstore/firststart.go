package raftstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// firstStartName is the file that lets a coordinator begin with no state.
const firstStartName = "first-start"

// ErrEmpty: this coordinator has no state, and nobody has said that it is new.
var ErrEmpty = errors.New("no state, and no mark of a first start: an empty coordinator must not vote. " +
	"Mount its disk, and until then leave it down: the others go on without it. " +
	"Only where the whole cluster is new, ready the directory of each coordinator with drp server init")

// Prepare makes the directory of a coordinator that has never run, and marks it for its first start. Whoever sets the
// machine up does so once, and never again where a coordinator of this name has run: it may have voted. A directory that
// holds anything but the mark is refused.
func Prepare(dir string) error {
	if dir == "" {
		return errors.New("prepare coordinator: no directory for the log")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("prepare coordinator: make directory of the log: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("prepare coordinator: read directory of the log: %w", err)
	}
	for _, e := range entries {
		if e.Name() != firstStartName {
			return fmt.Errorf("prepare coordinator: %s holds %s: only an empty directory is made ready for a first start", dir, e.Name())
		}
	}
	f, err := os.OpenFile(filepath.Join(dir, firstStartName), os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close(), syncDirectory(dir))
	}
	if err != nil {
		return fmt.Errorf("prepare coordinator: mark first start: %w", err)
	}
	return nil
}

// firstStart is the mark of one coordinator.
type firstStart interface {
	marked() (bool, error)
	// consume removes the mark for good. Where there is none it does nothing.
	consume() error
}

// markFile is the mark in a coordinator's directory.
type markFile struct{ dir string }

func (m markFile) path() string { return filepath.Join(m.dir, firstStartName) }

func (m markFile) marked() (bool, error) {
	switch _, err := os.Lstat(m.path()); {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, fmt.Errorf("look for the mark of a first start: %w", err)
	}
}

func (m markFile) consume() error {
	err := os.Remove(m.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = syncDirectory(m.dir)
	}
	if err != nil {
		return fmt.Errorf("remove the mark of a first start: %w", err)
	}
	return nil
}

// checkDirectory refuses a directory in which nothing ever was, before anything is written there: else it would not
// look empty any more to the next one who looks.
func checkDirectory(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read directory of the log: %w", err)
	}
	for _, e := range entries {
		if e.Name() == firstStartName || e.Name() == logName {
			return nil
		}
	}
	return fmt.Errorf("%s: %w", dir, ErrEmpty)
}

func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
