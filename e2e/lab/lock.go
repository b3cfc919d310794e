package lab

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// lockPath is one for the machine: two labs would share the cgroup parent.
const lockPath = "/run/drp-dev.lock"

// ErrRunning means that another lab runs on this machine.
var ErrRunning = errors.New("another drp dev is running")

// lock is held while a lab runs. The kernel frees it with the process, however that ends.
type lock struct{ file *os.File }

func acquire(state string) (*lock, error) {
	for {
		f, err := os.OpenFile(lockPath, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open lock: %w", err)
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			holder, _ := os.ReadFile(lockPath)
			f.Close()
			return nil, fmt.Errorf("%w (%s); end that one first", ErrRunning, strings.TrimSpace(string(holder)))
		}
		// The one before may have removed the file between our open and our lock: then ours locks nothing.
		if same, err := sameFile(f, lockPath); err != nil || !same {
			f.Close()
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return nil, fmt.Errorf("check lock: %w", err)
			}
			continue
		}
		f.Truncate(0)
		if _, err := fmt.Fprintf(f, "process %d, state in %s\n", os.Getpid(), state); err != nil {
			f.Close()
			return nil, fmt.Errorf("write lock: %w", err)
		}
		return &lock{file: f}, nil
	}
}

func sameFile(f *os.File, path string) (bool, error) {
	a, err := f.Stat()
	if err != nil {
		return false, err
	}
	b, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	return os.SameFile(a, b), nil
}

func (l *lock) release() {
	os.Remove(lockPath)
	l.file.Close()
}
