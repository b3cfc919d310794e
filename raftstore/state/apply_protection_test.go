package state

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// threeSnapshots is a platform whose guestbook has snapshots a (oldest), b and c at par1; a and b are at par2, too.
func threeSnapshots(t *testing.T) (n *node, home Home) {
	t.Helper()
	n, _ = running(t)
	for _, name := range []string{"a", "b", "c"} {
		token := n.view().Assignment("guestbook").Token
		n.must(TaskCreate, TaskCreateData{Task: Task{ID: TaskID(name), Kind: TaskBackup, Account: "guestbook", Token: token}})
		at := epoch.Add(time.Duration(n.index) * time.Second)
		n.must(TaskFinish, TaskFinishData{Task: TaskID(name), Snapshot: &Snapshot{ID: snapshotID(name), Start: at, ForgetAt: at}})
	}
	n.must(ReplicationRecord, ReplicationRecordData{Account: "guestbook", From: "par1", To: "par2", Snapshots: []SnapshotID{snapshotID("a"), snapshotID("b")}})
	return n, n.view().Repository("guestbook").Home
}

func TestSnapshotsForget(t *testing.T) {
	n, home := threeSnapshots(t)
	forget := func(names ...string) SnapshotsForgetData {
		d := SnapshotsForgetData{Account: "guestbook", Home: home}
		for _, name := range names {
			d.Snapshots = append(d.Snapshots, snapshotID(name))
		}
		return d
	}
	n.refused(ErrConflict, "newest one that site par1 holds", SnapshotsForget, forget("c"))
	n.refused(ErrConflict, "newest one that site par2 holds", SnapshotsForget, forget("a", "b"))
	n.refused(ErrNotFound, "no snapshot", SnapshotsForget, forget("d"))
	old := forget("a")
	old.Home.Epoch++
	n.refused(ErrConflict, "has its home at", SnapshotsForget, old)
	if s := n.view().Snapshot("guestbook", snapshotID("a")); !s.ForgetAt.IsZero() {
		t.Error("an agent has marked its own snapshot as one to forget")
	}

	token := n.view().Assignment("guestbook").Token
	restore := &RestorePoint{Snapshot: snapshotID("a"), Site: "par1"}
	reads := TaskCreateData{Task: Task{ID: "reads", Kind: TaskRestoreFiles, Account: "guestbook", Token: token, Restore: restore, Path: "www", Target: "x"}}
	n.must(TaskCreate, reads)
	n.refused(ErrConflict, "read by task reads", SnapshotsForget, forget("a"))
	n.must(TaskFinish, TaskFinishData{Task: "reads"})

	n.must(SnapshotsForget, forget("a"))
	n.same(SnapshotsForget, forget("a"))
	reads.Task.ID = "again"
	n.refused(ErrConflict, "being deleted", TaskCreate, reads)

	record := MaintenanceRecordData{Account: "guestbook", Home: home, Forgotten: []SnapshotID{snapshotID("a"), snapshotID("b")}, Objects: 7, Bytes: 8}
	stale := record
	stale.Home.Epoch++
	n.refused(ErrConflict, "has its home at", MaintenanceRecord, stale)
	failed := record
	failed.Forgotten, failed.Error = nil, "the store is full"
	n.must(MaintenanceRecord, failed)
	n.must(MaintenanceRecord, failed)
	if m := n.view().Maintenance("guestbook"); m.Failures != 2 || !m.Done.IsZero() || m.Error != "the store is full" {
		t.Errorf("got %+v", m)
	}
	n.must(MaintenanceRecord, record)
	v := n.view()
	if v.Snapshot("guestbook", snapshotID("a")) != nil {
		t.Error("a is in the catalogue after it was forgotten")
	}
	if v.Snapshot("guestbook", snapshotID("b")) == nil {
		t.Error("b left the catalogue, and was never marked")
	}
	if m := v.Maintenance("guestbook"); m.Failures != 0 || m.Done.IsZero() || m.Error != "" || m.Objects != 7 {
		t.Errorf("got %+v", m)
	}
}

