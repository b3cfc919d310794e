package state

import (
	"strings"
	"testing"
	"time"
)

// A leader whose answer was lost plans again: what was seen meanwhile differs, what happens to the account does not.
func TestRunAccounts_PlannedAgain(t *testing.T) {
	n, token, id := backedUp(t)
	r := newRun("run1")
	r.Status = RunPreparing
	n.must(RunCreate, RunCreateData{Run: r})
	row := RunAccount{
		Account: "guestbook", From: "par1-s1", Token: token, To: "par2-s1", Restore: RestorePoint{Snapshot: id, Site: "par1"},
		Start: epoch, LastContact: epoch,
	}
	record := func(edit func(*RunAccount)) RunAccountsData {
		a := row
		edit(&a)
		return RunAccountsData{Run: "run1", Accounts: []RunAccount{a}}
	}
	n.must(RunAccounts, record(func(*RunAccount) {}))
	n.same(RunAccounts, record(func(a *RunAccount) {
		a.Start, a.LastContact, a.At = epoch.Add(time.Second), epoch.Add(time.Second), epoch
	}))
	if got := n.view().RunAccounts("run1")[0].LastContact; !got.Equal(epoch) {
		t.Errorf("got a last contact at %s, want the first one", got)
	}
	for name, edit := range map[string]func(*RunAccount){
		"to":       func(a *RunAccount) { a.To = "par2-s2" },
		"token":    func(a *RunAccount) { a.Token.Generation++ },
		"snapshot": func(a *RunAccount) { a.Restore.Snapshot = snapshotID("b") },
		"site":     func(a *RunAccount) { a.Restore.Site = "par2" },
	} {
		t.Run("another "+name, func(t *testing.T) {
			n.tb = t
			n.refused(ErrConflict, "another plan for account guestbook", RunAccounts, record(edit))
		})
	}
}

// The ids of a run's tasks are built from its own.
func TestRunCreate_ID(t *testing.T) {
	n := newPlatform(t)
	for _, id := range []string{"", "-x", "a/b", "a b", "é", strings.Repeat("x", 101), strings.Repeat("x", 1<<14)} {
		n.refused(ErrInvalid, "an id has 1 to 100 letters", RunCreate, RunCreateData{Run: newRun(RunID(id))})
	}
	n.must(RunCreate, RunCreateData{Run: newRun(RunID(strings.Repeat("x", 100)))})
}
