package state

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// full is guestbook with a row in every table that can be about an account, and a second account that has nothing to do with it.
func full(t *testing.T) *node {
	t.Helper()
	n := renewable(t)
	n.must(RepositoryRenew, renew(0))
	home := n.view().Repository("guestbook").Home
	n.must(RepositoryReady, RepositoryReadyData{Account: "guestbook", Home: home})
	n.backUp("d")
	n.must(ReplicationRecord, ReplicationRecordData{Account: "guestbook~2", From: "par1", To: "par2", Snapshots: []SnapshotID{snapshotID("d")}})
	n.must(VerificationRecord, VerificationRecordData{Account: "guestbook", Site: "par2", Kind: Scrubbed})
	n.must(VerificationRecord, VerificationRecordData{Account: "guestbook~2", Site: "par2", Kind: Scrubbed})
	n.must(MaintenanceRecord, MaintenanceRecordData{Account: "guestbook", Home: home})
	n.must(KeysRotate, KeysRotateData{Account: "guestbook", Sealed: []byte("next")})
	n.must(PauseSet, PauseSetData{Pause: Pause{Kind: PauseAccount, Name: "guestbook"}})
	move(n, "par1-s2")
	token := n.view().Assignment("guestbook").Token
	n.must(TaskCreate, TaskCreateData{Task: Task{ID: "reads", Kind: TaskRestoreFiles, Account: "guestbook", Token: token,
		Restore: &RestorePoint{Snapshot: snapshotID("d"), Site: "par1"}, Path: "www", Target: "x"}})
	r := newRun("r1")
	r.Status = RunPreparing
	n.must(RunCreate, RunCreateData{Run: r})
	n.must(RunAccounts, RunAccountsData{Run: "r1", Accounts: []RunAccount{{Account: "guestbook", From: "par1-s2", To: "par2-s1", Token: token}}})

	n.must(BreakGlassRecord, BreakGlassRecordData{Store: "par1", Tested: []string{"guestbook~2"}, Count: 1})

	n.must(RepositoryCreate, RepositoryCreateData{Account: "static", Site: "par1", SealedPassword: []byte("other")})
	n.must(Assign, AssignData{Account: "static", Server: "par1-s1"})
	return n
}

func move(n *node, to ServerName) {
	n.tb.Helper()
	a := n.view().Assignment("guestbook")
	n.must(AssignmentFenced, AssignmentFencedData{Account: "guestbook", Token: a.Token, Method: ConfirmedDown, By: "ada"})
	n.must(Assign, AssignData{Account: "guestbook", Server: to, Previous: a.Token, Restore: &RestorePoint{Snapshot: snapshotID("d"), Site: "par1"}})
}

// mayName are the tables in which the name of an erased account stays: what was done is told for good.
var mayName = []string{"erasures", "audit", "applied", "runs", "run-accounts", "breakglass-tests"}

// naming are the tables beside those that name an account, or one of its repositories.
func naming(tb interface{ Fatal(...any) }, v *View, account string) []string {
	var b bytes.Buffer
	if err := v.Persist(&b); err != nil {
		tb.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(b.String()) {
		var row persistedRow
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			tb.Fatal(err)
		}
		if bytes.Contains(row.Row, []byte(account)) && !slices.Contains(mayName, row.Table) {
			found = append(found, row.Table)
		}
	}
	return slices.Compact(found)
}

