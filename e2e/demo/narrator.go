package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// narrator tells what happens, with the seconds since the beginning.
type narrator struct {
	mu    sync.Mutex
	out   io.Writer
	began time.Time
}

func newNarrator(out io.Writer) *narrator { return &narrator{out: out, began: time.Now()} }

func (n *narrator) step(format string, args ...any) {
	n.line("== " + fmt.Sprintf(format, args...))
}

func (n *narrator) detail(sentence string) { n.line("   " + sentence) }

func (n *narrator) line(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fmt.Fprintf(n.out, "%5.1fs %s\n", time.Since(n.began).Seconds(), text)
}
