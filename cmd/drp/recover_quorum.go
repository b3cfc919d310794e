package main

import "github.com/spf13/cobra"

func newRecoverQuorumCommand() *cobra.Command {
	return &cobra.Command{Use: "quorum", RunE: group}
}
