package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"drp/orchestrator/agent/home"
	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

func (w *world) Dump(_ context.Context, d state.Database, into *os.Root, _ int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.broken[d.Part()]; err != nil {
		return err
	}
	w.do("dump %s", d.Part())
	return errors.Join(into.WriteFile(d.Name+".sql", []byte(w.databases[d.Part()]), 0o600), into.WriteFile(d.Name+".json", []byte("{}"), 0o600))
}

func (w *world) Exists(_ context.Context, d state.Database) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, there := w.databases[d.Part()]
	return there, nil
}

func (w *world) Load(_ context.Context, d state.Database, all []state.Database, from *os.Root, ids home.IDs) error {
	raw, err := from.ReadFile(d.Name + ".sql")
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.databases[d.Part()] = "half"
	if err := w.broken[d.Part()]; err != nil {
		return err
	}
	if len(w.containers) > 0 || ids.Size == 0 || !slices.Contains(all, d) {
		return fmt.Errorf("loaded %s with %v, %v while programs may run", d.Part(), ids, all)
	}
	w.databases[d.Part()] = string(raw)
	w.do("load %s %s", d.Part(), raw)
	return nil
}

func (w *world) RestoreOthers(_ context.Context, _ home.IDs, access wire.RepositoryAccess, from state.SnapshotID, names []string, into home.Within) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range names {
		for file, text := range w.dumps[from] {
			if file != name && !strings.HasPrefix(file, name+"/") {
				continue
			}
			at := filepath.Join(into.Path(), file)
			if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o700), os.WriteFile(at, []byte(text), 0o600)); err != nil {
				return err
			}
		}
	}
	w.do("others of %s", from)
	if access.Password != "" {
		w.do("others of %s by %s", from, access.Password)
	}
	return nil
}

func withDatabases(d wire.DesiredAccount) wire.DesiredAccount {
	d.Account.Databases = []state.Database{{Engine: state.PostgreSQL, Name: "shop"}, {Engine: state.MariaDB, Name: "blog"}}
	return d
}

