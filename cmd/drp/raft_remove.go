package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"drp/orchestrator"
	"drp/orchestrator/api"
	"drp/raftstore/state"
)

func newRaftRemoveCommand(c *connection) *cobra.Command {
	r := &removal{connection: c}
	cmd := &cobra.Command{
		Use: "remove NAME", Short: "Remove a coordinator from the cluster for good", Args: cobra.ExactArgs(1),
		Long: `Remove shows first what is left without the coordinator: how many voters, how many of them are needed, which failures are
survived. It then asks for the name. Where those that stay could decide nothing any more it is refused; there is no flag
for it. When so many are lost for good that nothing can be decided now, see drp recover quorum.

The leader can be removed, too: another one is made the leader first.`,
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, args []string) error {
			r.client, r.name = client, args[0]
			r.out, r.err, r.in = cmd.OutOrStdout(), cmd.ErrOrStderr(), cmd.InOrStdin()
			return r.run(cmd.Context())
		}),
	}
	cmd.Flags().BoolVar(&r.yes, "yes", false, "do not ask. Not enough where something speaks against the removal")
	cmd.Flags().BoolVar(&r.planOnly, "plan", false, "only show what it would mean")
	return cmd
}

// removal is one `drp raft remove`.
type removal struct {
	connection    *connection
	client        *api.Client
	in            io.Reader
	out, err      io.Writer
	name          string
	yes, planOnly bool
}

var errNotRemoved = errors.New("not confirmed; nothing was changed")

func (r *removal) run(ctx context.Context) error {
	if !r.yes && !r.planOnly {
		if r.connection.json {
			return usageError{errors.New("--json cannot ask for a confirmation: add --yes, or --plan")}
		}
		if !isTerminal(r.in) {
			return usageError{errors.New("there is no terminal to ask for a confirmation at: add --yes, or --plan to see what it would mean")}
		}
	}
	for attempt := 1; ; attempt++ {
		plan, err := r.client.PlanRemoval(ctx, r.name)
		if err != nil {
			return err
		}
		if err := r.agree(ctx, plan); err != nil || r.planOnly {
			return err
		}
		switch err := r.client.RemoveMember(ctx, r.name, plan.Hash); {
		case errors.Is(err, orchestrator.ErrRefused) && attempt < planAttempts && r.changed(ctx, plan):
			r.connection.say("who votes, or who of them answers, has changed since that was shown; this is what it means now")
			continue
		case errors.Is(err, state.ErrNotFound): // by an attempt whose answer was lost
		case err != nil:
			return err
		}
		if r.connection.json {
			return printJSON(r.out, map[string]any{"removed": r.name, "plan": plan})
		}
		fmt.Fprintf(r.out, "%s is removed. Now: %s\n", clean(r.name), plan.After)
		return nil
	}
}

// agree shows the plan, and has the person agree to it.
func (r *removal) agree(ctx context.Context, plan *orchestrator.RemovalPlan) error {
	if r.connection.json && r.planOnly {
		return printJSON(r.out, plan)
	}
	if !r.connection.json {
		printRemoval(r.out, plan)
	}
	switch {
	case plan.Refused != "":
		return fmt.Errorf("remove %s: %s: %w", r.name, plan.Refused, orchestrator.ErrRefused)
	case r.planOnly, r.yes && len(plan.Doubts) == 0:
		return nil
	case !isTerminal(r.in):
		return fmt.Errorf("remove %s: %s --yes is not enough for that: type it at a terminal: %w", r.name, strings.Join(plan.Doubts, "; "), orchestrator.ErrRefused)
	}
	fmt.Fprintf(r.err, "Type the name of the coordinator (%s) to remove it, anything else to leave all as it is: ", clean(r.name))
	answer, err := askLine(ctx, r.in)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotRemoved, err)
	}
	if strings.TrimSpace(answer) != r.name {
		return errNotRemoved
	}
	return nil
}

// changed reports whether a refusal was because the cluster is not as it was when the plan was shown.
func (r *removal) changed(ctx context.Context, shown *orchestrator.RemovalPlan) bool {
	now, err := r.client.PlanRemoval(ctx, r.name)
	return err == nil && now.Hash != shown.Hash
}

func printRemoval(w io.Writer, p *orchestrator.RemovalPlan) {
	fmt.Fprintf(w, "Removal of coordinator %s (%s)\n\n", clean(p.Name), p.Role)
	fmt.Fprintf(w, "now    %s\nafter  %s\n\n", p.Before, p.After)
	for _, list := range []struct {
		mark string
		text []string
	}{{"! ", p.Doubts}, {"- ", p.Consequences}} {
		for _, text := range list.text {
			for i, line := range wrap(clean(text), tableWidth-2) {
				mark := list.mark
				if i > 0 {
					mark = "  "
				}
				fmt.Fprintln(w, mark+line)
			}
		}
	}
	fmt.Fprintln(w)
}
