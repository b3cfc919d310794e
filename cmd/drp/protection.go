package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drp/orchestrator"
	"drp/orchestrator/api"
	"drp/raftstore/state"
)

func newProtectionCommand(c *connection) *cobra.Command {
	var site, tier string
	cmd := &cobra.Command{
		Use: "protection", Short: "Show who is not protected and why, worst first", Args: cobra.NoArgs,
		Long: `Protection lists every account that is not protected, and why: those that would be lost whole first, then those that would
lose the most, measured by their objective. The last line says how many are protected, and how old what would come back is
at most, by tier, if a site were lost now.

An account is protected when its newest snapshot that every site of its policy holds is younger than the policy's objective
(rpo), and each copy was checked, read as a whole, and proven by a restore within the policy's limits.

Exit code 0: all are protected. 6: not all are.`,
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			switch state.Tier(tier) {
			case "", state.Gold, state.Silver, state.Bronze:
			default:
				return usageError{fmt.Errorf("there is no tier %q: want gold, silver or bronze", tier)}
			}
			r, err := client.Protection(cmd.Context(), orchestrator.ProtectionFilter{Site: state.SiteName(site), Tier: state.Tier(tier)})
			if err != nil {
				return err
			}
			if c.json {
				err = printJSON(cmd.OutOrStdout(), r)
			} else {
				printProtection(cmd.OutOrStdout(), r)
			}
			if err == nil && r.Protected < r.Accounts {
				err = &unprotectedError{r.Accounts - r.Protected, r.Accounts}
			}
			return err
		}),
	}
	cmd.Flags().StringVar(&site, "site", "", "only accounts that run at this `site`")
	cmd.Flags().StringVar(&tier, "tier", "", "only accounts of this `tier`: gold, silver or bronze")
	return cmd
}

// unprotectedError is for monitoring.
type unprotectedError struct{ unprotected, accounts int }

func (e *unprotectedError) Error() string {
	return fmt.Sprintf("%d of %d accounts are not protected", e.unprotected, e.accounts)
}

func printProtection(w io.Writer, r *orchestrator.ProtectionReport) {
	if len(r.Unprotected) > 0 {
		t := newTable("ACCOUNT", "TIER", "SITE", "WOULD LOSE", "WHY")
		for _, a := range r.Unprotected {
			t.add(string(a.Account), string(a.Tier), or(string(a.Site)), wouldLose(a), a.Why)
		}
		t.print(w)
		fmt.Fprintln(w)
	}
	for _, p := range r.Pauses {
		fmt.Fprintln(w, clean(pauseLine(r.At, p)))
	}
	for _, s := range r.Stores {
		fmt.Fprintln(w, clean(storeLine(r.At, s.Site, s.Fill)))
	}
	if f := r.First; f.Waiting > 0 {
		fmt.Fprintln(w, firstLine(r.At, f))
	}
	fmt.Fprintln(w, clean(countLine(r)))
}

// countLine is the last line: how many are protected, and what a loss of a site would cost now.
func countLine(r *orchestrator.ProtectionReport) string {
	line := fmt.Sprintf("accounts: %d, protected: %d", r.Accounts, r.Protected)
	for i, t := range r.Tiers {
		if i == 0 {
			line += "; would be lost now at most:"
		} else {
			line += ","
		}
		line += " " + string(t.Tier)
		joint := ""
		if t.Nothing < t.Accounts {
			line += " the last " + short(t.Oldest)
			joint = " and"
		}
		if t.Nothing > 0 {
			line += fmt.Sprintf("%s %d whole", joint, t.Nothing)
		}
		line += fmt.Sprintf(" (%d of %d protected)", t.Protected, t.Accounts)
	}
	return line
}

func wouldLose(a orchestrator.AccountProtection) string {
	if a.Snapshot == "" {
		return "everything"
	}
	return short(a.Age)
}

func pauseLine(now time.Time, p *state.Pause) string {
	line := fmt.Sprintf("paused: backups of %s %s, by %s, %s", p.Kind, p.Name, p.By, ago(now, p.Since))
	if p.Reason != "" {
		line += ": " + p.Reason
	}
	return line
}

