package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"drp/e2e/lab"
)

// TestMain lets this program be called as chaos calls itself. One platform at a time fits on a machine: tests of other
// packages make some, too.
func TestMain(m *testing.M) {
	if os.Getenv(insideVariable) != "" {
		os.Exit(start(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(takeTurn(m))
}

func takeTurn(m *testing.M) int {
	release, err := lab.TakeTurn(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer release()
	return m.Run()
}

const (
	shortRun = 4 * time.Second
	atOnce   = 5 // they wait more than they work
)

// One short run of each kind: the API is linearizable, nothing acknowledged is lost, and the cluster comes back.
func TestKinds(t *testing.T) {
	program, err := filepath.Abs("../../bin/drp")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("this needs the real program: %v; make build", err)
	}
	dir := t.TempDir()
	reports := make([]report, len(kinds()))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, k := range kinds() {
		group.Go(func() (err error) {
			s := series{seed: uint64(i + 1), kind: k.name, length: shortRun, program: program}
			reports[i], err = s.one(t.Context(), 1, filepath.Join(dir, k.name))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for i, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			r := reports[i]
			t.Log(r.Line)
			if r.Violations > 0 || r.Unknown > 0 {
				t.Errorf("got %d violations and %d unknown, want none: %s", r.Violations, r.Unknown, r.Detail)
			}
			if r.Ops <= accounts { // those are read at the end
				t.Errorf("got %d operations, want more than the reads at the end", r.Ops)
			}
		})
	}
}

func TestSeries_kindOf(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(len(kinds())) {
		k, err := series{}.kindOf(seed + 1)
		if err != nil {
			t.Fatal(err)
		}
		seen[k.name] = true
	}
	if got, want := len(seen), len(kinds()); got != want {
		t.Errorf("got %d kinds for successive seeds, want all %d", got, want)
	}
	if _, err := (series{kind: "flood"}).kindOf(1); err == nil {
		t.Error("got no error for a kind that does not exist")
	}
}
