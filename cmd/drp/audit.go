package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"drp/orchestrator/api"
	"drp/raftstore/audit"
	"drp/raftstore/state"
)

// newestEntries are shown when nobody says which.
const newestEntries = 50

func newAuditCommand(c *connection) *cobra.Command {
	cmd := &cobra.Command{Use: "audit", Short: "The record of who did, and who read, what", RunE: group}
	cmd.AddCommand(newAuditShowCommand(c), newAuditExportCommand(c), newAuditVerifyCommand(c))
	return cmd
}

const auditShowLong = `Show entries of the audit trail: what was done, read and refused, by whom, and when. Without --from and --since the newest
50 are shown. To look at the trail is itself recorded.

The coordinators hold the newest entries; all of them are in each site's store, as segments that --file reads without a
platform. A segment that was changed is told of where it was, and nothing after that is shown.`

func newAuditShowCommand(c *connection) *cobra.Command {
	var q auditQuery
	var file string
	cmd := &cobra.Command{
		Use: "show", Short: "Show what was done and read, by whom, and when", Long: auditShowLong, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if q.from > 0 && q.since > 0 {
				return usageError{errors.New("give --from or --since, one of the two")}
			}
			out := newEntryPrinter(cmd.OutOrStdout(), c.json)
			if file != "" {
				return out.end(q.read(file, out))
			}
			return c.run(func(cmd *cobra.Command, client *api.Client, _ []string) error {
				return out.end(q.ask(cmd, client, out))
			})(cmd, args)
		},
	}
	f := cmd.Flags()
	f.Uint64Var(&q.from, "from", 0, "begin at the entry of this `number`")
	f.DurationVar(&q.since, "since", 0, "leave out what is older than this, such as 2h")
	f.StringVar(&q.account, "account", "", "only what was about this `account`")
	f.StringVar(&q.by, "by", "", "only of this person or program: `role/name`, or the name alone")
	f.StringVar(&file, "file", "", "read this exported `segment` instead of asking a coordinator")
	return cmd
}

// auditQuery is which entries are wanted.
type auditQuery struct {
	from        uint64
	since       time.Duration
	account, by string
}

func (q auditQuery) oldest(now time.Time) time.Time {
	if q.since == 0 {
		return time.Time{}
	}
	return now.Add(-q.since)
}

func (q auditQuery) ask(cmd *cobra.Command, client *api.Client, out *entryPrinter) error {
	since, from := q.oldest(time.Now()), q.from
	if from == 0 && q.since == 0 && q.account == "" && q.by == "" {
		page, err := client.Audit(cmd.Context(), math.MaxUint64, time.Time{}, "", "")
		if err != nil {
			return err
		}
		from = page.Head.Seq - min(page.Head.Seq, newestEntries-1)
	}
	var first *api.AuditPage
	for {
		page, err := client.Audit(cmd.Context(), from, since, q.account, q.by)
		if err != nil {
			return err
		}
		if first == nil {
			first = page
			if wanted := max(q.from, 1); page.Head.First > wanted && (q.from > 0 || q.since == 0) {
				fmt.Fprintf(cmd.ErrOrStderr(), "drp: entries before %d are in the sites' stores alone: drp audit show --file SEGMENT\n", page.Head.First)
			}
		}
		for _, e := range page.Entries {
			if err := out.print(e); err != nil {
				return err
			}
		}
		// What has come since the first page, our own reading for one, is for the next look.
		if from = page.Next; from > first.Head.Seq {
			return nil
		}
	}
}

func (q auditQuery) read(path string, out *entryPrinter) error {
	f, err := os.Open(path)
	if err != nil {
		return usageError{err}
	}
	defer f.Close()
	since := q.oldest(time.Now())
	_, err = audit.Scan(f, func(e *state.AuditEntry) error {
		if e.Seq < q.from || !api.AuditMatches(e, since, q.account, q.by) {
			return nil
		}
		return out.print(e)
	})
	return inFile(path, err)
}

// inFile says of which file a fault is.
func inFile(path string, err error) error {
	var fault *audit.Fault
	if errors.As(err, &fault) {
		fault.File = path
	}
	return err
}

// entryPrinter prints entries as they come: a trail may be longer than memory.
type entryPrinter struct {
	w     *bufio.Writer
	array bool // as JSON
	count int
}

