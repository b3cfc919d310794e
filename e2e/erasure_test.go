package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"drp/orchestrator"
	"drp/raftstore/state"
)

// An account leaves. Its backups are deleted at both sites, when the grace of each is over, and a certificate says so; what belongs to
// others is whole.
func TestErasure(t *testing.T) {
	s := newStage(t)
	gallery := s.account("gallery")
	snapshot := s.copied(time.Now(), "par2", s.accounts...)["gallery"]
	passwords, err := s.Passwords(s.ctx, s.accounts)
	s.must(err)
	server, _ := s.runsOn("gallery")
	sites := []string{"par1", "par2"}
	for _, site := range sites {
		if left := s.leftAt(site, "gallery"); len(left) < 5 {
			t.Fatalf("site %s has only %v of it: the test would show nothing", site, left)
		}
	}

	// An order that is taken back changes nothing.
	s.drp("account", "erase", "gallery", "--yes", "--after", "1h")
	s.drp("account", "erase", "gallery", "--cancel")
	s.must(s.CheckPage(s.ctx, gallery))
	// A backup that is broken off leaves a lock, and nothing is deleted under one: that would be true for half an hour.
	s.drp("backup", "pause", "account", "gallery")
	s.within(func(ctx context.Context) error {
		for _, site := range sites {
			for _, key := range s.leftAt(site, "gallery") {
				if strings.Contains(key, "/locks/") {
					return errors.New("a backup is under way: " + key)
				}
			}
		}
		return nil
	})

	s.drp("account", "erase", "gallery", "--yes", "--after", "5s", "--reason", "the contract has ended")
	s.erasing("gallery", func(e *state.Erasure) bool { return !e.Waiting() })
	if err := s.CheckPage(s.ctx, gallery); err == nil {
		t.Error("it is erased, and serves its page")
	}
	if _, err := os.Stat(s.Lab.HomeOf(server, "gallery")); err != nil {
		t.Errorf("its home, which is not deleted: %v", err)
	}
	if out, err := s.Run(s.ctx, "get", "accounts", "gallery"); err == nil {
		t.Errorf("the coordinators know it: %s", out)
	}
	if err := s.ApplyAccounts(s.ctx); err == nil || !strings.Contains(err.Error(), "account gallery: it is erased since") {
		t.Errorf("its name is taken again: %v", err)
	}

	// The leader's word alone deletes nothing: each site waits for its grace.
	s.erasing("gallery", func(e *state.Erasure) bool {
		return !slices.ContainsFunc(e.Sites, func(site state.SiteErasure) bool { return site.Until.Before(time.Now().Add(6 * 24 * time.Hour)) })
	})
	s.must(s.RestoreByHand(s.ctx, "par2", "gallery", passwords["gallery"], snapshot.ID, filepath.Join(t.TempDir(), "waiting")))
	certificate := filepath.Join(t.TempDir(), "gallery.json")
	if out, err := s.Run(s.ctx, "account", "erasure", "gallery", "-o", certificate); err == nil || !strings.Contains(err.Error(), "site par1: its grace is over at") {
		t.Errorf("a certificate before it is done: %s, %v", out, err)
	}
	for _, site := range sites {
		s.ageErasure(site, "gallery", 8*24*time.Hour)
	}
	s.erasing("gallery", func(e *state.Erasure) bool { return !e.Done.IsZero() })

	for _, site := range sites {
		if left := s.leftAt(site, "gallery"); len(left) > 0 {
			t.Errorf("site %s still has %v", site, left)
		}
	}
	if err := s.RestoreByHand(s.ctx, "par2", "gallery", passwords["gallery"], snapshot.ID, filepath.Join(t.TempDir(), "erased")); err == nil {
		t.Error("the password of before still opens it")
	}
	delete(passwords, "gallery")
	for _, site := range sites {
		s.must(s.CheckCopies(s.ctx, site, passwords))
	}
	s.drp("account", "erasure", "gallery", "-o", certificate)
	root := filepath.Join(s.Lab.Etc(server), "ca.pem")
	out := s.drp("account", "verify-certificate", certificate, "--root", root)
	for _, words := range []string{"certificate: account=gallery sites=2 objects=", " ok\n", "the contract has ended", server} {
		if !strings.Contains(out, words) {
			t.Errorf("the certificate does not say %q:\n%s", words, out)
		}
	}
	text, err := os.ReadFile(certificate)
	s.must(err)
	changed := filepath.Join(t.TempDir(), "changed.json")
	s.must(os.WriteFile(changed, []byte(strings.Replace(string(text), "contract", "Contract", 1)), 0o600))
	if out, err := s.Run(s.ctx, "account", "verify-certificate", changed, "--root", root); err == nil || !strings.Contains(err.Error(), "somebody changed it") {
		t.Errorf("one changed byte: %s, %v", out, err)
	}
}

// drp runs a command that has to work.
func (s *stage) drp(args ...string) string {
	s.t.Helper()
	out, err := s.Run(s.ctx, args...)
	if err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// erasing waits until an erasure is so far.
func (s *stage) erasing(account string, soFar func(*state.Erasure) bool) {
	s.t.Helper()
	s.within(func(ctx context.Context) error {
		var e orchestrator.ErasureStatus
		out, err := s.Run(ctx, "account", "erasure", account, "--json")
		if err == nil {
			err = json.Unmarshal([]byte(out), &e)
		}
		if err == nil && !soFar(e.Erasure) {
			err = errors.New(e.Stage)
		}
		return err
	})
}

// bucket is that of a site, on the disk of its store.
func (s *stage) bucket(site string) string {
	s.t.Helper()
	return filepath.Dir(s.bucketOf(site, "brochure"))
}

// leftAt are all objects of a site's store that are of an account, but for the marks of its erasure.
func (s *stage) leftAt(site string, account state.AccountName) (keys []string) {
	s.t.Helper()
	bucket := s.bucket(site)
	s.must(filepath.WalkDir(bucket, func(path string, d fs.DirEntry, err error) error {
		key, _ := filepath.Rel(bucket, path)
		switch {
		case errors.Is(err, fs.ErrNotExist): // it went meanwhile
		case err != nil:
			return err
		case !d.IsDir() && strings.Contains(key, string(account)) && !strings.HasPrefix(key, ".erasing/") && !strings.HasPrefix(key, ".erased/"):
			keys = append(keys, key)
		}
		return nil
	}))
	return keys
}

// ageErasure makes a site's mark of an erasure older, for the clock of its worker's machine and for that of its store, and has the worker
// look anew.
func (s *stage) ageErasure(site, account string, by time.Duration) {
	s.t.Helper()
	store, err := s.Lab.Store(site)
	s.must(err)
	path := filepath.Join(s.bucket(site), ".erasing", account+".json")
	text, err := os.ReadFile(path)
	s.must(err)
	var mark map[string]any
	s.must(json.Unmarshal(text, &mark))
	then := time.Now().Add(-by)
	mark["since"] = then.UTC()
	text, err = json.Marshal(mark)
	s.must(err)
	s.must(os.WriteFile(path, text, 0o644)) // in place: the store's own attributes stay
	s.must(os.Chtimes(path, then, then))
	s.must(s.Lab.KillService(s.ctx, store.Host, "worker"))
}
