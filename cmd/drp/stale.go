package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"drp/orchestrator"
)

// withStale adds --stale to a command that only reads.
func (c *connection) withStale(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&c.stale, "stale", false, "show what the coordinator that is asked knows itself; needs no leader, and may be behind")
	return cmd
}

// printStaleMark says of when an answer is, before it is shown; beside JSON it goes where messages go.
func printStaleMark(cmd *cobra.Command, m orchestrator.StaleMark, json bool) {
	w := cmd.OutOrStdout()
	if json {
		w = cmd.ErrOrStderr()
	}
	age := short(m.Age.Round(100*time.Millisecond)) + " ago"
	if m.Age == orchestrator.AgeUnknown {
		age = "an unknown time: it has heard no leader since it started"
	}
	fmt.Fprintf(w, "as of %s, from %s, may be behind\n\n", age, clean(m.From))
}
