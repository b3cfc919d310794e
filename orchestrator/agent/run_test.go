package agent

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"drp/orchestrator/agent/home/hometest"
	"drp/orchestrator/wire"
)

func runConfig(t *testing.T) Config {
	dir := hometest.Memory(t)
	return Config{
		Server: "par1-s1", Site: "par1", Coordinators: []string{"https://[::1]:1"},
		Data: filepath.Join(dir, "data"), Homes: filepath.Join(dir, "homes"), Run: filepath.Join(dir, "run"),
		Guard: filepath.Join(dir, "guard.sock"), Restic: resticBinary(t), Runc: "/usr/sbin/runc", CgroupParent: "/drp-test-run",
		Identities: Identities{First: 1_000_000_000, Size: 65536, Count: 100},
	}
}

func TestRun(t *testing.T) {
	cfg := runConfig(t)
	boots := map[string]bool{}
	for _, again := range []string{"first", "after a restart", "after a boot"} {
		if again == "after a boot" {
			if err := os.RemoveAll(cfg.Run); err != nil {
				t.Fatal(err)
			}
		}
		leader := newScript()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- Run(ctx, cfg, leader, testLog(t)) }()
		r := leader.until(t, "a report", func(r wire.AgentReport) bool { return r.Server == "par1-s1" })
		boots[r.Boot] = true
		if err := Run(ctx, cfg, newScript(), testLog(t)); err == nil || !strings.Contains(err.Error(), "another agent") {
			t.Errorf("a second agent: %v", err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if len(boots) != 2 {
		t.Errorf("boots reported: %v, want two", boots)
	}
}

func TestRun_refuses(t *testing.T) {
	good := runConfig(t)
	for want, spoil := range map[string]func(*Config){
		`run: "" is not an absolute path`:          func(c *Config) { c.Run = "" },
		"the name of this server is missing":       func(c *Config) { c.Server = "" },
		"view_percent: 101 is not a percentage":    func(c *Config) { c.ViewPercent = 101 },
		"do not fit into 32 bits":                  func(c *Config) { c.Identities.Count = 60000 },
		"the agent needs /nowhere/runc":            func(c *Config) { c.Runc = "/nowhere/runc" },
		"allow passing through it (chmod o+x":      func(c *Config) { c.Run = filepath.Join(closed(t), "run") },
		"accounts cannot reach what lies in /tmp/": func(c *Config) { c.Homes = filepath.Join(closed(t), "homes") },
	} {
		cfg := good
		spoil(&cfg)
		if err := Run(t.Context(), cfg, newScript(), testLog(t)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func closed(t *testing.T) string {
	dir, err := os.MkdirTemp("", "drp-closed-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
