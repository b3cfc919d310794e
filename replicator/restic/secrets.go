package restic

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// secrets are files in memory that the child inherits: their content is on no disk, in no argument and in no
// environment. The child opens them by /proc/self/fd/N, each time from the start.
type secrets struct {
	first int // descriptor of the first one in the child
	files []*os.File
}

// add stores content and returns the path under which the child finds it.
func (s *secrets) add(name string, content []byte) (path string, err error) {
	fd, err := unix.MemfdCreate("restic-"+name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return "", fmt.Errorf("create memory file for %s: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	s.files = append(s.files, f)
	if _, err := f.Write(content); err != nil {
		return "", fmt.Errorf("write memory file for %s: %w", name, err)
	}
	// The child may run as another user (an account's namespace): it reads, and nobody can change it any more.
	if err := f.Chmod(0o444); err != nil {
		return "", fmt.Errorf("make memory file for %s readable: %w", name, err)
	}
	seals := unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return "", fmt.Errorf("seal memory file for %s: %w", name, err)
	}
	return fmt.Sprintf("/proc/self/fd/%d", s.first+len(s.files)-1), nil
}

func (s *secrets) close() {
	for _, f := range s.files {
		f.Close()
	}
}
