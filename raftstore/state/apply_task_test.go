package state

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

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
	now := epoch.Add(time.Duration(n.index) * time.Second)
	want := &Snapshot{
		ID: id, Account: "guestbook", Start: now.Add(-time.Second), Finished: now.Add(-time.Second), Server: "par1-s1", Token: token, View: "btrfs",
		Sites: []Copy{{Site: "par1", CopiedAt: now}},
	}
	if diff := cmp.Diff(want, v.Snapshot("guestbook", id)); diff != "" {
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
	})
	t.Run("newest first", func(t *testing.T) {
		n.must(TaskFinish, TaskFinishData{Task: "b4", Snapshot: &Snapshot{ID: snapshotID("c")}})
		n.must(TaskCreate, backupTask("b5", token))
		n.must(TaskFinish, TaskFinishData{Task: "b5", Snapshot: &Snapshot{ID: snapshotID("b")}})
		var got []string
		for _, s := range n.view().Snapshots("guestbook") {
			got = append(got, s.ID.Short()[:1])
		}
		if diff := cmp.Diff([]string{"b", "c", "a"}, got); diff != "" {
			t.Errorf("snapshots (-want +got):\n%s", diff)
		}
		if got := n.view().Snapshots("guest"); len(got) != 0 {
			t.Errorf("got %d snapshots of another account whose name begins alike", len(got))
		}
	})
}

// An agent reports the same for ever: what cannot be recorded ends the task.
func TestTaskFinish_UnusableSnapshotFails(t *testing.T) {
	n, token, id := backedUp(t)
	for i, test := range []struct {
		words    string
		snapshot *Snapshot
	}{
		{"has a snapshot", nil},
		{"64 hexadecimal digits", &Snapshot{ID: "../../x"}},
		{"64 hexadecimal digits", &Snapshot{ID: SnapshotID(strings.Repeat("x", 1<<14))}},
		{"in lower case", &Snapshot{ID: SnapshotID(strings.ToUpper(string(id)))}},
		{"is known already", &Snapshot{ID: id}},
	} {
		before := len(n.view().Snapshots("guestbook"))
		n.must(TaskCreate, backupTask("b2", token))
		n.must(TaskFinish, TaskFinishData{Task: "b2", Snapshot: test.snapshot})
		v := n.view()
		if v.Task("b2") != nil {
			t.Errorf("%s: the task has not ended", test.words)
		}
		b := v.BackupStatus("guestbook")
		if !strings.Contains(b.Error, test.words) || len(b.Error) > maxText || b.Failures != i+1 || b.Snapshot != "" {
			t.Errorf("got backup status %+v, want a failure with the words %q", b, test.words)
		}
		if got := len(v.Snapshots("guestbook")); got != before {
			t.Errorf("%s: got %d snapshots, want %d", test.words, got, before)
		}
	}
}

// Only a complete pass of a worker makes a copy at another site; an agent there cannot claim one.
func TestTaskFinish_KnownSnapshotIsNoCopy(t *testing.T) {
	n, _, id := backedUp(t)
	token := n.must(Assign, AssignData{Account: "static", Server: "par2-s1"}).Token
	n.must(TaskCreate, TaskCreateData{Task: Task{ID: "s1", Kind: TaskBackup, Account: "static", Token: token}})
	n.must(TaskFinish, TaskFinishData{Task: "s1", Snapshot: &Snapshot{ID: id}})
	if got := n.view().BackupStatus("static").Error; !strings.Contains(got, "server par1-s1 made it of account guestbook") {
		t.Errorf("got %q, want whose the snapshot is", got)
	}

	other := snapshotID("b")
	token = moved(n, id)
	n.must(TaskCreate, TaskCreateData{Task: Task{ID: "b2", Kind: TaskBackup, Account: "guestbook", Token: token}})
	n.must(TaskFinish, TaskFinishData{Task: "b2", Snapshot: &Snapshot{ID: other}})
	n.must(AssignmentFenced, AssignmentFencedData{Account: "guestbook", Token: token, Method: ConfirmedDown, By: "ada"})
	token = n.must(Assign, AssignData{Account: "guestbook", Server: "par1-s1", Previous: token, Restore: &RestorePoint{Snapshot: id, Site: "par1"}}).Token
	n.must(TaskCreate, TaskCreateData{Task: Task{ID: "b3", Kind: TaskBackup, Account: "guestbook", Token: token}})
	n.must(TaskFinish, TaskFinishData{Task: "b3", Snapshot: &Snapshot{ID: other}})
	if s := n.view().Snapshot("guestbook", other); len(s.Sites) != 1 || s.Sites[0].Site != "par2" {
		t.Errorf("got copies %+v, want the one at par2", s.Sites)
	}
}

