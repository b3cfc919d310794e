package state

import (
	"testing"
)

func TestRecovery(t *testing.T) {
	n, token, id := backedUp(t)
	n.must(TaskCreate, backupTask("b2", token))
	n.refused(ErrConflict, "does not wait", ClusterResume, ClusterResumeData{Incarnation: 1})
	adopt := AssignmentAdoptData{Account: "guestbook", Server: "par2-s1", Token: Token{Incarnation: 1, Generation: 7}}
	n.refused(ErrConflict, "only after a recovery", AssignmentAdopt, adopt)
	n.refused(ErrConflict, "this is cluster", ClusterRecover, ClusterRecoverData{UUID: "other", Incarnation: 2, How: RecoveredExport})
	n.refused(ErrConflict, "higher", ClusterRecover, ClusterRecoverData{UUID: "7d1f", Incarnation: 1, How: RecoveredExport})
	n.refused(ErrInvalid, "not from", ClusterRecover, ClusterRecoverData{UUID: "7d1f", Incarnation: 2, How: "luck"})
	n.must(ClusterRecover, ClusterRecoverData{UUID: "7d1f", Incarnation: 2, How: RecoveredExport, Source: "s3://drp-par1"})

	for name, payload := range map[Name]any{
		Assign:           AssignData{Account: "static", Server: "par2-s1"},
		AssignmentStop:   AssignmentStopData{Account: "guestbook", Token: token},
		AssignmentFenced: AssignmentFencedData{Account: "guestbook", Token: token, Method: ConfirmedDown, By: "ada"},
		TaskCreate:       TaskCreateData{Task: Task{ID: "r1", Kind: TaskRestoreFiles, Account: "guestbook", Server: "par1-s1", Token: token, Restore: &RestorePoint{Snapshot: id, Site: "par1"}, Path: "www", Target: "x"}},
		RunCreate:        RunCreateData{Run: newRun("run1")},
		RepositoryCreate: RepositoryCreateData{Account: "static", Site: "par1", SealedPassword: []byte("s")},
	} {
		n.refused(ErrConflict, "drp recover resume", name, payload)
	}

	n.must(AssignmentAdopt, adopt)
	n.same(AssignmentAdopt, adopt)
	a := n.view().Assignment("guestbook")
	if a.Server != "par2-s1" || a.Token != adopt.Token || a.ReadyAt.IsZero() || a.Fenced != nil {
		t.Errorf("got %+v, want what the server reports, and taken to run", a)
	}
	if got, want := n.view().Repository("guestbook").Home, (Home{Site: "par2", Epoch: 2}); got != want {
		t.Errorf("got home %+v, want %+v", got, want)
	}
	if got := n.view().Task("b2"); got != nil {
		t.Errorf("got task %+v, want it ended with the token before", got)
	}
	lower := adopt
	lower.Server, lower.Token = "par1-s1", token
	n.refused(ErrConflict, "not lower", AssignmentAdopt, lower)
	unknown := adopt
	unknown.Account = "nobody"
	n.refused(ErrNotFound, "nobody", AssignmentAdopt, unknown)
	higher := adopt
	higher.Token = Token{Incarnation: 5, Generation: 8}
	n.must(AssignmentAdopt, higher)

	n.refused(ErrConflict, "has to be 5", ClusterResume, ClusterResumeData{Incarnation: 4})
	n.refused(ErrConflict, "never falls", ClusterResume, ClusterResumeData{Incarnation: 1})
	n.must(ClusterResume, ClusterResumeData{Incarnation: 6})
	n.must(AssignmentFenced, AssignmentFencedData{Account: "guestbook", Token: higher.Token, Method: ConfirmedDown, By: "ada"})
	next := n.must(Assign, AssignData{Account: "guestbook", Server: "par1-s1", Previous: higher.Token, Restore: &RestorePoint{Snapshot: id, Site: "par1"}}).Token
	if want := (Token{Incarnation: 6, Generation: 9}); next != want {
		t.Errorf("got token %s, want %s", next, want)
	}
}
