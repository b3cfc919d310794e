// Command demo makes a platform of three datacenters on this machine, destroys one with the leader in it, and brings
// every account back. It exits non-zero, and says which account, when one does not come back.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"drp/e2e/lab"
)

func main() { os.Exit(execute()) }

func execute() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	result, err := run(ctx)
	if err != nil {
		fmt.Fprintf(os.Stderr, "demo: failed: %v\n", err)
		return 1
	}
	fmt.Println(result)
	return 0
}

func run(ctx context.Context) (result string, err error) {
	own, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	bin := filepath.Dir(own)
	tell := newNarrator(os.Stdout)
	tell.step("three datacenters: par1 and par2 with two servers each, par3 as witness")
	l, err := lab.Start(ctx, lab.Config{Binary: filepath.Join(bin, "drp"), Bin: bin, Progress: tell.detail})
	if err != nil {
		return "", err
	}
	defer func() {
		began := time.Now()
		if closing := l.Close(); closing != nil && err == nil {
			err = fmt.Errorf("take the platform down: %w", closing)
		}
		tell.detail(fmt.Sprintf("everything is gone again (%s)", time.Since(began).Round(100*time.Millisecond)))
	}()
	d, err := newDemo(l, filepath.Join(l.State(), "bin", "drp"), tell)
	if err != nil {
		return "", err
	}
	for _, act := range []func(context.Context) error{
		d.settle, d.protect, d.destroy, d.failover, d.visit, d.restoreFolder, d.protectAgain, d.comeBack, d.checkCopies,
	} {
		if err := act(ctx); err != nil {
			return "", err
		}
	}
	return d.summary(), nil
}
