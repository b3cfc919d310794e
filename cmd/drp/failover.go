package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"drp/orchestrator"
	"drp/orchestrator/api"
	"drp/raftstore/state"
)

// planAttempts is how often a plan that changed between its showing and its start is made again.
const planAttempts = 5

// maxReasons is how many reasons a refusal names; the plan above it has them all.
const maxReasons = 10

func newFailoverCommand(c *connection) *cobra.Command {
	cmd := &cobra.Command{
		Use: "failover", Short: "Bring the accounts of a lost site or server back elsewhere", RunE: group,
		Long: `Failover shows its plan first: for each account the server it comes back on, the snapshot that is restored, and
the data that will be lost. It then asks for a confirmation that names the servers which do not answer: only you
can know that they are down. Nothing is started before that.

The run is then followed until it ends. It does not depend on this command, nor on the coordinator that this
command talks to: whoever leads carries it on, and drp run watch follows it again.`,
	}
	cmd.AddCommand(
		newScopeCommand(c, "site", "site-loss", func(name string) orchestrator.Scope { return orchestrator.Scope{Site: state.SiteName(name)} }),
		newScopeCommand(c, "server", "server-loss", func(name string) orchestrator.Scope { return orchestrator.Scope{Server: state.ServerName(name)} }),
	)
	return cmd
}

func newScopeCommand(c *connection, kind, runbook string, scope func(name string) orchestrator.Scope) *cobra.Command {
	f := &failover{connection: c, kind: kind, runbook: runbook}
	cmd := &cobra.Command{
		Use: kind + " NAME", Short: "Bring the accounts of a lost " + kind + " back elsewhere", Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, args []string) error {
			f.client, f.out, f.err, f.in = client, cmd.OutOrStdout(), cmd.ErrOrStderr(), cmd.InOrStdin()
			f.name, f.scope = args[0], scope(args[0])
			return f.run(cmd.Context())
		}),
	}
	cmd.Flags().BoolVar(&f.yes, "yes", false, "do not ask: you confirm that the servers which do not answer are down")
	cmd.Flags().BoolVar(&f.planOnly, "plan", false, "only show the plan")
	return cmd
}

// failover is one `drp failover`.
type failover struct {
	connection    *connection
	client        *api.Client
	in            io.Reader
	out, err      io.Writer
	kind, runbook string
	name          string
	scope         orchestrator.Scope
	yes, planOnly bool
}

var errNotConfirmed = errors.New("not confirmed; nothing was started")

func (f *failover) run(ctx context.Context) error {
	if !f.yes && !f.planOnly {
		if f.connection.json {
			return usageError{errors.New("--json cannot ask for a confirmation: add --yes, or --plan")}
		}
		if !isTerminal(f.in) {
			return usageError{errors.New("there is no terminal to ask for a confirmation at: add --yes, or --plan to see the plan")}
		}
	}
	for attempt := 1; ; attempt++ {
		plan, err := f.client.PlanFailover(ctx, f.scope)
		if err != nil {
			return err
		}
		if err := f.show(plan); err != nil || f.planOnly {
			return err
		}
		if len(plan.Accounts) == 0 {
			return nothingToDo(f.kind, f.name, plan.NotFit)
		}
		if !f.yes {
			if err := f.ask(ctx, plan); err != nil {
				return err
			}
		}
		run, err := f.client.StartRun(ctx, orchestrator.StartRequest{
			ID: state.RunID(f.runbook + "-" + f.name + "-" + newID()[:8]), Runbook: f.runbook,
			Parameters: map[string]string{f.kind: f.name}, PlanHash: plan.Hash,
		})
		if errors.Is(err, orchestrator.ErrRefused) && attempt < planAttempts && f.changed(ctx, plan) {
			f.connection.say("the plan has changed since it was shown; this is the new one")
			continue
		}
		if err != nil {
			return err
		}
		return f.carryOut(ctx, plan, run.ID)
	}
}

