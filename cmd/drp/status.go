package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"drp/orchestrator"
	"drp/orchestrator/api"
	"drp/raftstore/state"
)

// manyAccounts is how many accounts are listed one by one. Of more, only those that need a look are.
const manyAccounts = 100

func newStatusCommand(c *connection) *cobra.Command {
	var all, check bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show the platform: sites, servers, accounts and how well they are protected", Args: cobra.NoArgs,
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			if check && c.stale {
				return usageError{errors.New("--check needs the leader's word: leave --stale out")}
			}
			report, err := client.Status(cmd.Context())
			if err != nil {
				return err
			}
			if check {
				return checkStatus(cmd.OutOrStdout(), report, c.json)
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), report)
			}
			printStatus(cmd.OutOrStdout(), report, all)
			return nil
		}),
	}
	cmd.Flags().BoolVar(&check, "check", false, "for monitoring: print what is wrong, one line each, and exit with 1 when there is anything")
	cmd.Flags().BoolVar(&all, "all", false, fmt.Sprintf("list every account, even when there are more than %d", manyAccounts))
	return c.withStale(cmd)
}

func printStatus(w io.Writer, r *orchestrator.StatusReport, all bool) {
	printAlarms(w, r)
	cluster := "(none yet)"
	if r.Cluster != nil {
		cluster = r.Cluster.UUID
	}
	fmt.Fprintf(w, "cluster %s, leader %s, %s\n\n", clean(cluster), clean(or(r.Leader)), localTime(r.At))
	t := newTable("COORDINATOR", "SITE", "ROLE", "HEARD")
	for _, c := range r.Coordinators {
		t.add(c.Name, string(c.Site), c.Role, ago(r.At, c.LastContact))
	}
	t.print(w)

	fmt.Fprintln(w)
	t = newTable("SITE", "GATEWAY", "WORKER", "EXPORT")
	for _, s := range r.Sites {
		if s.Witness {
			t.add(string(s.Site), "(witness)", "", "")
			continue
		}
		t.add(string(s.Site), ago(r.At, s.GatewaySeen), ago(r.At, s.WorkerSeen), exportAge(r.At, s.Export))
	}
	t.print(w)
	for _, s := range r.Sites {
		if s.Store != nil {
			fmt.Fprintln(w, clean(storeLine(r.At, s.Site, s.Store)))
		}
	}

	fmt.Fprintln(w)
	t = newTable("SERVER", "SITE", "STATUS", "HEARD", "ACCOUNTS", "MEMORY", "DISK")
	for _, s := range r.Servers {
		status := string(s.Status)
		if status == "" {
			status = "never seen"
		}
		t.add(string(s.Server), string(s.Site), status, ago(r.At, s.LastContact), strconv.Itoa(s.Accounts),
			size(s.Used.Memory)+" of "+size(s.Capacity.Memory), size(s.Used.Disk)+" of "+size(s.Capacity.Disk))
	}
	t.print(w)

	fmt.Fprintln(w)
	printAccounts(w, r, all)
	for _, run := range r.Runs {
		fmt.Fprintf(w, "\nrun %s of %s is %s; see drp run watch %s\n", clean(string(run.ID)), clean(run.Runbook), run.Status, clean(string(run.ID)))
	}
	printPauses(w, r.Pauses)
}

// printPauses names paused sites and servers, and counts accounts.
func printPauses(w io.Writer, all []*state.Pause) {
	accounts := 0
	for _, p := range all {
		if p.Kind == state.PauseAccount {
			accounts++
			continue
		}
		fmt.Fprintf(w, "\nbackups of %s %s are paused since %s, by %s: %s\n", p.Kind, clean(p.Name), localTime(p.Since), clean(p.By), clean(or(p.Reason)))
	}
	if accounts > 0 {
		fmt.Fprintf(w, "\nbackups of accounts are paused: %d; see drp backup pauses\n", accounts)
	}
}

// storeLine says how full a site's store is, and when it will be.
func storeLine(now time.Time, site state.SiteName, s *orchestrator.StoreFill) string {
	line := fmt.Sprintf("store of %s: %s of %s, %s", site, size(s.Used), size(s.Capacity), s)
	if s.PerDay != nil && *s.PerDay > 0 {
		line += fmt.Sprintf(" (%s a day)", size(*s.PerDay))
	}
	return line + "; looked at " + ago(now, s.At)
}

func printAccounts(w io.Writer, r *orchestrator.StatusReport, all bool) {
	protected := 0
	accounts := slices.Clone(r.Accounts)
	for _, a := range r.Accounts {
		if a.Protected {
			protected++
		}
	}
	note := ""
	if len(accounts) > manyAccounts && !all {
		accounts = slices.DeleteFunc(accounts, func(a orchestrator.AccountStatus) bool {
			return a.Protected && a.Phase == "running"
		})
		note = fmt.Sprintf("; the %d that need a look are listed, --all lists every one", len(accounts))
	}
	fmt.Fprintf(w, "accounts: %d, protected: %d%s\n", len(r.Accounts), protected, note)
	if len(accounts) == 0 {
		return
	}
	t := newTable("ACCOUNT", "TIER", "SERVER", "PHASE", "SNAPSHOT", "COPIES", "PROTECTED")
	for _, a := range accounts {
		phase := or(string(a.Phase))
		if a.Message != "" {
			phase += "*"
		}
		snapshot := "-"
		if a.Snapshot != "" {
			snapshot = short(a.Age.Round(time.Second)) + " old"
		}
		why := "yes"
		if !a.Protected {
			why = "no: " + a.Why
		}
		t.add(string(a.Account), string(a.Tier), or(string(a.Server)), phase, snapshot, or(join[state.SiteName](a.CopiedTo)), why)
	}
	t.print(w)
	for _, a := range accounts {
		if a.Message != "" {
			fmt.Fprintf(w, "* %s: %s\n", clean(string(a.Account)), clean(a.Message))
		}
	}
}
