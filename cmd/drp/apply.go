package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"drp/orchestrator/api"
	"drp/orchestrator/inventory"
)

func newApplyCommand(c *connection) *cobra.Command {
	var paths []string
	var dryRun bool
	cmd := &cobra.Command{
		Use: "apply -f FILE…", Short: "Change the inventory: sites, servers, policies, accounts",
		Long: `Apply reads YAML files (- is standard input), changes the inventory to what they say, and prints what changed.
Applying the same files again changes nothing. Objects that are not named stay as they are.
With one error in one of the files nothing is changed at all.`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringArrayVarP(&paths, "file", "f", nil, "`file` to apply; may be repeated")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only print what would change")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		files, err := readInventory(paths, cmd.InOrStdin())
		if err != nil {
			return usageError{err}
		}
		// What can be seen without a coordinator is said without one; the leader looks at all of it again.
		if _, err := inventory.Parse(files); err != nil {
			return usageError{err}
		}
		return c.run(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			changes, err := client.Apply(cmd.Context(), newID(), files, dryRun)
			if err != nil {
				return err
			}
			return printChanges(cmd.OutOrStdout(), c.json, dryRun, changes)
		})(cmd, nil)
	}
	return cmd
}

func readInventory(paths []string, stdin io.Reader) ([]inventory.File, error) {
	if len(paths) == 0 {
		return nil, errors.New("name a file to apply: -f FILE, or -f - for standard input")
	}
	var files []inventory.File
	for _, p := range paths {
		name, read := p, func() ([]byte, error) { return os.ReadFile(p) }
		if p == "-" {
			name, read = "stdin", func() ([]byte, error) { return io.ReadAll(stdin) }
		}
		data, err := read()
		if err != nil {
			return nil, fmt.Errorf("read inventory: %w", err)
		}
		files = append(files, inventory.File{Name: name, Data: data})
	}
	return files, nil
}

func printChanges(w io.Writer, asJSON, dryRun bool, changes []string) error {
	if asJSON {
		if changes == nil {
			changes = []string{}
		}
		out := map[string]any{"changes": changes}
		if dryRun {
			out["dry_run"] = true
		}
		return printJSON(w, out)
	}
	switch {
	case dryRun && len(changes) == 0:
		fmt.Fprintln(w, "nothing would change")
	case dryRun:
		fmt.Fprintln(w, "nothing is changed; this would be:")
	case len(changes) == 0:
		fmt.Fprintln(w, "nothing changed")
	}
	for _, change := range changes {
		fmt.Fprintln(w, clean(change))
	}
	return nil
}
