package accountinit

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// serviceLog is the size at which a service's log makes way for the next; the one before is kept.
const serviceLog = 256 << 10

// ring is the output of one program: two files of bounded size in the container's memory. A log that cannot be
// written is lost; the program goes on.
type ring struct {
	mu    sync.Mutex
	path  string
	limit int
	file  *os.File
	size  int
}

func openRing(path string, limit int) *ring { return &ring{path: path, limit: limit} }

// Write never fails, so that a reader keeps a program's pipe empty whatever happens.
func (r *ring) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file != nil && r.size > r.limit {
		r.file.Close()
		r.file = nil
		_ = os.Rename(r.path, r.path+".1")
	}
	if r.file == nil {
		f, err := os.OpenFile(r.path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
		if err != nil {
			return len(p), nil
		}
		r.file, r.size = f, 0
	}
	n, _ := r.file.Write(p)
	r.size += n
	return len(p), nil
}

// readFrom takes in a pipe until its last writer is gone.
func (r *ring) readFrom(pipe *os.File) {
	defer pipe.Close()
	buf := make([]byte, 8<<10)
	for {
		n, err := pipe.Read(buf)
		if n > 0 {
			r.Write(buf[:n])
		}
		if err != nil {
			return
		}
	}
}

// look finds a program. One with a slash in its name is meant from where it will start.
func look(command, dir string) (string, error) {
	if strings.Contains(command, "/") && !filepath.IsAbs(command) {
		command = filepath.Join(dir, command)
	}
	path, err := exec.LookPath(command)
	if err != nil {
		return "", fmt.Errorf("find %q: %w", command, err)
	}
	return path, nil
}