func newEntryPrinter(w io.Writer, array bool) *entryPrinter {
	return &entryPrinter{w: bufio.NewWriter(w), array: array}
}

const entryColumns = "%8s  %-19s  %-24s  %-18s  %s\n"

func (p *entryPrinter) print(e *state.AuditEntry) error {
	p.count++
	if p.array {
		start := ",\n"
		if p.count == 1 {
			start = "[\n"
		}
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(p.w, "%s  %s", start, line)
		return err
	}
	if p.count == 1 {
		fmt.Fprintf(p.w, entryColumns, "ENTRY", "TIME", "BY", "COMMAND", "WHAT")
	}
	what := e.Subject
	if e.Detail != "" {
		if what != "" {
			what += ": "
		}
		what += e.Detail
	}
	if e.Refused != "" {
		what += " (refused: " + e.Refused + ")"
	}
	_, err := fmt.Fprintf(p.w, entryColumns, fmt.Sprint(e.Seq), localTime(e.At), clean(e.By), clean(string(e.Command)), clean(what))
	return err
}

// end prints what is left. What was printed is good, also when an error came after it.
func (p *entryPrinter) end(err error) error {
	switch {
	case p.array && p.count == 0 && err == nil:
		fmt.Fprintln(p.w, "[]")
	case p.array && p.count > 0:
		fmt.Fprintln(p.w, "\n]")
	case p.count == 0 && err == nil:
		fmt.Fprintln(p.w, "no entries")
	}
	return errors.Join(err, p.w.Flush())
}

func newAuditExportCommand(c *connection) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use: "export -o FILE", Short: "Write what the coordinators hold of the audit trail into a file", Args: cobra.NoArgs,
		Long: `Write what the coordinators hold of the audit trail into a file, as one segment that drp audit verify reads. Older entries
are in the sites' stores, in segments of the same form; verify reads them together.`,
		RunE: c.run(func(cmd *cobra.Command, client *api.Client, _ []string) error {
			if path == "" {
				return usageError{errors.New("say where to: -o FILE")}
			}
			return exportTrail(cmd, client, path)
		}),
	}
	cmd.Flags().StringVarP(&path, "output", "o", "", "`file` to write; it must not exist")
	return cmd
}

// exportTrail makes the file under another name first: one that bears the name is whole.
func exportTrail(cmd *cobra.Command, client *api.Client, path string) (err error) {
	if _, err := os.Lstat(path); err == nil {
		return usageError{fmt.Errorf("%s exists already: give another name", path)}
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), ".drp-audit-*")
	if err != nil {
		return usageError{err}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, temporary.Close(), os.Remove(temporary.Name()))
		}
	}()
	w := bufio.NewWriter(temporary)
	first, last, head, err := writeTrail(cmd, client, w)
	if err != nil {
		return err
	}
	if err := errors.Join(w.Flush(), temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	if err := os.Link(temporary.Name(), path); err != nil { // unlike a rename it replaces nothing
		return err
	}
	if err := os.Remove(temporary.Name()); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "audit export: entries=%d first=%d last=%d head=%s file=%s\n", last-first+1, first, last, head, clean(path))
	return nil
}

func writeTrail(cmd *cobra.Command, client *api.Client, to io.Writer) (first, last uint64, head state.Digest, err error) {
	page, err := client.Audit(cmd.Context(), 0, time.Time{}, "", "")
	if err != nil {
		return 0, 0, head, err
	}
	through := page.Head.Seq
	if len(page.Entries) == 0 {
		return 0, 0, head, errors.New("the audit trail has no entry yet")
	}
	header := audit.Header{Cluster: page.Cluster, First: page.Entries[0].Seq}
	if header.First > 1 { // of the oldest one held the hash is known alone, and not that before it
		header.First, header.Previous = header.First+1, page.Entries[0].Hash
		page.Entries = page.Entries[1:]
	}
	w, err := audit.NewWriter(to, header)
	if err != nil {
		return 0, 0, head, err
	}
	for {
		for _, e := range page.Entries {
			if err := w.Add(e); err != nil {
				return 0, 0, head, err
			}
		}
		if page.Next > through {
			break
		}
		if page, err = client.Audit(cmd.Context(), page.Next, time.Time{}, "", ""); err != nil {
			return 0, 0, head, err
		}
	}
	last, head = w.Head()
	return header.First, last, head, w.Close()
}
