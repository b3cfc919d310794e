package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"drp/orchestrator/api"
	"drp/raftstore/state"
)

func newSnapshotsCommand(c *connection) *cobra.Command {
	return &cobra.Command{
		Use: "snapshots ACCOUNT", Short: "Show an account's snapshots, newest first", Args: cobra.ExactArgs(1),
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, args []string) error {
			snapshots, err := client.Snapshots(cmd.Context(), state.AccountName(args[0]))
			if err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), snapshots)
			}
			now := time.Now()
			t := newTable("SNAPSHOT", "START", "AGE", "VIEW", "FILES", "SIZE", "COPIES")
			for _, s := range snapshots {
				sites := make([]state.SiteName, len(s.Sites))
				for i, at := range s.Sites {
					sites[i] = at.Site
				}
				view := s.View
				if s.Copied > 0 {
					view += fmt.Sprintf(" +%d SQLite", s.Copied)
				}
				t.add(s.ID.Short(), localTime(s.Start), short(max(0, now.Sub(s.Start))), view, strconv.FormatInt(s.Files, 10), size(s.Bytes), or(join(sites)))
			}
			t.print(cmd.OutOrStdout())
			return nil
		}),
	}
}
