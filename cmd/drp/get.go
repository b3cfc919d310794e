package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"drp/orchestrator"
	"drp/orchestrator/api"
	"drp/raftstore/state"
)

func newGetCommand(c *connection) *cobra.Command {
	cmd := &cobra.Command{Use: "get", Short: "Show the inventory", RunE: group}
	cmd.AddCommand(
		newListCommand(c, "sites", "Show sites", (*api.Client).Sites, func(s *state.Site) string { return string(s.Name) }, printSites),
		newListCommand(c, "servers", "Show servers", (*api.Client).Servers, func(s *state.Server) string { return string(s.Name) }, printServers),
		newListCommand(c, "policies", "Show policies", (*api.Client).Policies, func(p *state.Policy) string { return string(p.Name) }, printPolicies),
		newGetAccountsCommand(c),
	)
	return cmd
}

// newListCommand makes a command that shows all rows of a kind, or one of them.
func newListCommand[T any](c *connection, kind, short string, list func(*api.Client, context.Context) ([]*T, error), name func(*T) string, print func(io.Writer, []*T)) *cobra.Command {
	return c.withStale(&cobra.Command{
		Use: kind + " [NAME]", Short: short, Args: cobra.MaximumNArgs(1),
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, args []string) error {
			all, err := list(client, cmd.Context())
			if err != nil {
				return err
			}
			if len(args) == 1 {
				if all = named(all, args[0], name); len(all) == 0 {
					return fmt.Errorf("there is no %q among the %s: %w", args[0], kind, state.ErrNotFound)
				}
			}
			if c.json {
				if len(args) == 1 {
					return printJSON(cmd.OutOrStdout(), all[0])
				}
				return printJSON(cmd.OutOrStdout(), all)
			}
			print(cmd.OutOrStdout(), all)
			return nil
		}),
	})
}

func named[T any](all []*T, want string, name func(*T) string) []*T {
	for _, row := range all {
		if name(row) == want {
			return []*T{row}
		}
	}
	return nil
}

func printSites(w io.Writer, sites []*state.Site) {
	t := newTable("SITE", "STORE", "BACKUPS", "GATEWAYS")
	for _, s := range sites {
		store, backups := "-", strconv.Itoa(orchestrator.SiteBackups(s))
		switch {
		case s.Witness:
			store, backups = "(witness)", "-"
		case s.Store != nil:
			store = s.Store.Endpoint + " " + s.Store.Bucket
		}
		t.add(string(s.Name), store, backups, or(strings.Join(s.Gateways, ", ")))
	}
	t.print(w)
}

func printServers(w io.Writer, servers []*state.Server) {
	t := newTable("SERVER", "SITE", "RACK", "POWER", "MEMORY", "CPU", "PROCESSES", "DISK", "BACKUPS")
	for _, s := range servers {
		t.add(string(s.Name), string(s.Site), or(s.Rack), or(s.Power), size(s.Capacity.Memory), cores(s.Capacity.CPU),
			strconv.FormatInt(s.Capacity.Processes, 10), size(s.Capacity.Disk), strconv.Itoa(orchestrator.ServerBackups(s)))
	}
	t.print(w)
}

func printPolicies(w io.Writer, policies []*state.Policy) {
	t := newTable("POLICY", "SCHEDULE", "RETENTION", "KEEP", "RPO", "CHECK", "READ", "PROVE", "REPLICAS")
	for _, p := range policies {
		schedule := p.Schedule
		if p.TimeZone != "" {
			schedule += " (" + p.TimeZone + ")"
		}
		retention, rpo := "-", "-"
		if p.Retention > 0 {
			retention = short(p.Retention)
		}
		if p.RPO > 0 {
			rpo = short(p.RPO)
		}
		t.add(string(p.Name), schedule, retention, keeps(p.Keep), rpo,
			short(orchestrator.CheckWithin(p)), short(orchestrator.ReadWithin(p)), short(orchestrator.ProveWithin(p)), or(join(p.Replicas)))
	}
	t.print(w)
}

// keeps says of how many days, weeks and months the newest snapshot is kept beyond the retention.
func keeps(k *state.Keep) string {
	if k == nil {
		return "-"
	}
	var parts []string
	for _, part := range []struct {
		n    int
		unit string
	}{{k.Daily, "d"}, {k.Weekly, "w"}, {k.Monthly, "m"}} {
		if part.n > 0 {
			parts = append(parts, strconv.Itoa(part.n)+part.unit)
		}
	}
	return strings.Join(parts, " ")
}