// moved brings the account to par2-s1, from this snapshot.
func moved(n *node, id SnapshotID) Token {
	n.tb.Helper()
	old := n.view().Assignment("guestbook").Token
	n.must(ReplicationRecord, ReplicationRecordData{Account: "guestbook", From: "par1", To: "par2", Snapshots: []SnapshotID{id}})
	n.must(AssignmentFenced, AssignmentFencedData{Account: "guestbook", Token: old, Method: ConfirmedDown, By: "ada"})
	return n.must(Assign, AssignData{Account: "guestbook", Server: "par2-s1", Previous: old, Restore: &RestorePoint{Snapshot: id, Site: "par2"}}).Token
}

func TestTaskFinish_LongTextsAreCut(t *testing.T) {
	n, token, id := backedUp(t)
	n.must(TaskCreate, TaskCreateData{Task: Task{
		ID: "r1", Kind: TaskRestoreFiles, Account: "guestbook", Token: token,
		Restore: &RestorePoint{Snapshot: id, Site: "par1"}, Path: ".", Target: "restored",
	}})
	finish := TaskFinishData{Task: "r1", Error: "x" + strings.Repeat("é", maxText), Detail: strings.Repeat("€", maxText)}
	n.must(TaskFinish, finish)
	n.same(TaskFinish, finish)
	task := n.view().Task("r1")
	for _, text := range []string{task.Error, task.Detail} {
		if len(text) > maxText || len(text) < maxText-4 || !utf8.ValidString(text) || !strings.HasSuffix(text, "…") {
			t.Errorf("got %d bytes, valid %v, that end in %q; want at most %d, cut between two characters",
				len(text), utf8.ValidString(text), text[len(text)-6:], maxText)
		}
	}
	if got, want := Shorten("a\xffb"), "a?b"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
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
	if _, ok := n.view().Snapshot("guestbook", id).At("par2"); ok {
		t.Error("a pass that was not complete made a copy")
	}
	if r := n.view().Replication("guestbook", "par2"); r.Failures != 2 || r.Error == "" {
		t.Errorf("got %+v, want 2 failures", r)
	}
	before := n.view()
	n.must(ReplicationRecord, record)
	first, ok := n.view().Snapshot("guestbook", id).At("par2")
	if !ok {
		t.Fatal("a complete pass made no copy")
	}
	if r := n.view().Replication("guestbook", "par2"); r.Failures != 0 || r.Error != "" {
		t.Errorf("got %+v, want no failures", r)
	}
	n.must(ReplicationRecord, record)
	if again, _ := n.view().Snapshot("guestbook", id).At("par2"); !again.CopiedAt.Equal(first.CopiedAt) {
		t.Error("the time of the first copy moved")
	}
	if got := len(before.Snapshot("guestbook", id).Sites); got != 1 {
		t.Errorf("an older view has %d copies now, want 1", got)
	}
	if n.view().Snapshot("guestbook", snapshotID("f")) != nil {
		t.Error("a pass put a snapshot into the catalogue")
	}
}

