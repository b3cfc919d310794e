package state

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func newRun(id RunID) Run {
	return Run{
		ID: id, Runbook: "site-loss", Parameters: map[string]string{"site": "par1"}, By: "operator/ada", Status: RunWaiting,
		Steps:    []RunStep{{ID: "confirm", Type: "approve", Status: StepRunning}, {ID: "fence", Type: "fence", Status: StepPending}},
		PlanHash: "h1",
	}
}

func TestRun_Life(t *testing.T) {
	n := newPlatform(t)
	n.must(RunCreate, RunCreateData{Run: newRun("run1")})
	n.refused(ErrConflict, "a run run1 already", RunCreate, RunCreateData{Run: newRun("run1")})
	n.refused(ErrConflict, "run run1 does the same", RunCreate, RunCreateData{Run: newRun("run2")})

	n.refused(ErrNotFound, "no run run9", RunConfirm, RunConfirmData{Run: "run9", PlanHash: "h1", By: "ada"})
	n.refused(ErrConflict, "another plan", RunConfirm, RunConfirmData{Run: "run1", PlanHash: "h2", By: "ada"})
	n.refused(ErrInvalid, "by whom", RunConfirm, RunConfirmData{Run: "run1", PlanHash: "h1"})
	n.refused(ErrNotFound, "no server", RunConfirm, RunConfirmData{Run: "run1", PlanHash: "h1", By: "ada", Down: []ServerName{"par9"}})
	n.must(RunConfirm, RunConfirmData{Run: "run1", PlanHash: "h1", By: "ada", Down: []ServerName{"par1-s1"}})
	r := n.view().Run("run1")
	if r.Status != RunRunning || r.ConfirmedBy != "ada" || len(r.Down) != 1 {
		t.Errorf("got %+v, want it running and confirmed by ada", r)
	}
	n.refused(ErrConflict, "does not wait", RunConfirm, RunConfirmData{Run: "run1", PlanHash: "h1", By: "eve"})
	n.same(RunConfirm, RunConfirmData{Run: "run1", PlanHash: "h1", By: "ada", Down: []ServerName{"par1-s1"}})
	n.refused(ErrConflict, "confirmed by ada", RunCancel, RunCancelData{Run: "run1", By: "eve"})

	steps := []RunStep{{ID: "confirm", Status: StepDone}, {ID: "fence", Status: StepRunning}}
	update := RunUpdateData{Run: "run1", ExpectStep: 0, ExpectStatus: StepRunning, Status: RunRunning, Step: 1, Steps: steps}
	n.must(RunUpdate, update)
	n.refused(ErrConflict, "stands at step 1 (running), and not at step 0 (running)", RunUpdate, update)

	update.ExpectStep = 1
	for _, bad := range []struct {
		words string
		edit  func(*RunUpdateData)
	}{
		{"from step 1 to step 0", func(d *RunUpdateData) { d.Step = 0 }},
		{"to step 2 of 2", func(d *RunUpdateData) { d.Step = 2 }},
		{"has 2 steps, and not 1", func(d *RunUpdateData) { d.Steps = d.Steps[:1] }},
		{`no status "lost"`, func(d *RunUpdateData) { d.Status = "lost" }},
	} {
		d := update
		bad.edit(&d)
		n.refused(ErrInvalid, bad.words, RunUpdate, d)
	}
	update.Status = RunDone
	n.must(RunUpdate, update)
	n.refused(ErrConflict, "has ended: done", RunUpdate, update)
	n.refused(ErrConflict, "has ended: done", RunCancel, RunCancelData{Run: "run1", By: "ada"})
	if n.view().Run("run1").Finished.IsZero() {
		t.Error("an ended run has no time of its end")
	}

	n.must(RunCreate, RunCreateData{Run: newRun("run2")})
	n.must(RunCancel, RunCancelData{Run: "run2", By: "ada"})
}

func TestRunConfirm_ASecondWordAddsServers(t *testing.T) {
	n := newPlatform(t)
	r := newRun("run1")
	r.Steps[0].Items = []RunItem{{Account: "guestbook"}}
	n.must(RunCreate, RunCreateData{Run: r})
	n.must(RunConfirm, RunConfirmData{Run: "run1", PlanHash: "h1", By: "ada", Down: []ServerName{"par1-s1"}})
	confirmed := n.view().Run("run1")
	n.must(RunUpdate, RunUpdateData{Run: "run1", ExpectStatus: StepRunning, Status: RunWaiting, Steps: r.Steps})
	n.must(RunConfirm, RunConfirmData{Run: "run1", PlanHash: "h1", By: "bob", Down: []ServerName{"par1-s1", "par1-s2"}})
	got := n.view().Run("run1")
	if diff := cmp.Diff([]ServerName{"par1-s1", "par1-s1", "par1-s2"}, serversOf(got.Down)); diff != "" {
		t.Errorf("servers confirmed down (-want +got):\n%s", diff)
	}
	if !got.ConfirmedAt.Equal(confirmed.ConfirmedAt) || len(confirmed.Down) != 1 {
		t.Errorf("got %+v after %+v, want the first time and an unchanged older row", got, confirmed)
	}
	if got.Steps[0].Items != nil {
		t.Errorf("got items %+v in the state, want none", got.Steps[0].Items)
	}
}

