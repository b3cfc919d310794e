package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"drp/e2e/scenario"
	"drp/orchestrator"
	"drp/orchestrator/export"
	"drp/raftstore/state"
)

var coordinators = []string{"par1-c", "par2-c", "par3-c"}

// exported is the state as a sealed export holds it, opened with the offline key.
func (s *stage) exported() *state.View {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "state.age")
	if out, err := s.Run(s.ctx, "export", "-o", file); err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
	key, err := os.Open(filepath.Join(s.Lab.Keys(), "offline-age.key"))
	s.must(err)
	defer key.Close()
	identities, err := age.ParseIdentities(key)
	s.must(err)
	sealed, err := os.Open(file)
	s.must(err)
	defer sealed.Close()
	restored, err := export.Open(sealed, identities...)
	s.must(err)
	return restored.View()
}

// recover runs drp recover on a coordinator's machine, with what a person has in a safe.
func (s *stage) recover(host string, args ...string) (string, error) {
	s.t.Helper()
	out, err := s.Lab.Exec(s.ctx, host, append([]string{"/run/drp-bin/drp", "recover"}, args...)...)
	s.must(err)
	if out.Status != 0 {
		return string(out.Stdout), &scenario.CommandError{Args: args, Code: out.Status, Messages: strings.TrimSpace(string(out.Stderr))}
	}
	return string(out.Stdout), nil
}

// bring puts the offline key and one site's store key onto a machine.
func (s *stage) bring(host, site string) (flags []string) {
	s.t.Helper()
	store, err := s.Lab.Store(site)
	s.must(err)
	key, err := os.ReadFile(filepath.Join(s.Lab.Keys(), "offline-age.key"))
	s.must(err)
	etc := s.Lab.Etc(host)
	s.must(os.WriteFile(filepath.Join(etc, "offline-age.key"), key, 0o600))
	s.must(os.WriteFile(filepath.Join(etc, "one-store.yaml"), fmt.Appendf(nil, "access_key: %s\nsecret_key: %s\n", store.AccessKey, store.SecretKey), 0o600))
	return []string{"--config", "/etc/drp/server.yaml", "--identity", "/etc/drp/offline-age.key",
		"--store", "s3://" + store.Bucket, "--endpoint", store.Endpoint, "--credentials", "/etc/drp/one-store.yaml"}
}

// refusedWith holds that a command was refused, and what it said.
func (s *stage) refusedWith(out string, err error, code int, want string) {
	s.t.Helper()
	var failed *scenario.CommandError
	if !errors.As(err, &failed) || failed.Code != code || !strings.Contains(failed.Messages, want) {
		s.t.Errorf("got %v, want exit code %d and %q\n%s", err, code, want, out)
	}
}

func (s *stage) recovery(ctx context.Context) (*orchestrator.RecoveryReport, error) {
	r := &orchestrator.RecoveryReport{}
	out, err := s.Run(ctx, "recover", "status", "--json")
	if err != nil {
		return nil, err
	}
	return r, json.Unmarshal([]byte(out), r)
}

// checkChain holds that an audit trail is whole, and goes on where another one ended.
func checkChain(t testing.TB, before state.AuditHead, v *state.View) {
	t.Helper()
	entries := v.Audit(1, 1<<20)
	if len(entries) == 0 || uint64(len(entries)) != v.AuditHead().Seq {
		t.Fatalf("got %d entries of the audit trail, want all %d", len(entries), v.AuditHead().Seq)
	}
	var hash state.Digest
	found := false
	for _, e := range entries {
		if hash = e.Chain(hash); hash != e.Hash {
			t.Fatalf("entry %d of the audit trail does not follow from the one before", e.Seq)
		}
		found = found || e.Seq == before.Seq && e.Hash == before.Hash
	}
	if !found {
		t.Errorf("the audit trail does not go on from entry %d of before the loss", before.Seq)
	}
}

