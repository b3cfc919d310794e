package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"drp/orchestrator"
	"drp/orchestrator/api"
)

func newRaftTransferCommand(c *connection) *cobra.Command {
	return &cobra.Command{
		Use: "transfer [NAME]", Short: "Make another coordinator the leader", Args: cobra.MaximumNArgs(1),
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, args []string) error {
			leader, err := client.Transfer(cmd.Context(), strings.Join(args, ""))
			if err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), map[string]string{"leader": leader})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s leads\n", clean(leader))
			return nil
		}),
	}
}

func newRaftSnapshotCommand(c *connection) *cobra.Command {
	return &cobra.Command{
		Use: "snapshot", Short: "Have the leader cut its log now", Args: cobra.NoArgs,
		Long: `Snapshot has the leader write its state to its disk and cut its log. That happens by itself after every 8192 entries.
It is no backup: those are the sealed exports in every site's store.`,
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			if err := client.SnapshotLog(cmd.Context()); err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), map[string]bool{"snapshot": true})
			}
			fmt.Fprintln(cmd.OutOrStdout(), "the leader has cut its log")
			return nil
		}),
	}
}

func newRaftVerifyCommand(c *connection) *cobra.Command {
	return &cobra.Command{
		Use: "verify", Short: "Compare the state of all coordinators", Args: cobra.NoArgs,
		Long: `Verify compares a digest of the whole state over all coordinators, at one entry of the log. It ends with exit code 1 when
one differs, and also when one could not be compared.`,
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			v, err := client.VerifyMembers(cmd.Context())
			if err != nil {
				return err
			}
			if c.json {
				err = printJSON(cmd.OutOrStdout(), v)
			} else {
				printVerification(cmd.OutOrStdout(), v)
			}
			return errors.Join(err, judge(v))
		}),
	}
}

func judge(v *orchestrator.Verification) error {
	var differ, unknown []string
	for _, n := range v.Nodes {
		switch {
		case n.Same:
		case n.Digest == "":
			unknown = append(unknown, n.Name)
		default:
			differ = append(differ, n.Name)
		}
	}
	switch {
	case !v.Recomputed:
		return errors.New("the leader's own rows do not give the digest that it keeps: its state is wrong")
	case len(differ) > 0:
		return fmt.Errorf("the state of %s is not that of the others: stop it, and replace it as drp raft --help says", strings.Join(differ, ", "))
	case len(unknown) > 0:
		return fmt.Errorf("%s could not be compared", strings.Join(unknown, ", "))
	}
	return nil
}

func printVerification(w io.Writer, v *orchestrator.Verification) {
	fmt.Fprintf(w, "compared at entry %d of the log, %s\n\n", v.Index, localTime(v.At))
	t := newTable("COORDINATOR", "DIGEST", "STATE")
	for _, n := range v.Nodes {
		said := "the same"
		if !n.Same {
			said = n.Problem
			if n.Digest != "" {
				said = strings.TrimSuffix("DIFFERS: "+n.Problem, ": ")
			}
		}
		t.add(n.Name, or(n.Digest[:min(16, len(n.Digest))]), said)
	}
	t.print(w)
}
