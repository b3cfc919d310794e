// Package storetest gives tests an S3 store: a real one (versitygw, on files of its own), and one in this process that
// answers with faults on command.
package storetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Key is who one is at a store.
type Key struct{ Access, Secret string }

// Server is a versitygw with the posix backend in a directory of the test.
type Server struct {
	Endpoint string // http://127.0.0.1:PORT
	Region   string
	Admin    Key // may do everything
	Reader   Key // may list and read the buckets that Bucket made, nothing else

	tb       testing.TB
	root     string
	versions string // where old versions lie; empty: none are kept
	iam      string
	address  string
	output   *lockedBuffer
	process  *exec.Cmd
	ended    chan struct{}
}

// Start runs a store until the test ends.
func Start(tb testing.TB) *Server { tb.Helper(); return start(tb, false) }

// StartVersioned runs one that can keep versions: see VersionedBucket.
func StartVersioned(tb testing.TB) *Server { tb.Helper(); return start(tb, true) }

func start(tb testing.TB, versioned bool) *Server {
	tb.Helper()
	dir := tb.TempDir()
	s := &Server{
		Region: "us-east-1",
		Admin:  Key{Access: "admin", Secret: "admin-secret"},
		Reader: Key{Access: "reader", Secret: "reader-secret"},
		tb:     tb,
		root:   filepath.Join(dir, "objects"),
		iam:    filepath.Join(dir, "iam"),
		output: &lockedBuffer{},
	}
	folders := []string{s.root, s.iam}
	if versioned {
		s.versions = filepath.Join(dir, "versions")
		folders = append(folders, s.versions)
	}
	for _, d := range folders {
		if err := os.Mkdir(d, 0o700); err != nil {
			tb.Fatal(err)
		}
	}
	tb.Cleanup(func() {
		s.Kill()
		if tb.Failed() && testing.Verbose() {
			tb.Logf("versitygw said:\n%s", s.output)
		}
	})
	// Between finding a free port and listening on it another process may take it: then the next one.
	for range 5 {
		s.address = freeAddress(tb)
		s.Endpoint = "http://" + s.address
		if s.start() {
			s.addReader()
			return s
		}
	}
	tb.Fatalf("start versitygw: it did not come up:\n%s", s.output)
	return nil
}

// Kill ends the store at once, as a power cut would.
func (s *Server) Kill() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Kill() // it may have ended by itself
	<-s.ended
	s.process = nil
}

// Restart kills the store and starts it again at the same address.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Kill()
	if !s.start() {
		s.tb.Fatalf("restart versitygw: it did not come up:\n%s", s.output)
	}
}

// Bucket creates a bucket that Admin may write and Reader may read.
func (s *Server) Bucket(name string) { s.tb.Helper(); s.bucket(name, false) }

// LockedBucket is a Bucket with object lock.
func (s *Server) LockedBucket(name string) { s.tb.Helper(); s.bucket(name, true) }

// VersionedBucket is a Bucket that keeps what is deleted or replaced.
func (s *Server) VersionedBucket(name string) {
	s.tb.Helper()
	client := s.bucket(name, false)
	if err := client.EnableVersioning(context.Background(), name); err != nil {
		s.tb.Fatalf("have bucket %s keep versions: %v", name, err)
	}
}

// SuspendedBucket is a VersionedBucket that keeps what it has, and none of what comes.
func (s *Server) SuspendedBucket(name string) {
	s.tb.Helper()
	s.VersionedBucket(name)
	if err := s.client().SuspendVersioning(context.Background(), name); err != nil {
		s.tb.Fatalf("have bucket %s keep no more versions: %v", name, err)
	}
}

// Allow lets Reader do everything in a bucket but some actions ("s3:DeleteObjectVersion").
func (s *Server) Allow(name string, but ...string) {
	s.tb.Helper()
	statement := func(effect string, actions ...string) map[string]any {
		return map[string]any{
			"Effect": effect, "Principal": map[string]any{"AWS": []string{s.Reader.Access}}, "Action": actions,
			"Resource": []string{"arn:aws:s3:::" + name, "arn:aws:s3:::" + name + "/*"},
		}
	}
	statements := []any{statement("Allow", "s3:*")}
	if len(but) > 0 {
		statements = append(statements, statement("Deny", but...))
	}
	policy, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": statements})
	if err != nil {
		s.tb.Fatal(err)
	}
	if err := s.client().SetBucketPolicy(context.Background(), name, string(policy)); err != nil {
		s.tb.Fatalf("set policy of bucket %s: %v", name, err)
	}
}