// Whatever an agent adds, the account's own databases and mailboxes are recorded, and nothing under a name that was cut.
func TestShortenParts(t *testing.T) {
	var all []Part
	for n := range 2 * MaxParts {
		all = append(all, Part{Name: fmt.Sprint("mysql/x", n)}, Part{Name: "mysql/x0", Error: "said twice"})
	}
	long := strings.Repeat("x", maxPartText)
	all = append(all, Part{Name: long + "y"}, Part{Name: long}, Part{Name: "mysql/shop", Error: "gone"}, Part{Name: "mysql/blog"})
	own := []string{"mysql/blog", "mysql/shop"}
	got := ShortenParts(all, own)
	if len(got) != MaxParts || got[0] != (Part{Name: "mysql/shop", Error: "gone"}) || got[1].Name != "mysql/blog" || got[2] != (Part{Name: "mysql/x0"}) || got[3].Name != "mysql/x1" {
		t.Errorf("got %d parts, %+v first; want %d, with the account's own first", len(got), got[:4], MaxParts)
	}
	few := []Part{{Name: "mysql/x"}, {Name: long + "y"}, {Name: "mysql/blog"}}
	if diff := cmp.Diff([]Part{few[0], few[2]}, ShortenParts(few, own)); diff != "" {
		t.Errorf("of few (-want +got):\n%s", diff)
	}
}

func TestTaskFinish_OwnParts(t *testing.T) {
	n, token, _ := backedUp(t)
	account := *n.view().Account("guestbook")
	account.Databases = []Database{{Engine: MariaDB, Name: "shop"}}
	n.must(InventoryApply, InventoryData{Accounts: []Account{account}})
	made := &Snapshot{ID: snapshotID("9")}
	for i := range MaxParts {
		made.Parts = append(made.Parts, Part{Name: fmt.Sprint("mysql/x", i)})
	}
	made.Parts = append(made.Parts, Part{Name: "mysql/shop"})
	n.must(TaskCreate, backupTask("b2", token))
	n.must(TaskFinish, TaskFinishData{Task: "b2", Snapshot: made})
	if lacks := n.view().Snapshots("guestbook")[0].Lacks(account.Parts()); len(lacks) > 0 {
		t.Errorf("the snapshot lacks %+v", lacks)
	}
}

// What could not be recorded of a snapshot is refused in the inventory: it would never count as held.
func TestInventory_TooManyParts(t *testing.T) {
	n, _ := running(t)
	account := *n.view().Account("guestbook")
	for i := range MaxParts {
		account.Databases = append(account.Databases, Database{Engine: MariaDB, Name: fmt.Sprint("d", i)})
	}
	n.must(InventoryApply, InventoryData{Accounts: []Account{account}})
	more := account
	more.Mailboxes = []Mailbox{{Domain: "example.org", Name: "info"}}
	n.refused(ErrInvalid, "has 1001 databases and mailboxes", InventoryApply, InventoryData{Accounts: []Account{more}})
	long := account
	long.Databases = nil
	long.Mailboxes = []Mailbox{{Domain: strings.Repeat("a.", 120) + "example.org", Name: strings.Repeat("b", 64)}}
	n.refused(ErrInvalid, "has 322 bytes as a part of a snapshot", InventoryApply, InventoryData{Accounts: []Account{long}})
}

func TestTaskFinish_Parts(t *testing.T) {
	n, token, _ := backedUp(t)
	n.must(TaskCreate, backupTask("b2", token))
	made := &Snapshot{ID: snapshotID("9"), Parts: []Part{
		{Name: "postgresql/shop"}, {Name: "mysql/shop", Error: strings.Repeat("x", 5000)}, {Name: "mails/example.org/info", Error: "gone"}}}
	n.must(TaskFinish, TaskFinishData{Task: "b2", Snapshot: made})
	got := n.view().Snapshots("guestbook")[0]
	if len(got.Parts) != 3 || got.Parts[0] != made.Parts[0] || len(got.Parts[1].Error) != maxPartText {
		t.Errorf("got parts %+v", got.Parts)
	}
	lacks := got.Lacks([]string{"postgresql/shop", "mails/example.org/info", "mysql/new"})
	want := []Part{{Name: "mails/example.org/info", Error: "gone"}, {Name: "mysql/new", Error: "it was not the account's yet"}}
	if diff := cmp.Diff(want, lacks); diff != "" {
		t.Errorf("lacks (-want +got):\n%s", diff)
	}
}
