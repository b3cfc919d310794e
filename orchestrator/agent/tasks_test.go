package agent

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"drp/orchestrator/agent/container"
	"drp/orchestrator/agent/home"
	"drp/orchestrator/agent/home/hometest"
	"drp/orchestrator/wire"
	"drp/raftstore/state"
	"drp/replicator/restic"
)

func testLog(testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func backupTask(id state.TaskID, account state.AccountName, generation uint64) wire.DesiredTask {
	return wire.DesiredTask{Task: state.Task{ID: id, Kind: state.TaskBackup, Account: account, Token: token(generation)}}
}

func restoreTask(id state.TaskID, path string) wire.DesiredTask {
	return wire.DesiredTask{Task: state.Task{ID: id, Kind: state.TaskRestoreFiles, Account: "shop", Token: token(1),
		Restore: &state.RestorePoint{Snapshot: "snap"}, Path: path, Target: "restored-" + string(id)}}
}

// answered is what was reported last for a task.
func (w *world) answered(task state.TaskID) string {
	for _, r := range w.last().Tasks {
		if r.Task == task {
			if r.Error != "" {
				return "error: " + r.Error
			}
			return "done"
		}
	}
	return "nothing"
}

func (w *world) expectAnswer(task state.TaskID, want string) {
	w.t.Helper()
	if got := w.answered(task); got != want {
		w.t.Errorf("answer to %s = %q, want %q", task, got, want)
	}
}

// What a backup has met in the repository is told apart from what it could not read of the home, and stays told after a restart.
func TestTasks_damaged(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		end := w.agent()
		w.want(these(run("shop", 1)))
		w.happened()
		w.fails = fmt.Errorf("restic backup: %w: tree 1: %w", restic.ErrIncomplete, restic.ErrDamaged)
		w.want(these(run("shop", 1)), backupTask("b1", "shop", 1))
		if got := w.last().Tasks[0]; !got.Damaged || got.Snapshot != nil || got.Error == "" {
			t.Errorf("got %+v, want it to be damaged", got)
		}
		w.fails = restic.ErrIncomplete
		w.want(these(run("shop", 1)), backupTask("b1", "shop", 1), backupTask("b2", "shop", 1))
		for _, got := range w.last().Tasks {
			if got.Damaged != (got.Task == "b1") || got.Error == "" {
				t.Errorf("got %+v, want the first one alone to be damaged", got)
			}
		}
		end()
		defer w.agent()()
		w.want(these(run("shop", 1)), backupTask("b1", "shop", 1))
		if got := w.last().Tasks[0]; !got.Damaged {
			t.Errorf("after a restart: %+v", got)
		}
	})
}

func TestTasks_onceOnly(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		end := w.agent()
		w.want(these(run("shop", 1)))
		w.happened()
		w.want(these(run("shop", 1)), backupTask("b1", "shop", 1))
		w.expect("backup", "backup shop")
		w.expectAnswer("b1", "done")
		got := w.last().Tasks[0].Snapshot
		if got == nil || got.View != "live" || got.Files != 1 || got.Bytes != 2 || got.Finished.Before(got.Start) {
			t.Errorf("snapshot = %+v", got)
		}
		w.want(these(run("shop", 1)), backupTask("b1", "shop", 1))
		w.expect("the same task again")
		w.want(these(run("shop", 1)))
		w.expectAnswer("b1", "nothing")
		end()
		defer w.agent()()
		w.want(these(run("shop", 1)), backupTask("b1", "shop", 1))
		w.expect("the same task after a restart")
		w.expectAnswer("b1", "done")
	})
}

func TestTasks_crashBetweenIntentAndResult(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		end := w.agent()
		w.backups = make(chan struct{})
		w.want(these(run("shop", 1)), backupTask("b1", "shop", 1))
		w.expectAnswer("b1", "nothing")
		end()
		close(w.backups)
		w.happened()
		defer w.agent()()
		w.settle()
		w.expect("begun, and never answered", "backup shop")
		w.expectAnswer("b1", "done")
	})
}

