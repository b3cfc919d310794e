package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drp/replicator"
)

const replicateLong = `Replicate copies restic repositories from one S3 store to another, without a key to them: no password is needed. It asks
no coordinator. PREFIX is one repository or a folder with any number of them; what lies below it at the source comes to lie
below the other PREFIX at the destination.

Each object is read once, held against the SHA-256 that its name is, and written with that hash for the store to check.
What is there already is not read. Packs are written before the indexes that name them, and those before the snapshots:
whenever the command ends, what is at the destination can be restored. Locks are not copied. Nothing is ever deleted or
overwritten, but an object that is not what its name says. The key of the source need not be able to write.

With --scrub nothing new is copied: every object at both ends is read and held against its name, and what is broken or
lost at the destination is written again from the source. Turned round (--from the replica) it repairs a home.

Exit codes: 0 all is there, 1 a store did not answer or there is no repository, 2 wrong input, 5 some repositories are
not complete at the destination, or have broken objects that no copy can heal, 130 interrupted.`

// replication is one `drp replicate`.
type replication struct {
	from, to  storeFlags
	bandwidth string
	parallel  int
	scrub     bool

	json     bool
	out, err io.Writer
	progress replicator.Progress
	began    time.Time
}

func newReplicateCommand(c *connection) *cobra.Command {
	r := &replication{from: storeFlags{side: "from"}, to: storeFlags{side: "to"}}
	cmd := &cobra.Command{
		Use: "replicate", Short: "Copy restic repositories between any two S3 stores", Long: replicateLong, Args: cobra.NoArgs,
		Example: `  export DRP_FROM_ACCESS_KEY=… DRP_FROM_SECRET_KEY=… DRP_TO_ACCESS_KEY=… DRP_TO_SECRET_KEY=…
  drp replicate --from s3://backups --from-endpoint https://s3.par1.example --to s3://copies --to-endpoint https://s3.par2.example`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r.json, r.out, r.err = c.json, cmd.OutOrStdout(), cmd.ErrOrStderr()
			return r.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	r.from.addFlags(f, "what is copied")
	r.to.addFlags(f, "where to")
	f.StringVar(&r.bandwidth, "bandwidth", "", "read no more than `BYTES` a second: 500KiB, 20MiB, 20MB")
	f.IntVar(&r.parallel, "parallel", 8, "objects in flight")
	f.BoolVar(&r.scrub, "scrub", false, "copy nothing new; read every object of both sides, and repair the destination")
	return cmd
}

func (r *replication) run(ctx context.Context) error {
	collectAt(spareCollections)
	src, dst, err := r.stores()
	if err != nil {
		return err
	}
	defer src.Close()
	defer dst.Close()
	r.began = time.Now()
	stop := r.showProgress(ctx)
	defer stop()
	if r.scrub {
		return r.heal(ctx, src, dst, stop)
	}
	return r.copy(ctx, src, dst, stop)
}

func (r *replication) stores() (src, dst *replicator.Store, err error) {
	if r.from.name == "" || r.to.name == "" {
		return nil, nil, usageError{errors.New("give --from s3://BUCKET[/PREFIX] and --to s3://BUCKET[/PREFIX]")}
	}
	if r.parallel < 1 || r.parallel > 256 {
		return nil, nil, usageError{fmt.Errorf("--parallel %d: want 1 to 256", r.parallel)}
	}
	from, fromFolder, err := r.from.config()
	if err != nil {
		return nil, nil, err
	}
	to, toFolder, err := r.to.config()
	if err != nil {
		return nil, nil, err
	}
	if strings.TrimSuffix(from.Endpoint, "/") == strings.TrimSuffix(to.Endpoint, "/") && from.Bucket == to.Bucket &&
		(strings.HasPrefix(fromFolder, toFolder) || strings.HasPrefix(toFolder, fromFolder)) {
		return nil, nil, usageError{fmt.Errorf("%s and %s at %s are the same place, or one lies within the other", r.from.name, r.to.name, from.Endpoint)}
	}
	if r.bandwidth != "" {
		bytes, err := parseBytes(r.bandwidth)
		if err != nil {
			return nil, nil, usageError{fmt.Errorf("--bandwidth %w", err)}
		}
		limit := replicator.NewBandwidth(bytes)
		from.Bandwidth, to.Bandwidth = limit, limit
	}
	if src, err = replicator.Open(from); err != nil {
		return nil, nil, usageError{err}
	}
	if dst, err = replicator.Open(to); err != nil {
		return nil, nil, usageError{err}
	}
	return src.Under(fromFolder), dst.Under(toFolder), nil
}

func (r *replication) options() replicator.Options {
	return replicator.Options{Workers: r.parallel, Progress: &r.progress}
}

// copied is one repository's line of JSON.
type copied struct {
	Repository string   `json:"repository"` // below the prefix; empty: the prefix itself
	Objects    int64    `json:"objects"`    // written
	Bytes      int64    `json:"bytes"`
	Snapshots  int      `json:"snapshots"` // at the destination with all that they need
	Broken     []string `json:"broken,omitempty"`
	Missing    []string `json:"missing,omitempty"`
	Error      string   `json:"error,omitempty"`
}

// copiedAll is the last line of JSON.
type copiedAll struct {
	Repositories int     `json:"repositories"`
	Unchanged    int     `json:"unchanged"`
	Failed       int     `json:"failed"`
	Objects      int64   `json:"objects"`
	Bytes        int64   `json:"bytes"`
	Seconds      float64 `json:"seconds"`
	OnlyThere    int     `json:"only_at_destination"`
	Strange      int     `json:"other_objects"` // below the source's prefix, part of no repository, not copied
}

func (r *replication) copy(ctx context.Context, src, dst *replicator.Store, stop func()) error {
	var all copiedAll
	survey, err := replicator.Folder(ctx, src, dst, r.options(), func(o replicator.Outcome) {
		all.Repositories++
		all.Objects += o.Report.Objects
		all.Bytes += o.Report.Bytes
		switch {
		case o.Unchanged || o.Err == nil && o.Report.Objects == 0 && len(o.Report.Broken) == 0:
			all.Unchanged++
			return
		case o.Err != nil:
			all.Failed++
		}
		r.line(copiedLine(src, o))
	})
	stop()
	if err != nil {
		return err
	}
	if all.Repositories == 0 {
		return fmt.Errorf("look at %s: %w below it", src, replicator.ErrNoRepository)
	}
	all.Seconds, all.OnlyThere, all.Strange = time.Since(r.began).Seconds(), survey.OnlyThere, survey.Strange
	r.line(all, all.String())
	if all.Failed > 0 {
		return &runError{fmt.Sprintf("%d of %d repositories are not complete at %s", all.Failed, all.Repositories, dst)}
	}
	return nil
}

func copiedLine(src *replicator.Store, o replicator.Outcome) (copied, string) {
	c := copied{
		Repository: strings.TrimSuffix(o.Prefix, "/"), Objects: o.Report.Objects, Bytes: o.Report.Bytes,
		Snapshots: len(o.Report.Snapshots), Broken: o.Report.Broken, Missing: o.Report.Missing,
	}
	text := fmt.Sprintf("%s: %s copied", nameOf(src, o.Prefix), amount(c.Objects, c.Bytes))
	if o.Err != nil {
		c.Error = o.Err.Error()
		text += ": failed: " + c.Error
	} else {
		text += fmt.Sprintf(", %d snapshots there", c.Snapshots)
	}
	for _, key := range c.Broken {
		text += "\n  broken at the source: " + key
	}
	for _, key := range c.Missing {
		text += "\n  listed and then gone: " + key
	}
	return c, text
}

func (a copiedAll) String() string {
	text := fmt.Sprintf("%d repositories: %d unchanged, %d copied, %d failed; %s in %s", a.Repositories, a.Unchanged,
		a.Repositories-a.Unchanged-a.Failed, a.Failed, amount(a.Objects, a.Bytes), short(time.Duration(a.Seconds*float64(time.Second))))
	if a.OnlyThere > 0 {
		text += fmt.Sprintf("\n%d repositories are at the destination alone; they are left as they are", a.OnlyThere)
	}
	if a.Strange > 0 {
		text += fmt.Sprintf("\n%d objects at the source are part of no repository; they are not copied", a.Strange)
	}
	return text
}

// healed is one repository's line of JSON after --scrub.
type healed struct {
	Repository string   `json:"repository"`
	Objects    int64    `json:"objects"` // read, at both ends
	Bytes      int64    `json:"bytes"`
	Source     []string `json:"broken_at_source,omitempty"`
	There      []string `json:"broken_at_destination,omitempty"`
	Lost       []string `json:"lost_at_destination,omitempty"`
	Repaired   []string `json:"repaired,omitempty"`
	Unhealed   []string `json:"unhealed,omitempty"`
	Error      string   `json:"error,omitempty"`
}

func (r *replication) heal(ctx context.Context, src, dst *replicator.Store, stop func()) error {
	var repositories, unsound, repaired int
	err := replicator.HealFolder(ctx, src, dst, r.options(), func(h replicator.Healed, err error) {
		repositories++
		repaired += len(h.Repaired.Written)
		if err != nil || !h.Sound() {
			unsound++
		}
		line, text := healedLine(src, h, err)
		r.line(line, text)
	})
	stop()
	if err != nil {
		return err
	}
	if repositories == 0 {
		return fmt.Errorf("look at %s and %s: %w below either", src, dst, replicator.ErrNoRepository)
	}
	if !r.json {
		fmt.Fprintf(r.out, "%d repositories: %s read in %s; %d objects repaired at the destination, %d repositories not sound\n", repositories,
			amount(r.progress.Objects.Load(), r.progress.Bytes.Load()), short(time.Since(r.began)), repaired, unsound)
	}
	if unsound > 0 {
		return &runError{fmt.Sprintf("%d of %d repositories are not sound at both ends", unsound, repositories)}
	}
	return nil
}

func healedLine(src *replicator.Store, h replicator.Healed, err error) (healed, string) {
	line := healed{
		Repository: strings.TrimSuffix(h.Prefix, "/"), Objects: h.Here.Objects + h.There.Objects, Bytes: h.Here.Bytes + h.There.Bytes,
		Source: append(h.Here.Broken, h.Here.Gone...), There: append(h.There.Broken, h.There.Gone...), Lost: h.Lost,
		Repaired: h.Repaired.Written, Unhealed: h.Repaired.Unhealed,
	}
	text := fmt.Sprintf("%s: %s read", nameOf(src, h.Prefix), amount(line.Objects, line.Bytes))
	switch {
	case err != nil:
		line.Error = err.Error()
		text += ": failed: " + line.Error
	case len(line.Source)+len(line.There)+len(line.Lost) == 0:
		text += ", all good"
	}
	for _, part := range []struct {
		what string
		keys []string
	}{
		{"broken at the source (where the destination's is good, the same command turned round repairs it)", line.Source},
		{"broken at the destination", line.There}, {"lost at the destination", line.Lost},
		{"repaired", line.Repaired}, {"not healed: the source has no good one", line.Unhealed},
	} {
		for _, key := range part.keys {
			text += "\n  " + part.what + ": " + key
		}
	}
	return line, text
}

// nameOf a repository below a store's folder; that of the folder itself is the store's.
func nameOf(s *replicator.Store, prefix string) string {
	if prefix == "" {
		return s.String()
	}
	return strings.TrimSuffix(prefix, "/")
}

func amount(objects, bytes int64) string {
	return fmt.Sprintf("%d objects, %s", objects, size(bytes))
}

// line prints one line, as JSON or as text. It may have lines below it.
func (r *replication) line(v any, text string) {
	if r.json {
		_ = json.NewEncoder(r.out).Encode(v) // shows at the end, when the shell finds its output closed
		return
	}
	clear := ""
	if isTerminal(r.err) {
		clear = "\r\x1b[K"
	}
	for n, l := range strings.Split(text, "\n") {
		if n == 0 {
			fmt.Fprint(r.out, clear)
		} else {
			fmt.Fprint(r.out, "  ")
		}
		fmt.Fprintln(r.out, clean(strings.TrimLeft(l, " ")))
	}
}

// showProgress keeps a line on the terminal until stop is called.
func (r *replication) showProgress(ctx context.Context) (stop func()) {
	if !isTerminal(r.err) {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				fmt.Fprint(r.err, "\r\x1b[K")
				return
			case <-tick.C:
				took := time.Since(r.began)
				bytes := r.progress.Bytes.Load()
				fmt.Fprintf(r.err, "\r\x1b[K%s in %s, %s/s", amount(r.progress.Objects.Load(), bytes), short(took), size(int64(float64(bytes)/took.Seconds())))
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// parseBytes reads 500KiB, 20MiB, 1.5GB, or bytes.
func parseBytes(text string) (int64, error) {
	number, unit := text, int64(1)
	for _, u := range []struct {
		name string
		size int64
	}{
		{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1},
	} {
		if rest, ok := strings.CutSuffix(text, u.name); ok {
			number, unit = rest, u.size
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !(n*float64(unit) >= 1<<10) || n*float64(unit) > 1<<40 {
		return 0, fmt.Errorf("%q: want a number with a unit, as 500KiB, 20MiB or 20MB, between 1KiB and 1TiB", text)
	}
	return int64(n * float64(unit)), nil
}