// The last snapshot that holds a database whole stays, though newer ones are there.
func TestSnapshotsForget_LastGoodPart(t *testing.T) {
	n, home := threeSnapshots(t)
	n.must(ClusterLevel, ClusterLevelData{Level: Level})
	d := inventory()
	d.Accounts[0].Databases = []Database{{Engine: PostgreSQL, Name: "shop"}}
	n.must(InventoryApply, InventoryData{Accounts: d.Accounts})
	part := d.Accounts[0].Parts()[0]
	token := n.view().Assignment("guestbook").Token
	for _, s := range []struct{ id, failure string }{{"d", ""}, {"e", "the engine is down"}, {"f", "the engine is down"}} {
		at := epoch.Add(time.Duration(n.index) * time.Second)
		n.must(TaskCreate, TaskCreateData{Task: Task{ID: TaskID(s.id), Kind: TaskBackup, Account: "guestbook", Token: token}})
		n.must(TaskFinish, TaskFinishData{Task: TaskID(s.id), Snapshot: &Snapshot{ID: snapshotID(s.id), Start: at, Parts: []Part{{Name: part, Error: s.failure}}}})
	}
	forget := func(id string) SnapshotsForgetData {
		return SnapshotsForgetData{Account: "guestbook", Home: home, Snapshots: []SnapshotID{snapshotID(id)}}
	}
	n.refused(ErrConflict, "newest one with "+part+" that site par1 holds", SnapshotsForget, forget("d"))
	n.must(SnapshotsForget, forget("e"))
}

// A run or a server that restores from a snapshot keeps it.
func TestSnapshotsForget_Read(t *testing.T) {
	n, home := threeSnapshots(t)
	first := n.view().Assignment("guestbook").Token
	n.must(RunCreate, RunCreateData{Run: func() Run { r := newRun("run1"); r.Status = RunPreparing; return r }()})
	n.must(RunAccounts, RunAccountsData{Run: "run1", Accounts: []RunAccount{{
		Account: "guestbook", From: "par1-s1", To: "par2-s1", Token: first, Restore: RestorePoint{Snapshot: snapshotID("a"), Site: "par2"}}}})
	forget := SnapshotsForgetData{Account: "guestbook", Home: home, Snapshots: []SnapshotID{snapshotID("a")}}
	n.refused(ErrConflict, "read by run run1", SnapshotsForget, forget)
	n.must(RunAccountEnd, RunAccountEndData{Run: "run1", Account: "guestbook", Status: StepFailed})

	n.must(AssignmentStop, AssignmentStopData{Account: "guestbook", Token: first})
	n.must(AssignmentFenced, AssignmentFencedData{Account: "guestbook", Token: first, Method: AgentStopped, By: "par1-s1"})
	n.must(Assign, AssignData{Account: "guestbook", Server: "par2-s1", Previous: first, Restore: &RestorePoint{Snapshot: snapshotID("a"), Site: "par2"}})
	forget.Home = n.view().Repository("guestbook").Home
	n.refused(ErrConflict, "read by server par2-s1", SnapshotsForget, forget)
	n.must(AssignmentReady, AssignmentReadyData{Account: "guestbook", Token: n.view().Assignment("guestbook").Token})
	n.must(SnapshotsForget, forget)
}

// A home that is rebuilt from a snapshot whose dump has failed takes the database from an older one: that one stays, too.
func TestSnapshotsForget_ReadForAPart(t *testing.T) {
	n, home := threeSnapshots(t)
	n.must(ClusterLevel, ClusterLevelData{Level: Level})
	d := inventory()
	d.Accounts[0].Databases = []Database{{Engine: PostgreSQL, Name: "shop"}}
	n.must(InventoryApply, InventoryData{Accounts: d.Accounts})
	part := d.Accounts[0].Parts()[0]
	first := n.view().Assignment("guestbook").Token
	for _, s := range []struct{ id, failure string }{{"d", ""}, {"e", "the engine is down"}, {"f", ""}} {
		at := epoch.Add(time.Duration(n.index) * time.Second)
		n.must(TaskCreate, TaskCreateData{Task: Task{ID: TaskID(s.id), Kind: TaskBackup, Account: "guestbook", Token: first}})
		n.must(TaskFinish, TaskFinishData{Task: TaskID(s.id), Snapshot: &Snapshot{ID: snapshotID(s.id), Start: at, Parts: []Part{{Name: part, Error: s.failure}}}})
	}
	restore := RestorePoint{Snapshot: snapshotID("e"), Site: "par1"} // a person wants the files of then
	forget := SnapshotsForgetData{Account: "guestbook", Home: home, Snapshots: []SnapshotID{snapshotID("d")}}
	n.must(RunCreate, RunCreateData{Run: func() Run { r := newRun("run1"); r.Status = RunPreparing; return r }()})
	n.must(RunAccounts, RunAccountsData{Run: "run1", Accounts: []RunAccount{{
		Account: "guestbook", From: "par1-s1", To: "par1-s2", Token: first, Restore: restore}}})
	n.refused(ErrConflict, "read by run run1, for "+part, SnapshotsForget, forget)
	n.must(RunAccountEnd, RunAccountEndData{Run: "run1", Account: "guestbook", Status: StepFailed})

	n.must(AssignmentStop, AssignmentStopData{Account: "guestbook", Token: first})
	n.must(AssignmentFenced, AssignmentFencedData{Account: "guestbook", Token: first, Method: AgentStopped, By: "par1-s1"})
	n.must(Assign, AssignData{Account: "guestbook", Server: "par1-s2", Previous: first, Restore: &restore})
	n.refused(ErrConflict, "read by server par1-s2, for "+part, SnapshotsForget, forget)
	n.must(AssignmentReady, AssignmentReadyData{Account: "guestbook", Token: n.view().Assignment("guestbook").Token})
	n.must(SnapshotsForget, forget)
}

