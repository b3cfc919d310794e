package storetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"testing"
)

// Repository is a restic repository straight at a store, under PREFIX/ in a bucket.
type Repository struct {
	server   *Server
	bucket   string
	prefix   string
	password string
	binary   string // empty: the one that drp ships
}

// Repository names one; it creates nothing.
func (s *Server) Repository(bucket, prefix, password string) *Repository {
	return &Repository{server: s, bucket: bucket, prefix: prefix, password: password}
}

// By is the same repository, worked on by another restic.
func (r *Repository) By(binary string) *Repository {
	other := *r
	other.binary = binary
	return &other
}

// DebianRestic is the restic that Debian 12 has (0.14).
func DebianRestic(tb testing.TB) string {
	tb.Helper()
	const path = "/usr/bin/restic"
	if _, err := os.Stat(path); err != nil {
		tb.Fatalf("find Debian's restic: %v (make packages installs it)", err)
	}
	return path
}

// Through is the same store, reached at another address: a Proxy's.
func (s *Server) Through(endpoint string) *Server {
	return &Server{Endpoint: endpoint, Region: s.Region, Admin: s.Admin, Reader: s.Reader}
}

// Init creates the repository. Its password is tried in no time.
func (r *Repository) Init(tb testing.TB, options ...string) {
	tb.Helper()
	r.must(tb, "", append([]string{"init"}, options...)...)
	r.cheapen(tb)
}

// Backup saves a directory and returns the snapshot's id.
func (r *Repository) Backup(tb testing.TB, dir string) string {
	tb.Helper()
	id, locked := r.TryBackup(tb, dir)
	if locked {
		tb.Fatalf("backup of %s: the repository is locked", dir)
	}
	return id
}

// TryBackup is Backup that reports when another restic has the repository for itself.
func (r *Repository) TryBackup(tb testing.TB, dir string) (id string, locked bool) {
	tb.Helper()
	args := []string{"backup", "--json", "--host", "test", "--pack-size", "4", "."}
	out, code := r.Run(tb, dir, args...)
	if code == 11 {
		return "", true
	}
	if code != 0 {
		tb.Fatalf("restic %v at %s/%s/%s ended with %d:\n%s", args, r.server.Endpoint, r.bucket, r.prefix, code, out)
	}
	for line := range bytes.Lines(out) {
		var m struct {
			Type string `json:"message_type"`
			ID   string `json:"snapshot_id"`
		}
		if json.Unmarshal(line, &m) == nil && m.Type == "summary" {
			return r.whole(tb, m.ID), false
		}
	}
	tb.Fatalf("backup of %s named no snapshot:\n%s", dir, out)
	return "", false
}

// whole is a snapshot's whole id: until 0.15, restic told the first eight digits only.
func (r *Repository) whole(tb testing.TB, id string) string {
	tb.Helper()
	if len(id) == 64 {
		return id
	}
	var found []string
	for line := range bytes.Lines(r.must(tb, "", "list", "snapshots", "--no-lock")) {
		if bytes.HasPrefix(line, []byte(id)) {
			found = append(found, string(bytes.TrimSpace(line)))
		}
	}
	if len(found) != 1 {
		tb.Fatalf("snapshot %s is one of %v", id, found)
	}
	return found[0]
}

// Forget forgets the snapshots and prunes what only they needed.
func (r *Repository) Forget(tb testing.TB, ids ...string) {
	tb.Helper()
	r.must(tb, "", append([]string{"forget", "--prune", "--max-unused", "0"}, ids...)...)
}

// Check fails the test unless every byte of the repository is read and right.
func (r *Repository) Check(tb testing.TB) {
	tb.Helper()
	r.must(tb, "", "check", "--read-data", "--no-lock")
}

// Restore writes a snapshot into a directory.
func (r *Repository) Restore(tb testing.TB, id, dir string) {
	tb.Helper()
	r.must(tb, "", "restore", "--no-lock", "--target", dir, id)
}

// Run runs restic on the repository. It has no cache: a copied repository has the same id, and a cache would hide
// what is missing.
func (r *Repository) Run(tb testing.TB, dir string, args ...string) (out []byte, code int) {
	tb.Helper()
	binary := r.binary
	if binary == "" {
		binary = Binary(tb, "restic")
	}
	cmd := exec.Command(binary, append([]string{"--no-cache"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(),
		"RESTIC_REPOSITORY=s3:"+r.server.Endpoint+"/"+r.bucket+"/"+r.prefix, "RESTIC_PASSWORD="+r.password,
		"AWS_ACCESS_KEY_ID="+r.server.Admin.Access, "AWS_SECRET_ACCESS_KEY="+r.server.Admin.Secret,
		"AWS_DEFAULT_REGION="+r.server.Region)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return out, exit.ExitCode()
	case err != nil:
		tb.Fatalf("run restic %v: %v", args, err)
	}
	return out, 0
}

func (r *Repository) must(tb testing.TB, dir string, args ...string) []byte {
	tb.Helper()
	out, code := r.Run(tb, dir, args...)
	if code != 0 {
		tb.Fatalf("restic %v at %s/%s/%s ended with %d:\n%s", args, r.server.Endpoint, r.bucket, r.prefix, code, out)
	}
	return out
}
