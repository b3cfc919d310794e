package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"drp/e2e/lab"
	"drp/e2e/scenario"
	"drp/raftstore/state"
)

const patience = 2 * time.Minute

// stage is a platform with the accounts of the demo on it, in par1.
type stage struct {
	*scenario.Platform
	t        testing.TB
	ctx      context.Context
	accounts []state.Account
}

// newStage starts a platform whose accounts answer a client outside of it. It ends with the test.
func newStage(t testing.TB) *stage {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	bin := filepath.Join(root(t), "bin")
	l, err := lab.Start(ctx, lab.Config{
		State: "/var/lib/drp-e2e", Binary: filepath.Join(bin, "drp"), Bin: bin,
		Progress: func(sentence string) { t.Log(sentence) },
	})
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			tailLogs(t, l)
		}
		cancel()
		if err := l.Close(); err != nil {
			t.Errorf("close lab: %v", err)
		}
	})
	accounts, err := scenario.Accounts()
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{Platform: scenario.New(l, filepath.Join(l.State(), "bin", "drp")), t: t, ctx: ctx, accounts: accounts}
	s.must(s.ApplyAccounts(ctx))
	for _, a := range accounts {
		s.within(func(ctx context.Context) error { return s.Upload(ctx, a.Name) })
	}
	for _, a := range accounts {
		s.within(func(ctx context.Context) error { return s.CheckPage(ctx, a) })
	}
	return s
}

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// within waits for a condition as long as a tired person would.
func (s *stage) within(ask func(context.Context) error) {
	s.t.Helper()
	s.must(scenario.Within(s.ctx, patience, ask))
}

func (s *stage) account(name state.AccountName) state.Account {
	s.t.Helper()
	for _, a := range s.accounts {
		if a.Name == name {
			return a
		}
	}
	s.t.Fatalf("there is no account %s", name)
	return state.Account{}
}

// copied waits until each account has a snapshot that was started after a moment and is complete at a site.
func (s *stage) copied(since time.Time, site state.SiteName, accounts ...state.Account) map[state.AccountName]*state.Snapshot {
	s.t.Helper()
	found := map[state.AccountName]*state.Snapshot{}
	for _, a := range accounts {
		s.within(func(ctx context.Context) error {
			list, err := s.Snapshots(ctx, string(a.Name))
			if err != nil {
				return err
			}
			for _, snapshot := range list {
				if _, there := snapshot.At(site); there && snapshot.Start.After(since) {
					found[a.Name] = snapshot
					return nil
				}
			}
			return fmt.Errorf("account %s: none of its %d snapshots since %s is at %s", a.Name, len(list), since.Format(time.TimeOnly), site)
		})
	}
	return found
}

// silent waits until the platform says that no server of a site answers.
func (s *stage) silent(site state.SiteName) {
	s.t.Helper()
	s.within(func(ctx context.Context) error {
		report, err := s.Status(ctx)
		if err != nil {
			return err
		}
		for _, server := range report.Servers {
			if server.Site == site && server.Status == state.Up {
				return fmt.Errorf("server %s still counts as up", server.Server)
			}
		}
		return nil
	})
}

// tailLogs shows what the platform's processes said last.
func tailLogs(t testing.TB, l *lab.Lab) {
	logs, err := filepath.Glob(filepath.Join(l.State(), "logs", "*.log"))
	if err != nil {
		t.Log(err)
	}
	for _, log := range logs {
		t.Logf("--- %s\n%s", filepath.Base(log), scenario.Tail(log, 4<<10))
	}
}