func firstLine(now time.Time, f orchestrator.FirstBackups) string {
	line := fmt.Sprintf("first backups: %d wait, %d were done in the last hour", f.Waiting, f.LastHour)
	if !f.Done.IsZero() {
		line += fmt.Sprintf("; at that pace all are done in %s, at %s", short(f.Done.Sub(now)), localTime(f.Done))
	}
	return line
}

func newVerifyCommand(c *connection) *cobra.Command {
	return &cobra.Command{
		Use: "verify ACCOUNT", Short: "Show what is known of each copy of an account: copied, checked, read, proven", Args: cobra.ExactArgs(1),
		Long: `Verify shows for each site that holds the account how old its newest snapshot is, and when its copy was last found to be good:

scrubbed  each object's bytes give its name (no key is needed for that)
checked   restic check passed
read      all data was read: what was there at that time has been, in parts, over several checks
proven    a snapshot was restored into a scratch directory, and compared`,
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, args []string) error {
			v, err := client.AccountProtection(cmd.Context(), state.AccountName(args[0]))
			if err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), v)
			}
			printVerified(cmd.OutOrStdout(), v)
			return nil
		}),
	}
}

func printVerified(w io.Writer, v *orchestrator.AccountVerification) {
	t := newTable("SITE", "COPIED", "SCRUBBED", "CHECKED", "READ", "PROVEN", "PROVEN SNAPSHOT")
	for _, c := range v.Copies {
		site := string(c.Site)
		if c.Home {
			site += " (home)"
		}
		if c.Retired != "" {
			site += " of " + c.Retired + ", read only"
		}
		copied := "nothing"
		if c.Snapshot != "" {
			copied = short(max(0, v.At.Sub(c.Start))) + " old"
		}
		read := ago(v.At, c.ReadSince)
		if c.Part > 0 {
			read += ", now " + strconv.Itoa(c.Part) + " of " + strconv.Itoa(c.Parts)
		}
		t.add(site, copied, ago(v.At, c.Scrubbed), ago(v.At, c.Checked), read, ago(v.At, c.Proven), or(c.Restored.Short()))
	}
	t.print(w)
	fmt.Fprintf(w, "limits: checked within %s, read within %s, proven within %s\n", short(v.CheckWithin), short(v.ReadWithin), short(v.ProveWithin))
	for _, c := range v.Copies {
		if c.Failure != "" {
			fmt.Fprintf(w, "! the last copy to %s failed: %s\n", clean(string(c.Site)), clean(c.Failure))
		}
		for _, kind := range slices.Sorted(maps.Keys(c.Errors)) {
			f := c.Errors[kind]
			fmt.Fprintf(w, "! not %s at %s, %s, %d in a row: %s\n", clean(string(kind)), clean(string(c.Site)), ago(v.At, f.At), f.Count, clean(f.Error))
		}
	}
	if m := v.Maintenance; m != nil {
		fmt.Fprintln(w, clean(maintenanceLine(v.At, m)))
	}
	for _, line := range keyLines(v.At, v.Keys) {
		fmt.Fprintln(w, clean(line))
	}
	if p := v.Protection; p.Protected {
		fmt.Fprintf(w, "protected: a loss of any of these sites would cost at most the last %s\n", short(p.Age))
	} else {
		fmt.Fprintf(w, "not protected: %s\n", clean(p.Why))
	}
}

func maintenanceLine(now time.Time, m *state.Maintenance) string {
	line := fmt.Sprintf("maintained at %s %s", m.Home.Site, ago(now, m.Done))
	if !m.Done.IsZero() {
		line += fmt.Sprintf(": %d objects (%s) taken out of use", m.Objects, size(m.Bytes))
	}
	var also []string
	if m.Unknown > 0 {
		also = append(also, fmt.Sprintf("%d snapshots that no backup recorded, such as %s", m.Unknown, m.Example.Short()))
	}
	if m.Error != "" {
		also = append(also, fmt.Sprintf("failed %s, %d in a row: %s", ago(now, m.At), m.Failures, m.Error))
	}
	return strings.Join(append([]string{line}, also...), "; ")
}