func newGetAccountsCommand(c *connection) *cobra.Command {
	return &cobra.Command{
		Use: "accounts [NAME]", Short: "Show accounts, or all about one", Args: cobra.MaximumNArgs(1),
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, args []string) error {
			if len(args) == 1 {
				d, err := client.Account(cmd.Context(), state.AccountName(args[0]))
				if err != nil {
					return err
				}
				if c.json {
					return printJSON(cmd.OutOrStdout(), d)
				}
				printAccount(cmd.OutOrStdout(), d)
				return nil
			}
			accounts, err := client.Accounts(cmd.Context())
			if err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), accounts)
			}
			t := newTable("ACCOUNT", "TIER", "POLICY", "MEMORY", "CPU", "DISK", "SERVICES", "ADDRESSES")
			for _, a := range accounts {
				t.add(string(a.Name), string(a.Tier), string(a.Policy), size(a.Plan.Memory), cores(a.Plan.CPU), size(a.Plan.Disk),
					strconv.Itoa(len(a.Services)), or(addresses(a.Addresses)))
			}
			t.print(cmd.OutOrStdout())
			return nil
		}),
	}
}

func printAccount(w io.Writer, d *api.AccountDetail) {
	a := d.Account
	line := func(what, value string) { fmt.Fprintf(w, "%-12s %s\n", what, clean(value)) }
	line("account", string(a.Name))
	line("tier", string(a.Tier))
	line("policy", string(a.Policy))
	line("plan", fmt.Sprintf("memory %s, processes %d, cpu %s, disk %s", size(a.Plan.Memory), a.Plan.Processes, cores(a.Plan.CPU), size(a.Plan.Disk)))
	line("addresses", or(addresses(a.Addresses)))
	for _, s := range a.Services {
		text := s.Name + ": " + strings.Join(s.Command, " ")
		if s.Check != nil {
			text += " (checked at " + s.Check.HTTP + ")"
		}
		line("service", text)
	}
	for _, j := range a.CronJobs {
		text := j.Name + ": " + j.Schedule + " (" + cmp.Or(j.TimeZone, "UTC") + "): " + strings.Join(j.Command, " ")
		if j.Timeout > 0 {
			text += " (for " + short(j.Timeout) + " at most)"
		}
		line("cron job", text)
	}
	for _, b := range a.Databases {
		line("database", string(b.Engine)+" "+b.Name)
	}
	for _, m := range a.Mailboxes {
		line("mailbox", m.Name+"@"+m.Domain)
	}
	if as := d.Assignment; as == nil {
		line("server", "- (never placed)")
	} else {
		text := fmt.Sprintf("%s, token %s, since %s", as.Server, as.Token, localTime(as.At))
		switch {
		case as.Fenced != nil:
			text += fmt.Sprintf(", fenced (%s by %s)", as.Fenced.Method, as.Fenced.By)
		case as.Stop:
			text += ", told to stop"
		case as.ReadyAt.IsZero():
			text += ", not running yet"
		}
		line("server", text)
	}
	if d.Home != nil {
		line("home", fmt.Sprintf("%s, epoch %d", d.Home.Site, d.Home.Epoch))
	}
	if d.Repository != "" && d.Repository != string(a.Name) {
		line("repository", d.Repository)
	}
	for _, r := range d.Retired {
		line("retired", retiredLine(r))
	}
	if b := d.Backup; b != nil {
		text := "running since " + localTime(b.Started)
		switch {
		case b.Error != "":
			text = fmt.Sprintf("failed at %s (%d in a row): %s", localTime(b.Finished), b.Failures, b.Error)
		case !b.Finished.IsZero():
			text = fmt.Sprintf("snapshot %s, finished at %s", b.Snapshot.Short(), localTime(b.Finished))
		}
		line("last backup", text)
	}
	for _, r := range d.Replications {
		text := fmt.Sprintf("from %s to %s at %s: %d objects, %s", r.From, r.Site, localTime(r.At), r.Objects, size(r.Bytes))
		if r.Error != "" {
			text += ", not complete: " + r.Error
		}
		line("last copy", text)
	}
}

func retiredLine(r api.RetiredRepository) string {
	text := fmt.Sprintf("%s, read only since %s", r.Repository, localTime(r.At))
	if r.Server != "" {
		text += ": server " + string(r.Server) + " was broken into"
	}
	if r.Removing.IsZero() {
		return text + fmt.Sprintf("; %d snapshots", r.Snapshots)
	}
	if !r.Gone.IsZero() {
		return fmt.Sprintf("%s, removed everywhere since %s; its password is kept until %s", r.Repository, localTime(r.Gone), localTime(r.Gone.Add(state.PasswordKept)))
	}
	text += ", all of it is over and is being removed"
	for _, site := range slices.Sorted(maps.Keys(r.Errors)) {
		text += fmt.Sprintf("; %s: %s", site, r.Errors[site].Error)
	}
	return text
}

func addresses(list []netip.Addr) string {
	words := make([]string, len(list))
	for i, a := range list {
		words[i] = a.String()
	}
	return strings.Join(words, ", ")
}

func cores(n float64) string { return strconv.FormatFloat(n, 'g', 4, 64) }
