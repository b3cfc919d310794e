package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"drp/e2e/scenario"
	"drp/raftstore/state"
)

// comeBack heals the lost site: what it held is set aside, and its store catches up.
func (d *demo) comeBack(ctx context.Context) error {
	d.tell.step("%s comes back", lost)
	if err := d.Lab.Heal(ctx, lost); err != nil {
		return err
	}
	for _, a := range d.accounts {
		if err := scenario.Within(ctx, patience, func(ctx context.Context) error { return d.Aside(ctx, a.Name, d.plan) }); err != nil {
			return err
		}
		if err := scenario.Within(ctx, patience, func(ctx context.Context) error {
			list, err := d.Snapshots(ctx, string(a.Name))
			if err != nil {
				return err
			}
			for _, s := range list {
				if _, there := s.At(lost); there && s.Server != d.from(a.Name) {
					return nil
				}
			}
			return fmt.Errorf("account %s: no snapshot of its new home was copied to %s", a.Name, lost)
		}); err != nil {
			return err
		}
	}
	d.tell.detail("the homes that it held are set aside, untouched; its store holds the new snapshots as a replica")
	return nil
}

func (d *demo) from(name state.AccountName) state.ServerName {
	for _, a := range d.plan.Accounts {
		if a.Account == name {
			return a.From
		}
	}
	return ""
}

// checkCopies reads every byte of every copy back.
func (d *demo) checkCopies(ctx context.Context) error {
	d.tell.step("restic check --read-data, straight at each site's store, on every copy")
	passwords, err := d.Passwords(ctx, d.accounts)
	if err != nil {
		return err
	}
	for _, site := range []string{lost, survivor} {
		if err := d.CheckCopies(ctx, site, passwords); err != nil {
			return err
		}
		d.tell.detail(fmt.Sprintf("%s: %d repositories, no errors", site, len(passwords)))
	}
	return nil
}

// summary is the last line. It has the run's own figures.
func (d *demo) summary() string {
	var rpo time.Duration
	var rtos []time.Duration
	for _, s := range d.run.Steps {
		if s.Type != "verify" {
			continue
		}
		for _, i := range s.Items {
			rpo = max(rpo, i.RPO)
			rtos = append(rtos, i.RTO)
		}
	}
	slices.Sort(rtos)
	return fmt.Sprintf("demo: passed: accounts=%d rpo_max=%s rto_p50=%s rto_max=%s", len(rtos),
		rpo.Round(100*time.Millisecond), rtos[len(rtos)/2].Round(100*time.Millisecond), rtos[len(rtos)-1].Round(100*time.Millisecond))
}
