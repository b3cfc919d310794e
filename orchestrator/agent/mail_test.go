package agent

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"drp/orchestrator/agent/home"
	"drp/orchestrator/agent/home/hometest"
	"drp/orchestrator/wire"
	"drp/raftstore/state"
	"drp/replicator/restic"
)

// withMailboxes is an order of an account that comes from a snapshot.
func withMailboxes(n uint64) wire.DesiredAccount {
	d, id := run("shop", n), newer
	d.Account.Mailboxes = []state.Mailbox{{Domain: "example.org", Name: "info"}, {Domain: "example.org", Name: "old"}, {Domain: "example.com", Name: "lost"}}
	d.Restore, d.Repository = &id, &wire.RepositoryAccess{}
	d.Parts = map[string]state.SnapshotID{"mails/example.org/old": older, "mails/example.com/lost": ""}
	return d
}

func TestRestore_mail(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.dumps = map[state.SnapshotID]map[string]string{
			newer: {"mails/example.org/info/cur/1:2,S": "one", "mails/example.org/info/tmp/9": "half", "mails/example.org/info/sieve/a.sieve": "filter", "mails/passwd": "of the domain"},
			// One from when mail lay among the files, and of a mailbox that the newer one lacks in part.
			older: {"files/admin/mail/example.org/old/cur/2:2,": "two", "mails/example.org/info/cur/3:2,": "not asked for"}}
		stop := w.agent()
		defer func() { stop() }()
		d := withMailboxes(2)
		d.Repository.Password = "present"
		d.Elsewhere = map[string]wire.RepositoryAccess{"mails/example.org/old": {Password: "retired"}}
		w.want(these(d))
		if got := w.told("shop"); got != "1.2 running" {
			t.Fatalf("it is %s: %s", got, w.last().Accounts[0].Message)
		}
		for events, want := w.happened(), []string{"others of newer by present", "others of older by retired"}; len(want) > 0; want = want[1:] {
			if !slices.Contains(events, want[0]) {
				t.Errorf("%q did not happen: %q", want[0], events)
			}
		}
		for path, want := range map[string]string{"example.org/info/cur/1:2,S": "one", "example.org/info/sieve/a.sieve": "filter", "example.org/old/cur/2:2,": "two", "passwd": "of the domain"} {
			if got := w.file("shop", filepath.Join("admin/mail", path)); got != want {
				t.Errorf("%s = %q, want %q", path, got, want)
			}
		}
		for _, path := range []string{"admin/mail/example.org/info/tmp/9", "admin/mail/example.org/info/cur/3:2,", "admin/mail/example.com", "mails", ".drp-restore-mails"} {
			if _, err := os.Lstat(filepath.Join(w.dir, "homes/shop/home", path)); err == nil {
				t.Errorf("%s is there", path)
			}
		}
		if !strings.Contains(w.log.String(), "no snapshot holds a mailbox") {
			t.Error("nothing of the lost one in the log")
		}
	})
}

// A snapshot cannot have mail written outside of the home, by what its files have in the way.
func TestRestore_mail_never_outside(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		outside := t.TempDir()
		w.dumps = map[state.SnapshotID]map[string]string{newer: {"mails/example.org/info/cur/1:2,S": "one"}, older: {"mails/example.org/old/cur/2:2,": "two"}}
		stop := w.agent()
		defer func() { stop() }()
		generation := uint64(1)
		for _, link := range []string{"admin", "admin/mail", "admin/mail/example.org", ".drp-restore-mails"} {
			w.spoil = func(dir string) error {
				return errors.Join(os.MkdirAll(filepath.Join(dir, filepath.Dir(link)), 0o755), os.Symlink(outside, filepath.Join(dir, link)))
			}
			generation++
			w.want(these(withMailboxes(generation)))
			if got := w.told("shop"); !strings.HasSuffix(got, "running") {
				t.Errorf("with a link at %s it is %s: without its mail it runs all the same", link, got)
			}
			if left, err := os.ReadDir(outside); len(left) > 0 || err != nil {
				t.Fatalf("with a link at %s: written outside: %v, %v", link, left, err)
			}
		}
	})
}

// Only mailboxes may lack something.
func TestUnreadableMail(t *testing.T) {
	dir := t.TempDir()
	view, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	mail := dir + "/mails/example.org/info/cur/1: open: permission denied"
	for _, test := range []struct {
		sum  restic.Summary
		want []string
	}{
		{restic.Summary{Errors: 1, Unreadable: []string{mail}}, []string{"mails/example.org/info"}},
		{restic.Summary{Errors: 2, Unreadable: []string{mail}}, nil}, // one that is not named
		{restic.Summary{Errors: 2, Unreadable: []string{mail, dir + "/files/x: open"}}, nil},
		{restic.Summary{Errors: 1, Unreadable: []string{dir + "/mails/example.org: open"}}, nil},
		{restic.Summary{Errors: 1, Unreadable: []string{"/mails/example.org/info/cur: open"}}, nil},
		{restic.Summary{}, nil},
	} {
		failed, only := unreadableMail(view, test.sum)
		var got []string
		for _, f := range failed {
			got = append(got, f.Name)
		}
		if only != (test.want != nil) || only && !slices.Equal(got, test.want) {
			t.Errorf("%+v: got %v, %v; want %v", test.sum, got, only, test.want)
		}
	}
}

