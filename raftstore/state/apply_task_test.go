package state

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTaskCreate_Refused(t *testing.T) {
	n, token, id := backedUp(t)
	with := func(edit func(*Task)) TaskCreateData {
		d := backupTask("b2", token)
		edit(&d.Task)
		return d
	}
	restore := func(edit func(*Task)) TaskCreateData {
		return with(func(task *Task) {
			task.Kind, task.Restore = TaskRestoreFiles, &RestorePoint{Snapshot: id, Site: "par1"}
			task.Path, task.Target = "www", "restored"
			edit(task)
		})
	}
	n.refused(ErrInvalid, "task \"\"", TaskCreate, with(func(task *Task) { task.ID = "" }))
	n.refused(ErrNotFound, "static has no assignment", TaskCreate, with(func(task *Task) { task.Account = "static" }))
	n.refused(ErrConflict, "and not under 1.2", TaskCreate, with(func(task *Task) { task.Token.Generation = 2 }))
	n.refused(ErrConflict, "is on server par1-s1, and not on par1-s2", TaskCreate, with(func(task *Task) { task.Server = "par1-s2" }))
	n.refused(ErrInvalid, `no kind of task "dance"`, TaskCreate, with(func(task *Task) { task.Kind = "dance" }))
	n.refused(ErrInvalid, "which snapshot", TaskCreate, restore(func(task *Task) { task.Restore = nil }))
	n.refused(ErrInvalid, "inside of the account's home", TaskCreate, restore(func(task *Task) { task.Target = "../x" }))
	n.refused(ErrInvalid, "inside of the account's home", TaskCreate, restore(func(task *Task) { task.Path = "/etc" }))
	n.refused(ErrConflict, "no copy", TaskCreate, restore(func(task *Task) { task.Restore.Site = "par2" }))

	n.must(TaskCreate, with(func(*Task) {}))
	n.refused(ErrConflict, "already: task b2", TaskCreate, with(func(task *Task) { task.ID = "b3" }))
	n.refused(ErrConflict, "a task b2 already", TaskCreate, restore(func(*Task) {}))
	n.must(TaskCreate, restore(func(task *Task) { task.ID = "r1" }))

	n.must(AssignmentStop, AssignmentStopData{Account: "guestbook", Token: token})
	n.refused(ErrConflict, "being moved away", TaskCreate, with(func(task *Task) { task.ID = "b4" }))
}

func TestTaskFinish_Backup(t *testing.T) {
	n, token, id := backedUp(t)
	v := n.view()
	if v.Task("b1") != nil {
		t.Error("the finished backup is still there")
	}
	want := &Snapshot{
		ID: id, Account: "guestbook", Start: epoch, Finished: epoch.Add(time.Second), Server: "par1-s1", Token: token, View: "btrfs",
		Sites: []Copy{{Site: "par1", CopiedAt: epoch.Add(time.Duration(n.index) * time.Second)}},
	}
	if diff := cmp.Diff(want, v.Snapshot(id)); diff != "" {
		t.Errorf("snapshot (-want +got):\n%s", diff)
	}
	if b := v.BackupStatus("guestbook"); b.Snapshot != id || b.Error != "" || b.Failures != 0 || !b.Due.Equal(epoch) {
		t.Errorf("got backup status %+v", b)
	}

	t.Run("failures count", func(t *testing.T) {
		for _, id := range []TaskID{"b2", "b3"} {
			byHand := backupTask(id, token)
			byHand.Task.Due = time.Time{}
			n.must(TaskCreate, byHand)
			n.must(TaskFinish, TaskFinishData{Task: id, Error: "restic: exit code 11: locked"})
		}
		b := n.view().BackupStatus("guestbook")
		if b.Failures != 2 || b.Error != "restic: exit code 11: locked" || !b.Due.Equal(epoch) {
			t.Errorf("got backup status %+v, want 2 failures and the slot that was served", b)
		}
	})
	t.Run("refused", func(t *testing.T) {
		n.refused(ErrNotFound, "no task b1", TaskFinish, TaskFinishData{Task: "b1"})
		n.must(TaskCreate, backupTask("b4", token))
		n.refused(ErrInvalid, "has a snapshot", TaskFinish, TaskFinishData{Task: "b4"})
		n.refused(ErrInvalid, "64 hexadecimal digits", TaskFinish, TaskFinishData{Task: "b4", Snapshot: &Snapshot{ID: "../../x"}})
	})
	t.Run("newest first", func(t *testing.T) {
		n.must(TaskFinish, TaskFinishData{Task: "b4", Snapshot: &Snapshot{ID: snapshotID("b"), Start: epoch.Add(time.Minute)}})
		n.must(TaskCreate, backupTask("b5", token))
		n.must(TaskFinish, TaskFinishData{Task: "b5", Snapshot: &Snapshot{ID: snapshotID("c"), Start: epoch.Add(-time.Minute)}})
		var got []string
		for _, s := range n.view().Snapshots("guestbook") {
			got = append(got, s.ID.Short()[:1])
		}
		if diff := cmp.Diff([]string{"b", "a", "c"}, got); diff != "" {
			t.Errorf("snapshots (-want +got):\n%s", diff)
		}
		if got := n.view().Snapshots("guest"); len(got) != 0 {
			t.Errorf("got %d snapshots of another account whose name begins alike", len(got))
		}
	})
}

