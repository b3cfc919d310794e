package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drp/replicator/storecheck"
)

const storeCheckLong = `Check finds out what an S3 store really does, with objects of its own below a fresh prefix (PREFIX/.drp-check-…), about
300 MiB to and fro. It removes them at the end, also when it is interrupted. It asks no coordinator. Run it with the key that
the site's gateway and worker have, before a store is used and after each upgrade of its software.

A line for each property: ok, no, or unknown (the store did not answer in a way that tells); for what is not ok, what is
therefore not guaranteed, and what drp does instead. What drp cannot do without is marked "needed". Nothing in drp rests on
a store's conditional writes, locks or versions. What the erasure of an account needs (to see and delete what a bucket keeps of
versions, and unfinished uploads) is tried too; a right that the key lacks for it is named. What a store does at a power cut cannot
be told from outside.

Exit codes: 0 all that drp needs holds, 1 the store could not be asked or a probe could not be removed, 2 wrong input, 7
something that drp needs does not hold, or could not be told, 130 interrupted.`

func newStoreCommand(c *connection) *cobra.Command {
	cmd := &cobra.Command{Use: "store", Short: "Find out what an S3 store really does", RunE: group}
	cmd.AddCommand(newStoreCheckCommand(c))
	return cmd
}

func newStoreCheckCommand(c *connection) *cobra.Command {
	var s storeFlags
	cmd := &cobra.Command{
		Use: "check s3://BUCKET[/PREFIX]", Short: "Test a store's hashes, listings, deletions, versions, locks and clock", Long: storeCheckLong,
		Args: cobra.ExactArgs(1),
		Example: `  export DRP_STORE_ACCESS_KEY=… DRP_STORE_SECRET_KEY=…
  drp store check s3://backups --endpoint https://s3.par1.example`,
		RunE: func(cmd *cobra.Command, args []string) error {
			s.name = args[0]
			config, folder, err := s.config()
			if err != nil {
				return err
			}
			check := storecheck.Check{Store: config, Folder: folder}
			if w := cmd.ErrOrStderr(); isTerminal(w) && !c.json {
				check.Progress = func(property string) { fmt.Fprintf(w, "\r\x1b[K%s …", property) }
				defer fmt.Fprint(w, "\r\x1b[K")
			}
			return checkStore(cmd, check, c.json)
		},
	}
	s.addPlaceFlags(cmd.Flags())
	return cmd
}

// unfitError is for whoever wants to use the store.
type unfitError struct{ lacking []string }

func (e *unfitError) Error() string {
	return "this store is not fit for drp: not found to hold: " + strings.Join(e.lacking, ", ")
}

func checkStore(cmd *cobra.Command, check storecheck.Check, json bool) error {
	report, err := check.Run(cmd.Context())
	if report == nil {
		return err
	}
	out := cmd.OutOrStdout()
	if check.Progress != nil {
		fmt.Fprint(cmd.ErrOrStderr(), "\r\x1b[K")
	}
	if json {
		err = errors.Join(err, printJSON(out, report))
	} else {
		printStoreReport(out, report)
	}
	if lacking := report.Lacking(); err == nil && len(lacking) > 0 {
		err = &unfitError{lacking}
	}
	return err
}

func printStoreReport(w io.Writer, r *storecheck.Report) {
	for _, x := range r.Results {
		needed := ""
		if x.Needed && x.Answer != storecheck.OK {
			needed = " (needed)"
		}
		fmt.Fprintf(w, "%-8s %-18s %s\n", x.Answer, clean(x.Property)+needed, clean(x.Detail))
		if x.Answer != storecheck.OK {
			for _, line := range wrap(fmt.Sprintf("not guaranteed: %s; instead: %s", x.NotGuaranteed, x.Instead), tableWidth-9) {
				fmt.Fprintf(w, "%9s%s\n", "", line)
			}
		}
	}
	for _, m := range r.Measured {
		line := fmt.Sprintf("measured %-18s median %s, at most %s, of %d", m.What, m.Median.Round(10*time.Microsecond), m.Most.Round(10*time.Microsecond), m.Requests)
		if m.PerSecond > 0 {
			line += fmt.Sprintf("; %s, %s/s", size(m.Bytes), size(m.PerSecond))
		}
		fmt.Fprintln(w, line)
	}
	verdict := "all that drp needs holds"
	if !r.Fit {
		verdict = "not fit for drp"
	}
	fmt.Fprintf(w, "%s: %d ok, %d no, %d unknown: %s\n", r.Store, r.Count(storecheck.OK), r.Count(storecheck.No), r.Count(storecheck.Unknown), verdict)
}
