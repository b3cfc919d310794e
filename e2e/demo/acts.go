package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"drp/e2e/lab"
	"drp/e2e/scenario"
	"drp/orchestrator"
	"drp/raftstore/state"
)

// demo is the play; its methods are the acts, in order.
type demo struct {
	*scenario.Platform
	tell     *narrator
	accounts []state.Account
	writers  map[state.AccountName]*scenario.Writer
	entries  map[state.AccountName][]scenario.Entry
	plan     *orchestrator.Plan
	run      *state.Run
}

const (
	lost      = "par1"
	survivor  = "par2"
	patience  = 90 * time.Second
	guestbook = "guestbook"
)

func newDemo(l *lab.Lab, binary string, tell *narrator) (*demo, error) {
	accounts, err := scenario.Accounts()
	if err != nil {
		return nil, err
	}
	return &demo{
		Platform: scenario.New(l, binary), tell: tell, accounts: accounts,
		writers: map[state.AccountName]*scenario.Writer{}, entries: map[state.AccountName][]scenario.Entry{},
	}, nil
}

// settle brings the accounts up, with their programs, and visitors who write.
func (d *demo) settle(ctx context.Context) error {
	d.tell.step("%d accounts move into %s: nginx, PHP with SQLite, Python", len(d.accounts), lost)
	if err := d.ApplyAccounts(ctx); err != nil {
		return err
	}
	for _, a := range d.accounts {
		if err := scenario.Within(ctx, patience, func(ctx context.Context) error { return d.Upload(ctx, a.Name) }); err != nil {
			return err
		}
	}
	for _, a := range d.accounts {
		if err := scenario.Within(ctx, patience, func(ctx context.Context) error { return d.CheckPage(ctx, a) }); err != nil {
			return err
		}
		if scenario.Programs[a.Name] == guestbook {
			d.writers[a.Name] = d.Write(ctx, a.Addresses[0], string(a.Name))
		}
	}
	d.tell.detail("every account answers a client outside of the platform; two guestbooks are being written to")
	return nil
}

// protect waits for what the schedule and the replicator do by themselves.
func (d *demo) protect(ctx context.Context) error {
	d.tell.step("scheduled snapshots (@every 15s) are taken, and copied to %s", survivor)
	since := time.Now()
	for _, a := range d.accounts {
		var found *state.Snapshot
		err := scenario.Within(ctx, patience, func(ctx context.Context) error {
			list, err := d.Snapshots(ctx, string(a.Name))
			if err != nil {
				return err
			}
			for _, s := range list {
				if _, copied := s.At(survivor); copied && s.Start.After(since) {
					found = s
					return nil
				}
			}
			return fmt.Errorf("account %s: no snapshot since %s is complete at %s; it has %d", a.Name, since.Format(time.TimeOnly), survivor, len(list))
		})
		if err != nil {
			return err
		}
		d.tell.detail(fmt.Sprintf("%-10s snapshot %s of %s, %s: at %s and %s", a.Name, found.ID.Short(), found.Start.Local().Format(time.TimeOnly), found.View, lost, survivor))
	}
	return nil
}

// destroy kills the site that holds the accounts and the leader.
func (d *demo) destroy(ctx context.Context) error {
	if err := d.MoveLeader(ctx, lost); err != nil {
		return err
	}
	d.tell.step("%s is lost: links cut, every process killed, the leader among them", lost)
	if err := d.Lab.KillSite(ctx, lost); err != nil {
		return err
	}
	for name, w := range d.writers {
		d.entries[name] = w.Stop()
	}
	return nil
}

