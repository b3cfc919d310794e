package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"drp/raftstore/state"
)

// Two of three coordinators are lost with their disks. The survivor's directory is enough, and nothing is missing in it; a
// second coordinator joins again with an empty disk.
func TestRecover_quorumFromOneSurvivor(t *testing.T) {
	s := newStage(t)
	s.copied(time.Now(), "par2", s.accounts...)
	if out, err := s.Run(s.ctx, "export"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	before := s.exported()
	flags := append([]string{"quorum", "--yes", "drp-dev"}, s.bring("par2-c", "par2")[:2]...)
	store := s.bring("par2-c", "par2")[4:]
	visitor := s.Visit(s.ctx, s.accounts, 100*time.Millisecond)
	for _, c := range []string{"par1-c", "par3-c"} {
		s.must(s.Lab.LoseHost(s.ctx, c))
	}
	out, err := s.recover("par2-c", flags...)
	s.refusedWith(out, err, 3, "a coordinator runs from it; stop that first")
	s.must(s.Lab.StopService(s.ctx, "par2-c", "server"))
	out, err = s.recover("par2-c", append(flags, store...)...)
	s.must(err)
	t.Log(out)
	for _, want := range []string{"The survivor goes further than the newest export", "The old directory is kept as /var/lib/drp/server.incarnation-1"} {
		if !strings.Contains(out, want) {
			t.Errorf("got %q, want it to say %q", out, want)
		}
	}
	s.must(s.Lab.StartService(s.ctx, "par2-c", "server"))
	s.within(func(ctx context.Context) error {
		r, err := s.recovery(ctx)
		if err == nil && len(r.Silent) > 0 {
			err = fmt.Errorf("not heard yet: %v", r.Silent)
		}
		return err
	})
	if out, err := s.Run(s.ctx, "recover", "resume", "--yes", "drp-dev"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.copied(time.Now(), "par2", s.accounts...)
	if fetched, failures := visitor.Stop(); len(failures) > 0 {
		t.Errorf("%d of %d requests failed while a majority was gone: %v", len(failures), fetched, failures)
	}
	after := s.exported()
	compare(t, "accounts", before.Accounts(), after.Accounts())
	tokens := map[state.AccountName]state.Token{}
	for _, a := range before.Assignments() {
		tokens[a.Account] = a.Token
	}
	for _, a := range after.Assignments() {
		if a.Token != tokens[a.Account] {
			t.Errorf("account %s: got token %s, want %s: nothing was moved", a.Account, a.Token, tokens[a.Account])
		}
	}
	checkChain(t, before.AuditHead(), after)

	s.must(s.Lab.BootHost(s.ctx, "par1-c"))
	ready, err := s.Lab.Exec(s.ctx, "par1-c", "/run/drp-bin/drp", "server", "init", "--join", "--config", "/etc/drp/server.yaml")
	s.must(err)
	_, command, found := strings.Cut(string(ready.Stdout), "  drp ")
	if ready.Status != 0 || !found {
		t.Fatalf("got %s%s, want the directory ready, and the command that joins it", ready.Stdout, ready.Stderr)
	}
	s.within(func(ctx context.Context) error {
		out, err := s.Run(ctx, strings.Fields(command)...)
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
}