func TestBackup_parts(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.databases = map[string]string{"postgresql/shop": "pg", "mysql/blog": "my"}
		w.broken = map[string]error{"mysql/blog": errors.New("the engine is gone\nin the middle")}
		stop := w.agent()
		defer func() { stop() }()
		order := withDatabases(run("shop", 1))
		order.Account.Mailboxes = []state.Mailbox{{Domain: "example.org", Name: "info"}, {Domain: "example.org", Name: "link"}, {Domain: "example.com", Name: "info"}}
		w.want(these(order))
		mail := filepath.Join(w.dir, "homes/shop/home/admin/mail/example.org")
		if err := errors.Join(os.MkdirAll(filepath.Join(mail, "info/cur"), 0o755), os.Symlink("/etc", filepath.Join(mail, "link"))); err != nil {
			t.Fatal(err)
		}
		w.happened()
		w.want(these(order), backupTask("b1", "shop", 1))
		got := w.last().Tasks[0]
		want := []state.Part{{Name: "postgresql/shop"}, {Name: "mysql/blog", Error: "the engine is gone in the middle"}, {Name: "mails/example.org/info"},
			{Name: "mails/example.org/link", Error: "there is no such mailbox: openat2 mails/example.org/link: not a directory"},
			{Name: "mails/example.com/info", Error: "there is no such mailbox: openat2 mails/example.com/info: no such file or directory"}}
		if got.Error != "" || got.Snapshot == nil || !slices.Equal(got.Snapshot.Parts, want) {
			t.Fatalf("answer = %+v", got)
		}
		if !strings.Contains(got.Detail, "; without mysql/blog: the engine is gone in the middle; without mails/example.org/link: ") {
			t.Errorf("detail = %q", got.Detail)
		}
		for _, want := range []string{`"read": {`, `"view": "live"`, `"generation": 1`, `"name": "info"`} {
			if !strings.Contains(w.document, want) {
				t.Errorf("account.json has no %s: %s", want, w.document)
			}
		}
		events := w.happened()
		for _, e := range []string{"dump postgresql/shop", "backup shop", "with postgresql [shop.json shop.sql]", "with mysql []", "with mails [example.org]"} {
			if !slices.Contains(events, e) {
				t.Errorf("%q did not happen: %q", e, events)
			}
		}
		if left, _ := os.ReadDir(filepath.Join(w.dir, "homes/.views")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

const older, newer = state.SnapshotID("older"), state.SnapshotID("newer")

// restored is an order of an account that comes from a snapshot.
func restored(n uint64) wire.DesiredAccount {
	d, id := withDatabases(run("shop", n)), newer
	d.Restore, d.Repository = &id, &wire.RepositoryAccess{}
	return d
}

func TestRestore_databases(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.databases = map[string]string{"mysql/blog": "of last year"}
		w.dumps = map[state.SnapshotID]map[string]string{
			newer: {"postgresql/shop.sql": "pg new", "postgresql/shop.json": "{}"},
			older: {"postgresql/shop.sql": "pg old", "mysql/blog.sql": "my old", "mysql/blog.json": "{}"}}
		w.broken = map[string]error{"postgresql/shop": errors.New("no room")}
		stop := w.agent()
		d := restored(2)
		d.Parts = map[string]state.SnapshotID{"mysql/blog": older}
		w.want(these(d))
		if got := w.told("shop"); got != "1.2 failed" || len(w.containers) > 0 {
			t.Errorf("with half of a database it is %s", got)
		}
		if got := w.last().Accounts[0].Message; !strings.Contains(got, "restore database postgresql/shop of snapshot newer: no room") {
			t.Errorf("message = %q", got)
		}
		stop() // a crash in the middle
		w.broken = nil
		stop = w.agent()
		defer func() { stop() }()
		w.want(these(d))
		w.settle()
		if got := w.told("shop"); got != "1.2 running" {
			t.Errorf("it is %s: %s", got, w.last().Accounts[0].Message)
		}
		if w.databases["postgresql/shop"] != "pg new" || w.databases["mysql/blog"] != "my old" {
			t.Errorf("databases = %v", w.databases)
		}
		// What was there before is kept, once, and no half-loaded one is.
		kept, _ := filepath.Glob(filepath.Join(w.dir, "homes/aside/*/*/*.sql"))
		if len(kept) != 1 || !strings.HasSuffix(kept[0], "aside/shop@before-1.2/mysql/blog.sql") {
			t.Fatalf("kept: %v", kept)
		}
		if raw, _ := os.ReadFile(kept[0]); string(raw) != "of last year" {
			t.Errorf("kept: %s", raw)
		}
		if left, _ := filepath.Glob(filepath.Join(w.dir, "homes/shop/dumps")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
}

// A database whose last good dump lies in another repository is read from there, and the others are not.
func TestRestore_databaseFromElsewhere(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.databases = map[string]string{}
		w.dumps = map[state.SnapshotID]map[string]string{
			newer: {"postgresql/shop.sql": "pg new", "postgresql/shop.json": "{}"},
			older: {"mysql/blog.sql": "my old", "mysql/blog.json": "{}"}}
		stop := w.agent()
		defer func() { stop() }()
		d := restored(2)
		d.Repository.Password = "present"
		d.Parts = map[string]state.SnapshotID{"mysql/blog": older}
		d.Elsewhere = map[string]wire.RepositoryAccess{"mysql/blog": {Password: "retired"}}
		w.want(these(d))
		w.settle()
		if got := w.told("shop"); got != "1.2 running" || w.databases["mysql/blog"] != "my old" {
			t.Errorf("it is %s: %v", got, w.databases)
		}
		events := w.happened()
		for _, want := range []string{"others of newer by present", "others of older by retired"} {
			if !slices.Contains(events, want) {
				t.Errorf("%q did not happen: %q", want, events)
			}
		}
	})
}

// A snapshot that was to hold a database and does not is no snapshot to come back from.
func TestRestore_databaseMissing(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.databases = map[string]string{}
		w.dumps = map[state.SnapshotID]map[string]string{newer: {"postgresql/shop.sql": "pg", "postgresql/shop.json": "{}"}}
		stop := w.agent()
		defer func() { stop() }()
		w.want(these(restored(2)))
		if got := w.told("shop"); got != "1.2 failed" {
			t.Errorf("it is %s", got)
		}
		d := restored(2)
		d.Parts = map[string]state.SnapshotID{"mysql/blog": ""} // the leader knows of none
		w.want(nil)
		w.want(these(d))
		for range 40 {
			w.settle()
		}
		if got := w.told("shop"); got != "1.2 running" {
			t.Errorf("it is %s: %s", got, w.last().Accounts[0].Message)
		}
		if _, there := w.databases["mysql/blog"]; there {
			t.Error("it was made of nothing")
		}
		if !strings.Contains(w.log.String(), "no snapshot holds a database") {
			t.Error("nothing of it in the log")
		}
	})
}

// An account that is new finds the databases that were made for it.
func TestNewAccount_keepsItsDatabases(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.databases = map[string]string{"postgresql/shop": "made for it"}
		stop := w.agent()
		defer func() { stop() }()
		w.want(these(withDatabases(run("shop", 1))))
		if got := w.told("shop"); got != "1.1 running" || w.databases["postgresql/shop"] != "made for it" {
			t.Errorf("it is %s with %v", got, w.databases)
		}
	})
}