// failover is what an operator types once the platform says that the servers are silent.
func (d *demo) failover(ctx context.Context) error {
	err := scenario.Within(ctx, patience, func(ctx context.Context) error {
		out, err := d.Run(ctx, "failover", "site", lost, "--plan", "--json")
		if err != nil {
			return err
		}
		d.plan = &orchestrator.Plan{}
		if err := json.Unmarshal([]byte(out), d.plan); err != nil {
			return fmt.Errorf("read the plan: %w", err)
		}
		if len(d.plan.Answering) > 0 {
			return errors.New("some servers of " + lost + " are not silent yet")
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, refusal := range d.plan.NotFit {
		return fmt.Errorf("account %s does not come back: %s", refusal.Account, refusal.Reason)
	}
	d.tell.step("drp failover site %s --yes", lost)
	cmd := d.Command(ctx, "failover", "site", lost, "--yes")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("drp failover site %s: %w", lost, err)
	}
	d.run, err = d.LastRun(ctx, "site-loss")
	return err
}

// visit fetches every account at its old address and counts what the guestbooks remember.
func (d *demo) visit(ctx context.Context) error {
	d.tell.step("the client fetches every account at its old address")
	for _, a := range d.accounts {
		if err := scenario.Within(ctx, 10*time.Second, func(ctx context.Context) error { return d.CheckPage(ctx, a) }); err != nil {
			return err
		}
	}
	for name, entries := range d.entries {
		i := slices.IndexFunc(d.plan.Accounts, func(a orchestrator.PlanAccount) bool { return a.Account == name })
		if i < 0 {
			return fmt.Errorf("account %s is not in the plan", name)
		}
		before := scenario.Before(entries, d.plan.Accounts[i].Start)
		if len(before) == 0 {
			return fmt.Errorf("account %s: no entry was acknowledged before its snapshot, so nothing was shown", name)
		}
		address := d.account(name).Addresses[0]
		if err := d.CheckEntries(ctx, address, before); err != nil {
			return fmt.Errorf("account %s: %w", name, err)
		}
		d.tell.detail(fmt.Sprintf("%s: PRAGMA integrity_check is ok; all %d entries acknowledged before the snapshot are there (of %d in all)", name, len(before), len(entries)))
	}
	return nil
}

func (d *demo) account(name state.AccountName) state.Account {
	i := slices.IndexFunc(d.accounts, func(a state.Account) bool { return a.Name == name })
	return d.accounts[i]
}

// restoreFolder deletes a folder as a customer would, and has support bring it back.
func (d *demo) restoreFolder(ctx context.Context) error {
	const account, folder = "gallery", "www/pictures"
	d.tell.step("a customer deletes %s of %s; support restores it by the runbook", folder, account)
	home, err := d.HomeOf(ctx, account)
	if err != nil {
		return err
	}
	before, err := scenario.ReadTree(filepath.Join(home, folder))
	if err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(home, folder)); err != nil {
		return err
	}
	cmd := d.Command(ctx, "run", "start", "restore-files", "-p", "account="+account, "-p", "path="+folder, "-p", "at="+d.plan.At.UTC().Format(time.RFC3339), "--watch")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("account %s: restore %s: %w", account, folder, err)
	}
	restored, err := filepath.Glob(filepath.Join(home, "restored-*"))
	if err != nil || len(restored) != 1 {
		return fmt.Errorf("account %s: want one restored folder beside the live data, got %v (%w)", account, restored, err)
	}
	after, err := scenario.FindTree(restored[0], before)
	if err != nil {
		return fmt.Errorf("account %s: %w", account, err)
	}
	d.tell.detail(fmt.Sprintf("%d files are back in %s, byte for byte", after, filepath.Base(restored[0])))
	return nil
}

// protectAgain waits for the next scheduled backup at the new home.
func (d *demo) protectAgain(ctx context.Context) error {
	d.tell.step("the next scheduled backups run at the new home")
	since := time.Now()
	for _, a := range d.accounts {
		err := scenario.Within(ctx, patience, func(ctx context.Context) error {
			list, err := d.Snapshots(ctx, string(a.Name))
			if err != nil {
				return err
			}
			if len(list) == 0 || !list[0].Start.After(since) {
				return fmt.Errorf("account %s: no scheduled backup at the new home", a.Name)
			}
			if _, there := list[0].At(survivor); !there || strings.HasPrefix(string(list[0].Server), lost) {
				return fmt.Errorf("account %s: its newest snapshot is not of %s", a.Name, survivor)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
