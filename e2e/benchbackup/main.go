// Command benchbackup measures a backup through the gateway beside the same restic straight at the S3 store. The gateway is
// `drp gateway`, a process of its own with certificates as in production; a leader that knows one account stands in for the
// coordinators. The store is one versitygw on loopback, in memory. Runs are interleaved in pairs: what else the machine
// does hits both. Neither has a cache, as an agent's restic has none.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"drp/e2e/measure"
	"drp/e2e/verdict"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "benchbackup:", err)
		os.Exit(1)
	}
}

// bench is what all cases need.
type bench struct {
	programs string // directory
	dir      string
	pairs    int
	size     int64 // bytes of the large files together
	small    int   // files
	store    *measure.Store
	gateway  *gateway
	say      func(verdict.Verdict)
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("benchbackup", flag.ContinueOnError)
	flags.SetOutput(stderr)
	b := &bench{}
	var only, dir string
	var mib int64
	flags.StringVar(&b.programs, "bin", "bin", "directory of drp, restic and versitygw")
	flags.StringVar(&only, "only", "large,small,unchanged,changed", "which cases")
	flags.IntVar(&b.pairs, "pairs", 9, "runs of each")
	flags.Int64Var(&mib, "size", 1024, "of the large files together, in MiB")
	flags.IntVar(&b.small, "small", 20_000, "how many small files")
	flags.StringVar(&dir, "dir", "/dev/shm", "where the store and the files lie; with default flags it takes 4 GiB")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if mib < 1 || b.pairs < 1 || b.small < 100 {
		return fmt.Errorf("-size %d, -pairs %d, -small %d: want at least 1, 1, 100", mib, b.pairs, b.small)
	}
	b.size = mib << 20
	if b.programs, err = filepath.Abs(b.programs); err != nil {
		return fmt.Errorf("find programs: %w", err)
	}
	if b.dir, err = os.MkdirTemp(dir, "drp-bench-"); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if b.store, err = measure.StartStore(ctx, b.programs, b.dir, "store"); err != nil {
		return err
	}
	defer b.store.Kill()
	if b.gateway, err = b.startGateway(ctx); err != nil {
		return err
	}
	defer b.gateway.stop()
	tally := &verdict.Tally{Out: stdout}
	b.say = tally.Say
	for _, c := range cases {
		if !slices.Contains(strings.Split(only, ","), c.name) {
			continue
		}
		if err := b.measure(ctx, c); err != nil {
			return fmt.Errorf("measure %s: %w", c.name, err)
		}
	}
	fmt.Fprintln(stdout, "bench-backup:", tally)
	return nil // it could be measured; what falls short is said
}
