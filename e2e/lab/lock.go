package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Both are one for the machine: two labs would share the cgroup parent.
const (
	lockPath = "/run/drp-dev.lock"
	turnPath = "/run/drp-lab-turn.lock" // of those who would rather wait than be refused
)

// ErrRunning means that another lab runs on this machine.
var ErrRunning = errors.New("another drp dev is running")

// lock is held while a lab runs. The kernel frees it with the process, however that ends.
type lock struct {
	path string
	file *os.File
}

// TakeTurn waits until nobody else has a turn. Test programs that start labs, which go test runs side by side, each
// take one for all of their tests.
func TakeTurn(ctx context.Context) (release func(), err error) {
	for {
		l, err := acquire(turnPath, "its turn")
		if err == nil {
			return l.release, nil
		}
		if !errors.Is(err, ErrRunning) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for a turn: %w", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func acquire(path, what string) (*lock, error) {
	for patience := 500; ; {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open lock: %w", err)
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			holder, _ := os.ReadFile(path)
			f.Close()
			if patience--; patience > 0 && gone(holder) {
				time.Sleep(10 * time.Millisecond)
				continue
			}
			return nil, fmt.Errorf("%w (%s); end that one first", ErrRunning, strings.TrimSpace(string(holder)))
		}
		// The one before may have removed the file between our open and our lock: then ours locks nothing.
		if same, err := sameFile(f, path); err != nil || !same {
			f.Close()
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return nil, fmt.Errorf("check lock: %w", err)
			}
			continue
		}
		f.Truncate(0)
		if _, err := fmt.Fprintf(f, "process %d, %s\n", os.Getpid(), what); err != nil {
			f.Close()
			return nil, fmt.Errorf("write lock: %w", err)
		}
		return &lock{path: path, file: f}, nil
	}
}

// gone reports whether the process that has written this is no more. If it was killed while it started another one, that has
// the lock for a moment, until it is that other program.
func gone(holder []byte) bool {
	var pid int
	_, err := fmt.Sscanf(string(holder), "process %d,", &pid)
	return err == nil && errors.Is(unix.Kill(pid, 0), unix.ESRCH)
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
	os.Remove(l.path)
	l.file.Close()
}
