// Command bench measures what Raft and the state cost: throughput beside a bare hashicorp/raft loop, failover, and a
// state as large as the largest platform that drp is made for. Each line says its limit, and whether it holds.
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
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"

	"drp/e2e/verdict"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	program := flags.String("drp", "bin/drp", "the program to run")
	only := flags.String("only", "throughput,failover,large", "which parts")
	pairs := flags.Int("pairs", 9, "rounds of each side, for each number of clients")
	length := flags.Duration("length", 1500*time.Millisecond, "of one round")
	kills := flags.Int("kills", 50, "of a leader")
	profile := flags.String("profile", "", "file for a profile of this process, where throughput is measured")
	if err := flags.Parse(args); err != nil {
		return err
	}
	absolute, err := filepath.Abs(*program)
	if err != nil {
		return fmt.Errorf("find drp: %w", err)
	}
	dir, err := os.MkdirTemp("", "drp-bench-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return fmt.Errorf("profile: %w", err)
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return fmt.Errorf("profile: %w", err)
		}
		defer func() {
			pprof.StopCPUProfile()
			err = errors.Join(err, f.Close())
		}()
	}
	tally := &verdict.Tally{Out: stdout}
	parts := []struct {
		name string
		run  func(dir string) error
	}{
		{"throughput", func(dir string) error { return throughput(ctx, dir, *pairs, *length, tally.Say) }},
		{"failover", func(dir string) error { return failover(ctx, absolute, dir, *kills, tally.Say) }},
		{"large", func(dir string) error { return large(ctx, absolute, dir, tally.Say) }},
	}
	for _, p := range parts {
		if !slices.Contains(strings.Split(*only, ","), p.name) {
			continue
		}
		own := filepath.Join(dir, p.name)
		if err := os.Mkdir(own, 0o700); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
		if err := p.run(own); err != nil {
			return fmt.Errorf("measure %s: %w", p.name, err)
		}
	}
	fmt.Fprintln(stdout, "bench-raft:", tally)
	return nil // it could be measured; what falls short is said
}
