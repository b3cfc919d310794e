package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	region    = "us-east-1"
	accessKey = "admin"
	secretKey = "admin-secret"
)

// store is a versitygw, with one bucket in a directory.
type store struct {
	endpoint string
	bucket   string
	root     string
	cmd      *exec.Cmd
}

func (b *bench) startStore(ctx context.Context, name string) (*store, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("find a port: %w", err)
	}
	address := l.Addr().String()
	l.Close()
	s := &store{endpoint: "http://" + address, bucket: name, root: filepath.Join(b.dir, name)}
	iam := filepath.Join(b.dir, name+"-iam")
	if err := errors.Join(os.MkdirAll(s.path(), 0o700), os.Mkdir(iam, 0o700)); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	s.cmd = exec.Command(filepath.Join(b.programs, "versitygw"), "--port", address, "--health", "/health", "--keep-alive", "--quiet", "--iam-dir", iam, "posix", s.root)
	s.cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+accessKey, "ROOT_SECRET_ACCESS_KEY="+secretKey)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start store: %w", err)
	}
	for range 300 {
		response, err := http.Get(s.endpoint + "/health")
		if err == nil {
			response.Body.Close()
			return s, nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			s.kill()
			return nil, ctx.Err()
		}
	}
	s.kill()
	return nil, fmt.Errorf("start store %s: it does not answer", name)
}

func (s *store) kill() {
	_ = s.cmd.Process.Kill() // it may have ended
	_ = s.cmd.Wait()
}

// path is where the store keeps its bucket.
func (s *store) path() string { return filepath.Join(s.root, s.bucket) }

// holds makes the bucket a copy of a directory; empty: nothing.
func (s *store) holds(dir string) error {
	entries, err := os.ReadDir(s.path())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(s.path(), e.Name())); err != nil {
			return err
		}
	}
	if dir == "" {
		return nil
	}
	return copyTree(dir, s.path())
}

// copyTree copies what is in a directory, with the extended attributes in which versitygw keeps ETags.
func copyTree(from, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	if out, err := exec.Command("cp", "-a", from+"/.", to).CombinedOutput(); err != nil {
		return fmt.Errorf("copy %s: %w: %s", from, err, out)
	}
	return nil
}

// processorTime that the store has used.
func (s *store) processorTime() (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(data), ") ") // behind the program's name
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("read processor time: %q", data)
	}
	user, err := strconv.ParseFloat(fields[11], 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100, err // USER_HZ is 100 wherever Go runs
}