func TestVerificationRecord(t *testing.T) {
	n, _ := threeSnapshots(t)
	record := func(d VerificationRecordData) *Verification {
		t.Helper()
		d.Account, d.Site = "guestbook", "par2"
		n.must(VerificationRecord, d)
		return n.view().Verification("guestbook", "par2")
	}
	at := func() time.Time { return epoch.Add(time.Duration(n.index) * time.Second) }
	n.refused(ErrInvalid, "parts are counted from 1", VerificationRecord, VerificationRecordData{Account: "guestbook", Site: "par2", Kind: Checked})
	n.refused(ErrInvalid, "no verification", VerificationRecord, VerificationRecordData{Account: "guestbook", Site: "par2", Kind: "seen"})
	n.refused(ErrNotFound, "no snapshot", VerificationRecord, VerificationRecordData{Account: "guestbook", Site: "par2", Kind: Proven, Snapshot: snapshotID("z")})

	record(VerificationRecordData{Kind: Checked, Part: 1, Parts: 3})
	began := at()
	record(VerificationRecordData{Kind: Checked, Part: 2, Parts: 3, Error: "broken pack"})
	v := record(VerificationRecordData{Kind: Checked, Part: 3, Parts: 3}) // 2 was not good: the round is not over
	if !v.ReadSince.IsZero() || v.Part != 1 || !v.Checked.Equal(at()) || len(v.Errors) != 0 {
		t.Errorf("got %+v", v)
	}
	record(VerificationRecordData{Kind: Checked, Part: 2, Parts: 3})
	v = record(VerificationRecordData{Kind: Checked, Part: 3, Parts: 3})
	if !v.ReadSince.Equal(began) || v.Part != 0 {
		t.Errorf("got %+v, want all read since %s", v, began)
	}
	record(VerificationRecordData{Kind: Scrubbed, Error: "x"})
	v = record(VerificationRecordData{Kind: Scrubbed, Error: "y"})
	if diff := cmp.Diff(map[VerificationKind]Failure{Scrubbed: {"y", at(), 2}}, v.Errors); diff != "" {
		t.Error(diff)
	}
	v = record(VerificationRecordData{Kind: Proven, Snapshot: snapshotID("b")})
	if v.Snapshot != snapshotID("b") || !v.Proven.Equal(at()) || len(v.Errors) != 1 || !v.Scrubbed.IsZero() {
		t.Errorf("got %+v", v)
	}
}

