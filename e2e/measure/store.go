// Package measure is what the benches of the data side share: a store of their own, and children whose cost is told.
package measure

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Who the benches are at their stores.
const (
	Region    = "us-east-1"
	AccessKey = "admin"
	SecretKey = "admin-secret"
)

// Store is a versitygw, with one bucket in a directory.
type Store struct {
	Endpoint string
	Bucket   string
	root     string
	cmd      *exec.Cmd
}

// StartStore runs a store that keeps its files below dir, and has a bucket of its name.
func StartStore(ctx context.Context, programs, dir, name string) (*Store, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("find a port: %w", err)
	}
	address := l.Addr().String()
	l.Close()
	s := &Store{Endpoint: "http://" + address, Bucket: name, root: filepath.Join(dir, name)}
	iam := filepath.Join(dir, name+"-iam")
	if err := errors.Join(os.MkdirAll(s.Path(), 0o700), os.Mkdir(iam, 0o700)); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	s.cmd = exec.Command(filepath.Join(programs, "versitygw"), "--port", address, "--health", "/health", "--keep-alive", "--quiet", "--iam-dir", iam, "posix", s.root)
	s.cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+AccessKey, "ROOT_SECRET_ACCESS_KEY="+SecretKey)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start store: %w", err)
	}
	for range 300 {
		response, err := http.Get(s.Endpoint + "/health")
		if err == nil {
			response.Body.Close()
			return s, nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			s.Kill()
			return nil, ctx.Err()
		}
	}
	s.Kill()
	return nil, fmt.Errorf("start store %s: it does not answer", name)
}

// Kill ends the store.
func (s *Store) Kill() {
	_ = s.cmd.Process.Kill() // it may have ended
	_ = s.cmd.Wait()
}

// Path is where the store keeps its bucket.
func (s *Store) Path() string { return filepath.Join(s.root, s.Bucket) }

// Holds makes the bucket a copy of a directory; empty: nothing.
func (s *Store) Holds(dir string) error {
	entries, err := os.ReadDir(s.Path())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(s.Path(), e.Name())); err != nil {
			return err
		}
	}
	if dir == "" {
		return nil
	}
	return CopyTree(dir, s.Path())
}

// CopyTree copies what is in a directory, with the extended attributes in which versitygw keeps ETags.
func CopyTree(from, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	if out, err := exec.Command("cp", "-a", from+"/.", to).CombinedOutput(); err != nil {
		return fmt.Errorf("copy %s: %w: %s", from, err, out)
	}
	return nil
}

// ProcessorTime that the store has used, in seconds.
func (s *Store) ProcessorTime() (float64, error) { return ProcessorTime(s.cmd.Process.Pid) }
