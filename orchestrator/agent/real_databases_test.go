package agent

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"drp/orchestrator/agent/database"
	"drp/orchestrator/agent/database/databasetest"
	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// with gives a server its engines.
func (s *server) with(postgresql, mariadb *databasetest.Engine) {
	s.t.Helper()
	e, err := database.New(database.Config{PostgreSQL: &postgresql.Server, MariaDB: &mariadb.Server}, slog.New(slog.DiscardHandler))
	if err != nil {
		s.t.Fatal(err)
	}
	s.databases = e
}

// An account goes from one server to another with its databases: real engines, real snapshots.
func TestAgent_realDatabases(t *testing.T) {
	one, two := newServer(t, 5), newServer(t, 6)
	pg1, pg2, my1, my2 := databasetest.PostgreSQL(t), databasetest.PostgreSQL(t), databasetest.MariaDB(t), databasetest.MariaDB(t)
	one.with(pg1, my1)
	two.with(pg2, my2)
	pg1.PSQL("postgres", "create role app login password 'a'; create database shop owner app")
	pg1.PSQL("shop", "set role app; create table t (x int); insert into t values (42)")
	my1.MySQL("create user app@localhost identified by 'a'; create database blog; grant all on blog.* to app@localhost; create table blog.t (x int); insert into blog.t values (43)")
	// What an earlier life of the account left on the other server.
	my2.MySQL("create database blog; create table blog.left_behind (x int); insert into blog.left_behind values (7)")

	account := state.Account{Name: "shop", Plan: state.Resources{Memory: 64 << 20, Processes: 20, CPU: 1},
		Addresses: []netip.Addr{netip.MustParseAddr("2001:db8:a::101")},
		Services:  []state.Service{{Program: state.Program{Name: "s", Command: []string{"sh", "-c", "echo kept > file; exec sleep 100000"}, User: 1000}}},
		Databases: []state.Database{{Engine: state.PostgreSQL, Name: "shop"}, {Engine: state.MariaDB, Name: "blog"}}}
	order := wire.DesiredAccount{Account: account, Token: token(1), Run: true, New: true}
	repo := repository(t, one.pool.nth(0).Host(0))
	one.agent()
	one.leader.say(these(order))
	one.leader.phase(t, token(1), wire.Running)
	eventually(t, "its file", func() bool { _, err := os.Stat(filepath.Join(one.homes.Path("shop"), "file")); return err == nil })

	backup := func(id state.TaskID) *state.Snapshot {
		t.Helper()
		b := backupTask(id, "shop", 1)
		b.Repository = repo
		one.leader.say(these(order), b)
		made := one.leader.answer(t, id).Snapshot
		if left, err := os.ReadDir(filepath.Join(one.dir, "homes/.views")); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
		return made
	}
	whole := backup("b1")
	if want := []state.Part{{Name: "postgresql/shop"}, {Name: "mysql/blog"}}; !slices.Equal(whole.Parts, want) {
		t.Errorf("parts = %+v, want %+v", whole.Parts, want)
	}
	for _, path := range []string{"/account.json", "/files/file", "/postgresql/shop.sql", "/postgresql/shop.json", "/mysql/blog.sql", "/mysql/blog.json"} {
		if !slices.Contains(listing(t, repo, whole.ID), path) {
			t.Errorf("%s is not in the snapshot: %q", path, listing(t, repo, whole.ID))
		}
	}
	pg1.PSQL("shop", "insert into t values (44)")
	my1.Stop()
	partial := backup("b2")
	if p := partial.Parts; len(p) != 2 || p[0].Error != "" || !strings.Contains(p[1].Error, "reach MariaDB") || strings.Contains(p[1].Error, databasetest.Password) {
		t.Errorf("parts without MariaDB = %+v", p)
	}
	if slices.Contains(listing(t, repo, partial.ID), "/mysql/blog.sql") {
		t.Error("half a dump is in the snapshot")
	}

	chown(t, repo.URLs[0], two.pool.nth(0).Host(0))
	two.agent()
	again := order
	again.Token, again.Restore, again.Repository = token(2), &partial.ID, &repo
	again.Parts = map[string]state.SnapshotID{"mysql/blog": whole.ID}
	two.leader.say(these(again))
	two.leader.phase(t, token(2), wire.Running)
	if got := pg2.PSQL("shop", "select string_agg(x || ' ' || tableowner, ', ' order by x) from t, pg_tables where tablename = 't'"); got != "42 app, 44 app" {
		t.Errorf("PostgreSQL has %s", got)
	}
	if got := my2.MySQL("select x from blog.t; show tables from blog"); got != "43\nt" {
		t.Errorf("MariaDB has %q", got)
	}
	if raw, err := os.ReadFile(filepath.Join(two.homes.Path("shop"), "file")); string(raw) != "kept\n" || err != nil {
		t.Errorf("its file: %q, %v", raw, err)
	}
	kept, err := os.ReadFile(filepath.Join(two.dir, "homes/aside/shop@before-1.2/mysql/blog.sql"))
	if err != nil || !strings.Contains(string(kept), "left_behind") {
		t.Errorf("what was there is not kept: %v", err)
	}
	// Folders come back as before, and their paths mean the home.
	task := restoreTask("r1", "file")
	task.Task.Token, task.Task.Restore, task.Repository = token(2), &state.RestorePoint{Snapshot: partial.ID}, repo
	two.leader.say(these(again), task)
	two.leader.answer(t, "r1")
	if raw, err := os.ReadFile(filepath.Join(two.homes.Path("shop"), "restored-r1/file")); string(raw) != "kept\n" || err != nil {
		t.Errorf("restored file: %q, %v", raw, err)
	}
}

// listing is the paths in a snapshot.
func listing(t *testing.T, repo wire.RepositoryAccess, id state.SnapshotID) []string {
	t.Helper()
	cmd := exec.Command(resticBinary(t), "ls", "--no-lock", "--no-cache", "-q", string(id))
	cmd.Env = []string{"RESTIC_REPOSITORY=" + repo.URLs[0], "RESTIC_PASSWORD=" + repo.Password}
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("%v: %s", err, exit.Stderr)
		}
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}
