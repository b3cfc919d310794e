package main

import (
	"fmt"
	"io"
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
