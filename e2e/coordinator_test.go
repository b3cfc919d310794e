package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/goccy/go-yaml"

	"drp/orchestrator"
	"drp/raftstore/identity"
)

// A coordinator's disk is gone for good. A new one takes its place under a name of its own, the dead one is removed, and
// the platform survives the loss of the next.
func TestCoordinatorIsReplaced(t *testing.T) {
	s := newStage(t)
	const machine, lost, fresh = "par3-c", "par3-c", "par3-d"
	s.must(s.Lab.StopService(s.ctx, machine, "server"))
	data := filepath.Join(s.Lab.Root(machine), "var/lib/drp/server")
	s.must(os.RemoveAll(data))

	// With an empty disk it must not vote again, whatever is typed.
	if out := s.refused(machine, "drp", "server", "init", "--config", "/etc/drp/server.yaml"); !strings.Contains(out, "it has voted") {
		t.Errorf("drp server init for one that has run before: %s", out)
	}
	if out := s.refused(machine, "drp", "server", "init", "--join", "--config", "/etc/drp/server.yaml"); !strings.Contains(out, "Give the machine a new name") {
		t.Errorf("drp server init --join under the old name: %s", out)
	}

	command := s.ready(machine, lost, fresh)
	s.must(s.Lab.StartService(s.ctx, machine, "server"))
	s.within(func(ctx context.Context) error {
		out, err := s.Run(ctx, command...)
		if err == nil && !strings.Contains(out, fresh+" is a voter") {
			err = errors.New(out)
		}
		return err
	})
	if _, err := s.Run(s.ctx, "raft", "remove", lost, "--yes"); err != nil {
		t.Fatal(err)
	}
	s.within(func(ctx context.Context) error { return s.council(ctx, "par1-c", "par2-c", fresh) })
	s.within(func(ctx context.Context) error {
		_, err := s.Run(ctx, "raft", "verify")
		return err
	})

	// It leads, and the others find it: its address is in no configuration file of theirs.
	s.within(func(ctx context.Context) error {
		_, err := s.Run(ctx, "raft", "transfer", fresh)
		return err
	})
	s.within(func(ctx context.Context) error { return s.coordinatorAnswers(ctx, "par1-c") })

	s.must(s.Lab.KillHost(s.ctx, "par1-c"))
	s.within(func(ctx context.Context) error {
		_, err := s.Run(ctx, "token", "create", fmt.Sprintf("after-%d", time.Now().UnixNano()))
		return err
	})
	for _, a := range s.accounts {
		s.within(func(ctx context.Context) error { return s.CheckPage(ctx, a) })
	}
	s.copied(time.Now(), "par2", s.accounts...)
}

// refused runs a command in a host that has to fail, and returns what it said.
func (s *stage) refused(machine string, args ...string) string {
	s.t.Helper()
	out, err := s.Lab.Exec(s.ctx, machine, args...)
	s.must(err)
	if out.Status == 0 {
		s.t.Fatalf("%s: got success, want a refusal", strings.Join(args, " "))
	}
	return string(out.Stdout) + string(out.Stderr)
}

// ready makes a coordinator out of a machine: keys, configuration, directory. It returns the command that adds it, as
// drp server init --join printed it.
func (s *stage) ready(machine, old, name string) []string {
	s.t.Helper()
	etc := filepath.Join(s.Lab.Root(machine), "etc/drp")
	write := func(file string, data []byte) {
		s.t.Helper()
		s.must(os.WriteFile(filepath.Join(etc, file), data, 0o600))
	}
	host, err := s.Lab.Host(machine)
	s.must(err)
	root, err := os.ReadFile(filepath.Join(s.Lab.Keys(), "ca.pem"))
	s.must(err)
	rootKey, err := os.ReadFile(filepath.Join(s.Lab.Keys(), "ca.key"))
	s.must(err)
	authority, err := identity.OpenAuthority(root, rootKey)
	s.must(err)
	cert, key, err := authority.Issue(identity.Coordinator, name, []string{host.Address.String()}, time.Hour)
	s.must(err)
	write("server.pem", cert)
	write("server.key", key)
	own, err := age.GenerateX25519Identity()
	s.must(err)
	write("age.key", []byte(own.String()+"\n"))

	var config map[string]any
	text, err := os.ReadFile(filepath.Join(etc, "server.yaml"))
	s.must(err)
	s.must(yaml.Unmarshal(text, &config))
	at := func(port string) string { return net.JoinHostPort(host.Address.String(), port) }
	peers := []any{map[string]any{"name": name, "site": host.Site, "raft": at("7401"), "api": "https://" + at("7444")}}
	for _, p := range config["peers"].([]any) {
		if p.(map[string]any)["name"] != old {
			peers = append(peers, p)
		}
	}
	config["name"], config["raft"], config["api"], config["peers"] = name, at("7401"), at("7444"), peers
	config["recipients"] = append(config["recipients"].([]any), own.Recipient().String())
	text, err = yaml.Marshal(config)
	s.must(err)
	write("server.yaml", text)

	out, err := s.Lab.Exec(s.ctx, machine, "drp", "server", "init", "--join", "--config", "/etc/drp/server.yaml")
	s.must(err)
	_, command, found := strings.Cut(string(out.Stdout), "  drp ")
	if out.Status != 0 || !found {
		s.t.Fatalf("drp server init --join: exit status %d: %s%s", out.Status, out.Stdout, out.Stderr)
	}
	return strings.Fields(command)
}

// council holds that exactly these coordinators vote, and that all of them answer.
func (s *stage) council(ctx context.Context, want ...string) error {
	out, err := s.Run(ctx, "raft", "members", "--json")
	if err != nil {
		return err
	}
	var report orchestrator.MembersReport
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		return err
	}
	var got []string
	for _, m := range report.Members {
		if m.Votes() && m.Answers {
			got = append(got, m.Name)
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") || len(report.Members) != len(want) {
		return fmt.Errorf("got voters %v of %d members, want %v", got, len(report.Members), want)
	}
	return nil
}
