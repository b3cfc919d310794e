package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersionCommand(c *connection) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print which drp this is", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			version, revision := buildVersion()
			if c.json {
				return printJSON(cmd.OutOrStdout(), map[string]string{"version": version, "revision": revision, "go": runtime.Version()})
			}
			fmt.Fprintf(cmd.OutOrStdout(), "drp %s, revision %s, %s\n", version, revision, runtime.Version())
			return nil
		},
	}
}

func buildVersion() (version, revision string) {
	version, revision = "unknown", "unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return version, revision
	}
	version = info.Main.Version
	modified := false
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value[:min(len(s.Value), 12)]
		case "vcs.modified":
			modified = s.Value == "true"
		}
	}
	if modified {
		revision += " with changes"
	}
	return version, revision
}