// nothingToDo refuses a plan without accounts, with each reason once: many accounts share one.
func nothingToDo(kind, name string, notFit []orchestrator.PlanRefusal) error {
	err := fmt.Errorf("nothing of %s %s can be brought back now: %w", kind, name, orchestrator.ErrRefused)
	if len(notFit) == 0 {
		return fmt.Errorf("%w\nit has no accounts", err)
	}
	var reasons []string
	accounts := map[string]int{}
	for _, a := range notFit {
		if accounts[a.Reason]++; accounts[a.Reason] == 1 {
			reasons = append(reasons, a.Reason)
		}
	}
	for _, reason := range reasons[:min(len(reasons), maxReasons)] {
		count := "1 account"
		if n := accounts[reason]; n > 1 {
			count = fmt.Sprintf("%d accounts", n)
		}
		err = fmt.Errorf("%w\n%s: %s", err, count, reason)
	}
	if more := len(reasons) - maxReasons; more > 0 {
		err = fmt.Errorf("%w\nand %d more reasons; the plan lists all of them", err, more)
	}
	return err
}

// changed reports whether a refusal was because the platform is not as it was when the plan was made.
func (f *failover) changed(ctx context.Context, shown *orchestrator.Plan) bool {
	now, err := f.client.PlanFailover(ctx, f.scope)
	return err == nil && now.Hash != shown.Hash
}

func (f *failover) carryOut(ctx context.Context, plan *orchestrator.Plan, id state.RunID) error {
	w := newWatcher(f.connection, f.client, f.out, f.err)
	w.title = fmt.Sprintf("failover of %s %s", f.kind, f.name)
	w.notFit = plan.NotFit
	w.progress.note("run " + string(id) + " has begun")
	down := make([]state.ServerName, len(plan.Silent))
	for i, s := range plan.Silent {
		down[i] = s.Server
	}
	view, err := w.until(ctx, id, func(r *state.Run) bool { return r.Status == state.RunWaiting || !r.ConfirmedAt.IsZero() })
	if err != nil {
		return fmt.Errorf("%w (it is not confirmed yet: drp run cancel %s ends it)", err, id)
	}
	if view.Run.ConfirmedAt.IsZero() && !view.Run.Status.Ended() {
		if err := confirm(ctx, f.client, view.Run, plan.Hash, down); err != nil {
			w.progress.end()
			if ctx.Err() != nil {
				return &interruptError{id}
			}
			return f.giveUp(ctx, id, err)
		}
	}
	return w.follow(ctx, id)
}

// giveUp ends a run whose confirmation was refused (a server of the plan answers again): it would stand in the way of
// the next plan.
func (f *failover) giveUp(ctx context.Context, id state.RunID, cause error) error {
	err := fmt.Errorf("confirm run %s: %w", id, cause)
	if exitCode(cause) != codeRefused {
		return fmt.Errorf("%w (see drp run status %s)", err, id)
	}
	if cancelErr := f.client.CancelRun(ctx, id); cancelErr != nil {
		return fmt.Errorf("%w (and it could not be cancelled: %w)", err, cancelErr)
	}
	return fmt.Errorf("%w (the run was cancelled; nothing was done)", err)
}

// confirm gives the person's word. A word that was given already, by a request whose answer was lost, counts.
func confirm(ctx context.Context, client *api.Client, run *state.Run, hash string, down []state.ServerName) error {
	err := client.ConfirmRun(ctx, run.ID, hash, down)
	if err == nil || !(errors.Is(err, state.ErrConflict) || errors.Is(err, orchestrator.ErrRefused)) {
		return err
	}
	now, lookErr := client.Run(ctx, run.ID, "", 0)
	if lookErr == nil && now.Run.ConfirmedAt.After(run.ConfirmedAt) && now.Run.PlanHash == hash {
		return nil
	}
	return err
}

// show prints the plan.
func (f *failover) show(plan *orchestrator.Plan) error {
	if f.connection.json {
		if f.planOnly {
			return printJSON(f.out, plan)
		}
		return printLine(f.out, event{Event: "plan", Plan: plan})
	}
	printPlan(f.out, plan, f.kind, f.name)
	return nil
}