func TestRunAccounts(t *testing.T) {
	n := newPlatform(t)
	r := newRun("run1")
	r.Status = RunPreparing
	n.must(RunCreate, RunCreateData{Run: r})
	accounts := RunAccountsData{Run: "run1", Accounts: []RunAccount{
		{Account: "static", Order: 1, From: "par1-s1", To: "par2-s1"},
		{Account: "guestbook", Order: 0, From: "par1-s1", To: "par2-s2", Status: StepDone},
	}}
	end := RunAccountEndData{Run: "run1", Account: "static", Status: StepDone, At: epoch, RTO: time.Minute}
	n.refused(ErrNotFound, "run run1 has no account static", RunAccountEnd, end)
	n.refused(ErrNotFound, `no account "nobody"`, RunAccounts, RunAccountsData{Run: "run1", Accounts: []RunAccount{{Account: "nobody"}}})
	n.must(RunAccounts, accounts)
	n.same(RunAccounts, accounts)
	accounts.Accounts[0].To = "par2-s2"
	n.refused(ErrConflict, "another plan for account static", RunAccounts, accounts)
	rows := n.view().RunAccounts("run1")
	if len(rows) != 2 || rows[0].Account != "guestbook" || rows[0].Status != StepPending || rows[1].To != "par2-s1" {
		t.Errorf("got %+v, %+v, want guestbook, then static, both pending", rows[0], rows[1])
	}
	n.must(RunUpdate, RunUpdateData{Run: "run1", ExpectStatus: StepRunning, Status: RunWaiting, Steps: r.Steps})
	n.refused(ErrConflict, "its accounts cannot change any more", RunAccounts, accounts)
	n.refused(ErrInvalid, `not "pending"`, RunAccountEnd, RunAccountEndData{Run: "run1", Account: "static", Status: StepPending})
	n.must(RunAccountEnd, end)
	n.refused(ErrConflict, "has ended already: done", RunAccountEnd, end)
}

func TestRunCreate_Refused(t *testing.T) {
	n := newPlatform(t)
	for words, edit := range map[string]func(*Run){
		`run ""`:              func(r *Run) { r.ID = "" },
		`not "done"`:          func(r *Run) { r.Status = RunDone },
		"stands at step 2":    func(r *Run) { r.Step = 2 },
		"stands at step 0":    func(r *Run) { r.Steps = nil },
		"after it was made":   func(r *Run) { r.ConfirmedBy = "ada" },
		"an id has 1 to 100":  func(r *Run) { r.ID = "a b" },
		"confirmed after it ": func(r *Run) { r.Down = []DownWord{{Server: "par1-s1", By: "ada"}} },
	} {
		r := newRun("run1")
		edit(&r)
		n.refused(ErrInvalid, words, RunCreate, RunCreateData{Run: r})
	}
}

func TestView_RunsNewestFirst(t *testing.T) {
	n := newPlatform(t)
	for i, id := range []RunID{"b", "c", "a"} {
		r := newRun(id)
		r.Parameters = map[string]string{"n": string(id)}
		r.Created = epoch.Add(time.Duration(i) * time.Millisecond)
		n.must(RunCreate, RunCreateData{Run: r})
	}
	var got []RunID
	for _, r := range n.view().Runs() {
		got = append(got, r.ID)
	}
	if diff := cmp.Diff([]RunID{"a", "c", "b"}, got); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
}

func TestToken(t *testing.T) {
	n := newPlatform(t)
	token := APIToken{Name: "ci", SHA256: make([]byte, 32), Role: "support", Expires: epoch.Add(time.Hour)}
	n.must(TokenCreate, TokenCreateData{Token: token})
	n.refused(ErrConflict, "a token ci already", TokenCreate, TokenCreateData{Token: token})
	for words, edit := range map[string]func(*APIToken){
		"which has 32 bytes":   func(t *APIToken) { t.SHA256 = []byte("secret") },
		`not for "agent"`:      func(t *APIToken) { t.Role = "agent" },
		"expire before":        func(t *APIToken) { t.Expires = epoch.Add(-time.Hour) },
		"a token has no name":  func(t *APIToken) { t.Name = "" },
		`token "a b": a name`:  func(t *APIToken) { t.Name = "a b" },
		"up to 63 letters, di": func(t *APIToken) { t.Name = "-x" },
	} {
		other := token
		other.Name = "other"
		edit(&other)
		n.refused(ErrInvalid, words, TokenCreate, TokenCreateData{Token: other})
	}
	n.must(TokenRevoke, TokenRevokeData{Name: "ci"})
	n.refused(ErrNotFound, "no token ci", TokenRevoke, TokenRevokeData{Name: "ci"})
	if got := len(n.view().APITokens()); got != 0 {
		t.Errorf("got %d tokens, want none", got)
	}
}

func serversOf(words []DownWord) []ServerName {
	var list []ServerName
	for _, w := range words {
		list = append(list, w.Server)
	}
	return list
}
