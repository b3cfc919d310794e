package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"drp/orchestrator"
	"drp/orchestrator/api"
	"drp/raftstore/state"
)

const compromisedLong = `Say that a server was broken into. A server holds the passwords of the backups of the accounts that it runs, so drp

- revokes the server's certificates: coordinators and gateways refuse it from then on;
- gives every account that it runs, or ever ran since the account's repository was made, a new repository with a new password. The old
  one is kept and restored from, until all of its snapshots are over; nothing is written to it, and nothing in it is pruned.

The first backup into a new repository sends everything, and is due at once. Without --yes it only says what would be done. Done again it goes
on where it was broken off, and leaves alone what was renewed since the server was shut out.`

func newCompromisedCommand(c *connection) *cobra.Command {
	var r orchestrator.CompromisedRequest
	var yes bool
	cmd := &cobra.Command{
		Use: "compromised SERVER", Short: "A server was broken into: shut it out, and give its accounts new repositories", Long: compromisedLong, Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, args []string) error {
			r.Server, r.DryRun = state.ServerName(args[0]), !yes
			report, err := client.Compromised(cmd.Context(), r)
			if err != nil {
				return err
			}
			if c.json {
				err = printJSON(cmd.OutOrStdout(), report)
			} else {
				printCompromised(cmd.OutOrStdout(), report, yes)
			}
			if err == nil && !yes {
				err = usageError{errors.New("nothing was done; give --yes if that is what you want")}
			}
			return err
		}),
	}
	cmd.Flags().StringVar(&r.Reason, "reason", "", "why, for the record")
	cmd.Flags().BoolVar(&r.KeepCertificate, "keep-certificate", false, "leave the server in: it is given the new passwords of what it runs")
	cmd.Flags().BoolVar(&r.Again, "again", false, "also renew what was renewed because of this server already")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it; without, only what would be done is printed")
	return cmd
}

func printCompromised(w io.Writer, r *orchestrator.CompromisedReport, done bool) {
	t := newTable("ACCOUNT", "RUNS THERE", "READ ONLY", "BACKED UP TO")
	renewed := 0
	for _, a := range r.Accounts {
		runs, retired := "no", a.Retired
		if a.Runs {
			runs = "yes"
		}
		if !a.Renewed.IsZero() {
			renewed++
			retired = "(renewed at " + localTime(a.Renewed) + ")"
		}
		t.add(string(a.Account), runs, retired, a.Present)
	}
	if len(r.Accounts) > 0 {
		t.print(w)
		fmt.Fprintln(w)
	}
	would := "would get"
	if done {
		would = "have"
	}
	fmt.Fprintln(w, clean(fmt.Sprintf("server %s: certificates: %s; %d accounts %s new repositories, %d had been given them before",
		r.Server, r.Certificate, len(r.Accounts)-renewed, would, renewed)))
	for _, line := range r.Todo {
		fmt.Fprintln(w, clean("- "+line))
	}
}
