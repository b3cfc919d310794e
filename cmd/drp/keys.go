package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"drp/orchestrator"
	"drp/orchestrator/api"
	"drp/raftstore/state"
	"drp/runbooks/strictyaml"
)

func newKeysCommand(c *connection) *cobra.Command {
	cmd := &cobra.Command{Use: "keys", Short: "Change the passwords of repositories", RunE: group}
	cmd.AddCommand(newKeysRotateCommand(c))
	return cmd
}

func newKeysRotateCommand(c *connection) *cobra.Command {
	var all bool
	var older string
	cmd := &cobra.Command{
		Use: "rotate ACCOUNT… | --all", Short: "Change the passwords of repositories, without a pause for anybody",
		Long: `Rotate gives repositories a new password. The worker of the home adds it and tries it; every other site that holds a copy gets its
key; only then is the new password handed out, and when nothing that began with the old one is under way and the exports of the
state hold the new one, the old key is removed at every site. drp verify ACCOUNT shows how far it is.

It makes a password that has leaked worthless. It does not lock out somebody who has opened the repository with it: restic's master
key stays the same, and whoever has that reads what they get at in a store. For a server that was stolen or broken into a new
repository is needed, see drp server compromised.`,
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, args []string) error {
			r := orchestrator.RotationRequest{All: all}
			for _, a := range args {
				r.Accounts = append(r.Accounts, state.AccountName(a))
			}
			if all == (len(args) > 0) {
				return usageError{errors.New("name accounts, or give --all")}
			}
			if older != "" {
				d, err := strictyaml.ParseDuration(older)
				if err != nil {
					return usageError{fmt.Errorf("--older-than: %w", err)}
				}
				r.OlderThan = time.Duration(d)
			}
			answer, err := client.RotateKeys(cmd.Context(), r)
			if err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), answer)
			}
			printRotation(cmd.OutOrStdout(), answer)
			return nil
		}),
	}
	cmd.Flags().BoolVar(&all, "all", false, "of all accounts")
	cmd.Flags().StringVar(&older, "older-than", "", "only passwords that have been in use for longer than this (`365d`)")
	return cmd
}

func printRotation(w io.Writer, a *orchestrator.RotationAnswer) {
	for _, account := range slices.Sorted(maps.Keys(a.Refused)) {
		fmt.Fprintf(w, "! %s: %s\n", clean(string(account)), clean(a.Refused[account]))
	}
	line := fmt.Sprintf("passwords that are being changed now: %d", len(a.Begun))
	if a.Young > 0 {
		line += fmt.Sprintf("; left as they are, since they are not that old: %d", a.Young)
	}
	fmt.Fprintln(w, line)
	if len(a.Begun) > 0 {
		fmt.Fprintln(w, "drp verify ACCOUNT shows how far one is.")
	}
}

// keyLines are what drp verify says of an account's keys.
func keyLines(now time.Time, k *orchestrator.KeyReport) []string {
	if k == nil {
		return nil
	}
	line := "password in use since " + localTime(k.PasswordSince)
	if k.Rotation != "" {
		line += "; it is being changed: " + k.Rotation
	}
	lines := []string{line}
	if k.BreakGlass.IsZero() {
		return append(lines, "no break-glass key yet")
	}
	return append(lines, fmt.Sprintf("break-glass key made %s, for %d offline recipients, seen at %v", ago(now, k.BreakGlass), len(k.BreakGlassTo), k.BreakGlassSeen))
}