func TestTasks_limits(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.agent()()
		w.backups = make(chan struct{})
		var accounts []wire.DesiredAccount
		var tasks []wire.DesiredTask
		for n := range 5 {
			name := state.AccountName(fmt.Sprintf("acct%d", n))
			accounts = append(accounts, run(name, 1))
			tasks = append(tasks, backupTask(state.TaskID("b"+name), name, 1))
		}
		accounts = append(accounts, run("shop", 1))
		w.want(accounts, append(tasks, restoreTask("r1", "www"))...)
		if w.most != 2 || w.concurrent != 2 {
			t.Errorf("%d backups at once, want 2", w.most)
		}
		w.expectAnswer("r1", "done") // a person does not wait for backups
		close(w.backups)
		w.settle()
		for _, b := range tasks {
			w.expectAnswer(b.Task.ID, "done")
		}
		if w.most != 2 {
			t.Errorf("%d backups at once, want 2", w.most)
		}
	})
}

func TestTasks_oneForEachAccount(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.agent()()
		w.backups = make(chan struct{})
		w.want(these(run("shop", 1)))
		w.happened()
		w.want(these(run("shop", 1)), backupTask("b1", "shop", 1))
		w.want(these(run("shop", 1)), backupTask("b1", "shop", 1), restoreTask("r1", "www"))
		w.expect("a restore waits for the account's backup", "backup shop")
		close(w.backups)
		w.settle()
		w.expect("then", `restore snap "www"`)
		w.expectAnswer("r1", "done")
	})
}

func TestTasks_tokens(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.agent()()
		w.restores["snap"] = make(chan struct{})
		d := from(run("shop", 2), "snap")
		w.want(these(d), backupTask("old", "shop", 1), backupTask("early", "shop", 2), backupTask("future", "shop", 3))
		time.Sleep(heartbeat)
		w.expect("while the home is restored", `restore snap ""`)
		w.expectAnswer("old", "error: account shop does not run on this server under token 1.1 any more")
		w.expectAnswer("early", "nothing")
		close(w.restores["snap"])
		w.settle()
		w.expectAnswer("early", "done")
		w.expectAnswer("future", "nothing")
	})
}

func TestTasks_stopEndsThem(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.agent()()
		w.backups = make(chan struct{})
		w.want(these(run("shop", 1)), backupTask("b1", "shop", 1))
		w.happened()
		w.want(these(stop("shop", 1)), backupTask("b1", "shop", 1))
		w.expect("stop", "withdraw "+shopIP+" 1.1", "stop shop", "detach shop")
		w.expectTold("shop", "1.1 stopped")
		w.expectAnswer("b1", "error: the account was stopped")
	})
}

// A task that the leader takes back is given up, and nothing of it is told. Asked for again, it is done anew.
func TestTasks_takenBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		end := w.agent()
		w.backups = make(chan struct{})
		w.want(these(run("shop", 1)), backupTask("b1", "shop", 1))
		w.happened()
		w.want(these(run("shop", 1)))
		if w.concurrent != 0 {
			t.Error("a backup that nobody wants goes on")
		}
		w.expectTold("shop", "1.1 running")
		w.want(these(run("shop", 1)), backupTask("b2", "shop", 1)) // it holds up nobody
		w.expect("another one", "backup shop")
		w.want(these(run("shop", 1)))
		end()
		defer w.agent()()
		close(w.backups)
		w.want(these(run("shop", 1)), backupTask("b1", "shop", 1))
		w.expect("wanted again", "backup shop")
		w.expectAnswer("b1", "done")
		for _, r := range w.reports {
			for _, task := range r.Tasks {
				if task.Error != "" || task.Task != "b1" {
					t.Errorf("told of a task that was taken back: %+v", task)
				}
			}
		}
	})
}

// The same for files: what was written so far is removed.
func TestTasks_restoreTakenBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.agent()()
		w.restores["snap"] = make(chan struct{})
		w.want(these(run("shop", 1)), restoreTask("r1", "www"))
		w.want(these(run("shop", 1)))
		left, err := filepath.Glob(filepath.Join(w.dir, "homes/shop/home/.drp*"))
		if len(left) > 0 || err != nil {
			t.Errorf("left behind: %v, %v", left, err)
		}
		if _, err := os.Stat(filepath.Join(w.dir, "homes/shop/home/restored-r1")); err == nil {
			t.Error("a restore that nobody wants was put into its place")
		}
		close(w.restores["snap"])
		w.want(these(run("shop", 1)), restoreTask("r1", "www"))
		w.expectAnswer("r1", "done")
	})
}

