package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"drp/orchestrator"
	"drp/orchestrator/api"
	"drp/raftstore/state"
)

// joinLook is how often a join that is waited for is looked at.
const joinLook = 500 * time.Millisecond

func newRaftJoinCommand(c *connection) *cobra.Command {
	var r orchestrator.JoinRequest
	var site string
	var wait bool
	cmd := &cobra.Command{
		Use: "join NAME", Short: "Add a coordinator to the cluster", Args: cobra.ExactArgs(1),
		Long: `Join adds a coordinator whose directory was made ready with drp server init --join, and that runs. That command prints
this one with all its flags.

It is added as a non-voter: it is sent all that there is, and counts for nothing. When it has been healthy for 10
seconds it becomes a voter by itself. The name must be a new one, also when the machine takes the place of another.`,
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, args []string) error {
			r.Name, r.Site = args[0], state.SiteName(site)
			warnings, err := client.Join(cmd.Context(), r)
			if err != nil {
				return err
			}
			if !c.json {
				fmt.Fprintf(cmd.OutOrStdout(), "%s is added. It becomes a voter by itself once it has been healthy for a while; drp raft members shows how far it is\n", clean(r.Name))
				printWarnings(cmd.ErrOrStderr(), warnings)
			}
			if wait {
				if err := waitForVoter(cmd.Context(), client, r.Name, cmd.OutOrStdout(), c.json); err != nil {
					return err
				}
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"joined": r.Name, "voter": wait, "warnings": warnings})
			}
			return nil
		}),
	}
	f := cmd.Flags()
	f.StringVar(&r.Address, "address", "", "its Raft port as the other coordinators reach it, `HOST:PORT`")
	f.StringVar(&r.API, "api", "", "`URL` of its API, https://HOST:PORT")
	f.StringVar(&site, "site", "", "`site` where it is")
	f.StringVar(&r.Recipient, "recipient", "", "its age recipient `age1…`, to which secrets are sealed")
	f.BoolVar(&wait, "wait", false, "wait until it is a voter, and show how far it is")
	for _, name := range []string{"address", "api", "site", "recipient"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic("drp: " + err.Error()) // the flags are those above
		}
	}
	return cmd
}

// waitForVoter follows a join. It goes on without anybody looking.
func waitForVoter(ctx context.Context, client *api.Client, name string, out io.Writer, quiet bool) error {
	look := time.NewTicker(joinLook)
	defer look.Stop()
	said := ""
	for {
		report, err := client.Members(ctx)
		if err != nil {
			return fmt.Errorf("wait for %s to become a voter (it goes on by itself): %w", name, err)
		}
		line := "it is no member yet"
		for _, m := range report.Members {
			if m.Name != name {
				continue
			}
			if m.Votes() {
				if !quiet {
					fmt.Fprintf(out, "%s is a voter: %s\n", clean(name), report.Quorum)
				}
				return nil
			}
			line = fmt.Sprintf("%s, %d entries behind", m.Role, m.Behind)
			if m.Problem != "" {
				line += "; " + m.Problem
			}
		}
		if line != said && !quiet {
			fmt.Fprintf(out, "%s: %s\n", clean(name), clean(line))
		}
		said = line
		select {
		case <-ctx.Done():
			return fmt.Errorf("the join of %s goes on; drp raft members shows it: %w", name, errors.Join(ctx.Err()))
		case <-look.C:
		}
	}
}
