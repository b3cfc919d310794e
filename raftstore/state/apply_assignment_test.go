package state

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAssign_FirstAndNext(t *testing.T) {
	n, token, id := backedUp(t)
	if want := (Token{Incarnation: 1, Generation: 1}); token != want {
		t.Fatalf("got first token %s, want %s", token, want)
	}
	n.must(ReplicationRecord, ReplicationRecordData{Account: "guestbook", From: "par1", To: "par2", Snapshots: []SnapshotID{id}})
	n.must(TaskCreate, backupTask("b2", token))
	n.must(TaskCreate, TaskCreateData{Task: Task{
		ID: "r1", Kind: TaskRestoreFiles, Account: "guestbook", Token: token,
		Restore: &RestorePoint{Snapshot: id, Site: "par1"}, Path: "www", Target: "restored",
	}})
	next := AssignData{Account: "guestbook", Server: "par2-s1", Previous: token, Restore: &RestorePoint{Snapshot: id, Site: "par2"}, Run: "run1"}

	n.refused(ErrConflict, "may still run on server par1-s1 under token 1.1: that is not fenced", Assign, next)
	n.must(AssignmentStop, AssignmentStopData{Account: "guestbook", Token: token})
	n.refused(ErrConflict, "not fenced", Assign, next)
	n.must(AssignmentFenced, AssignmentFencedData{Account: "guestbook", Token: token, Method: AgentStopped, By: "par1-s1"})
	n.refused(ErrConflict, "is under token 1.1", Assign, AssignData{Account: "guestbook", Server: "par2-s1"})

	r := n.must(Assign, next)
	if want := (Token{Incarnation: 1, Generation: 2}); r.Token != want {
		t.Errorf("got token %s, want %s", r.Token, want)
	}
	want := []string{
		"account guestbook: home of the repository moved from site par1 to par2 (epoch 2)",
		"account guestbook: assigned to server par2-s1 under token 1.2",
	}
	if diff := cmp.Diff(want, r.Notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
	v := n.view()
	a := v.Assignment("guestbook")
	if a.Server != "par2-s1" || a.Stop || a.Fenced != nil || a.Run != "run1" || *a.Restore != *next.Restore {
		t.Errorf("got assignment %+v", a)
	}
	if got, want := v.Repository("guestbook").Home, (Home{Site: "par2", Epoch: 2}); got != want {
		t.Errorf("got home %+v, want %+v", got, want)
	}
	if v.Task("b2") != nil {
		t.Error("the backup of the old token is still there")
	}
	if b := v.BackupStatus("guestbook"); b.Failures != 1 || b.Error == "" {
		t.Errorf("got backup status %+v, want one failure", b)
	}
	if task := v.Task("r1"); task.Status != TaskFailed || task.Error != "the account was assigned to server par2-s1 meanwhile" {
		t.Errorf("got task %+v, want it failed", task)
	}
	if got := len(v.AssignmentsOn("par1-s1")); got != 0 {
		t.Errorf("got %d assignments on the old server, want none", got)
	}
}

func TestAssign_Refused(t *testing.T) {
	n, token, id := backedUp(t)
	n.refused(ErrNotFound, `no account "nobody"`, Assign, AssignData{Account: "nobody", Server: "par1-s1"})
	n.refused(ErrNotFound, `no server "par9"`, Assign, AssignData{Account: "static", Server: "par9"})
	n.refused(ErrConflict, "has no assignment yet", Assign, AssignData{Account: "static", Server: "par1-s1", Previous: token})
	n.refused(ErrNotFound, "account static has no snapshot aaaaaaaa", Assign,
		AssignData{Account: "static", Server: "par1-s1", Restore: &RestorePoint{Snapshot: id, Site: "par1"}})
	n.must(AssignmentFenced, AssignmentFencedData{Account: "guestbook", Token: token, Method: ConfirmedDown, By: "ada"})
	n.refused(ErrConflict, "site par2 holds no copy of snapshot aaaaaaaa", Assign,
		AssignData{Account: "guestbook", Server: "par2-s1", Previous: token, Restore: &RestorePoint{Snapshot: id, Site: "par2"}})
	n.refused(ErrNotFound, "no snapshot bbbbbbbb", Assign,
		AssignData{Account: "guestbook", Server: "par2-s1", Previous: token, Restore: &RestorePoint{Snapshot: snapshotID("b"), Site: "par2"}})
	n.refused(ErrInvalid, "or it would start with an empty home", Assign,
		AssignData{Account: "guestbook", Server: "par2-s1", Previous: token})

	empty := newNode(t)
	empty.must(InventoryApply, inventory())
	empty.refused(ErrConflict, "no identity yet", Assign, AssignData{Account: "static", Server: "par1-s1"})
}

func TestAssignment_StopFenceReady(t *testing.T) {
	n, token := running(t)
	old := Token{Incarnation: 1, Generation: 9}
	n.refused(ErrNotFound, "static has no assignment", AssignmentStop, AssignmentStopData{Account: "static", Token: token})
	n.refused(ErrConflict, "and not under 1.9", AssignmentStop, AssignmentStopData{Account: "guestbook", Token: old})
	n.refused(ErrConflict, "and not under 1.9", AssignmentReady, AssignmentReadyData{Account: "guestbook", Token: old})
	n.refused(ErrConflict, "and not under 1.9", AssignmentFenced, AssignmentFencedData{Account: "guestbook", Token: old, Method: ConfirmedDown, By: "ada"})
	n.refused(ErrConflict, "was not told to stop", AssignmentFenced, AssignmentFencedData{Account: "guestbook", Token: token, Method: AgentStopped, By: "par1-s1"})
	n.refused(ErrInvalid, "no method", AssignmentFenced, AssignmentFencedData{Account: "guestbook", Token: token, Method: "hope", By: "ada"})
	n.refused(ErrInvalid, "by whom", AssignmentFenced, AssignmentFencedData{Account: "guestbook", Token: token, Method: ConfirmedDown})

	n.must(AssignmentReady, AssignmentReadyData{Account: "guestbook", Token: token})
	n.same(AssignmentReady, AssignmentReadyData{Account: "guestbook", Token: token})
	n.must(AssignmentStop, AssignmentStopData{Account: "guestbook", Token: token})
	n.same(AssignmentStop, AssignmentStopData{Account: "guestbook", Token: token})
	n.must(AssignmentFenced, AssignmentFencedData{Account: "guestbook", Token: token, Method: AgentStopped, By: "par1-s1"})
	n.same(AssignmentFenced, AssignmentFencedData{Account: "guestbook", Token: token, Method: ConfirmedDown, By: "ada"})
	if got, want := n.view().Assignment("guestbook").Fenced.Method, AgentStopped; got != want {
		t.Errorf("got method %s, want the first proof: %s", got, want)
	}
	n.refused(ErrConflict, "is fenced", AssignmentReady, AssignmentReadyData{Account: "guestbook", Token: token})
}
