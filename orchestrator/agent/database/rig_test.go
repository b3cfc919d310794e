package database_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"drp/orchestrator/agent/database"
	"drp/orchestrator/agent/database/databasetest"
	"drp/orchestrator/agent/home"
	"drp/raftstore/state"
)

var ids = home.IDs{First: 1_600_000_000, Size: 65536}

func engines(t *testing.T, c database.Config) *database.Engines {
	t.Helper()
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	e, err := database.New(c, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// as is an engine's address for another user than the administrator.
func as(t *testing.T, e *databasetest.Engine, user, password string) *database.Server {
	t.Helper()
	s := e.Server
	s.User, s.PasswordFile = user, filepath.Join(t.TempDir(), "p")
	if err := os.WriteFile(s.PasswordFile, []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
	return &s
}

func scratch(t *testing.T) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// dumped is a directory with what a snapshot may say that the dump of a database is.
func dumped(t *testing.T, d state.Database, record, sql string) *os.Root {
	t.Helper()
	dir := scratch(t)
	for file, text := range map[string]string{d.Name + ".json": record, d.Name + ".sql": sql} {
		if err := dir.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// lie is a dump that somebody made who knows the repository's password, and the words by which it is refused.
type lie struct{ record, sql, words string }

func refuses(t *testing.T, e *database.Engines, d state.Database, all []state.Database, lies map[string]lie) {
	for name, test := range lies {
		t.Run(name, func(t *testing.T) {
			err := e.Load(t.Context(), d, all, dumped(t, d, test.record, test.sql), ids)
			if err == nil || !strings.Contains(err.Error(), test.words) {
				t.Errorf("got %v, want an error with the words %q", err, test.words)
			}
		})
	}
}

func same(t *testing.T, want, got string) {
	t.Helper()
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(a), len(b)) {
		if i >= len(a) || i >= len(b) || a[i] != b[i] {
			lo := max(0, i-8)
			t.Fatalf("line %d differs; want:\n%s\ngot:\n%s", i, strings.Join(a[lo:min(len(a), i+8)], "\n"), strings.Join(b[min(lo, len(b)):min(len(b), i+8)], "\n"))
		}
	}
}

// wantError also holds that nothing is left of the dump.
func wantError(t *testing.T, err error, words string, dir *os.Root) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("got %v, want an error with the words %q", err, words)
	}
	d, err := dir.Open(".")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if left, _ := d.Readdirnames(-1); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// bank is a database with a table of accounts, which have 1000 each, and one of the transfers between them.
type bank struct {
	database state.Database
	all      []state.Database
	from, to *database.Engines
	// transfer takes 7 from one account, gives them to another and notes it, in one transaction.
	transfer       func(from, to int) error
	ask, askCopied func(sql string) string
}

// dumpsOneMoment dumps while money goes from one account to another without end: at no moment is any lost.
func (b bank) dumpsOneMoment(t *testing.T) {
	t.Helper()
	stop, written, begun := make(chan struct{}), make(chan error, 1), make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				written <- nil
				return
			default:
			}
			if err := b.transfer(1+n*37%10000, 20000-n*41%10000); err != nil {
				written <- err
				return
			}
			if n == 10 {
				close(begun)
			}
		}
	}()
	select {
	case <-begun:
	case err := <-written:
		t.Fatal(err)
	}
	dir := scratch(t)
	before := b.ask("select count(*) from transfers")
	if err := b.from.Dump(t.Context(), b.database, dir, os.Getuid()); err != nil {
		t.Fatal(err)
	}
	after := b.ask("select count(*) from transfers")
	close(stop)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if before == after {
		t.Fatal("nothing was written during the dump")
	}
	if err := b.to.Load(t.Context(), b.database, b.all, dir, ids); err != nil {
		t.Fatal(err)
	}
	if got := b.askCopied("select sum(balance) from accounts"); got != "20000000" {
		t.Errorf("the sum is %s, want 20000000", got)
	}
	if got := b.askCopied("select 7 * count(*) - (select sum(balance - 1000) from accounts where balance > 1000) from transfers"); got != "0" {
		t.Errorf("the transfers that were recorded are not those that were made: they differ by %s", got)
	}
}