// All coordinators die and their disks are gone. One site's store and the offline key are enough to bring the platform's
// word back: accounts run on meanwhile, what was decided after the export is learned from the servers, and the cluster acts
// only after a person's word.
func TestRecover_clusterFromOneBucket(t *testing.T) {
	s := newStage(t)
	if _, err := s.Run(s.ctx, "token", "create", "monitoring", "--role", "support"); err != nil {
		t.Fatal(err)
	}
	s.copied(time.Now(), "par2", s.accounts...)
	before := s.exported()
	if out, err := s.Run(s.ctx, "export"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	passwords, err := s.Passwords(s.ctx, s.accounts)
	s.must(err)
	// After the export a server is lost: its accounts move under tokens that the export does not know.
	s.must(s.Lab.KillHost(s.ctx, "par1-s1"))
	s.within(func(ctx context.Context) error {
		out, err := s.Run(ctx, "failover", "server", "par1-s1", "--yes")
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
	for _, a := range s.accounts {
		s.within(func(ctx context.Context) error { return s.CheckPage(ctx, a) })
	}
	last, err := s.Status(s.ctx)
	s.must(err)

	flags := s.bring("par2-c", "par2")
	out, err := s.recover("par2-c", append([]string{"cluster", "--yes", "drp-dev"}, flags...)...)
	s.refusedWith(out, err, 2, "is recovered into an empty directory only")

	starts := map[string]int{}
	for _, a := range []string{"notes", "counter"} {
		starts[a] = s.starts(a)
	}
	visitor := s.Visit(s.ctx, s.accounts, 100*time.Millisecond)
	for _, c := range coordinators {
		s.must(s.Lab.LoseHost(s.ctx, c))
	}
	s.must(s.Lab.BootHost(s.ctx, "par2-c"))
	t.Run("wrong key", func(t *testing.T) {
		stranger, err := age.GenerateX25519Identity()
		s.must(err)
		s.must(os.WriteFile(filepath.Join(s.Lab.Etc("par2-c"), "stranger.key"), []byte(stranger.String()), 0o600))
		out, err := s.recover("par2-c", append(append([]string{"cluster", "--yes", "drp-dev"}, flags...), "--identity", "/etc/drp/stranger.key")...)
		s.refusedWith(out, err, 1, "can be used")
	})
	out, err = s.recover("par2-c", append([]string{"cluster"}, flags...)...)
	s.refusedWith(out, err, 2, "no terminal")
	out, err = s.recover("par2-c", append([]string{"cluster", "--yes", "drp-dev"}, flags...)...)
	s.must(err)
	t.Log(out)

	var report *orchestrator.RecoveryReport
	s.within(func(ctx context.Context) error {
		if report, err = s.recovery(ctx); err != nil {
			return err
		}
		if len(report.Heard) != 3 {
			return fmt.Errorf("heard %v, want the three servers that live", report.Heard)
		}
		return nil
	})
	t.Run("held", func(t *testing.T) {
		out, err := s.Run(s.ctx, "backup", "now", "gallery")
		s.refusedWith(out, err, 3, "drp recover status")
		out, err = s.Run(s.ctx, "recover", "resume", "--yes", "drp-dev")
		s.refusedWith(out, err, 3, "have not told what they hold: par1-s1")
		out, err = s.Run(s.ctx, "recover", "resume", "--yes", "another")
		s.refusedWith(out, err, 3, `not "another"`)
		out, err = s.Run(s.ctx, "recover", "resume", "--yes", "drp-dev", "--without", "par1-s2")
		s.refusedWith(out, err, 3, "has been heard")
	})
	t.Run("a second cluster", func(t *testing.T) {
		s.must(s.Lab.BootHost(s.ctx, "par3-c"))
		flags := s.bring("par3-c", "par1")
		out, err := s.recover("par3-c", append([]string{"cluster", "--yes", "drp-dev"}, flags...)...)
		s.refusedWith(out, err, 3, "a coordinator answers: par2-c")
	})
	out, err = s.Run(s.ctx, "recover", "resume", "--yes", "drp-dev", "--without", "par1-s1")
	s.must(err)
	t.Log(out)

	now, err := s.Status(s.ctx)
	s.must(err)
	for i, a := range now.Accounts {
		if a.Server != last.Accounts[i].Server || a.Token != last.Accounts[i].Token {
			t.Errorf("account %s: got server %s and token %s, want %s and %s as before the loss", a.Account, a.Server, a.Token, last.Accounts[i].Server, last.Accounts[i].Token)
		}
	}
	s.copied(time.Now(), "par2", s.accounts...) // backups go on
	if fetched, failures := visitor.Stop(); len(failures) > 0 {
		t.Errorf("%d of %d requests failed while the coordinators were gone: %v", len(failures), fetched, failures)
	} else {
		t.Logf("%d requests", fetched)
	}
	for a, n := range starts {
		if got := s.starts(a); got != n {
			t.Errorf("account %s: its program was started %d times since, want never", a, got-n)
		}
	}
	after := s.exported()
	compare(t, "accounts", before.Accounts(), after.Accounts())
	compare(t, "policies", before.Policies(), after.Policies())
	compare(t, "sites", before.Sites(), after.Sites())
	compare(t, "servers", before.Servers(), after.Servers())
	compare(t, "tokens", before.APITokens(), after.APITokens())
	checkChain(t, before.AuditHead(), after)
	opened, err := s.Passwords(s.ctx, s.accounts)
	s.must(err)
	compare(t, "passwords", passwords, opened)
	for _, site := range []string{"par1", "par2"} {
		s.must(s.CheckCopies(s.ctx, site, opened))
	}

	// Another failover: its tokens are above all that were ever seen.
	s.must(s.Lab.KillHost(s.ctx, "par1-s2"))
	s.within(func(ctx context.Context) error {
		out, err := s.Run(ctx, "failover", "server", "par1-s2", "--yes")
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
	moved, err := s.Status(s.ctx)
	s.must(err)
	for i, a := range moved.Accounts {
		old := last.Accounts[i]
		if old.Server != "par1-s2" {
			continue
		}
		if a.Server == old.Server || !old.Token.Less(a.Token) || a.Token.Incarnation != report.Incarnation || a.Token.Generation <= old.Token.Generation {
			t.Errorf("account %s: got token %s on %s, want another server and a token of incarnation %d above %s", a.Account, a.Token, a.Server, report.Incarnation, old.Token)
		}
	}
	for _, a := range s.accounts {
		s.within(func(ctx context.Context) error { return s.CheckPage(ctx, a) })
	}
}

func compare[T any](t testing.TB, what string, before, after T) {
	t.Helper()
	text := func(v T) []string {
		data, err := json.MarshalIndent(v, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(string(data), "\n")
	}
	if diff := cmp.Diff(text(before), text(after)); diff != "" {
		t.Errorf("%s are not what they were (-before +after):\n%s", what, diff)
	}
}