func TestTasks_restoreFiles(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		end := w.agent()
		w.want(these(run("shop", 1)))
		w.happened()
		w.want(these(run("shop", 1)), restoreTask("r1", "../../www"))
		w.expect("restore", `restore snap "www"`)
		w.expectAnswer("r1", "done")
		if got := w.file("shop", "restored-r1/restored"); got != "snap" {
			t.Errorf("restored file = %q", got)
		}
		// A crash after the directory was put into its place and before the answer was written.
		end()
		homes, err := home.Open(filepath.Join(w.dir, "homes"))
		if err != nil {
			t.Fatal(err)
		}
		beside, err := homes.Beside("shop", "restored-r2", "r2", "")
		if err != nil {
			t.Fatal(err)
		}
		task := restoreTask("r2", "www").Task
		j := newJournal(t, filepath.Join(w.dir, "journal.db"))
		if err := errors.Join(j.begin(task, time.Now()), beside.Place(func(p string) error { return j.place(task, p) }), j.close()); err != nil {
			t.Fatal(err)
		}
		end = w.agent()
		w.want(these(run("shop", 1)), restoreTask("r2", "www"))
		w.expect("already in its place")
		w.expectAnswer("r2", "done")
		// And a crash in the middle of it.
		w.restores["snap"] = make(chan struct{})
		w.want(these(run("shop", 1)), restoreTask("r3", "www"))
		end()
		close(w.restores["snap"])
		w.happened()
		defer w.agent()()
		w.settle()
		w.expect("again", `restore snap "www"`)
		w.expectAnswer("r3", "done")
		left, err := filepath.Glob(filepath.Join(w.dir, "homes/shop/home/.drp*"))
		if len(left) > 0 || err != nil {
			t.Errorf("left behind: %v, %v", left, err)
		}
		taken := restoreTask("r4", "www")
		taken.Task.Target = "restored-r1"
		w.want(these(run("shop", 1)), taken)
		if got := w.answered("r4"); !strings.HasPrefix(got, "error: restore into restored-r1 of shop: file already exists") {
			t.Errorf("over what is there: %s", got)
		}
	})
}

// runs gives account shop a home, and a container that runs.
func (w *world) runs(homes *home.Store) {
	w.t.Helper()
	fresh, err := homes.Fresh("shop", home.IDs{First: 1_000_000, Size: 65536})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := fresh.Commit(token(1)); err != nil {
		w.t.Fatal(err)
	}
	w.containers["shop"] = &fakeContainer{State: container.State{Account: "shop", Status: container.Running, Pid: 1}}
}

