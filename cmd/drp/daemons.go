package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"drp/orchestrator/agent/container/accountinit"
	"drp/orchestrator/obedience"
	"drp/raftstore/identity"
)

// daemonCommands are the commands that run the platform itself, in place of asking it.
func daemonCommands(c *connection) []*cobra.Command {
	return []*cobra.Command{
		joining(newServerCommand(c), identity.Coordinator, c), joining(newGatewayCommand(), identity.Gateway, c),
		joining(newWorkerCommand(), identity.Worker, c), joining(newAgentCommand(), identity.Agent, c), newGuardCommand(),
		newDevCommand(), newAccountInitCommand(),
	}
}

// joining adds the command by which a machine becomes one of these.
func joining(cmd *cobra.Command, role identity.Role, c *connection) *cobra.Command {
	cmd.AddCommand(newJoinCommand(role, c))
	return cmd
}

// daemonCommand is a process that systemd supervises: it takes one file, and runs until it is told to end.
func daemonCommand(name, short string, run func(ctx context.Context, config string) error) *cobra.Command {
	var config string
	c := &cobra.Command{
		Use: name, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd.Context(), config) },
	}
	c.Flags().StringVar(&config, "config", "/etc/drp/"+name+".yaml", "configuration file")
	return c
}

// newAccountInitCommand is the first process of an account's container. Nobody types it.
func newAccountInitCommand() *cobra.Command {
	return &cobra.Command{
		Use: "account-init SPEC", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if code := accountinit.Run(args[0]); code != 0 {
				return fmt.Errorf("account-init ended with code %d", code)
			}
			return nil
		},
	}
}

// obedienceOf is whose word a gateway or worker takes. It is kept beside the certificate, as the revocations are: the
// process renews there, so it may write there.
func obedienceOf(files identity.Files, credentials *identity.Credentials) (*obedience.Obedience, error) {
	return obedience.New(obedience.File{Path: files.Certificate + ".obeyed", Cluster: credentials.Identity().Cluster})
}
