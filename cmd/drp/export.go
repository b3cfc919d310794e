package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"drp/orchestrator"
	"drp/orchestrator/api"
	"drp/orchestrator/export"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

func newExportCommand(c *connection) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "export", Short: "Seal the coordinators' state, so that it outlives them", Args: cobra.NoArgs,
		Long: `Export seals the state to the coordinators and to the offline keys, and puts it into every site's store, as the
coordinators do by themselves each hour. With -o it goes into a file here instead, and its manifest beside it.

drp recover cluster brings the coordinators back from either. An export holds every account's sealed password: who has
it and one of the keys can read all backups. That it was made is in the audit trail.`,
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			if file != "" {
				return exportToFile(cmd, c, client, file)
			}
			sites, err := client.ExportNow(cmd.Context())
			if err != nil {
				return err
			}
			if c.json {
				return printJSON(cmd.OutOrStdout(), sites)
			}
			failed := 0
			for _, s := range sites {
				if s.Error != "" {
					failed++
					fmt.Fprintf(cmd.OutOrStdout(), "site %s: not there: %s\n", clean(string(s.Site)), clean(s.Error))
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "site %s: %s\n", clean(string(s.Site)), clean(s.Name))
			}
			if failed > 0 {
				return fmt.Errorf("the export is not in %d of %d stores", failed, len(sites))
			}
			return nil
		}),
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "`FILE` to write; its manifest goes to FILE.json")
	return cmd
}

func exportToFile(cmd *cobra.Command, c *connection, client *api.Client, file string) error {
	for _, f := range []string{file, file + export.Clear} {
		if _, err := os.Lstat(f); err == nil {
			return usageError{fmt.Errorf("%s exists already: nothing was asked for, and it stays as it is", f)}
		}
	}
	e, err := client.ExportState(cmd.Context())
	if err != nil {
		return err
	}
	if got := state.Sum(e.Sealed); got != e.Manifest.Sum {
		return errors.New("what came over the network is not what the coordinator sealed; nothing was written")
	}
	manifest, err := json.Marshal(e.Manifest)
	if err != nil {
		return fmt.Errorf("encode manifest: %w", err)
	}
	if err := errors.Join(writeNew(file, e.Sealed), writeNew(file+export.Clear, manifest)); err != nil {
		return err
	}
	if c.json {
		return printJSON(cmd.OutOrStdout(), e.Manifest)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: %s of cluster %s, up to entry %d of the log\n", file, size(e.Manifest.Size), clean(e.Manifest.Cluster), e.Manifest.Index)
	return nil
}

// writeNew writes a file that is not there yet, and has it on the disk.
func writeNew(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}

// exports are this coordinator's. They are sealed to whoever opens the state's secrets: the coordinators that are members
// now and the offline recipients, and not one that was removed. Before there is a key of the keyring, the configuration
// file says who that is.
func (c serverConfig) exports(view func() *state.View, credentials *identity.Credentials) orchestrator.ExportOptions {
	return orchestrator.ExportOptions{
		Sign: credentials.Sign,
		Recipients: func() []string {
			if keys := view().Keys(); len(keys) > 0 {
				return keys[0].Recipients
			}
			list := slices.Clone(c.Recipients)
			for _, m := range view().Members() {
				if m.Recipient != "" {
					list = append(list, m.Recipient)
				}
			}
			slices.Sort(list)
			return slices.Compact(list)
		},
	}
}

// exportAge says how old the newest export in a site's store is.
func exportAge(at time.Time, e *orchestrator.SiteExport) string {
	text := "-"
	switch {
	case e == nil:
		return ""
	case !e.At.IsZero():
		text = short(at.Sub(e.At).Round(time.Second)) + " old"
	}
	if e.Error != "" {
		text += ", failing"
	}
	return text
}