func TestErasure_takesEverything(t *testing.T) {
	n := full(t)
	before := naming(t, n.view(), "guestbook")
	for _, table := range []string{"accounts", "assignments", "repositories", "retired", "catalogues", "replications", "verifications", "maintenance",
		"backup-status", "tasks", "pauses", "password-holders", "repository-keys"} {
		if !slices.Contains(before, table) {
			t.Errorf("table %s has nothing of the account: the test would show nothing", table)
		}
	}
	others := naming(t, n.view(), "static")
	order := ErasureOrderData{Account: "guestbook", Wait: time.Hour, Reason: "left"}
	n.must(ErasureOrder, order)
	n.same(ErasureOrder, order)
	if got := naming(t, n.view(), "guestbook"); !slices.Equal(got, before) {
		t.Errorf("an order alone has changed %v into %v", before, got)
	}
	later := func(c Command) Command {
		c.At = c.At.Add(time.Hour)
		return c
	}
	begin := func() Result {
		return n.applyCommand(later(n.command(ErasureBegin, ErasureBeginData{Account: "guestbook"})))
	}
	n.refused(ErrConflict, "not to be erased before", ErasureBegin, ErasureBeginData{Account: "guestbook"})
	if r := begin(); r.Err == nil || !strings.Contains(r.Err.Error(), "may still run on server par1-s2") {
		t.Errorf("it runs, and is erased: %v", r.Err)
	}
	a := n.view().Assignment("guestbook")
	n.must(AssignmentStop, AssignmentStopData{Account: "guestbook", Token: a.Token})
	if r := begin(); r.Err == nil {
		t.Error("it was told to stop and has not, and is erased")
	}
	n.must(AssignmentFenced, AssignmentFencedData{Account: "guestbook", Token: a.Token, Method: AgentStopped, By: "par1-s2"})
	if r := begin(); r.Err != nil || !r.Changed {
		t.Fatalf("got %+v", r)
	}
	v := n.view()
	if got := naming(t, v, "guestbook"); len(got) > 0 {
		t.Errorf("these tables still name it: %v", got)
	}
	if got := naming(t, v, "static"); !slices.Equal(got, others) {
		t.Errorf("of another account there was %v and is %v", others, got)
	}
	e := v.Erasure("guestbook")
	want := &Erasure{Account: "guestbook", By: "operator/ada", Reason: "left", Ordered: e.Ordered, NotBefore: e.Ordered.Add(time.Hour), Begun: e.Begun, Token: a.Token,
		Repositories: []string{"guestbook", "guestbook~2"}, Servers: []ServerName{"par1-s1", "par1-s2"}, Sites: []SiteErasure{{Site: "par1"}, {Site: "par2"}}}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Error(diff)
	}
	if row := v.RunAccounts("r1")[0]; row.Status != StepFailed || row.Message != "it is being erased" {
		t.Errorf("its part of a run: got %+v", row)
	}
	if r := begin(); r.Err != nil || r.Changed {
		t.Errorf("begun twice: %+v", r)
	}
	digestHolds(t, n)
}