// Whatever happens to the snapshot, the account goes on.
func TestAccount_freeze(t *testing.T) {
	dir := hometest.Btrfs(t)
	homes, err := home.Open(filepath.Join(dir, "homes"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: dir, containers: map[state.AccountName]*fakeContainer{}}
	a := newAccount(&Agent{Containers: w, Homes: homes, Log: testLog(t)}, "shop")
	w.runs(homes)
	take := func(t *testing.T, spoil bool) error {
		view, release, err := a.look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if spoil {
			if err := os.Mkdir(filepath.Join(view.Dir.Name(), "files"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		before := time.Now()
		at, err := a.freeze(t.Context(), view.Still(), view.Take, release)
		if err == nil {
			release()
		}
		if err == nil && (at.Before(before) || at.After(time.Now())) {
			t.Errorf("view taken at %v", at)
		}
		return err
	}
	if err := take(t, false); err != nil {
		t.Error(err)
	}
	w.expect("freeze", "pause shop", "resume shop")
	if err := take(t, true); err == nil {
		t.Error("a snapshot over something else succeeded")
	}
	w.expect("freeze and fail", "pause shop", "resume shop")
}

// Where no snapshot is taken, an account stands still only when there is something to copy, and for no longer than that.
func TestAccount_freezeLive(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.agent()()
		w.want(these(run("shop", 1)))
		w.happened()
		w.want(these(run("shop", 1)), backupTask("b1", "shop", 1))
		w.expect("nothing to copy", "backup shop")
		page := append([]byte("SQLite format 3\x00"), make([]byte, 512-16)...)
		if err := os.WriteFile(filepath.Join(w.dir, "homes/shop/home/db"), page, 0o600); err != nil {
			t.Fatal(err)
		}
		w.want(these(run("shop", 1)), backupTask("b2", "shop", 1))
		w.expect("a database", "pause shop", "resume shop", "backup shop")
		if s := w.last().Tasks[0].Snapshot; s == nil || s.View != "live" || s.Copied != 1 {
			t.Errorf("snapshot = %+v", s)
		}
	})
}

// A view of a snapshot of the homes' volume needs no standstill. One that overflowed fails the backup, whatever restic says; the next one
// reads live, and says why.
func TestAccount_backupLVM(t *testing.T) {
	l := hometest.NewLVM(t)
	homes, err := home.OpenWith(filepath.Join(l.Root, "homes"), l.Devices)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, containers: map[state.AccountName]*fakeContainer{}}
	a := newAccount(&Agent{Containers: w, Homes: homes, Databases: w, Backups: w, Log: testLog(t)}, "shop")
	a.want = &wire.DesiredAccount{}
	w.runs(homes)
	before := time.Now()
	got, err := a.backup(t.Context(), wire.DesiredTask{})
	if err != nil {
		t.Fatal(err)
	}
	if s := got.Snapshot; s.View != "lvm" || s.Start.Before(before) || !strings.Contains(w.document, `"view": "lvm"`) {
		t.Errorf("snapshot = %+v, document %s", s, w.document)
	}
	l.Set("snapshot_attr", "swi-Ios---")
	if got, err = a.backup(t.Context(), wire.DesiredTask{}); err == nil || got != nil || !strings.Contains(err.Error(), "not valid any more") {
		t.Errorf("backup of an overflown snapshot = %+v, %v", got, err)
	}
	w.expect("two backups", "backup shop", "backup shop")
	if got, err = a.backup(t.Context(), wire.DesiredTask{}); err != nil {
		t.Fatal(err)
	}
	const why = "the LVM snapshot of the backup before overflowed"
	if got.Snapshot.View != "live" || !strings.Contains(got.Detail, "view live, for "+why) || !strings.Contains(w.document, `"why": "`+why) {
		t.Errorf("backup after an overflow = %+v, document %s", got, w.document)
	}
}

// A disk that does not answer keeps the snapshot waiting, and not the account, nor its stop.
func TestAccount_freezeHasAnEnd(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		homes, err := home.Open(filepath.Join(w.dir, "homes"))
		if err != nil {
			t.Fatal(err)
		}
		a := newAccount(&Agent{Containers: w, Homes: homes, Log: testLog(t)}, "shop")
		fresh, err := homes.Fresh("shop", home.IDs{First: 1_000_000, Size: 65536})
		if err != nil {
			t.Fatal(err)
		}
		if err := fresh.Commit(token(1)); err != nil {
			t.Fatal(err)
		}
		w.containers["shop"] = &fakeContainer{State: container.State{Account: "shop", Status: container.Running, Pid: 1}}
		_, release, err := a.look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		disk := make(chan struct{})
		began := time.Now()
		_, err = a.freeze(t.Context(), true, func() error { <-disk; return nil }, release)
		if err == nil || !strings.Contains(err.Error(), "does the disk answer?") {
			t.Errorf("freeze = %v, want that the disk is asked after", err)
		}
		if got := time.Since(began); got != frozenAtMost {
			t.Errorf("frozen for %s, want %s", got, frozenAtMost)
		}
		w.expect("freeze", "pause shop", "resume shop")
		if err := a.lock(t.Context()); err != nil { // free for a stop
			t.Fatal(err)
		}
		if _, _, err := a.look(t.Context()); err == nil {
			t.Error("a second view while the first one is being taken")
		}
		if _, err := a.setAside(); err == nil {
			t.Error("set aside while a view is being taken")
		}
		close(disk)
		synctest.Wait()
		if _, release, err = a.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		release()
		if _, err := a.setAside(); err != nil {
			t.Error(err)
		}
	})
}
