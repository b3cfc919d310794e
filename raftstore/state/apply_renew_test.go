package state

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// renewable is threeSnapshots at the level that knows renewals.
func renewable(t *testing.T) *node {
	t.Helper()
	n, _ := threeSnapshots(t)
	n.must(ClusterLevel, ClusterLevelData{Level: Level})
	return n
}

func renew(number int) RepositoryRenewData {
	return RepositoryRenewData{Account: "guestbook", Number: number, SealedPassword: fmt.Appendf(nil, "after %d", number), Server: "par1-s1", Reason: "stolen"}
}

func (n *node) backUp(name string) {
	n.tb.Helper()
	token := n.view().Assignment("guestbook").Token
	n.must(TaskCreate, TaskCreateData{Task: Task{ID: TaskID(name), Kind: TaskBackup, Account: "guestbook", Token: token}})
	n.must(TaskFinish, TaskFinishData{Task: TaskID(name), Snapshot: &Snapshot{ID: snapshotID(name), Repository: 99}})
}

func TestRepositoryRenew(t *testing.T) {
	n := renewable(t)
	old := *n.view().Repository("guestbook")
	token := n.view().Assignment("guestbook").Token
	n.must(MaintenanceRecord, MaintenanceRecordData{Account: "guestbook", Home: old.Home, Error: "failed"})
	n.must(TaskCreate, TaskCreateData{Task: Task{ID: "under-way", Kind: TaskBackup, Account: "guestbook", Token: token}})

	n.refused(ErrConflict, "the present repository", RepositoryRenew, renew(2))
	nobody, same, empty := renew(0), renew(0), renew(0)
	nobody.Account, same.SealedPassword, empty.SealedPassword = "nobody", old.SealedPassword, nil
	n.refused(ErrNotFound, "no account", RepositoryRenew, nobody)
	n.refused(ErrInvalid, "another password", RepositoryRenew, same)
	n.refused(ErrInvalid, "sealed password", RepositoryRenew, empty)

	n.must(RepositoryRenew, renew(0))
	n.refused(ErrConflict, "guestbook~2, and not guestbook", RepositoryRenew, renew(0)) // once is enough
	v := n.view()
	want := &Repository{Account: "guestbook", Number: 2, Home: Home{Site: old.Home.Site, Epoch: old.Home.Epoch + 1}, SealedPassword: []byte("after 0")}
	if diff := cmp.Diff(want, v.Repository("guestbook")); diff != "" {
		t.Error(diff)
	}
	retired := v.RetiredOf("guestbook")
	if len(retired) != 1 || cmp.Diff(old, retired[0].Repository) != "" || retired[0].By != "operator/ada" || retired[0].Server != "par1-s1" || retired[0].Reason != "stolen" {
		t.Errorf("got %+v", retired)
	}
	if v.Task("under-way") != nil || v.BackupStatus("guestbook") != nil || v.Maintenance("guestbook") != nil {
		t.Error("what was known of the old repository is taken to be true of the new one")
	}
	n.refused(ErrNotFound, "no task", TaskFinish, TaskFinishData{Task: "under-way", Snapshot: &Snapshot{ID: snapshotID("f")}})
	n.refused(ErrConflict, "has its home at", RepositoryReady, RepositoryReadyData{Account: "guestbook", Home: old.Home})
	n.refused(ErrConflict, "has its home at", MaintenanceRecord, MaintenanceRecordData{Account: "guestbook", Home: old.Home})

	n.must(RepositoryReady, RepositoryReadyData{Account: "guestbook", Home: want.Home})
	n.backUp("d")
	v = n.view()
	for name, number := range map[string]int{"a": 0, "c": 0, "d": 2} {
		s := v.Snapshot("guestbook", snapshotID(name))
		if repo := v.RepositoryOf(s); s.Repository != number || repo == nil || repo.Number != number {
			t.Errorf("snapshot %s: got repository %d, %+v, want %d", name, s.Repository, repo, number)
		}
	}
	n.refused(ErrConflict, "is retired", SnapshotsForget, SnapshotsForgetData{Account: "guestbook", Home: want.Home, Snapshots: []SnapshotID{snapshotID("a")}})

	n.must(RepositoryRenew, renew(2))
	var names []string
	for _, r := range n.view().RepositoriesOf("guestbook") {
		names = append(names, r.Name())
	}
	if want := []string{"guestbook~3", "guestbook~2", "guestbook"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}

// What passes and verifications say is of one repository; a name that is none is nobody's.
func TestRepositoryRenew_Copies(t *testing.T) {
	n := renewable(t)
	n.must(RepositoryRenew, renew(0))
	n.backUp("d")
	pass := func(name AccountName, names ...string) ReplicationRecordData {
		d := ReplicationRecordData{Account: name, From: "par1", To: "par2"}
		for _, s := range names {
			d.Snapshots = append(d.Snapshots, snapshotID(s))
		}
		return d
	}
	n.must(ReplicationRecord, pass("guestbook", "c", "d"))
	at := func(name string) bool {
		_, there := n.view().Snapshot("guestbook", snapshotID(name)).At("par2")
		return there
	}
	if !at("c") || at("d") {
		t.Error("a pass of the retired repository says where a snapshot of the new one is")
	}
	n.must(ReplicationRecord, pass("guestbook~2", "d"))
	if !at("d") || n.view().Replication("guestbook~2", "par2") == nil {
		t.Error("a pass of the new repository is not recorded")
	}
	for _, bad := range []AccountName{"guestbook~3", "guestbook~1", "guestbook~", "nobody~2"} {
		n.refused(ErrNotFound, "", ReplicationRecord, pass(bad))
		n.refused(ErrNotFound, "", VerificationRecord, VerificationRecordData{Account: bad, Site: "par1", Kind: Scrubbed})
	}
	proven := VerificationRecordData{Account: "guestbook~2", Site: "par1", Kind: Proven, Snapshot: snapshotID("c")}
	n.refused(ErrNotFound, "no snapshot", VerificationRecord, proven)
	proven.Snapshot = snapshotID("d")
	n.must(VerificationRecord, proven)
	if n.view().Verification("guestbook", "par1") != nil || n.view().Verification("guestbook~2", "par1") == nil {
		t.Error("it is the old repository that was proven")
	}
}

func TestRepositoryRemove(t *testing.T) {
	n := renewable(t)
	old := n.view().Repository("guestbook")
	remove := RepositoryRemoveData{Account: "guestbook"}
	gone := func(site SiteName, why string) RepositoryRemovedData {
		return RepositoryRemovedData{Account: "guestbook", Site: site, Error: why}
	}
	n.refused(ErrNotFound, "no retired", RepositoryRemove, remove)
	n.must(RepositoryRenew, renew(0))
	n.refused(ErrConflict, "is not to be removed", RepositoryRemoved, gone("par1", ""))
	n.refused(ErrConflict, "it stays", RepositoryRemove, remove) // nothing newer anywhere
	n.backUp("d")
	n.refused(ErrConflict, "it stays", RepositoryRemove, remove) // par2 has nothing newer
	n.must(ReplicationRecord, ReplicationRecordData{Account: "guestbook~2", From: "par1", To: "par2", Snapshots: []SnapshotID{snapshotID("d")}})
	n.must(VerificationRecord, VerificationRecordData{Account: "guestbook", Site: "par1", Kind: Scrubbed})

	reads := Task{ID: "reads", Kind: TaskRestoreFiles, Account: "guestbook", Token: n.view().Assignment("guestbook").Token,
		Restore: &RestorePoint{Snapshot: snapshotID("a"), Site: "par1"}, Path: "www", Target: "x"}
	n.must(TaskCreate, TaskCreateData{Task: reads})
	n.refused(ErrConflict, "read by task reads", RepositoryRemove, remove)
	n.must(TaskFinish, TaskFinishData{Task: "reads"})

	n.must(RepositoryRemove, remove)
	n.same(RepositoryRemove, remove)
	reads.ID = "late"
	n.refused(ErrConflict, "being deleted", TaskCreate, TaskCreateData{Task: reads})
	// Maintenance of the present one takes nothing of it.
	n.must(MaintenanceRecord, MaintenanceRecordData{Account: "guestbook", Home: n.view().Repository("guestbook").Home, Forgotten: []SnapshotID{snapshotID("a")}})

	n.must(RepositoryRemoved, gone("par1", "the store is full"))
	n.must(RepositoryRemoved, gone("par1", "the store is full"))
	if got := n.view().RetiredOf("guestbook")[0].Errors["par1"]; got.Count != 2 || got.Error != "the store is full" {
		t.Errorf("got failure %+v", got)
	}
	n.must(RepositoryRemoved, gone("par1", ""))
	n.same(RepositoryRemoved, gone("par1", ""))
	if r := n.view().RetiredOf("guestbook"); len(r) != 1 || r[0].Errors != nil || len(n.view().SnapshotsIn(&r[0].Repository)) != 3 {
		t.Errorf("got %+v before every site has removed it", r)
	}
	drop := RepositoryDropData{Account: "guestbook"}
	n.refused(ErrConflict, "is not removed everywhere", RepositoryDrop, drop)
	n.must(RepositoryRemoved, gone("par2", ""))
	v := n.view()
	if len(v.Retired()) != 0 || len(v.Snapshots("guestbook")) != 1 || v.Verification("guestbook", "par1") != nil || v.Replication("guestbook", "par2") != nil {
		t.Errorf("something of it is left: %+v, %+v", v.Retired(), v.Snapshots("guestbook"))
	}
	n.passwordStays("guestbook", old)
	n.refused(ErrNotFound, "no retired", ReplicationRecord, ReplicationRecordData{Account: "guestbook", From: "par1", To: "par2"})
	if v.Replication("guestbook~2", "par2") == nil || v.Repository("guestbook").Number != 2 {
		t.Error("the present repository has lost something")
	}
}

// passwordStays: what is in the trash of a site can be opened for as long as it may be there, and nothing else takes the
// repository for one that there is.
func (n *node) passwordStays(name string, old *Repository) {
	n.tb.Helper()
	v := n.view()
	if v.RepositoryNamed(name) != nil || v.IsRetired(old) || len(v.RetiredOf(old.Account)) != 0 ||
		slices.ContainsFunc(v.AllRepositories(), func(r *Repository) bool { return r.Name() == name }) {
		n.tb.Errorf("%s is removed, and taken to be there", name)
	}
	again := RepositoryRemovedData{Account: old.Account, Number: old.Number, Site: "par1", Error: "no"}
	n.refused(ErrNotFound, "no retired", RepositoryRemoved, again)
	n.refused(ErrNotFound, "no retired", RepositoryRemove, RepositoryRemoveData{Account: old.Account, Number: old.Number})
	restored, err := Restore(strings.NewReader(string(persisted(n.tb, v)))) // as an export has it
	if err != nil {
		n.tb.Fatal(err)
	}
	for _, v := range []*View{v, restored.View()} {
		if left := v.RemovedOf(old.Account); len(left) != 1 || left[0].Repository.Name() != name || !slices.Equal(left[0].Repository.SealedPassword, old.SealedPassword) {
			n.tb.Fatalf("got %+v, want the password of %s to be there", left, name)
		}
	}
	gone := v.Removed()[0].Gone
	drop := func(after time.Duration) Command {
		return NewCommand(RepositoryDrop, "drop-after-"+after.String(), gone.Add(after), "leader", RepositoryDropData{Account: old.Account, Number: old.Number})
	}
	if r := n.applyCommand(drop(PasswordKept - time.Second)); !errors.Is(r.Err, ErrConflict) || !strings.Contains(r.Err.Error(), "may lie in a site's trash") {
		n.tb.Errorf("a second too early: got %v", r.Err)
	}
	if r := n.applyCommand(drop(PasswordKept)); r.Err != nil || !r.Changed || len(n.view().Removed()) != 0 {
		n.tb.Errorf("got %+v, and %+v is left", r, n.view().Removed())
	}
	n.refused(ErrNotFound, "no retired", RepositoryDrop, RepositoryDropData{Account: old.Account, Number: old.Number})
}

// One that nothing was ever stored in can go at once.
func TestRepositoryRemove_Empty(t *testing.T) {
	n, _ := running(t)
	n.must(RepositoryRenew, renew(0))
	n.must(RepositoryRemove, RepositoryRemoveData{Account: "guestbook"})
}

func TestPasswordHolders(t *testing.T) {
	n := renewable(t)
	held := func() (by []ServerName) {
		for _, s := range n.view().Servers() {
			if n.view().HeldPassword(n.view().Repository("guestbook"), s.Name) {
				by = append(by, s.Name)
			}
		}
		return by
	}
	expect := func(want ...ServerName) {
		t.Helper()
		if got := held(); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	move := func(to ServerName, site SiteName) {
		t.Helper()
		a := n.view().Assignment("guestbook")
		n.must(AssignmentFenced, AssignmentFencedData{Account: "guestbook", Token: a.Token, Method: ConfirmedDown, By: "ada"})
		n.must(Assign, AssignData{Account: "guestbook", Server: to, Previous: a.Token, Restore: &RestorePoint{Snapshot: snapshotID("b"), Site: site}})
	}
	expect("par1-s1") // it runs it, and made all snapshots
	move("par1-s2", "par1")
	move("par2-s1", "par2")
	expect("par1-s1", "par1-s2", "par2-s1") // par1-s2 made none
	n.must(RepositoryRenew, renew(0))
	expect("par2-s1")
	if got := n.view().RetiredOf("guestbook")[0].Repository.Home.Site; got != "par2" {
		t.Errorf("the retired repository is at home in %s, want it to have moved along", got)
	}
	move("par1-s2", "par1")
	expect("par1-s2", "par2-s1")
	if got, want := n.view().RetiredOf("guestbook")[0].Repository.Home, (Home{Site: "par1", Epoch: 3}); got != want {
		t.Errorf("home of the retired repository: got %+v, want %+v", got, want)
	}
}

// What is remembered of one account is bounded; beyond that any server counts.
func TestPasswordHolders_Many(t *testing.T) {
	n := renewable(t)
	for i := range mostHolders + 1 {
		n.must(InventoryApply, InventoryData{Servers: []Server{{Name: ServerName(fmt.Sprintf("x%03d", i)), Site: "par1", Capacity: inventory().Servers[0].Capacity}}})
		a := n.view().Assignment("guestbook")
		n.must(AssignmentFenced, AssignmentFencedData{Account: "guestbook", Token: a.Token, Method: ConfirmedDown, By: "ada"})
		n.must(Assign, AssignData{Account: "guestbook", Server: ServerName(fmt.Sprintf("x%03d", i)), Previous: a.Token, Restore: &RestorePoint{Snapshot: snapshotID("a"), Site: "par1"}})
	}
	if !n.view().HeldPassword(n.view().Repository("guestbook"), "par2-s2") {
		t.Error("after more servers than are remembered, one is believed never to have had the password")
	}
}

// Below level 3 an older member would not remember, and the states would differ.
func TestPasswordHolders_Level(t *testing.T) {
	n, _ := threeSnapshots(t)
	a := n.view().Assignment("guestbook")
	n.must(AssignmentFenced, AssignmentFencedData{Account: "guestbook", Token: a.Token, Method: ConfirmedDown, By: "ada"})
	n.must(Assign, AssignData{Account: "guestbook", Server: "par1-s2", Previous: a.Token, Restore: &RestorePoint{Snapshot: snapshotID("a"), Site: "par1"}})
	if holdersTable.get(n.view().txn, "guestbook") != nil {
		t.Error("at level 2 a row was written that older members do not know")
	}
}

func TestRetired_SecretsAreSealedAnew(t *testing.T) {
	n := renewable(t)
	for _, id := range []string{"k1", "k2"} {
		n.must(KeyringSet, KeyringSetData{Key: Key{ID: id, Recipient: "age1x", Sealed: []byte("s"), Recipients: []string{"age1y"}}})
	}
	present := SealedWith("k2", []byte("p"))
	second := renew(0)
	second.SealedPassword = SealedWith("k1", []byte("p"))
	n.must(RepositoryRenew, second)
	third := renew(2)
	third.SealedPassword = present
	n.must(RepositoryRenew, third)
	n.refused(ErrConflict, "guestbook~2", KeyringRetire, KeyringRetireData{ID: "k1"})
	n.must(SecretsReseal, SecretsResealData{Items: []ResealItem{{
		Kind: SecretRepository, Account: "guestbook~2", Old: Sum(second.SealedPassword), Sealed: SealedWith("k2", []byte("again"))}}})
	if got, want := string(n.view().RepositoryNamed("guestbook~2").SealedPassword), string(SealedWith("k2", []byte("again"))); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := string(n.view().Repository("guestbook").SealedPassword); got != string(present) {
		t.Errorf("the present one's password became %q", got)
	}
	n.must(KeyringRetire, KeyringRetireData{ID: "k1"})
}

// A removed one's password is sealed anew with all others, or the key that opens it would go before it.
func TestRemoved_SecretIsSealedAnew(t *testing.T) {
	n, _ := running(t)
	n.must(ClusterLevel, ClusterLevelData{Level: Level})
	key := func(id string) {
		n.must(KeyringSet, KeyringSetData{Key: Key{ID: id, Recipient: "age1x", Sealed: []byte("s"), Recipients: []string{"age1y"}}})
	}
	key("k1")
	n.must(SecretsReseal, SecretsResealData{Items: []ResealItem{{
		Kind: SecretRepository, Account: "guestbook", Old: Sum(n.view().Repository("guestbook").SealedPassword), Sealed: SealedWith("k1", []byte("p"))}}})
	key("k2")
	second := renew(0)
	second.SealedPassword = SealedWith("k2", []byte("p"))
	n.must(RepositoryRenew, second)
	n.must(RepositoryRemove, RepositoryRemoveData{Account: "guestbook"})
	for _, site := range []SiteName{"par1", "par2"} {
		n.must(RepositoryRemoved, RepositoryRemovedData{Account: "guestbook", Site: site})
	}
	n.refused(ErrConflict, "guestbook", KeyringRetire, KeyringRetireData{ID: "k1"})
	n.must(SecretsReseal, SecretsResealData{Items: []ResealItem{{
		Kind: SecretRepository, Account: "guestbook", Old: Sum(SealedWith("k1", []byte("p"))), Sealed: SealedWith("k2", []byte("again"))}}})
	if got := n.view().RemovedOf("guestbook"); len(got) != 1 || string(got[0].Repository.SealedPassword) != string(SealedWith("k2", []byte("again"))) {
		t.Errorf("got %+v", got)
	}
	n.must(KeyringRetire, KeyringRetireData{ID: "k1"})
}
