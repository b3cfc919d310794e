package main

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"drp/orchestrator"
	"drp/orchestrator/api"
)

func newRaftCommand(c *connection) *cobra.Command {
	cmd := &cobra.Command{
		Use: "raft", Short: "Show and change who the coordinators are", RunE: group,
		Long: `The coordinators decide by majority: of three two have to answer, of five three. These commands show who they are, add one,
and remove one.

A coordinator whose disk is gone for good is replaced by a new one under a new name: drp server init --join on the new
machine, drp raft join, and when it is a voter drp raft remove for the old one. There is no file to edit for it, and a
coordinator that is dead is never removed by itself.`,
	}
	cmd.AddCommand(newRaftMembersCommand(c), newRaftJoinCommand(c), newRaftRemoveCommand(c), newRaftTransferCommand(c), newRaftSnapshotCommand(c), newRaftVerifyCommand(c))
	return cmd
}

func newRaftMembersCommand(c *connection) *cobra.Command {
	return &cobra.Command{
		Use: "members", Short: "Show the coordinators: who votes, who leads, who lags, who is silent", Args: cobra.NoArgs,
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			report, err := client.Members(cmd.Context())
			if err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), report)
			}
			printMembers(cmd.OutOrStdout(), report)
			return nil
		}),
	}
}

func printMembers(w io.Writer, r *orchestrator.MembersReport) {
	switch {
	case r.Leader == "":
		fmt.Fprintf(w, "NOBODY LEADS. This is what coordinator %s knows by itself, at %s.\n", clean(r.From), localTime(r.At))
	case r.Leader != r.From:
		fmt.Fprintf(w, "Leader %s does not answer. This is what coordinator %s knows by itself, at %s.\n", clean(r.Leader), clean(r.From), localTime(r.At))
	default:
		fmt.Fprintf(w, "leader %s, %s\n", clean(r.Leader), localTime(r.At))
	}
	fmt.Fprintf(w, "%s\n\n", r.Quorum)
	t := newTable("NAME", "SITE", "ADDRESS", "ROLE", "LEVEL", "LAST", "BEHIND", "HEARD", "HEALTHY", "CLOCK", "PROBLEM")
	for _, m := range r.Members {
		level, healthy, clock := "-", "-", "-"
		if m.Level > 0 {
			level = strconv.Itoa(m.Level)
		}
		if !m.HealthySince.IsZero() {
			healthy = short(max(0, r.At.Sub(m.HealthySince)))
		}
		if !m.LastContact.IsZero() && m.Name != r.From {
			clock = offset(m.Clock)
		}
		t.add(m.Name, or(string(m.Site)), m.Address, string(m.Role), level, strconv.FormatUint(m.Last, 10), strconv.FormatUint(m.Behind, 10),
			ago(r.At, m.LastContact), healthy, clock, or(m.Problem))
	}
	t.print(w)
	printWarnings(w, r.Warnings)
}

// offset is how far a clock is from another's.
func offset(d time.Duration) string {
	if d.Abs() < 50*time.Millisecond {
		return "0s"
	}
	if d > 0 {
		return "+" + short(d)
	}
	return short(d)
}

func printWarnings(w io.Writer, warnings []string) {
	for _, text := range warnings {
		fmt.Fprintf(w, "warning: %s\n", clean(text))
	}
}
