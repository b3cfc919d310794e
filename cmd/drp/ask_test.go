package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
)

// Whoever presses Ctrl-C at a question has not agreed, and is not kept waiting for a line.
func TestAskLine(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	defer w.Close()
	go fmt.Fprintln(w, "par1")
	if line, err := askLine(ctx, r); line != "par1" || err != nil {
		t.Errorf("got %q (%v), want par1", line, err)
	}
	cancel()
	_, err := askLine(ctx, r)
	if !errors.Is(err, context.Canceled) || exitCode(fmt.Errorf("%w: %w", errNotRemoved, err)) != codeInterrupted {
		t.Errorf("got %v, want it interrupted", err)
	}
}