// ask has the person type the name of what is lost.
func (f *failover) ask(ctx context.Context, plan *orchestrator.Plan) error {
	if len(plan.Silent) > 0 {
		names := make([]string, len(plan.Silent))
		for i, s := range plan.Silent {
			names[i] = string(s.Server)
		}
		fmt.Fprintf(f.err, "You confirm that these servers are down: %s.\n", clean(strings.Join(names, ", ")))
		fmt.Fprintln(f.err, "One that still runs, only unreachable from here, would go on working on the old data until it is reached again.")
	}
	fmt.Fprintf(f.err, "Type the name of the %s (%s) to start, anything else to leave all as it is: ", f.kind, clean(f.name))
	answer, err := askLine(ctx, f.in)
	if err != nil {
		return fmt.Errorf("%w: %w", errNotConfirmed, err)
	}
	if strings.TrimSpace(answer) != f.name {
		return errNotConfirmed
	}
	return nil
}

// askLine is readLine until ctx ends: Ctrl-C at a question is an answer, too. What reads is then left to the process's end.
func askLine(ctx context.Context, r io.Reader) (string, error) {
	type answer struct {
		line string
		err  error
	}
	read := make(chan answer, 1)
	go func() {
		line, err := readLine(r)
		read <- answer{line, err}
	}()
	select {
	case a := <-read:
		return a.line, a.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// readLine reads to the end of a line, and no byte more: what follows belongs to the next question.
func readLine(r io.Reader) (string, error) {
	var line []byte
	b := make([]byte, 1)
	for len(line) < 4096 {
		n, err := r.Read(b)
		if n == 1 && b[0] == '\n' {
			break
		}
		line = append(line, b[:n]...)
		if err != nil {
			return "", err
		}
	}
	return string(line), nil
}

func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func printPlan(w io.Writer, p *orchestrator.Plan, kind, name string) {
	fmt.Fprintf(w, "Failover of %s %s, as planned at %s\n\n", kind, clean(name), localTime(p.At))
	if len(p.Accounts) > 0 {
		t := newTable("ACCOUNT", "TIER", "FROM", "TO", "DATA LOST", "SNAPSHOT", "ADDRESSES")
		for _, a := range p.Accounts {
			if a.Erased {
				t.add(string(a.Account), string(a.Tier), string(a.From), "to be erased", "-", "-", or(addresses(a.Addresses)))
				continue
			}
			t.add(string(a.Account), string(a.Tier), string(a.From), string(a.To), "last "+short(a.Loss.Round(time.Second)),
				a.Snapshot.Short()+" at "+string(a.ReadAt), or(addresses(a.Addresses)))
		}
		t.print(w)
	}
	printOlder(w, p)
	if len(p.NotFit) > 0 {
		fmt.Fprintf(w, "\nNot brought back (%d):\n", len(p.NotFit))
		t := newTable("ACCOUNT", "TIER", "FROM", "WHY NOT")
		for _, a := range p.NotFit {
			t.add(string(a.Account), string(a.Tier), string(a.From), a.Reason)
		}
		t.print(w)
	}
	fmt.Fprintln(w)
	if len(p.Answering) > 0 {
		fmt.Fprintf(w, "These servers answer; they will be told to stop: %s\n", servers(p, p.Answering))
	}
	if len(p.Silent) > 0 {
		fmt.Fprintf(w, "These servers do not answer: %s\n", servers(p, p.Silent))
	}
}

// printOlder lists what is older than the files of its account.
func printOlder(w io.Writer, p *orchestrator.Plan) {
	t := newTable("ACCOUNT", "DATABASE OR MAILBOX", "DATA LOST", "SNAPSHOT")
	n := 0
	for _, a := range p.Accounts {
		for _, part := range a.Older {
			lost, snapshot := "all of it", "none at "+string(a.ReadAt)+" has it"
			if part.Snapshot != "" {
				lost, snapshot = "last "+short((a.Loss+a.Start.Sub(part.Start)).Round(time.Second)), part.Snapshot.Short()+" at "+string(a.ReadAt)
			}
			t.add(string(a.Account), part.Part, lost, snapshot)
			n++
		}
	}
	if n > 0 {
		fmt.Fprintf(w, "\nOlder than the files of their accounts, because newer snapshots lack them (%d):\n", n)
		t.print(w)
	}
}

func servers(p *orchestrator.Plan, list []orchestrator.PlanServer) string {
	words := make([]string, len(list))
	for i, s := range list {
		words[i] = fmt.Sprintf("%s (last heard %s, %d accounts)", s.Server, ago(p.At, s.LastContact), s.Accounts)
	}
	return clean(strings.Join(words, ", "))
}
