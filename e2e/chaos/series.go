package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// series is a number of runs.
type series struct {
	runs     int
	seed     uint64
	kind     string
	parallel int
	length   time.Duration
	program  string
}

// report is what one run tells the series.
type report struct {
	Line       string
	Ops        int
	Violations int
	Unknown    int
	Detail     string // of what went wrong
}

var errWrong = errors.New("not all runs were right")

func (s series) kindOf(seed uint64) (kind, error) {
	if s.kind != "" {
		return findKind(s.kind)
	}
	all := kinds()
	return all[(seed-1)%uint64(len(all))], nil
}

func (s series) run(ctx context.Context, stdout, stderr io.Writer) error {
	if os.Geteuid() != 0 {
		return errors.New("this needs root: it makes namespaces, and disks that break")
	}
	if _, err := s.kindOf(s.seed); err != nil {
		return err
	}
	if _, err := os.Stat(s.program); err != nil {
		return fmt.Errorf("find drp: %w", err)
	}
	dir, err := os.MkdirTemp("", "drp-chaos-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	var (
		mu    sync.Mutex
		total report
		done  int
	)
	var group errgroup.Group
	group.SetLimit(max(s.parallel, 1))
	for n := range s.runs {
		group.Go(func() error {
			if ctx.Err() != nil {
				return nil
			}
			r, err := s.one(ctx, n+1, filepath.Join(dir, strconv.Itoa(n+1)))
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintln(stdout, r.Line)
			if r.Detail != "" {
				fmt.Fprintln(stderr, r.Detail)
			}
			done++
			total.Ops, total.Violations, total.Unknown = total.Ops+r.Ops, total.Violations+r.Violations, total.Unknown+r.Unknown
			return nil
		})
	}
	err = errors.Join(group.Wait(), removeAll(dir))
	fmt.Fprintf(stdout, "chaos-raft: runs=%d ops=%d violations=%d unknown=%d\n", done, total.Ops, total.Violations, total.Unknown)
	if err == nil && (total.Violations > 0 || total.Unknown > 0) {
		err = errWrong
	}
	return errors.Join(err, ctx.Err())
}

const (
	runLimit   = 10 * time.Minute
	closeLimit = 20 * time.Second
)

// one does a run in a process of its own, with its own network, mounts and processes: all of them end with it.
func (s series) one(ctx context.Context, n int, dir string) (report, error) {
	ctx, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	seed := s.seed + uint64(n-1)
	k, err := s.kindOf(seed)
	if err != nil {
		return report{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return report{}, fmt.Errorf("find own program: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return report{}, fmt.Errorf("make directory of a run: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, "-inside", dir, "-runs", strconv.Itoa(n), "-seed", strconv.FormatUint(seed, 10),
		"-kind", k.name, "-length", s.length.String(), "-drp", s.program)
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWPID, Unshareflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM,
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = closeLimit
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	failed := cmd.Run()
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return report{}, fmt.Errorf("run %d (seed %d, kind %s): %w: %s", n, seed, k.name, errors.Join(failed, err), errs.Bytes())
	}
	return r, removeAll(dir)
}

// insideVariable tells a test's program that it is called as chaos calls itself.
const insideVariable = "DRP_CHAOS_INSIDE"

// inside does the run, in the namespaces that one made for it.
func (s series) inside(ctx context.Context, dir string, stdout, stderr io.Writer) error {
	k, err := findKind(s.kind)
	if err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil { // the outer one shows other processes than ours
		return fmt.Errorf("mount /proc: %w", err)
	}
	o, err := runTrial(ctx, k, s.seed, s.length, s.program, dir)
	r := report{Line: o.line(s.runs, s.seed, k, err), Ops: o.ops, Violations: len(o.verdict.violations), Unknown: o.verdict.unknown}
	if err != nil {
		r.Violations = max(r.Violations, 1)
		r.Detail = fmt.Sprintf("%s\n%v", r.Line, err)
	}
	return json.NewEncoder(stdout).Encode(r)
}
