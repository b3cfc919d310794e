package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/synctest"

	"golang.org/x/sys/unix"
)

// TestAcquire: who was killed while it started a program leaves it the lock for a moment; that is waited for, and nobody who lives.
func TestAcquire(t *testing.T) {
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	hold := func(t *testing.T, pid int) (path string, file *os.File) {
		path = filepath.Join(t.TempDir(), "lock")
		file, err := os.Create(path)
		if err == nil {
			_, err = fmt.Fprintf(file, "process %d, state in /somewhere\n", pid)
		}
		if err == nil {
			err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { file.Close() })
		return path, file
	}
	path, _ := hold(t, os.Getpid())
	if _, err := acquire(path, "a test"); !errors.Is(err, ErrRunning) {
		t.Errorf("its holder lives: got %v", err)
	}
	path, file := hold(t, ended.Process.Pid)
	other, _ := hold(t, ended.Process.Pid)
	synctest.Test(t, func(t *testing.T) {
		got := make(chan error, 1)
		go func() {
			l, err := acquire(path, "a test")
			if err == nil {
				l.release()
			}
			got <- err
		}()
		synctest.Wait()
		file.Close()
		if err := <-got; err != nil {
			t.Errorf("its holder is gone: got %v", err)
		}
		if _, err := acquire(other, "a test"); !errors.Is(err, ErrRunning) {
			t.Errorf("its holder is gone and something keeps it: got %v", err)
		}
	})
}
