package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"drp/orchestrator/api"
	"drp/raftstore/state"
)

var pauseKinds = []string{string(state.PauseAccount), string(state.PauseServer), string(state.PauseSite)}

// readPause reads which things a command is about: account|server|site NAME.
func readPause(args []string) (state.PauseKind, string, error) {
	for _, kind := range pauseKinds {
		if args[0] == kind {
			return state.PauseKind(kind), args[1], nil
		}
	}
	return "", "", usageError{fmt.Errorf("there is no pause of a %q: want account NAME, server NAME or site NAME", args[0])}
}

func newPauseCommand(c *connection) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use: "pause account|server|site NAME", Short: "Start no more backups of an account, on a server or at a site", Args: cobra.ExactArgs(2), ValidArgs: pauseKinds,
		Long: `Pause keeps backups from being started until drp backup resume. What runs goes on. Accounts whose newest snapshot grows older than
their objective are shown as not protected all the same.`,
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, args []string) error {
			kind, name, err := readPause(args)
			if err != nil {
				return err
			}
			if err := client.PauseBackups(cmd.Context(), api.PauseRequest{Kind: kind, Name: name, Reason: reason}); err != nil {
				return err
			}
			return c.done(cmd, fmt.Sprintf("backups of %s %s are paused; end it with drp backup resume %s %s", kind, name, kind, name))
		}),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who wonder")
	return cmd
}

func newResumeBackupsCommand(c *connection) *cobra.Command {
	return &cobra.Command{
		Use: "resume account|server|site NAME", Short: "End a pause", Args: cobra.ExactArgs(2), ValidArgs: pauseKinds,
		Long: `Resume ends a pause. What was missed is made up for by one backup of each account.`,
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, args []string) error {
			kind, name, err := readPause(args)
			if err != nil {
				return err
			}
			if err := client.ResumeBackups(cmd.Context(), kind, name); err != nil {
				return err
			}
			return c.done(cmd, fmt.Sprintf("backups of %s %s are no longer paused", kind, name))
		}),
	}
}

func newPausesCommand(c *connection) *cobra.Command {
	return &cobra.Command{
		Use: "pauses", Short: "Show what is paused, by whom and why", Args: cobra.NoArgs,
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			all, err := client.Pauses(cmd.Context())
			if err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), all)
			}
			t := newTable("WHAT", "NAME", "SINCE", "BY", "REASON")
			for _, p := range all {
				t.add(string(p.Kind), p.Name, localTime(p.Since), p.By, or(p.Reason))
			}
			t.print(cmd.OutOrStdout())
			return nil
		}),
	}
}

// done says in one line what a command did.
func (c *connection) done(cmd *cobra.Command, line string) error {
	if c.json {
		return printJSON(cmd.OutOrStdout(), map[string]string{"done": line})
	}
	fmt.Fprintln(cmd.OutOrStdout(), clean(line))
	return nil
}