// A live home: its SQLite files are copied while its programs stand still, and its mail goes its own way to another server.
func TestAgent_realLive(t *testing.T) {
	one, two := newServerOn(t, 7, hometest.Memory(t)), newServer(t, 8)
	account := state.Account{Name: "shop", Plan: state.Resources{Memory: 256 << 20, Processes: 50, CPU: 1},
		Addresses: []netip.Addr{netip.MustParseAddr("2001:db8:a::102")},
		Services:  []state.Service{{Program: state.Program{Name: "guestbook", Command: []string{"sh", "-c", guestbook}, User: 1000}}},
		Mailboxes: []state.Mailbox{{Domain: "example.org", Name: "info"}, {Domain: "example.org", Name: "locked"}, {Domain: "example.org", Name: "gone"}}}
	order := wire.DesiredAccount{Account: account, Token: token(1), Run: true, New: true}
	repo := repository(t, one.pool.nth(0).Host(0))
	one.agent()
	one.leader.say(these(order))
	one.leader.phase(t, token(1), wire.Running)
	top := one.homes.Path("shop")
	eventually(t, "entries", func() bool { _, err := os.Stat(filepath.Join(top, "acked")); return err == nil })
	box := func(home, name string) string { return filepath.Join(home, "admin/mail/example.org", name) }
	for _, name := range []string{"info", "locked"} {
		for _, dir := range []string{"cur", "new", "tmp", "sieve"} {
			if err := os.MkdirAll(filepath.Join(box(top, name), dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for file, text := range map[string]string{"cur/1.M1P1.host,S=4:2,S": "mail", "dovecot-uidlist": "3 V1 N2\n", "sieve/a.sieve": "keep;"} {
			if err := os.WriteFile(filepath.Join(box(top, name), file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if out, err := exec.Command("chown", "-R", "--reference="+filepath.Join(top, "acked"), filepath.Join(top, "admin")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	locked := filepath.Join(box(top, "locked"), "cur/2:2,")
	if err := os.WriteFile(locked, []byte("of the host"), 0o600); err != nil { // the account's root may not read it
		t.Fatal(err)
	}
	task := backupTask("b1", "shop", 1)
	task.Repository = repo
	one.leader.say(these(order), task)
	answer := one.leader.answer(t, "b1")
	made := answer.Snapshot
	if made.View != "live" || made.Copied != 1 || !strings.Contains(answer.Detail, "view live with 1 SQLite files copied") {
		t.Errorf("snapshot = %+v, %s", made, answer.Detail)
	}
	if p := made.Parts; len(p) != 3 || p[0].Error != "" || !strings.Contains(p[1].Error, "mails/example.org/locked/cur/2:2,") || !strings.Contains(p[2].Error, "there is no such mailbox") {
		t.Errorf("parts = %+v", p)
	}
	paths := listing(t, repo, made.ID)
	for path, want := range map[string]bool{"/mails/example.org/info/cur/1.M1P1.host,S=4:2,S": true, "/mails/example.org/locked/sieve/a.sieve": true, "/mails/example.org/locked/cur/2:2,": false,
		"/files/admin/mail": true, "/files/admin/mail/example.org": false, "/files/db": true, "/files/db-journal": false} {
		if slices.Contains(paths, path) != want {
			t.Errorf("%s in the snapshot: %v, want %v", path, !want, want)
		}
	}
	before := sqlite(t, filepath.Join(top, "db"), "select count(*) from t")
	eventually(t, "the account goes on", func() bool { return sqlite(t, filepath.Join(top, "db"), "select count(*) from t") != before })

	owner := two.pool.nth(0)
	chown(t, repo.URLs[0], owner.Host(0))
	two.agent()
	again := order
	again.Token, again.Restore, again.Repository = token(2), &made.ID, &repo
	again.Account.Services = []state.Service{{Program: state.Program{Name: "s", Command: []string{"sleep", "100000"}, User: 1000}}}
	two.leader.say(these(again))
	two.leader.phase(t, token(2), wire.Running)
	restored := two.homes.Path("shop")
	if got := sqlite(t, filepath.Join(restored, "db"), "pragma integrity_check; select count(*) - max(x) from t"); got != "ok\n0" {
		t.Errorf("restored database: %q", got)
	}
	for file, want := range map[string]string{"cur/1.M1P1.host,S=4:2,S": "mail", "dovecot-uidlist": "3 V1 N2\n", "sieve/a.sieve": "keep;"} {
		at := filepath.Join(box(restored, "info"), file)
		raw, err := os.ReadFile(at)
		var st unix.Stat_t
		if statErr := unix.Stat(at, &st); string(raw) != want || err != nil || statErr != nil || int(st.Uid) != owner.Host(1000) {
			t.Errorf("%s of %d: %q, %v", file, st.Uid, raw, err)
		}
	}
	// A mailbox comes back beside the live data as any folder does, by its path in the home.
	r := restoreTask("r1", "admin/mail/example.org/info/sieve")
	r.Task.Token, r.Task.Restore, r.Repository = token(2), &state.RestorePoint{Snapshot: made.ID}, repo
	two.leader.say(these(again), r)
	two.leader.answer(t, "r1")
	if raw, err := os.ReadFile(filepath.Join(restored, "restored-r1/a.sieve")); string(raw) != "keep;" || err != nil {
		t.Errorf("restored filter: %q, %v", raw, err)
	}
	if left, err := filepath.Glob(filepath.Join(restored, home.WorkPattern)); len(left) > 0 || err != nil {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
