package database

import (
	"bytes"
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
	// says begins the lines of its complaints that are told. Others may hold what is a customer's: the statement that failed,
	// with its data. Empty: all are told.
	says string
}

func (c child) run(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, c.program, c.args...)
	cmd.Dir = "/"
	cmd.Env = append([]string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C.UTF-8", "HOME=/nonexistent"}, c.env...)
	cmd.Stdin, cmd.Stdout = c.stdin, c.stdout
	said := tail{begin: c.says}
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

type tail struct {
	begin string // of the lines that are kept
	line  []byte // the present one, as far as it matters
	kept  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	for _, b := range p {
		if len(t.line) < maxTail {
			t.line = append(t.line, b)
		}
		if b == '\n' {
			t.keep()
		}
	}
	return len(p), nil
}

func (t *tail) keep() {
	if bytes.HasPrefix(t.line, []byte(t.begin)) {
		t.kept = append(t.kept, t.line[:min(len(t.line), maxTail-len(t.kept))]...)
	}
	t.line = t.line[:0]
}

func (t *tail) text() string {
	t.keep()
	return strings.TrimSpace(strings.ToValidUTF8(string(t.kept), "?"))
}
