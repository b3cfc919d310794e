package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"drp/e2e/scenario"
	"drp/orchestrator"
	"drp/raftstore/state"
)

// plan waits until the platform offers a plan in which no server of the site answers.
func (s *stage) plan(site string) *orchestrator.Plan {
	s.t.Helper()
	s.silent(state.SiteName(site))
	var plan orchestrator.Plan
	s.within(func(ctx context.Context) error {
		out, err := s.Run(ctx, "failover", "site", site, "--plan", "--json")
		if err != nil {
			return err
		}
		plan = orchestrator.Plan{}
		return json.Unmarshal([]byte(out), &plan)
	})
	return &plan
}

// starts counts how often an account's program was started, by the lines that it leaves in its home.
func (s *stage) starts(account string) int {
	s.t.Helper()
	home, err := s.HomeOf(s.ctx, account)
	s.must(err)
	data, err := os.ReadFile(filepath.Join(home, "starts"))
	s.must(err)
	return bytes.Count(data, []byte("\n"))
}

// The leader dies with its site; then, in the middle of the failover, the next leader dies at each step in turn.
func TestFailover_leadersDieOnTheWay(t *testing.T) {
	s := newStage(t)
	s.must(s.MoveLeader(s.ctx, "par1"))
	before := map[string]int{"notes": s.starts("notes"), "counter": s.starts("counter")}
	// What a restored folder leaves in a home must not keep the home from being restored itself.
	s.copied(time.Now(), "par1", s.account("gallery"))
	if out, err := s.Run(s.ctx, "run", "start", "restore-files", "-p", "account=gallery", "-p", "path=www", "--watch"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.copied(time.Now(), "par2", s.accounts...)
	s.must(s.Lab.KillSite(s.ctx, "par1"))
	plan := s.plan("par1")

	watching, stop := context.WithCancel(s.ctx)
	killed := make(chan []string, 1)
	go func() { killed <- s.killLeadersOnTheWay(watching) }()
	out, err := s.Run(s.ctx, "failover", "site", "par1", "--yes")
	stop()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	steps := <-killed
	if len(steps) == 0 {
		t.Fatal("no leader was killed during the run, so nothing was shown")
	}
	t.Logf("leaders killed at: %s", strings.Join(steps, ", "))

	for _, a := range s.accounts {
		s.within(func(ctx context.Context) error { return s.CheckPage(ctx, a) })
	}
	report, err := s.Status(s.ctx)
	s.must(err)
	for _, a := range report.Accounts {
		i := slices.IndexFunc(plan.Accounts, func(p orchestrator.PlanAccount) bool { return p.Account == a.Account })
		if got, want := a.Token.Generation, plan.Accounts[i].Token.Generation+1; got != want {
			t.Errorf("account %s: got generation %d, want one assignment and so %d", a.Account, got, want)
		}
	}
	home, err := s.HomeOf(s.ctx, "gallery")
	s.must(err)
	if restored, err := filepath.Glob(filepath.Join(home, "restored-*", "*")); err != nil || len(restored) == 0 {
		t.Errorf("got %v (%v), want the folder that was restored before the failover", restored, err)
	}
	for name, n := range before {
		if got := s.starts(name); got != n+1 {
			t.Errorf("account %s: its program was started %d times since, want once", name, got-n)
		}
	}
}

// killLeadersOnTheWay kills whoever leads as soon as a run has come to another step. It returns the steps.
func (s *stage) killLeadersOnTheWay(ctx context.Context) []string {
	var at []string
	for ctx.Err() == nil {
		report, err := s.Status(ctx)
		if err != nil {
			continue // between two leaders
		}
		for _, r := range report.Runs {
			step := r.Steps[r.Step].ID
			if step == "confirm" || slices.Contains(at, step) {
				continue
			}
			if err := s.Lab.KillService(ctx, report.Leader, "server"); err == nil {
				at = append(at, step)
			}
		}
	}
	return at
}

// par1 is only cut off: its programs run on and visitors may still reach them. It is failed over on the operator's word, and
// comes back.
func TestFailover_cutOffAndHealed(t *testing.T) {
	for _, c := range []struct {
		name       string
		keepUplink bool
	}{{"from the other sites", true}, {"from everything", false}} {
		t.Run(c.name, func(t *testing.T) { cutOffAndHealed(t, c.keepUplink) })
	}
}

func cutOffAndHealed(t *testing.T, keepUplink bool) {
	s := newStage(t)
	guestbook := s.account("guestbook")
	address := guestbook.Addresses[0]
	s.copied(time.Now(), "par2", s.accounts...)
	s.must(s.Lab.CutSite(s.ctx, "par1", keepUplink))
	plan := s.plan("par1")
	if _, err := s.Run(s.ctx, "failover", "site", "par1", "--yes"); err != nil {
		t.Fatal(err)
	}
	// The stale copy still runs, and writes: a visitor beside it in par1 reaches it.
	from := string(plan.Accounts[slices.IndexFunc(plan.Accounts, func(a orchestrator.PlanAccount) bool { return a.Account == "guestbook" })].From)
	s.must(s.writeFrom("par1-r", address, "stale"))
	stale := s.Lab.HomeOf(from, "guestbook")
	if _, err := os.Stat(stale); err != nil {
		t.Fatalf("the stale home is gone before the first contact: %v", err)
	}
	if !keepUplink {
		s.within(func(ctx context.Context) error { return s.CheckPage(ctx, guestbook) })
	}

	s.must(s.Lab.Heal(s.ctx, "par1"))
	writer := s.Write(s.ctx, address, "new")
	visitor := s.Visit(s.ctx, s.accounts, 100*time.Millisecond)
	for _, a := range s.accounts {
		s.within(func(ctx context.Context) error { return s.Aside(ctx, a.Name, plan) })
	}
	s.within(func(context.Context) error {
		if len(writer.Entries()) < 20 {
			return fmt.Errorf("only %d entries were acknowledged", len(writer.Entries()))
		}
		return nil
	})
	entries := writer.Stop()
	if fetched, failures := visitor.Stop(); len(failures) > 0 {
		t.Errorf("%d of %d requests failed after healing: %v", len(failures), fetched, failures)
	}
	// Everything that was acknowledged since healing is in the new copy: no request reached the stale one.
	s.must(s.CheckEntries(s.ctx, address, entries))
	if body, err := s.Get(s.ctx, address, "/entries"); err != nil || strings.Contains(body, "stale") {
		t.Errorf("got entries %q (%v), want none of the stale copy's", body, err)
	}
	token := plan.Accounts[slices.IndexFunc(plan.Accounts, func(a orchestrator.PlanAccount) bool { return a.Account == "guestbook" })].Token
	aside := filepath.Join(filepath.Dir(filepath.Dir(stale)), "aside", "guestbook@"+token.String())
	if !treeContains(t, aside, "stale-") {
		t.Errorf("%s does not hold what the stale copy wrote: it has to be kept untouched", aside)
	}
}

// writeFrom writes one entry into the guestbook from a host of the platform itself.
func (s *stage) writeFrom(host string, address fmt.Stringer, text string) error {
	return scenario.Within(s.ctx, patience, func(ctx context.Context) error {
		return s.Post(ctx, s.Lab.ClientAt(host), address.String(), text+"-0")
	})
}

func treeContains(t testing.TB, root, text string) bool {
	t.Helper()
	found := false
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		found = found || bytes.Contains(data, []byte(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// The survivors have room for some only.
func TestFailover_notEverythingFits(t *testing.T) {
	s := newStage(t)
	s.must(s.Apply(s.ctx, smallServers))
	s.copied(time.Now(), "par2", s.accounts...)
	s.must(s.Lab.KillSite(s.ctx, "par1"))
	s.plan("par1")
	out, err := s.Run(s.ctx, "failover", "site", "par1", "--yes")
	var failed *scenario.CommandError
	if !errors.As(err, &failed) || failed.Code != 5 {
		t.Fatalf("got %v, want exit code 5: not everybody came back\n%s", err, out)
	}
	for _, a := range s.accounts {
		named := strings.Contains(failed.Messages, string(a.Name))
		if a.Tier == state.Gold {
			s.within(func(ctx context.Context) error { return s.CheckPage(ctx, a) })
			if named {
				t.Errorf("account %s is gold and was named as lost: %s", a.Name, failed.Messages)
			}
			continue
		}
		if !named || !strings.Contains(out, "no server of par2 has enough memory left") {
			t.Errorf("account %s does not fit; want it named with the reason, got\n%s\n%s", a.Name, out, failed.Messages)
		}
	}
	t.Run("unknown site", func(t *testing.T) {
		_, err := s.Run(s.ctx, "failover", "site", "par9", "--yes")
		if err == nil || !strings.Contains(err.Error(), `no site "par9"; there are par1, par2, par3`) {
			t.Errorf("got %v, want it to say which sites there are", err)
		}
	})
	t.Run("a site that answers", func(t *testing.T) {
		_, err := s.Run(s.ctx, "failover", "site", "par2", "--yes")
		if !errors.As(err, &failed) || failed.Code != 3 || !strings.Contains(failed.Messages, "still answer") {
			t.Errorf("got %v, want it refused", err)
		}
	})
}

const smallServers = `
kind: server
name: par2-s1
site: par2
capacity: {memory: 300MiB, processes: 1000, cpu: 4, disk: 8GiB}
---
kind: server
name: par2-s2
site: par2
capacity: {memory: 300MiB, processes: 1000, cpu: 4, disk: 8GiB}
`
