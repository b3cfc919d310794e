package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"drp/orchestrator/agent/address"
	"drp/orchestrator/agent/container"
	"drp/orchestrator/agent/database"
	"drp/orchestrator/agent/guard"
	"drp/orchestrator/agent/home"
	"drp/raftstore/state"
)

// Run is the agent of a server, until ctx ends. What runs goes on then.
func Run(ctx context.Context, cfg Config, leader Leader, log *slog.Logger) (err error) {
	if err := cfg.Check(); err != nil {
		return fmt.Errorf("agent configuration: %w", err)
	}
	if os.Geteuid() != 0 {
		return errors.New("the agent has to run as root: it makes containers, networks and homes")
	}
	for _, program := range []string{cfg.Runc, cfg.Restic} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("the agent needs %s: %w", program, err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find own program: %w", err)
	}
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return fmt.Errorf("make directory of the journal: %w", err)
	}
	// First of all: whoever has the journal is the only agent here.
	j, err := openJournal(filepath.Join(cfg.Data, "journal.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.close()) }()
	homes, err := home.Open(cfg.Homes)
	if err != nil {
		return err
	}
	if err := container.Reachable(cfg.Homes); err != nil {
		return err
	}
	containers := &container.Runtime{Runc: cfg.Runc, Dir: cfg.Run, CgroupParent: cfg.CgroupParent, Init: self}
	if err := containers.Open(); err != nil {
		return err
	}
	boot, err := bootOf(cfg.Run)
	if err != nil {
		return err
	}
	homes.ViewPercent = cfg.ViewPercent
	for _, note := range homes.Notes {
		log.Warn("homes", "path", cfg.Homes, "error", note)
	}
	engines, err := database.New(cfg.Databases, log)
	if err != nil {
		return err
	}
	parallel := cfg.Backups
	if parallel == 0 {
		parallel = 2
	}
	a := &Agent{
		Server: cfg.Server, Boot: boot, Leader: leader, Containers: containers, Network: addresses{},
		Router: guard.Client{Socket: cfg.Guard}, Homes: homes, Identities: cfg.Identities,
		Backups:   &Restic{Binary: cfg.Restic, Credentials: cfg.Certificates, Trust: cfg.Trust, Log: log},
		Databases: engines, Engines: engines.List(), Parallel: parallel, Log: log, journal: j,
	}
	return a.run(ctx)
}

// bootOf names this boot of the server: the kernel's id, and what was drawn when the run directory was found empty.
// Containers that the state of another boot tells of are gone; runc finds that by itself.
func bootOf(run string) (string, error) {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	kernel := strings.TrimSpace(string(raw))
	path := filepath.Join(run, "boot")
	known, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read boot: %w", err)
	}
	if boot := string(known); strings.HasPrefix(boot, kernel+".") {
		return boot, nil
	}
	boot := kernel + "." + rand.Text()[:8]
	if err := os.WriteFile(path, []byte(boot), 0o600); err != nil {
		return "", fmt.Errorf("write boot: %w", err)
	}
	return boot, nil
}

// addresses is Network by package address.
type addresses struct{}

func (addresses) Attach(ctx context.Context, account state.AccountName, pid int, list []netip.Addr) error {
	return address.Attach(ctx, address.Attachment{Account: account, Pid: pid, Addresses: list})
}

func (addresses) Detach(ctx context.Context, account state.AccountName) error {
	return address.Detach(ctx, account)
}
