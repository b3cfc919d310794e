package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

const long = `drp brings a hosting platform back after it loses a server, a datacenter, its data or its own coordinator.

Commands ask a coordinator: over its local socket, or over the network with a certificate or a token.
Any coordinator will do; when one does not answer the next one is asked.

Exit codes: 0 done, 1 failed, 2 wrong input, 3 refused, 4 no coordinator answers or leads, 5 a run failed,
in whole or in part, 6 not all accounts are protected (drp protection), 7 a store lacks what drp needs (drp store
check), 130 interrupted (a run that was followed goes on).`

// execute runs one command and returns its exit code. The first SIGINT or SIGTERM ends its context, a second one the process.
func execute(ctx context.Context, args []string) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	defer stop()
	root := newRootCommand()
	started := false
	markStart(root, &started)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return codeDone
	}
	if !started { // cobra refused flags or arguments
		err = usageError{err}
	}
	printError(os.Stderr, err)
	return exitCode(err)
}

func newRootCommand() *cobra.Command {
	c := &connection{}
	root := &cobra.Command{
		Use: "drp", Short: "Bring a hosting platform back", Long: long,
		SilenceUsage: true, SilenceErrors: true, RunE: group,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	c.addFlags(root.PersistentFlags())
	root.AddCommand(
		newApplyCommand(c), newGetCommand(c), newStatusCommand(c), newProtectionCommand(c), newVerifyCommand(c), newBackupCommand(c), newSnapshotsCommand(c),
		newFailoverCommand(c), newRunbookCommand(c), newRunCommand(c), newTokenCommand(c), newRaftCommand(c), newAuditCommand(c), newVersionCommand(c),
		newCACommand(c), newOperatorCommand(c),
		newExportCommand(c), newRecoverCommand(c), newReplicateCommand(c), newStoreCommand(c),
		newBreakGlassCommand(c), newKeysCommand(c), newAccountCommand(c),
	)
	root.AddCommand(daemonCommands(c)...)
	return root
}

// group is the RunE of a command that only holds others. Alone it does nothing, which must not look like success.
func group(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unknown command %q; see %s --help", args[0], cmd.CommandPath())}
	}
	if !cmd.HasParent() {
		return cmd.Help()
	}
	cmd.SetOut(cmd.ErrOrStderr())
	if err := cmd.Help(); err != nil {
		return err
	}
	return usageError{fmt.Errorf("%s needs one of the commands above", cmd.CommandPath())}
}

// markStart notes that a command itself has begun, so that what cobra refuses before counts as wrong usage.
func markStart(cmd *cobra.Command, started *bool) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			*started = true
			return run(cmd, args)
		}
	}
	if run := cmd.Run; run != nil {
		cmd.Run = func(cmd *cobra.Command, args []string) {
			*started = true
			run(cmd, args)
		}
	}
	for _, c := range cmd.Commands() {
		markStart(c, started)
	}
}
