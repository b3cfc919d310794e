package raftstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// ErrEmpty: this coordinator has no state, and nobody has said that it is new.
var ErrEmpty = errors.New("no state, and no mark of a first start: an empty coordinator must not vote. " +
	"Mount its disk, and until then leave it down: the others go on without it. " +
	"When all of them are lost for good, run drp recover cluster on one of them. " +
	"Only where the whole cluster is new, ready the directory of each coordinator with drp server init")

// ErrInUse: another process has this directory.
var ErrInUse = errors.New("another process has it open")

// Prepare makes the directory of a coordinator that has never run, and marks it for its first start. Whoever sets the
// machine up does so once, and never again where a coordinator of this name has run: it may have voted. A directory that
// holds anything but the mark is refused.
func Prepare(dir string) error {
	if err := markDirectory(dir, firstStartName, "a first start"); err != nil {
		return fmt.Errorf("prepare coordinator: %w", err)
	}
	return nil
}

// PrepareJoin makes the directory of a coordinator that is to be added to a cluster. It never makes a cluster of its own, and
// does not vote before the others have made it a member without a vote. A directory that holds anything but the mark is refused.
func PrepareJoin(dir string) error {
	if err := markDirectory(dir, joiningName, "joining a cluster"); err != nil {
		return fmt.Errorf("prepare coordinator: %w", err)
	}
	return nil
}

func markDirectory(dir, mark, why string) error {
	if dir == "" {
		return errors.New("no directory for the log")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make directory of the log: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read directory of the log: %w", err)
	}
	for _, e := range entries {
		if e.Name() != mark {
			return fmt.Errorf("%s holds %s: only an empty directory is made ready for %s", dir, e.Name(), why)
		}
	}
	return folder{dir}.put(mark, nil)
}

// checkDirectory refuses a directory in which nothing ever was, before anything is written there: else it would not
// look empty any more to the next one who looks.
func checkDirectory(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read directory of the log: %w", err)
	}
	for _, e := range entries {
		switch e.Name() {
		case firstStartName, joiningName, logName:
			return nil
		}
	}
	return fmt.Errorf("%s: %w", dir, ErrEmpty)
}
