package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drp/e2e/scenario"
	"drp/orchestrator"
	"drp/raftstore/state"
)

// Every process is killed while backups run. No visitor notices, and the backups go on.
func TestProcessesAreKilledDuringBackups(t *testing.T) {
	s := newStage(t)
	s.copied(time.Now(), "par2", s.accounts...)
	visitor := s.Visit(s.ctx, s.accounts, 100*time.Millisecond)
	for _, process := range []struct{ host, service string }{
		{"par1-c", "server"}, {"par2-c", "server"}, {"par3-c", "server"},
		{"par1-data", "gateway"}, {"par1-data", "s3"}, {"par2-data", "worker"}, {"par1-data", "worker"},
		{"par1-s1", "agent"}, {"par1-s2", "agent"}, {"par1-s1", "guard"}, {"par1-s2", "guard"},
	} {
		t.Run(process.host+" "+process.service, func(t *testing.T) {
			s.t = t
			defer func() { s.t = t }()
			asked := time.Now()
			s.must(s.backupNow())
			s.must(s.Lab.KillService(s.ctx, process.host, process.service))
			s.must(scenario.Within(s.ctx, 30*time.Second, func(ctx context.Context) error { return s.answers(ctx, process.host, process.service, asked) }))
			// What was interrupted finishes, or shows as failed and runs again: either way a newer snapshot is copied.
			s.copied(asked, "par2", s.accounts...)
		})
	}
	s.t = t
	fetched, failures := visitor.Stop()
	t.Logf("%d requests", fetched)
	if len(failures) > 0 {
		t.Errorf("%d of %d requests failed: %s", len(failures), fetched, strings.Join(failures, "\n"))
	}
	passwords, err := s.Passwords(s.ctx, s.accounts)
	s.must(err)
	for _, site := range []string{"par1", "par2"} {
		s.must(s.CheckCopies(s.ctx, site, passwords))
	}
}

// backupNow backs every account up that has no backup under way already.
func (s *stage) backupNow() error {
	for _, a := range s.accounts {
		if _, err := s.Run(s.ctx, "backup", "now", string(a.Name)); err != nil && !strings.Contains(err.Error(), "pending") {
			return err
		}
	}
	return nil
}

// answers reports whether a process that was killed does its work again, as those see it who depend on it.
func (s *stage) answers(ctx context.Context, name, service string, since time.Time) error {
	report, err := s.Status(ctx)
	if err != nil {
		return err
	}
	h, err := s.Lab.Host(name)
	if err != nil {
		return err
	}
	switch service {
	case "server":
		return s.coordinatorAnswers(ctx, name)
	case "gateway", "worker":
		return s.seen(report, h.Site, service, since)
	case "agent":
		for _, server := range report.Servers {
			if string(server.Server) == name && server.Status == state.Up && server.LastContact.After(since) {
				return nil
			}
		}
		return fmt.Errorf("agent of %s was not heard since", name)
	}
	// The store and the guard: the host's init has them running again, and their work is seen by the visitors and backups.
	return s.runs(ctx, name, service)
}

func (s *stage) coordinatorAnswers(ctx context.Context, name string) error {
	cmd := s.Command(ctx, "status", "--json")
	cmd.Env = append(os.Environ(), "DRP_SOCKET="+s.Lab.Socket(name))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("coordinator %s: %w: %s", name, err, bytes.TrimSpace(out))
	}
	return nil
}

func (s *stage) seen(report *orchestrator.StatusReport, site, service string, since time.Time) error {
	for _, r := range report.Sites {
		at := r.GatewaySeen
		if service == "worker" {
			at = r.WorkerSeen
		}
		if string(r.Site) == site && at.After(since) {
			return nil
		}
	}
	return fmt.Errorf("%s of %s was not heard since", service, site)
}

func (s *stage) runs(ctx context.Context, name, service string) error {
	for _, h := range s.Lab.Report(ctx).Hosts {
		for _, status := range h.Services {
			if h.Name == name && status.Name == service && status.PID > 0 && status.Restarts > 0 {
				return nil
			}
		}
	}
	return fmt.Errorf("%s of %s does not run again yet", service, name)
}

// A byte that flipped on the source store's disk is found by the copier, and never becomes a copy that counts.
func TestFlippedByteIsNeverCopied(t *testing.T) {
	s := newStage(t)
	s.copied(time.Now(), "par2", s.accounts...)
	s.must(s.Lab.StopService(s.ctx, "par2-data", "worker"))
	brochure := s.account("brochure")
	home, err := s.HomeOf(s.ctx, "brochure")
	s.must(err)
	store := s.bucketOf("par1", "brochure")
	before := s.objects(store)
	s.must(os.WriteFile(filepath.Join(home, "www", "new.txt"), bytes.Repeat([]byte("something new\n"), 5000), 0o644))
	since := time.Now()
	s.copied(since, "par1", brochure)
	flipped := s.flipNewPack(store, before)
	s.must(s.Lab.StartService(s.ctx, "par2-data", "worker"))

	s.within(func(ctx context.Context) error {
		out, err := s.Run(ctx, "get", "accounts", "brochure", "--json")
		if err != nil {
			return err
		}
		if !strings.Contains(out, filepath.Base(flipped)[:8]) {
			return errors.New("the broken object is not named: " + out)
		}
		return nil
	})
	list, err := s.Snapshots(s.ctx, "brochure")
	s.must(err)
	for _, snapshot := range list {
		if _, there := snapshot.At("par2"); there && snapshot.Start.After(since) {
			t.Errorf("snapshot %s counts as copied although an object of it is broken", snapshot.ID.Short())
		}
	}
	if _, err := os.Stat(filepath.Join(s.bucketOf("par2", "brochure"), strings.TrimPrefix(flipped, store))); err == nil {
		t.Errorf("the broken object %s was copied", filepath.Base(flipped))
	}
	passwords, err := s.Passwords(s.ctx, s.accounts)
	s.must(err)
	s.must(s.CheckCopies(s.ctx, "par2", passwords))
}

// bucketOf is an account's prefix on the disk of a site's store.
func (s *stage) bucketOf(site, account string) string {
	s.t.Helper()
	store, err := s.Lab.Store(site)
	s.must(err)
	found, err := filepath.Glob(filepath.Join(s.Lab.Root(store.Host), "var/lib/drp/*", store.Bucket, account))
	if err != nil || len(found) != 1 {
		s.t.Fatalf("find the bucket of %s on disk: %v (%v)", site, found, err)
	}
	return found[0]
}

func (s *stage) objects(root string) map[string][]byte {
	s.t.Helper()
	files, err := scenario.ReadTree(root)
	s.must(err)
	return files
}

// flipNewPack flips one bit of a data object that was not there before, and returns its path.
func (s *stage) flipNewPack(root string, before map[string][]byte) string {
	s.t.Helper()
	for name, data := range s.objects(root) {
		if _, old := before[name]; old || !strings.HasPrefix(name, "data/") {
			continue
		}
		data[len(data)/2] ^= 1
		path := filepath.Join(root, name)
		s.must(os.WriteFile(path, data, 0o644))
		return path
	}
	s.t.Fatal("the backup stored no new data")
	return ""
}
