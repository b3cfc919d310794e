package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"drp/orchestrator/api"
	"drp/raftstore/state"
)

func newBackupCommand(c *connection) *cobra.Command {
	cmd := &cobra.Command{Use: "backup", Short: "Back accounts up", RunE: group}
	var wait bool
	var timeout time.Duration
	now := &cobra.Command{
		Use: "now ACCOUNT…", Short: "Back accounts up at once, beside their schedule", Args: cobra.MinimumNArgs(1),
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, args []string) error {
			return backUp(cmd, c, client, args, wait, timeout)
		}),
	}
	now.Flags().BoolVar(&wait, "wait", false, "wait until the backups have ended, and fail when one of them does")
	now.Flags().DurationVar(&timeout, "timeout", 30*time.Minute, "how long to wait")
	cmd.AddCommand(now, newPauseCommand(c), newResumeBackupsCommand(c), newPausesCommand(c))
	return cmd
}

// backupOutcome is one line of the command's JSON.
type backupOutcome struct {
	Account  state.AccountName `json:"account"`
	Task     state.TaskID      `json:"task"`
	Snapshot state.SnapshotID  `json:"snapshot,omitempty"`
	Error    string            `json:"error,omitempty"`
}

func backUp(cmd *cobra.Command, c *connection, client *api.Client, args []string, wait bool, timeout time.Duration) error {
	accounts := make([]state.AccountName, len(args))
	before := map[state.AccountName]time.Time{}
	for i, name := range args {
		accounts[i] = state.AccountName(name)
		if wait {
			finished, _, err := lastBackup(cmd.Context(), client, accounts[i])
			if err != nil {
				return err
			}
			before[accounts[i]] = finished
		}
	}
	tasks, err := client.BackupNow(cmd.Context(), accounts)
	if err != nil {
		return err
	}
	outcomes := make([]backupOutcome, len(accounts))
	failed := 0
	ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
	defer cancel()
	for i, account := range accounts {
		outcomes[i].Account = account
		if i < len(tasks) {
			outcomes[i].Task = tasks[i]
		}
		if wait {
			b, err := awaitBackup(ctx, client, account, before[account])
			if err != nil {
				return fmt.Errorf("wait for the backup of %s, which goes on without this command: %w", account, err)
			}
			outcomes[i].Snapshot, outcomes[i].Error = b.Snapshot, b.Error
			if b.Error != "" {
				failed++
			}
		}
		if !c.json { // at once: the next one may take long
			fmt.Fprintln(cmd.OutOrStdout(), clean(outcomes[i].String(wait)))
		}
	}
	if c.json {
		err = printJSON(cmd.OutOrStdout(), outcomes)
	}
	if err == nil && failed > 0 {
		err = fmt.Errorf("%d of %d backups failed", failed, len(accounts))
	}
	return err
}

func (o backupOutcome) String(ended bool) string {
	switch {
	case !ended:
		return fmt.Sprintf("%s: backup asked for (task %s)", o.Account, o.Task)
	case o.Error != "":
		return fmt.Sprintf("%s: backup failed: %s", o.Account, o.Error)
	}
	return fmt.Sprintf("%s: snapshot %s", o.Account, o.Snapshot.Short())
}

func lastBackup(ctx context.Context, client *api.Client, account state.AccountName) (time.Time, *state.BackupStatus, error) {
	d, err := client.Account(ctx, account)
	if err != nil || d.Backup == nil {
		return time.Time{}, nil, err
	}
	return d.Backup.Finished, d.Backup, nil
}

func awaitBackup(ctx context.Context, client *api.Client, account state.AccountName, before time.Time) (*state.BackupStatus, error) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		finished, b, err := lastBackup(ctx, client, account)
		if err != nil {
			return nil, err
		}
		if finished.After(before) {
			return b, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}
