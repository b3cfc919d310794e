package database

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"drp/orchestrator/agent/home"
)

// child is one run of a client program. It gets the environment given and nothing of ours: neither files in a home
// directory nor variables decide whom it talks to.
type child struct {
	program string
	args    []string
	env     []string // secrets stand here, and never in args
	stdin   io.Reader
	stdout  io.Writer
	inside  *home.IDs // as the account's root; nil: as we are
}

func (c child) run(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, c.program, c.args...)
	cmd.Dir = "/"
	cmd.Env = append([]string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C.UTF-8", "HOME=/nonexistent"}, c.env...)
	cmd.Stdin, cmd.Stdout = c.stdin, c.stdout
	var said tail
	cmd.Stderr = &said
	cmd.WaitDelay = 5 * time.Second
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	// An agent that was killed leaves nobody behind who works for it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if c.inside != nil {
		cmd.SysProcAttr = c.inside.Child()
	}
	err := cmd.Run()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(c.program), err, said.text())
	}
	return nil
}

// maxTail is how much of a child's complaints is kept, from their beginning: that is where the reason is.
const maxTail = 2 << 10

type tail struct{ kept []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p[:min(len(p), maxTail-len(t.kept))]...)
	return len(p), nil
}

func (t *tail) text() string { return strings.TrimSpace(strings.ToValidUTF8(string(t.kept), "?")) }
