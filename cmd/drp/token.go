package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"drp/orchestrator/api"
)

func newTokenCommand(c *connection) *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Make and revoke tokens for programs and people without a certificate", RunE: group}
	var role string
	var validity time.Duration
	create := &cobra.Command{
		Use: "create NAME", Short: "Make a token and print it, this once", Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, args []string) error {
			token, err := client.CreateToken(cmd.Context(), args[0], role, validity)
			if err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), map[string]string{"name": args[0], "token": token})
			}
			fmt.Fprintln(cmd.OutOrStdout(), token)
			return nil
		}),
	}
	create.Flags().StringVar(&role, "role", "support", "what it may do: operator or support")
	create.Flags().DurationVar(&validity, "validity", 24*time.Hour, "how long it is good for")
	revoke := &cobra.Command{
		Use: "revoke NAME", Short: "Make a token worthless at once", Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, args []string) error {
			if err := client.RevokeToken(cmd.Context(), args[0]); err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), map[string]string{"revoked": args[0]})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "token %s is revoked\n", clean(args[0]))
			return nil
		}),
	}
	cmd.AddCommand(create, revoke)
	return cmd
}
