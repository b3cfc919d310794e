package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drp/orchestrator"
	"drp/orchestrator/api"
	"drp/raftstore/state"
)

func newRunCommand(c *connection) *cobra.Command {
	cmd := &cobra.Command{Use: "run", Short: "Start, follow, confirm and cancel runs of runbooks", RunE: group}
	cmd.AddCommand(newRunStartCommand(c), newRunStatusCommand(c), newRunWatchCommand(c), newRunConfirmCommand(c), newRunCancelCommand(c))
	return cmd
}

func newRunStartCommand(c *connection) *cobra.Command {
	var parameters []string
	var watch bool
	cmd := &cobra.Command{
		Use: "start RUNBOOK", Short: "Start a run of a runbook", Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, args []string) error {
			bound, err := readParameters(parameters)
			if err != nil {
				return usageError{err}
			}
			run, err := client.StartRun(cmd.Context(), orchestrator.StartRequest{
				ID: state.RunID(args[0] + "-" + newID()[:8]), Runbook: args[0], Parameters: bound,
			})
			if err != nil {
				return err
			}
			if watch {
				w := newWatcher(c, client, cmd.OutOrStdout(), cmd.ErrOrStderr())
				w.progress.note("run " + string(run.ID) + " has begun")
				return w.follow(cmd.Context(), run.ID)
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), run)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "run %s has begun; follow it with: drp run watch %s\n", clean(string(run.ID)), clean(string(run.ID)))
			return nil
		}),
	}
	cmd.Flags().StringArrayVarP(&parameters, "parameter", "p", nil, "a parameter as `NAME=VALUE`; may be repeated")
	cmd.Flags().BoolVar(&watch, "watch", false, "follow the run until it ends")
	return cmd
}

func readParameters(list []string) (map[string]string, error) {
	bound := map[string]string{}
	for _, p := range list {
		name, value, ok := strings.Cut(p, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("parameter %q: want NAME=VALUE", p)
		}
		if _, twice := bound[name]; twice {
			return nil, fmt.Errorf("parameter %s is there twice", name)
		}
		bound[name] = value
	}
	return bound, nil
}

func newRunStatusCommand(c *connection) *cobra.Command {
	return &cobra.Command{
		Use: "status [ID]", Short: "Show runs, newest first, or one of them", Args: cobra.MaximumNArgs(1),
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, args []string) error {
			out := cmd.OutOrStdout()
			if len(args) == 1 {
				view, err := client.Run(cmd.Context(), state.RunID(args[0]), "", 0)
				if err != nil {
					return err
				}
				if c.json {
					return printJSON(out, view.Run)
				}
				printRun(out, view.Run)
				return nil
			}
			runs, err := client.Runs(cmd.Context())
			if err != nil {
				return err
			}
			if c.json {
				return printJSON(out, runs)
			}
			t := newTable("RUN", "RUNBOOK", "STATUS", "STEP", "BEGUN", "BY")
			for _, r := range runs {
				step := "-"
				if r.Step < len(r.Steps) && !r.Status.Ended() {
					step = r.Steps[r.Step].ID
				}
				t.add(string(r.ID), r.Runbook, string(r.Status), step, localTime(r.Created), r.By)
			}
			t.print(out)
			return nil
		}),
	}
}

func printRun(w io.Writer, r *state.Run) {
	fmt.Fprintf(w, "run %s of %s, begun %s by %s: %s\n", clean(string(r.ID)), clean(r.Runbook), localTime(r.Created), clean(r.By), r.Status)
	for _, name := range sortedKeys(r.Parameters) {
		fmt.Fprintf(w, "  %s = %s\n", clean(name), clean(r.Parameters[name]))
	}
	fmt.Fprintln(w)
	t := newTable("STEP", "STATUS", "TOOK", "MESSAGE")
	for _, s := range r.Steps {
		took := "-"
		if !s.Started.IsZero() && !s.Finished.IsZero() {
			took = short(s.Finished.Sub(s.Started))
		}
		t.add(s.ID, string(s.Status), took, s.Message)
	}
	t.print(w)
	if s := summarize(r, nil); r.Status.Ended() {
		s.print(w, "")
		return
	}
	for _, s := range r.Steps {
		if s.Status != state.StepPending {
			printOpenItems(w, s)
		}
	}
}

