// Package hometest makes filesystems for tests: a btrfs in a loop file, and one in memory without snapshots.
package hometest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Btrfs mounts a new btrfs until the test ends.
func Btrfs(t testing.TB) string {
	t.Helper()
	dir := directory(t)
	image, at := filepath.Join(dir, "image"), filepath.Join(dir, "mnt")
	f, err := os.Create(image)
	if err == nil {
		err = f.Truncate(256 << 20)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	mkdir(t, at)
	for _, command := range [][]string{{"mkfs.btrfs", "-q", image}, {"mount", "-o", "loop", image, at}} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", command, err, out)
		}
	}
	unmount(t, at)
	return at
}

// Memory mounts a new tmpfs until the test ends.
func Memory(t testing.TB) string {
	t.Helper()
	at := filepath.Join(directory(t), "mnt")
	mkdir(t, at)
	if err := unix.Mount("tmpfs", at, "tmpfs", 0, "size=64m,mode=755"); err != nil {
		t.Fatal(err)
	}
	unmount(t, at)
	return at
}

// directory is like t.TempDir, but other users may pass through it.
func directory(t testing.TB) string {
	dir, err := os.MkdirTemp("", "drp-home-")
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func mkdir(t testing.TB, path string) {
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

func unmount(t testing.TB, at string) {
	t.Cleanup(func() {
		// A view that a test left is a mount as well.
		for _, name := range []string{"mails", "files"} {
			views, _ := filepath.Glob(filepath.Join(at, "*", ".views", "*", name))
			for _, v := range views {
				_ = unix.Unmount(v, unix.MNT_DETACH)
			}
		}
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", at, err)
		}
	})
}