func (s *Server) client() *minio.Client {
	s.tb.Helper()
	client, err := minio.New(s.address, &minio.Options{
		Creds: credentials.NewStaticV4(s.Admin.Access, s.Admin.Secret, ""), Region: s.Region,
	})
	if err != nil {
		s.tb.Fatal(err)
	}
	return client
}

func (s *Server) bucket(name string, locked bool) *minio.Client {
	s.tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client := s.client()
	if err := client.MakeBucket(ctx, name, minio.MakeBucketOptions{Region: s.Region, ObjectLocking: locked}); err != nil {
		s.tb.Fatalf("create bucket %s: %v", name, err)
	}
	policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":[%q]},`+
		`"Action":["s3:ListBucket","s3:GetObject"],"Resource":["arn:aws:s3:::%s","arn:aws:s3:::%s/*"]}]}`,
		s.Reader.Access, name, name)
	if err := client.SetBucketPolicy(ctx, name, policy); err != nil {
		s.tb.Fatalf("set policy of bucket %s: %v", name, err)
	}
	return client
}

// File is where the store keeps an object: to damage it behind the store's back.
func (s *Server) File(bucket, key string) string {
	return filepath.Join(s.root, bucket, filepath.FromSlash(key))
}

// Flip turns one bit in the middle of a stored object, as a bad disk does: listings and headers stay as they were.
func (s *Server) Flip(bucket, key string) {
	s.tb.Helper()
	f, err := os.OpenFile(s.File(bucket, key), os.O_RDWR, 0)
	if err != nil {
		s.tb.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		s.tb.Fatal(err)
	}
	at := info.Size() / 2
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		s.tb.Fatal(err)
	}
	b[0] ^= 0x10
	if _, err := f.WriteAt(b[:], at); err != nil {
		s.tb.Fatal(err)
	}
}

// start reports whether the store answers.
func (s *Server) start() bool {
	s.tb.Helper()
	arguments := []string{"--port", s.address, "--health", "/health", "--keep-alive", "--quiet", "--iam-dir", s.iam, "posix"}
	if s.versions != "" {
		arguments = append(arguments, "--versioning-dir", s.versions)
	}
	cmd := exec.Command(Binary(s.tb, "versitygw"), append(arguments, s.root)...)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+s.Admin.Access, "ROOT_SECRET_ACCESS_KEY="+s.Admin.Secret)
	cmd.Stdout, cmd.Stderr = s.output, s.output
	// A test binary that panics or is killed runs no cleanup.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.tb.Fatalf("start versitygw: %v", err)
	}
	s.process, s.ended = cmd, make(chan struct{})
	go func() {
		defer close(s.ended)
		_ = cmd.Wait() // Kill makes it fail
	}()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if s.answers() {
			return true
		}
		select {
		case <-tick.C:
		case <-s.ended:
			s.process = nil
			return false
		case <-deadline.C:
			s.Kill()
			return false
		}
	}
}

func (s *Server) answers() bool {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(s.Endpoint + "/health")
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func (s *Server) addReader() {
	s.tb.Helper()
	cmd := exec.Command(Binary(s.tb, "versitygw"), "admin", "--endpoint-url", s.Endpoint, "create-user",
		"--access", s.Reader.Access, "--secret", s.Reader.Secret, "--role", "user")
	cmd.Env = append(os.Environ(), "ADMIN_ACCESS_KEY="+s.Admin.Access, "ADMIN_SECRET_KEY="+s.Admin.Secret)
	if out, err := cmd.CombinedOutput(); err != nil {
		s.tb.Fatalf("create the reader: %v\n%s", err, out)
	}
}

func freeAddress(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Binary finds a program that the Makefile builds into bin/ of this module.
func Binary(tb testing.TB, name string) string {
	tb.Helper()
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			tb.Fatal("find the module's root: no go.mod above the working directory")
		}
		dir = parent
	}
	path := filepath.Join(dir, "bin", name)
	if _, err := os.Stat(path); err != nil {
		tb.Fatalf("find %s: %v (make builds it)", name, err)
	}
	return path
}

// lockedBuffer takes a child's output while the test reads it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
