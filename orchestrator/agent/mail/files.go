package mail

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Nothing here goes by path: each name is one below an open directory, and no link is followed.

// errNoFile: something else than a plain file has the name.
var errNoFile = errors.New("it is no plain file")

func isEOF(err error) bool { return errors.Is(err, io.EOF) }

// list reads a directory, by name.
func list(dir *os.File) (map[string]fs.DirEntry, error) {
	if _, err := dir.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	entries := map[string]fs.DirEntry{}
	for {
		some, err := dir.ReadDir(1024)
		for _, e := range some {
			entries[e.Name()] = e
		}
		if isEOF(err) {
			return entries, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// move renames, and replaces nothing: placed is false when something has the name.
func move(from *os.File, name string, into *os.File, under string) (placed bool, err error) {
	err = unix.Renameat2(int(from.Fd()), name, int(into.Fd()), under, unix.RENAME_NOREPLACE)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("move into its place: %w", err)
	}
	return true, nil
}

func unlink(dir *os.File, name string) error {
	err := unix.Unlinkat(int(dir.Fd()), name, 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EISDIR) {
		return &fs.PathError{Op: "remove", Path: name, Err: err}
	}
	return nil
}

// openFile opens a plain file and nothing else; it waits for nobody.
func openFile(dir *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat2(int(dir.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch {
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENXIO):
		return nil, errNoFile
	case err != nil:
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, errors.Join(errNoFile, err, f.Close())
	}
	return f, nil
}

// equal compares two files. One that is gone, or is no file, is not equal to anything.
func equal(a *os.File, nameA string, b *os.File, nameB string) (same, gone bool, err error) {
	theirs, err := openFile(b, nameB)
	if errors.Is(err, fs.ErrNotExist) {
		return false, true, nil
	}
	if errors.Is(err, errNoFile) {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	defer theirs.Close()
	ours, err := openFile(a, nameA)
	if err != nil {
		return false, false, err
	}
	defer ours.Close()
	x, y := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, errA := io.ReadFull(ours, x)
		k, errB := io.ReadFull(theirs, y)
		switch {
		case failed(errA) || failed(errB):
			return false, false, errors.Join(errA, errB)
		case n != k || !bytes.Equal(x[:n], y[:k]):
			return false, false, nil
		case errors.Is(errA, io.EOF) || errors.Is(errA, io.ErrUnexpectedEOF):
			return true, false, nil
		}
	}
}

// failed: err is something else than the file's end.
func failed(err error) bool {
	return err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF)
}

// digest is short: what has the same one is compared.
func digest(dir *os.File, name string) (string, error) {
	f, err := openFile(dir, name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}
