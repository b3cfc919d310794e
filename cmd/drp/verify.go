package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drp/orchestrator"
	"drp/orchestrator/api"
	"drp/raftstore/state"
)

func newVerifyCommand(c *connection) *cobra.Command {
	var now, wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use: "verify ACCOUNT", Short: "Show what is known of each copy of an account: copied, checked, read, proven; or look now", Args: cobra.ExactArgs(1),
		Long: `Verify shows for each site that holds the account how old its newest snapshot is, and when its copy was last found to be good:

scrubbed  each object's bytes give its name (no key is needed for that)
checked   restic check passed
read      all data was read: what was there at that time has been, in parts, over several checks
proven    a snapshot was restored into a scratch directory, and compared

With --now every copy is scrubbed, checked and proven as soon as its site has room, before all looks that are due by themselves;
what is found to be damaged is repaired from another copy. With --wait the command waits for that.

Exit code 0: it is shown, whatever it says; with --wait: every copy was found to be good. 6: with --wait, one was not.`,
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, args []string) error {
			account := state.AccountName(args[0])
			if wait && !now {
				return usageError{errors.New("--wait waits for what --now asks for: give both")}
			}
			if now {
				asked, err := client.VerifyNow(cmd.Context(), account)
				if err != nil {
					return err
				}
				if !wait {
					return c.done(cmd, fmt.Sprintf("every copy of %s is looked at as soon as there is room; see drp verify %s", account, account))
				}
				ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
				defer cancel()
				return c.awaitLooks(ctx, cmd, client, account, asked)
			}
			v, err := client.AccountProtection(cmd.Context(), account)
			if err != nil {
				return err
			}
			return c.showVerified(cmd, v)
		}),
	}
	cmd.Flags().BoolVar(&now, "now", false, "have every copy looked at now, in each way")
	cmd.Flags().BoolVar(&wait, "wait", false, "with --now: wait until that is done, and fail when a copy is not good")
	cmd.Flags().DurationVar(&timeout, "timeout", 6*time.Hour, "how long to wait")
	return cmd
}

func (c *connection) showVerified(cmd *cobra.Command, v *orchestrator.AccountVerification) error {
	if c.json {
		return printJSON(cmd.OutOrStdout(), v)
	}
	printVerified(cmd.OutOrStdout(), v)
	return nil
}

// awaitLooks tells of looks as they end, and shows in the end what is known then.
func (c *connection) awaitLooks(ctx context.Context, cmd *cobra.Command, client *api.Client, account state.AccountName, asked time.Time) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var before []orchestrator.Look
	for first := true; ; first = false {
		v, err := client.AccountProtection(ctx, account)
		switch {
		case err != nil:
			return fmt.Errorf("wait for the looks at %s, which go on without this command: %w", account, err)
		case v.Asked.Before(asked):
			return fmt.Errorf("another coordinator leads now, and knows nothing of what was asked for: drp verify %s --now", account)
		}
		if first {
			for _, l := range v.Waiting {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s: waits to be %s\n", clean(string(l.Site)), clean(string(l.Kind)))
			}
		}
		for _, l := range before {
			if !slices.Contains(v.Waiting, l) {
				fmt.Fprintln(cmd.ErrOrStderr(), clean(lookEnded(v, l)))
			}
		}
		if before = v.Waiting; len(before) == 0 {
			if err := c.showVerified(cmd, v); err != nil {
				return err
			}
			return notGood(v, asked)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the looks at %s, which go on without this command: %w", account, ctx.Err())
		case <-tick.C:
		}
	}
}

func lookEnded(v *orchestrator.AccountVerification, l orchestrator.Look) string {
	for _, one := range v.Copies {
		if f, failed := one.Errors[l.Kind]; failed && one.Site == l.Site && one.Retired == "" {
			return fmt.Sprintf("%s: not %s: %s", l.Site, l.Kind, f.Error)
		}
	}
	return fmt.Sprintf("%s: %s", l.Site, l.Kind)
}

// notGood is an error when a look failed since then.
func notGood(v *orchestrator.AccountVerification, asked time.Time) error {
	var bad []string
	for _, one := range v.Copies {
		for _, f := range one.Errors {
			if !f.At.Before(asked) && !slices.Contains(bad, string(one.Site)) {
				bad = append(bad, string(one.Site))
			}
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return &notGoodError{v.Protection.Account, bad}
}

// notGoodError: looks that were waited for have found something, or could not be made.
type notGoodError struct {
	account state.AccountName
	sites   []string
}

func (e *notGoodError) Error() string {
	return fmt.Sprintf("the copy of %s at %s is not known to be good", e.account, strings.Join(e.sites, ", "))
}

func printVerified(w io.Writer, v *orchestrator.AccountVerification) {
	t := newTable("SITE", "COPIED", "SCRUBBED", "CHECKED", "READ", "PROVEN", "PROVEN SNAPSHOT")
	for _, c := range v.Copies {
		site := string(c.Site)
		if c.Home {
			site += " (home)"
		}
		if c.Retired != "" {
			site += " of " + c.Retired + ", read only"
		}
		copied := "nothing"
		if c.Snapshot != "" {
			copied = short(max(0, v.At.Sub(c.Start))) + " old"
		}
		read := ago(v.At, c.ReadSince)
		if c.Part > 0 {
			read += ", now " + strconv.Itoa(c.Part) + " of " + strconv.Itoa(c.Parts)
		}
		t.add(site, copied, ago(v.At, c.Scrubbed), ago(v.At, c.Checked), read, ago(v.At, c.Proven), or(c.Restored.Short()))
	}
	t.print(w)
	fmt.Fprintf(w, "limits: checked within %s, read within %s, proven within %s\n", short(v.CheckWithin), short(v.ReadWithin), short(v.ProveWithin))
	for _, c := range v.Copies {
		if c.Failure != "" {
			fmt.Fprintf(w, "! the last copy to %s failed: %s\n", clean(string(c.Site)), clean(c.Failure))
		}
		for _, kind := range slices.Sorted(maps.Keys(c.Errors)) {
			f := c.Errors[kind]
			fmt.Fprintf(w, "! not %s at %s, %s, %d in a row: %s\n", clean(string(kind)), clean(string(c.Site)), ago(v.At, f.At), f.Count, clean(f.Error))
		}
	}
	if m := v.Maintenance; m != nil {
		fmt.Fprintln(w, clean(maintenanceLine(v.At, m)))
	}
	for _, line := range keyLines(v.At, v.Keys) {
		fmt.Fprintln(w, clean(line))
	}
	if p := v.Protection; p.Protected {
		fmt.Fprintf(w, "protected: a loss of any of these sites would cost at most the last %s\n", short(p.Age))
	} else {
		fmt.Fprintf(w, "not protected: %s\n", clean(p.Why))
	}
}