// printOpenItems lists what a step is not done with.
func printOpenItems(w io.Writer, s state.RunStep) {
	done, _, open := tally(s.Items)
	if len(open) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s: %d of %d done\n", clean(s.ID), done, len(s.Items))
	t := newTable("ACCOUNT", "SERVER", "STATUS", "MESSAGE")
	for _, i := range open[:min(len(open), manyAccounts)] {
		t.add(string(i.Account), or(string(i.Server)), string(i.Status), i.Message)
	}
	t.print(w)
	if more := len(open) - manyAccounts; more > 0 {
		fmt.Fprintf(w, "and %d more; --json lists all of them\n", more)
	}
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func newRunWatchCommand(c *connection) *cobra.Command {
	return &cobra.Command{
		Use: "watch ID", Short: "Follow a run until it ends", Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, args []string) error {
			return newWatcher(c, client, cmd.OutOrStdout(), cmd.ErrOrStderr()).follow(cmd.Context(), state.RunID(args[0]))
		}),
	}
}

func newRunCancelCommand(c *connection) *cobra.Command {
	return &cobra.Command{
		Use: "cancel ID", Short: "Cancel a run that was not confirmed yet", Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, args []string) error {
			if err := client.CancelRun(cmd.Context(), state.RunID(args[0])); err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), map[string]string{"cancelled": args[0]})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "run %s is cancelled\n", clean(args[0]))
			return nil
		}),
	}
}

func newRunConfirmCommand(c *connection) *cobra.Command {
	var yes bool
	var down []string
	cmd := &cobra.Command{
		Use: "confirm ID", Short: "Confirm a run that waits for a person", Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, args []string) error {
			if !yes && (c.json || !isTerminal(cmd.InOrStdin())) {
				return usageError{errors.New("there is no terminal to ask for a confirmation at: add --yes")}
			}
			ctx := cmd.Context()
			view, err := client.Run(ctx, state.RunID(args[0]), "", 0)
			if err != nil {
				return err
			}
			if view.Run.Status != state.RunWaiting {
				return fmt.Errorf("run %s is %s, it does not wait for a person: %w", args[0], view.Run.Status, orchestrator.ErrRefused)
			}
			accounts, err := client.RunAccounts(ctx, view.Run.ID)
			if err != nil {
				return err
			}
			status, err := client.Status(ctx)
			if err != nil {
				return err
			}
			names := silentServers(accounts, status)
			if cmd.Flags().Changed("down") {
				names = nil
				for _, d := range down {
					names = append(names, state.ServerName(d))
				}
			}
			if !yes {
				if err := askToConfirm(cmd, view.Run, accounts, names); err != nil {
					return err
				}
			}
			if err := confirm(ctx, client, view.Run, view.Run.PlanHash, names); err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), map[string]any{"confirmed": args[0], "down": names})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "run %s is confirmed; follow it with: drp run watch %s\n", clean(args[0]), clean(args[0]))
			return nil
		}),
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask: you confirm that the servers which do not answer are down")
	cmd.Flags().StringSliceVar(&down, "down", nil, "`server` that you confirm to be down; may be repeated (default: all that do not answer)")
	return cmd
}

// silentServers are the old servers of a run's accounts that do not answer.
func silentServers(accounts []*state.RunAccount, status *orchestrator.StatusReport) []state.ServerName {
	answers := map[state.ServerName]bool{}
	for _, s := range status.Servers {
		answers[s.Server] = s.Status == state.Up
	}
	var silent []state.ServerName
	for _, a := range accounts {
		if a.From != "" && !answers[a.From] && !slices.Contains(silent, a.From) {
			silent = append(silent, a.From)
		}
	}
	slices.Sort(silent)
	return silent
}

func askToConfirm(cmd *cobra.Command, run *state.Run, accounts []*state.RunAccount, down []state.ServerName) error {
	out, errOut := cmd.OutOrStdout(), cmd.ErrOrStderr()
	if len(accounts) > 0 {
		t := newTable("ACCOUNT", "FROM", "TO", "DATA LOST", "SNAPSHOT", "NOTE")
		for _, a := range accounts {
			lost := "-"
			if !a.Start.IsZero() {
				lost = "last " + short(max(0, a.LastContact.Sub(a.Start)).Round(time.Second))
			}
			t.add(string(a.Account), string(a.From), or(string(a.To)), lost, or(a.Restore.Snapshot.Short()), a.Message)
		}
		t.print(out)
	}
	for _, s := range run.Steps {
		if s.Status == state.StepRunning && s.Message != "" {
			fmt.Fprintf(errOut, "The run waits: %s\n", clean(s.Message))
		}
	}
	if len(down) > 0 {
		fmt.Fprintf(errOut, "You confirm that these servers are down: %s.\n", clean(join(down)))
	}
	fmt.Fprintf(errOut, "Type the run's name (%s) to confirm, anything else to leave all as it is: ", clean(string(run.ID)))
	answer, err := askLine(cmd.Context(), cmd.InOrStdin())
	if err != nil {
		return fmt.Errorf("%w: %w", errNotConfirmed, err)
	}
	if strings.TrimSpace(answer) != string(run.ID) {
		return errNotConfirmed
	}
	return nil
}
