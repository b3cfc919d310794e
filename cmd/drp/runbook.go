package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"drp/orchestrator/api"
	"drp/raftstore/state"
	"drp/runbooks"
)

// Runbooks are in this binary, so that they can be read when no coordinator is left.
func newRunbookCommand(c *connection) *cobra.Command {
	cmd := &cobra.Command{
		Use: "runbook", Short: "Read and check runbooks; needs no coordinator", RunE: group,
		Long: "Runbooks ship inside this program, so that they can be read when no coordinator is left.",
	}
	cmd.AddCommand(
		&cobra.Command{
			Use: "list", Short: "List the runbooks that ship with drp", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return listRunbooks(cmd, c) },
		},
		&cobra.Command{
			Use: "show NAME", Short: "Print a runbook as a page for a person whose computer has died", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error { return showRunbook(cmd, c, args[0]) },
		},
		&cobra.Command{
			Use: "validate FILE…", Short: "Check runbooks that you write", Args: cobra.MinimumNArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error { return validateRunbooks(cmd, c, args) },
		},
	)
	return cmd
}

func listRunbooks(cmd *cobra.Command, c *connection) error {
	books, err := runbooks.Library()
	if err != nil {
		return err
	}
	if c.json {
		all := make([]api.Runbook, len(books))
		for i, b := range books {
			all[i] = api.ShownRunbook(b)
		}
		return printJSON(cmd.OutOrStdout(), all)
	}
	t := newTable("RUNBOOK", "ROLE", "PARAMETERS", "TITLE")
	for _, b := range books {
		names := make([]string, len(b.Parameters))
		for i, p := range b.Parameters {
			names[i] = p.Name
			if !p.Required {
				names[i] = "[" + p.Name + "]"
			}
		}
		t.add(b.Name, b.Role, or(strings.Join(names, " ")), b.Title)
	}
	t.print(cmd.OutOrStdout())
	return nil
}

func showRunbook(cmd *cobra.Command, c *connection, name string) error {
	b, err := runbooks.Lookup(name)
	if err != nil {
		return usageError{err}
	}
	if c.json {
		shown := api.ShownRunbook(b)
		shown.Source, shown.Page = b.Source, b.Page()
		return printJSON(cmd.OutOrStdout(), shown)
	}
	fmt.Fprint(cmd.OutOrStdout(), b.Page())
	return nil
}

func validateRunbooks(cmd *cobra.Command, c *connection, paths []string) error {
	var wrong runbooks.Errors
	valid := []api.Runbook{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return usageError{fmt.Errorf("read runbook: %w", err)}
		}
		b, err := runbooks.Parse(path, data)
		var problems runbooks.Errors
		if errors.As(err, &problems) {
			wrong = append(wrong, problems...)
			continue
		}
		if err != nil {
			return fmt.Errorf("read runbook %s: %w: %w", path, err, state.ErrInvalid)
		}
		valid = append(valid, api.ShownRunbook(b))
		if !c.json {
			fmt.Fprintf(cmd.OutOrStdout(), "%s: runbook %s is good: %d steps, for role %s\n", clean(path), b.Name, len(b.Steps), b.Role)
		}
	}
	if len(wrong) > 0 {
		return usageError{wrong}
	}
	if c.json {
		return printJSON(cmd.OutOrStdout(), valid)
	}
	return nil
}
