// Command benchreplicate measures drp replicate beside what else copies objects between two S3 stores: a bare loop that
// verifies nothing, mc mirror, rclone sync --checksum, and restic copy. Everything is a process of its own; the stores are
// two versitygw on loopback, in memory. Rounds are interleaved: what else the machine does hits all of them. Each
// line says its limit, and whether it holds.
//
// What limits drp here is not drp: see the lines "stores". The stores spend five times the copier's processor time on each
// byte (profiled: MD5 for the ETag 43 %, SHA-256 21 %, CRC 21 %, system calls 14 %; a GiB takes 3 to 4 s). In the copier's own
// profile system calls, to move the bytes, are nearly all; when it hashes, too, SHA-256 is 62 %, and the whole copy
// takes a quarter more. So it has the store hash large objects in place of its CRC.
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
	"strconv"
	"strings"
	"syscall"

	"drp/e2e/measure"
	"drp/e2e/verdict"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	run := command
	if len(os.Args) > 1 && os.Args[1] == bareCommand {
		run = bare
	}
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "benchreplicate:", err)
		os.Exit(1)
	}
}

// bench is what all cases need.
type bench struct {
	programs    string // directory
	dir         string
	pairs       int
	resticPairs int
	size        int64
	small       int
	source      *measure.Store
	target      *measure.Store
	say         func(verdict.Verdict)
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("benchreplicate", flag.ContinueOnError)
	flags.SetOutput(stderr)
	b := &bench{}
	var only, size, dir string
	flags.StringVar(&b.programs, "bin", "bin", "directory of drp, restic, versitygw, rclone and mc")
	flags.StringVar(&only, "only", "large,many,unchanged,changed,packs,fast", "which cases")
	flags.IntVar(&b.pairs, "pairs", 9, "rounds of every peer but restic")
	flags.IntVar(&b.resticPairs, "restic-pairs", 1, "rounds of restic copy")
	flags.StringVar(&size, "size", "2048", "of the large repository, in MiB")
	flags.IntVar(&b.small, "small", 500, "how many small repositories")
	flags.StringVar(&dir, "dir", "/dev/shm", "where the stores keep their files; with default flags it takes 9 GiB")
	if err := flags.Parse(args); err != nil {
		return err
	}
	mib, err := strconv.ParseInt(size, 10, 64)
	if err != nil || mib < 1 || b.pairs < 1 || b.small < 1 {
		return fmt.Errorf("-size %q, -pairs %d, -small %d: want at least 1", size, b.pairs, b.small)
	}
	b.size = mib << 20
	if b.programs, err = filepath.Abs(b.programs); err != nil {
		return fmt.Errorf("find programs: %w", err)
	}
	if b.dir, err = os.MkdirTemp(dir, "drp-bench-"); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if b.source, err = measure.StartStore(ctx, b.programs, b.dir, "source"); err != nil {
		return err
	}
	defer b.source.Kill()
	if b.target, err = measure.StartStore(ctx, b.programs, b.dir, "target"); err != nil {
		return err
	}
	defer b.target.Kill()
	tally := &verdict.Tally{Out: stdout}
	b.say = tally.Say
	for _, c := range b.cases() {
		if !slices.Contains(strings.Split(only, ","), c.name) {
			continue
		}
		if err := b.measure(ctx, c); err != nil {
			return fmt.Errorf("measure %s: %w", c.name, err)
		}
	}
	if slices.Contains(strings.Split(only, ","), "fast") {
		if err := b.target.Holds(""); err != nil {
			return err
		}
		if err := b.fast(ctx); err != nil {
			return fmt.Errorf("measure fast: %w", err)
		}
	}
	fmt.Fprintln(stdout, "bench-replicate:", tally)
	return nil // it could be measured; what falls short is said
}