// A claim is as old as the look that it rests on: what came to the copy while that went on, or while its end waited to be
// told, was not seen.
func TestVerificationRecord_BeganAgo(t *testing.T) {
	n, _ := threeSnapshots(t)
	n.index += 1_000_000 // seconds
	at := func() time.Time { return epoch.Add(time.Duration(n.index) * time.Second) }
	record := func(d VerificationRecordData, ago time.Duration) (v *Verification, began time.Time) {
		t.Helper()
		d.Account, d.Site, d.BeganAgo = "guestbook", "par2", ago
		n.must(VerificationRecord, d)
		return n.view().Verification("guestbook", "par2"), at().Add(-ago)
	}
	want := func(what string, got, want time.Time) {
		t.Helper()
		if !got.Equal(want) {
			t.Errorf("%s: got %s, want %s", what, got, want)
		}
	}
	scrub, proof := VerificationRecordData{Kind: Scrubbed}, VerificationRecordData{Kind: Proven, Snapshot: snapshotID("b")}
	part := func(i int) VerificationRecordData { return VerificationRecordData{Kind: Checked, Part: i, Parts: 2} }
	v, began := record(scrub, time.Hour)
	want("scrubbed", v.Scrubbed, began)
	v, began = record(proof, 2*time.Hour)
	want("proven", v.Proven, began)
	v, round := record(part(1), 3*time.Hour)
	want("checked", v.Checked, round)
	v, began = record(part(2), time.Minute)
	want("checked", v.Checked, began)
	want("all data read", v.ReadSince, round)

	// What is told late, of a look from before, takes nothing back.
	before := *v
	older := VerificationRecordData{Kind: Proven, Snapshot: snapshotID("a")}
	for _, late := range []VerificationRecordData{scrub, older, part(1), part(2)} {
		v, _ = record(late, 100*time.Hour)
	}
	want("scrubbed, told late", v.Scrubbed, before.Scrubbed)
	want("proven, told late", v.Proven, before.Proven)
	if v.Snapshot != proof.Snapshot {
		t.Errorf("proven, told late: got snapshot %s", v.Snapshot.Short())
	}
	want("checked, told late", v.Checked, before.Checked)
	want("all data read, told late", v.ReadSince, before.ReadSince)

	// The times of a leader whose clock was ahead last until the next word.
	ahead := func(d VerificationRecordData) {
		d.Account, d.Site = "guestbook", "par2"
		c := n.command(VerificationRecord, d)
		c.At = c.At.Add(1000 * time.Hour)
		n.applyCommand(c)
	}
	for _, d := range []VerificationRecordData{scrub, proof, part(1), part(2)} {
		ahead(d)
	}
	v, began = record(scrub, time.Minute)
	want("scrubbed, after a wrong clock", v.Scrubbed, began)
	v, began = record(older, time.Minute)
	want("proven, after a wrong clock", v.Proven, began)
	v, round = record(part(1), time.Minute)
	want("checked, after a wrong clock", v.Checked, round)
	v, _ = record(part(2), time.Second)
	want("all data read, after a wrong clock", v.ReadSince, round)

	for _, ago := range []time.Duration{-time.Second, 91 * 24 * time.Hour} {
		d := scrub
		d.Account, d.Site, d.BeganAgo = "guestbook", "par2", ago
		n.refused(ErrInvalid, "it is from 0 to", VerificationRecord, d)
	}
	v, _ = record(VerificationRecordData{Kind: Scrubbed, Error: "broken"}, -time.Second)
	if v.Errors[Scrubbed].Count != 1 {
		t.Error("what was found to be bad was refused, for its time")
	}
}

func TestPause(t *testing.T) {
	n, _ := running(t)
	pause := PauseSetData{Pause: Pause{Kind: PauseServer, Name: "par1-s1", Reason: "disk"}}
	n.refused(ErrNotFound, "no site", PauseSet, PauseSetData{Pause: Pause{Kind: PauseSite, Name: "par9"}})
	n.refused(ErrInvalid, "no pause of", PauseSet, PauseSetData{Pause: Pause{Kind: "rack", Name: "r1"}})
	n.must(PauseSet, pause)
	n.same(PauseSet, pause)
	if p := n.view().Pause(PauseServer, "par1-s1"); p.By != "operator/ada" || p.Since.IsZero() {
		t.Errorf("got %+v", p)
	}
	n.must(PauseClear, PauseClearData{Kind: PauseServer, Name: "par1-s1"})
	n.refused(ErrNotFound, "not paused", PauseClear, PauseClearData{Kind: PauseServer, Name: "par1-s1"})
}

// An older member never gets a command with a field that it does not know.
func TestCommand_LevelOfItsFields(t *testing.T) {
	for _, c := range []struct {
		payload any
		name    Name
		want    int
	}{
		{InventoryData{Policies: []Policy{{Retention: time.Hour}}}, InventoryApply, 1},
		{InventoryData{Policies: []Policy{{Keep: &Keep{Daily: 1}}}}, InventoryApply, 3},
		{InventoryData{Sites: []Site{{Backups: 1}}}, InventoryApply, 3},
		{InventoryData{Servers: []Server{{Backups: 1}}}, InventoryApply, 3},
		{ClusterInitData{Level: 2}, ClusterInit, 2},
		{PauseClearData{}, PauseClear, 3},
		{ServerSeenData{}, ServerSeen, 1},
	} {
		if got := NewCommand(c.name, "1", epoch, "operator/ada", c.payload).Level(); got != c.want {
			t.Errorf("%s %+v: got level %d, want %d", c.name, c.payload, got, c.want)
		}
	}
}