func TestTaskFinish_SnapshotOfAnotherAccount(t *testing.T) {
	n, _, id := backedUp(t)
	token := n.must(Assign, AssignData{Account: "static", Server: "par2-s1"}).Token
	n.must(TaskCreate, TaskCreateData{Task: Task{ID: "s1", Kind: TaskBackup, Account: "static", Token: token}})
	n.refused(ErrConflict, "is of account guestbook already", TaskFinish, TaskFinishData{Task: "s1", Snapshot: &Snapshot{ID: id}})
}

func TestTaskForget(t *testing.T) {
	n, token, id := backedUp(t)
	n.must(TaskCreate, TaskCreateData{Task: Task{
		ID: "r1", Kind: TaskRestoreFiles, Account: "guestbook", Token: token,
		Restore: &RestorePoint{Snapshot: id, Site: "par1"}, Path: ".", Target: "restored",
	}})
	n.refused(ErrConflict, "not ended yet", TaskForget, TaskForgetData{Task: "r1"})
	n.must(TaskFinish, TaskFinishData{Task: "r1", Detail: "12 files"})
	n.same(TaskFinish, TaskFinishData{Task: "r1", Detail: "12 files"})
	n.refused(ErrConflict, "has ended already: done", TaskFinish, TaskFinishData{Task: "r1", Error: "late"})
	if got := len(n.view().TasksOn("par1-s1")); got != 1 {
		t.Errorf("got %d tasks, want the finished one until it is forgotten", got)
	}
	n.must(TaskForget, TaskForgetData{Task: "r1"})
	n.refused(ErrNotFound, "no task r1", TaskForget, TaskForgetData{Task: "r1"})
}

func TestRepository(t *testing.T) {
	n := newPlatform(t)
	create := RepositoryCreateData{Account: "guestbook", Site: "par1", SealedPassword: []byte("sealed")}
	n.refused(ErrNotFound, "guestbook has no repository", RepositoryReady, RepositoryReadyData{Account: "guestbook"})
	n.refused(ErrInvalid, "witness", RepositoryCreate, RepositoryCreateData{Account: "guestbook", Site: "par3", SealedPassword: []byte("s")})
	n.refused(ErrInvalid, "sealed password", RepositoryCreate, RepositoryCreateData{Account: "guestbook", Site: "par1"})
	n.refused(ErrNotFound, `no account "x"`, RepositoryCreate, RepositoryCreateData{Account: "x", Site: "par1", SealedPassword: []byte("s")})
	n.must(RepositoryCreate, create)
	n.refused(ErrConflict, "has a repository already", RepositoryCreate, create)
	n.refused(ErrConflict, "and not at par2 (epoch 1)", RepositoryReady, RepositoryReadyData{Account: "guestbook", Home: Home{Site: "par2", Epoch: 1}})
	n.must(RepositoryReady, RepositoryReadyData{Account: "guestbook", Home: Home{Site: "par1", Epoch: 1}})
	n.same(RepositoryReady, RepositoryReadyData{Account: "guestbook", Home: Home{Site: "par1", Epoch: 1}})
}

func TestReplicationRecord(t *testing.T) {
	n, _, id := backedUp(t)
	record := ReplicationRecordData{Account: "guestbook", From: "par1", To: "par2", Snapshots: []SnapshotID{id, snapshotID("f")}}
	n.refused(ErrNotFound, `no site "par9"`, ReplicationRecord, ReplicationRecordData{Account: "guestbook", From: "par1", To: "par9"})
	n.refused(ErrInvalid, "to itself", ReplicationRecord, ReplicationRecordData{Account: "guestbook", From: "par1", To: "par1"})

	broken := record
	broken.Error = "object data/ab: hash differs"
	n.must(ReplicationRecord, broken)
	n.must(ReplicationRecord, broken)
	if _, ok := n.view().Snapshot(id).At("par2"); ok {
		t.Error("a pass that was not complete made a copy")
	}
	if r := n.view().Replication("guestbook", "par2"); r.Failures != 2 || r.Error == "" {
		t.Errorf("got %+v, want 2 failures", r)
	}
	before := n.view()
	n.must(ReplicationRecord, record)
	first, ok := n.view().Snapshot(id).At("par2")
	if !ok {
		t.Fatal("a complete pass made no copy")
	}
	if r := n.view().Replication("guestbook", "par2"); r.Failures != 0 || r.Error != "" {
		t.Errorf("got %+v, want no failures", r)
	}
	n.must(ReplicationRecord, record)
	if again, _ := n.view().Snapshot(id).At("par2"); !again.CopiedAt.Equal(first.CopiedAt) {
		t.Error("the time of the first copy moved")
	}
	if got := len(before.Snapshot(id).Sites); got != 1 {
		t.Errorf("an older view has %d copies now, want 1", got)
	}
	if n.view().Snapshot(snapshotID("f")) != nil {
		t.Error("a pass put a snapshot into the catalogue")
	}
}