// digestHolds restores what was persisted: each restore makes the digest anew.
func digestHolds(t *testing.T, n *node) {
	t.Helper()
	var b bytes.Buffer
	if err := n.state.Persist(&b); err != nil {
		t.Fatal(err)
	}
	again, err := Restore(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(n.view().Erasures(), again.View().Erasures()); diff != "" {
		t.Error(diff)
	}
	if got := len(again.View().OpenErasures()); got != len(n.view().OpenErasures()) {
		t.Errorf("%d open ones after a restore", got)
	}
}

// gone is guestbook, erased but for the sites.
func gone(t *testing.T) *node {
	t.Helper()
	n := full(t)
	n.must(ErasureOrder, ErasureOrderData{Account: "guestbook"})
	a := n.view().Assignment("guestbook")
	n.must(AssignmentFenced, AssignmentFencedData{Account: "guestbook", Token: a.Token, Method: ConfirmedDown, By: "ada"})
	n.must(ErasureBegin, ErasureBeginData{Account: "guestbook"})
	return n
}

// Nothing of it comes back, by whatever command; and its addresses are free.
func TestErasure_nameIsNeverUsedAgain(t *testing.T) {
	n := gone(t)
	account := inventory().Accounts[0]
	const why = "its name is never used again"
	n.refused(ErrConflict, why, InventoryApply, InventoryData{Accounts: []Account{account}})
	n.refused(ErrNotFound, why, Assign, AssignData{Account: "guestbook", Server: "par1-s1"})
	n.refused(ErrNotFound, why, RepositoryCreate, RepositoryCreateData{Account: "guestbook", Site: "par1", SealedPassword: []byte("s")})
	n.refused(ErrNotFound, why, ErasureOrder, ErasureOrderData{Account: "guestbook"})
	n.refused(ErrNotFound, why, ReplicationRecord, ReplicationRecordData{Account: "guestbook", From: "par1", To: "par2"})
	n.refused(ErrConflict, "cannot be taken back", ErasureCancel, ErasureCancelData{Account: "guestbook"})
	account.Name = "other"
	n.must(InventoryApply, InventoryData{Accounts: []Account{account}})
	for name, payload := range map[Name]any{
		RepositoryReady: RepositoryReadyData{Account: "guestbook", Home: Home{Site: "par1", Epoch: 1}}, TaskFinish: TaskFinishData{Task: "reads"},
		MaintenanceRecord: MaintenanceRecordData{Account: "guestbook"}, KeysSeen: KeysSeenData{Account: "guestbook", Repository: "guestbook~2", Site: "par1"},
		AssignmentAdopt: AssignmentAdoptData{Account: "guestbook", Server: "par1-s1", Token: Token{1, 9}},
	} {
		if r := n.apply(name, payload); r.Err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if got := naming(t, n.view(), "guestbook"); len(got) > 0 {
		t.Errorf("these tables name it again: %v", got)
	}
}

func TestErasureOrder(t *testing.T) {
	n := full(t)
	order := ErasureOrderData{Account: "guestbook", Wait: time.Hour}
	n.refused(ErrNotFound, "no account", ErasureOrder, ErasureOrderData{Account: "nobody"})
	n.refused(ErrInvalid, "waits for 0 to 2160 hours", ErasureOrder, ErasureOrderData{Account: "guestbook", Wait: -1})
	n.refused(ErrInvalid, "waits for 0 to 2160 hours", ErasureOrder, ErasureOrderData{Account: "guestbook", Wait: MostErasureWait + 1})
	n.refused(ErrNotFound, "no order", ErasureBegin, ErasureBeginData{Account: "guestbook"})
	n.refused(ErrNotFound, "no order", ErasureCancel, ErasureCancelData{Account: "guestbook"})
	n.must(ErasureOrder, order)
	n.refused(ErrConflict, "cancel that first", ErasureOrder, ErasureOrderData{Account: "guestbook"})
	n.refused(ErrConflict, "has not begun", ErasureSite, ErasureSiteData{Account: "guestbook", Site: "par1"})
	n.must(ErasureCancel, ErasureCancelData{Account: "guestbook"})
	a := n.view().Assignment("guestbook")
	n.must(AssignmentFenced, AssignmentFencedData{Account: "guestbook", Token: a.Token, Method: ConfirmedDown, By: "ada"})
	n.refused(ErrNotFound, "no order", ErasureBegin, ErasureBeginData{Account: "guestbook"})
	n.must(ErasureOrder, ErasureOrderData{Account: "guestbook", Wait: 2 * time.Hour}) // and once more
}

// A recovered cluster erases nothing before a person has said that it may act.
func TestErasure_held(t *testing.T) {
	n := full(t)
	n.must(ErasureOrder, ErasureOrderData{Account: "guestbook"})
	a := n.view().Assignment("guestbook")
	n.must(AssignmentFenced, AssignmentFencedData{Account: "guestbook", Token: a.Token, Method: ConfirmedDown, By: "ada"})
	n.must(ClusterRecover, ClusterRecoverData{UUID: "7d1f", Incarnation: 2, How: RecoveredExport, Source: "s"})
	n.refused(ErrConflict, "does nothing before a person says so", ErasureBegin, ErasureBeginData{Account: "guestbook"})
	n.refused(ErrConflict, "does nothing before a person says so", ErasureOrder, ErasureOrderData{Account: "static"})
	n.must(ErasureCancel, ErasureCancelData{Account: "guestbook"})
}

func TestErasureSite(t *testing.T) {
	n := gone(t)
	word := func(site SiteName) ErasureSiteData { return ErasureSiteData{Account: "guestbook", Site: site} }
	at := func(site SiteName) SiteErasure {
		e := n.view().Erasure("guestbook")
		return e.Sites[slices.IndexFunc(e.Sites, func(s SiteErasure) bool { return s.Site == site })]
	}
	until := epoch.Add(7 * 24 * time.Hour)
	bad := word("par1")
	bad.Objects = -1
	n.refused(ErrInvalid, "-1 objects", ErasureSite, bad)
	n.refused(ErrNotFound, "not about site", ErasureSite, word("par3")) // a witness
	waits := word("par1")
	waits.Until, waits.Repositories = until, []string{"guestbook~7", "guestbook", "static", "guestbookx", "guestbook~1", "guestbook~2"}
	n.must(ErasureSite, waits)
	if got, want := n.view().Erasure("guestbook").Repositories, []string{"guestbook", "guestbook~2", "guestbook~7"}; !slices.Equal(got, want) {
		t.Errorf("got repositories %v, want %v", got, want)
	}
	fails := waits
	fails.Error, fails.Objects, fails.Bytes, fails.Empty = "the store is away", 12, 340, epoch
	n.must(ErasureSite, fails)
	first := at("par1")
	n.must(ErasureSite, fails)
	if s := at("par1"); s.Failing.IsZero() || s.Failing != first.Failing || !s.Heard.After(first.Heard) || s.Error != fails.Error || !s.Until.Equal(until) || !s.Empty.IsZero() {
		t.Errorf("got %+v: what fails is not empty, and fails since the first word", s)
	}
	goesOn := word("par1") // by a worker that has lost its marks
	goesOn.Objects = 5
	n.must(ErasureSite, goesOn)
	if s := at("par1"); s.Error != "" || !s.Failing.IsZero() || s.Objects != 12 || s.Bytes != 340 {
		t.Errorf("got %+v", s)
	}
	empty := word("par1")
	empty.Objects, empty.Bytes, empty.Empty = 20, 500, epoch.Add(1000*time.Hour) // its clock is ahead
	n.must(ErasureSite, empty)
	if s := at("par1"); s.Objects != 20 || s.Empty.IsZero() || s.Empty.After(s.Heard) {
		t.Errorf("got %+v", s)
	}
	n.same(ErasureSite, fails)
	if e := n.view().Erasure("guestbook"); !e.Done.IsZero() || len(n.view().OpenErasures()) != 1 {
		t.Errorf("done before the other site is: %+v", e)
	}
	empty.Site = "par2"
	n.must(ErasureSite, empty)
	if e := n.view().Erasure("guestbook"); e.Done.IsZero() || len(n.view().OpenErasures()) != 0 || len(n.view().Erasures()) != 1 {
		t.Errorf("both sites are empty: %+v", e)
	}
	digestHolds(t, n)
}

// A failover is planned, an erasure begins, the plan is recorded: the others' part of it is none the worse for that.
func TestErasure_sinceAPlanWasMade(t *testing.T) {
	n := gone(t)
	r := newRun("r2")
	r.Status, r.Parameters = RunPreparing, map[string]string{"site": "par2"}
	n.must(RunCreate, RunCreateData{Run: r})
	plan := RunAccountsData{Run: "r2", Accounts: []RunAccount{
		{Account: "guestbook", From: "par1-s2", To: "par2-s1", Token: Token{1, 2}}, {Account: "static", From: "par1-s1", To: "par2-s1", Token: Token{1, 1}}}}
	n.must(RunAccounts, plan)
	n.same(RunAccounts, plan)
	rows := n.view().RunAccounts("r2")
	if len(rows) != 2 || rows[0].Status != StepFailed || rows[0].Message != "it is being erased" || rows[0].At.IsZero() || rows[1].Status != StepPending {
		t.Errorf("got %+v", rows)
	}
	n.refused(ErrNotFound, "no account", RunAccounts, RunAccountsData{Run: "r2", Accounts: []RunAccount{{Account: "nobody", To: "par2-s1"}}})
}

// A site that has become a witness since it got copies has to say that they are gone, like any other: or the certificate would be
// silent about them.
func TestErasure_ofASiteThatBecameAWitness(t *testing.T) {
	n := full(t)
	sites := func() (names []SiteName) {
		t.Helper()
		a := n.view().Assignment("guestbook")
		n.must(ErasureOrder, ErasureOrderData{Account: "guestbook"})
		n.must(AssignmentFenced, AssignmentFencedData{Account: "guestbook", Token: a.Token, Method: ConfirmedDown, By: "ada"})
		n.must(ErasureBegin, ErasureBeginData{Account: "guestbook"})
		for _, s := range n.view().Erasure("guestbook").Sites {
			names = append(names, s.Site)
		}
		return names
	}
	n.must(InventoryApply, InventoryData{Sites: []Site{{Name: "par4"}}})
	n.must(ReplicationRecord, ReplicationRecordData{Account: "guestbook~2", From: "par1", To: "par4", Snapshots: []SnapshotID{snapshotID("d")}})
	n.must(InventoryApply, InventoryData{Sites: []Site{{Name: "par4", Witness: true}}})
	if got := sites(); !slices.Equal(got, []SiteName{"par1", "par2", "par4"}) {
		t.Errorf("got %v, want the sites that have something of it", got)
	}
}

// More servers than a row can name are some of them, and others.
func TestErasure_bounds(t *testing.T) {
	n := full(t)
	var names []string
	for i := range 2 * MostErased {
		names = append(names, RepositoryName("guestbook", i+2))
	}
	if got := joinedNames([]string{"guestbook"}, names); len(got) != MostErased || !slices.Contains(got, "guestbook") {
		t.Errorf("got %d names: %v", len(got), got)
	}
	long := ErasureOrderData{Account: "guestbook", Reason: strings.Repeat("x", 2*maxText)}
	n.must(ErasureOrder, long)
	if got := len(n.view().Erasure("guestbook").Reason); got > maxText {
		t.Errorf("a reason of %d bytes is kept", got)
	}
}

// After an erasure has begun nothing but its own row, and the record of what was done, names the account, whatever comes
// then; and nothing that other accounts have is gone.
func TestProperty_ErasedIsGone(t *testing.T) {
	begun, done := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		s := New()
		commands := append(firstCommands(), NewCommand(ClusterLevel, "level", epoch, "operator/ada", ClusterLevelData{Level: Level}))
		if rapid.Bool().Draw(t, "ordered at once") {
			commands = append(commands, NewCommand(ErasureOrder, "order", epoch, "operator/ada", ErasureOrderData{Account: "guestbook"}))
		}
		erased := map[AccountName]bool{}
		const drawn = 80
		for i := 0; i < drawn || i < len(commands); i++ {
			index := uint64(i + 1)
			if i >= len(commands) {
				commands = append(commands, anyCommand(t, s.View(), index))
			}
			if i == drawn-1 { // at the end every site has done its work
				for _, site := range []SiteName{"par1", "par2"} {
					commands = append(commands, NewCommand(ErasureSite, "end"+string(site), epoch.Add(time.Hour), "operator/ada",
						ErasureSiteData{Account: "guestbook", Site: site, Empty: epoch}))
				}
			}
			before := s.View()
			applyTo(t, s, index, commands[i])
			after := s.View()
			for _, account := range []AccountName{"guestbook", "static"} {
				e, was := after.Erasure(account), before.Erasure(account)
				if erased[account] && (e == nil || e.Waiting()) {
					t.Fatalf("%s: an erasure that has begun was forgotten", commands[i].Name)
				}
				if e == nil || e.Waiting() {
					if before.Account(account) != nil && after.Account(account) == nil {
						t.Fatalf("%s: account %s is gone, and nobody erased it", commands[i].Name, account)
					}
					continue
				}
				if !erased[account] {
					begun++
					if commands[i].At.Before(was.NotBefore) {
						t.Fatalf("%s is erased at %s, and not to be before %s", account, commands[i].At, was.NotBefore)
					}
					if a := before.Assignment(account); a != nil && a.Fenced == nil {
						t.Fatalf("%s is erased, and may run on %s", account, a.Server)
					}
				}
				erased[account] = true
				if found := naming(t, after, string(account)); len(found) > 0 {
					t.Fatalf("%s: %s is erased, and stands in %v", commands[i].Name, account, found)
				}
				for _, site := range e.Sites {
					if site.Empty.IsZero() && !e.Done.IsZero() {
						t.Fatalf("done, and site %s is not: %+v", site.Site, e)
					}
				}
				if !e.Done.IsZero() {
					done++
				}
			}
		}
	})
	if begun == 0 || done == 0 {
		t.Errorf("%d erasures have begun and %d were done: the commands drawn try nothing", begun, done)
	}
}
