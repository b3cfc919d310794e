package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"drp/orchestrator"
	"drp/orchestrator/api"
	"drp/raftstore/state"
)

func newRecoverCommand(c *connection) *cobra.Command {
	cmd := &cobra.Command{
		Use: "recover", Short: "Bring the coordinators themselves back", RunE: group,
		Long: `Recover is for the day when the coordinators are lost: a majority of them (recover quorum), or all (recover cluster).
Accounts run on meanwhile; nothing here stops one.

Both commands work offline, on the machine of one coordinator, and make a cluster of that one. It waits for a person: it
collects what each server holds (recover status) and does nothing until it is told to (recover resume). The other
coordinators join it again afterwards, with empty directories.`,
	}
	cmd.AddCommand(newRecoverClusterCommand(), newRecoverQuorumCommand(), newRecoverStatusCommand(c), newRecoverResumeCommand(c))
	return cmd
}

func newRecoverStatusCommand(c *connection) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Show what a recovered cluster knows, and whom it has not heard", Args: cobra.NoArgs,
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			r, err := client.Recovery(cmd.Context())
			if err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), r)
			}
			printRecovery(cmd.OutOrStdout(), r)
			return nil
		}),
	}
}

func printRecovery(w io.Writer, r *orchestrator.RecoveryReport) {
	hold := r.Cluster.Held
	fmt.Fprintf(w, "cluster %s was recovered at %s from %s\n", clean(r.Cluster.UUID), localTime(hold.Since), clean(hold.Source))
	fmt.Fprintf(w, "Nothing is decided, moved or backed up until drp recover resume. It will begin incarnation %d.\n\n", r.Incarnation)
	fmt.Fprintf(w, "servers that have told what they hold: %s\n", clean(or(join(r.Heard))))
	if len(r.Silent) > 0 {
		fmt.Fprintf(w, "\nnot heard yet (%d):\n", len(r.Silent))
		t := newTable("SERVER", "SITE", "ACCOUNTS", "WHY")
		for _, s := range r.Silent {
			t.add(string(s.Server), string(s.Site), fmt.Sprint(s.Accounts), s.Why)
		}
		t.print(w)
	}
	section := func(title string, list []orchestrator.HeldAccount) {
		if len(list) == 0 {
			return
		}
		fmt.Fprintf(w, "\n%s (%d):\n", title, len(list))
		t := newTable("ACCOUNT", "SERVER", "TOKEN", "")
		for _, a := range list {
			t.add(string(a.Account), string(a.Server), a.Token.String(), a.Why)
		}
		t.print(w)
	}
	section("taken over from what servers hold: the state knew an older assignment", r.Adopted)
	section("held by servers and not in the inventory: left alone; apply their inventory now to have them taken over", r.Unknown)
	section("run by nobody, as far as is known: drp failover brings them back after the resume", r.Idle)
	if len(r.Tasks) > 0 {
		fmt.Fprintf(w, "\n%d tasks were under way and end as failed at the resume: %s\n", len(r.Tasks), clean(join(r.Tasks[:min(len(r.Tasks), 20)])))
	}
	if len(r.Runs) > 0 {
		fmt.Fprintf(w, "\n%d runs were under way and end as failed at the resume: %s\n", len(r.Runs), clean(join(r.Runs)))
	}
	if len(r.Erasures) > 0 {
		fmt.Fprintf(w, "\n%d accounts were to be erased: the resume takes these orders back, since somebody may have done so meanwhile. Order anew what is still meant: %s\n",
			len(r.Erasures), clean(join(r.Erasures)))
	}
}

func newRecoverResumeCommand(c *connection) *cobra.Command {
	var without []string
	var yes string
	cmd := &cobra.Command{
		Use: "resume", Short: "Let a recovered cluster act again", Args: cobra.NoArgs,
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			r, err := client.Recovery(cmd.Context())
			if err != nil {
				return err
			}
			if !c.json {
				printRecovery(cmd.OutOrStdout(), r)
			}
			if yes == "" {
				if yes, err = askCluster(cmd, r.Cluster.UUID, resumeConsequence(without)); err != nil {
					return err
				}
			}
			request := orchestrator.ResumeRequest{Cluster: yes}
			for _, s := range without {
				request.Without = append(request.Without, state.ServerName(s))
			}
			if err := client.Resume(cmd.Context(), request); err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"resumed": r.Cluster.UUID, "incarnation": r.Incarnation})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "\ncluster %s acts again, in incarnation %d\n", clean(r.Cluster.UUID), r.Incarnation)
			return nil
		}),
	}
	cmd.Flags().StringSliceVar(&without, "without", nil, "a `SERVER` that is lost for good and cannot tell what it holds: what it still runs is taken for dead; may be repeated")
	cmd.Flags().StringVar(&yes, "yes", "", "do not ask: the cluster's `UUID`, as you would type it")
	return cmd
}

func resumeConsequence(without []string) string {
	text := "From here on the cluster starts, moves and backs up accounts again. What was under way when the coordinators were lost ends as failed.\n"
	if len(without) > 0 {
		text += fmt.Sprintf("You say that these servers are lost: %s. An account that one of them still runs, under a token that nobody else has seen,\n"+
			"may be run a second time elsewhere; what is written on the lost server from now on will be set aside, not merged.\n", strings.Join(without, ", "))
	}
	return text
}

// askCluster has a person type the cluster's UUID.
func askCluster(cmd *cobra.Command, uuid, consequence string) (string, error) {
	in, w := cmd.InOrStdin(), cmd.ErrOrStderr()
	if !isTerminal(in) {
		return "", usageError{errors.New("there is no terminal to ask for a confirmation at: give the cluster's UUID with --yes")}
	}
	fmt.Fprintf(w, "\n%sType the cluster's UUID (%s) to go on, anything else to leave all as it is: ", consequence, clean(uuid))
	answer, err := askLine(cmd.Context(), in)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errNothingDone, err)
	}
	if strings.TrimSpace(answer) != uuid {
		return "", errNothingDone
	}
	return uuid, nil
}

var errNothingDone = errors.New("not confirmed; nothing was done")
