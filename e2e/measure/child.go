package measure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"drp/e2e/verdict"
)

// Cost is what one run took.
type Cost struct {
	Wall   float64 // seconds
	CPU    float64 // seconds of processor time, of the child alone
	Memory int64   // bytes, the most
	Others float64 // seconds of processor time of whatever served it
}

// Children runs programs to their end, and tells what each cost.
type Children struct {
	Programs string // directory of those that are named without one
	Home     string // and TMPDIR
	// Others tells how much processor time those used so far that serve the children. May be nil.
	Others func() (float64, error)
}

// Run runs a program in a directory. It inherits nothing that could make it behave otherwise elsewhere.
func (c Children) Run(ctx context.Context, dir string, env []string, program string, args ...string) (Cost, error) {
	if !filepath.IsAbs(program) {
		program = filepath.Join(c.Programs, program)
	}
	if c.Others == nil {
		c.Others = func() (float64, error) { return 0, nil }
	}
	before, err := c.Others()
	if err != nil {
		return Cost{}, err
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.Home, "TMPDIR=" + c.Home}, env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return Cost{}, fmt.Errorf("run %s %s: %w\n%s", filepath.Base(program), args[0], err, &out)
	}
	cost := Cost{Wall: time.Since(began).Seconds()}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return Cost{}, errors.New("no usage of a process")
	}
	cost.CPU = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	cost.Memory = usage.Maxrss << 10
	after, err := c.Others()
	cost.Others = after - before
	return cost, err
}

// ProcessorTime that a process has used, in seconds.
func ProcessorTime(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(data), ") ") // behind the program's name
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("read processor time: %q", data)
	}
	user, err := strconv.ParseFloat(fields[11], 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100, err // USER_HZ is 100 wherever Go runs
}

// Each takes one number of each cost.
func Each(list []Cost, of func(Cost) float64) []float64 {
	out := make([]float64, len(list))
	for n, c := range list {
		out[n] = of(c)
	}
	return out
}

// Walls are how long each took.
func Walls(list []Cost) []float64 { return Each(list, func(c Cost) float64 { return c.Wall }) }

// CPUs are the processor times.
func CPUs(list []Cost) []float64 { return Each(list, func(c Cost) float64 { return c.CPU }) }

// Peak is the most memory that any took.
func Peak(list []Cost) (bytes int64) {
	for _, c := range list {
		bytes = max(bytes, c.Memory)
	}
	return bytes
}

// Seconds prints the median of durations.
func Seconds(list []float64) string { return fmt.Sprintf("%.2fs", verdict.Median(list)) }
