// Command chaos torments clusters of real drp server processes, and judges what their clients saw: was every account
// always what one copy of it could have been, and is everything there at the end that was acknowledged?
//
// Each run has a cluster of its own, in namespaces of its own; it prints one line, and its seed repeats what is done to
// the cluster. A run whose cluster does not come back counts as a violation. Clocks are not among the things that
// go wrong here: Linux has one wall clock for all processes.
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
	"syscall"
	"time"
)

func main() { os.Exit(start(os.Args[1:], os.Stdout, os.Stderr)) }

func start(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := command(ctx, args, stdout, stderr)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, flag.ErrHelp):
		return 2
	}
	fmt.Fprintln(stderr, "chaos:", err)
	return 1
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var s series
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&s.runs, "runs", len(kinds()), "how many runs")
	flags.Uint64Var(&s.seed, "seed", 1, "of the first run; the next one has the next seed")
	flags.StringVar(&s.kind, "kind", "", fmt.Sprintf("of all runs (default: they take turns, by seed): %v", kindNames()))
	flags.IntVar(&s.parallel, "parallel", 2, "runs at the same time")
	flags.DurationVar(&s.length, "length", 15*time.Second, "of one run, at least")
	flags.StringVar(&s.program, "drp", "bin/drp", "the program to run")
	inside := flags.String("inside", "", "directory of the one run to do here, in namespaces made for it (chaos calls itself so)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	program, err := filepath.Abs(s.program)
	if err != nil {
		return fmt.Errorf("find drp: %w", err)
	}
	s.program = program
	if *inside != "" {
		return s.inside(ctx, *inside, stdout, stderr)
	}
	return s.run(ctx, stdout, stderr)
}
