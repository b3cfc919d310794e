package e2e

import (
	"context"
	"fmt"
	"os"
	"testing"

	"drp/e2e/lab"
)

// One platform at a time fits on a machine: tests of other packages make some, too.
func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	release, err := lab.TakeTurn(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer release()
	return m.Run()
}
