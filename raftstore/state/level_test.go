package state

import "testing"

func TestCluster_LevelOnlyRises(t *testing.T) {
	n := newNode(t)
	n.refused(ErrConflict, "no identity", ClusterLevel, ClusterLevelData{Level: 2})
	if got, want := n.view().Level(), Level; got != want {
		t.Errorf("got level %d before the cluster begins, want %d", got, want)
	}
	n.must(ClusterInit, ClusterInitData{UUID: "7d1f", Incarnation: 1})
	if got, want := n.view().Level(), 1; got != want {
		t.Errorf("got level %d, want %d", got, want)
	}
	n.must(ClusterLevel, ClusterLevelData{Level: 2})
	n.same(ClusterLevel, ClusterLevelData{Level: 2})
	n.refused(ErrConflict, "never falls", ClusterLevel, ClusterLevelData{Level: 1})
	for name := range handlers {
		if l := LevelOf(name); l < 1 || l > Level {
			t.Errorf("%s is of level %d", name, l)
		}
	}
	if got := LevelOf("account.explode"); got != 0 {
		t.Errorf("got level %d of an unknown command, want 0", got)
	}
}

// What bears a field that older members refuse needs the level of that field.
func TestCommand_Level(t *testing.T) {
	with := Account{Name: "shop", Databases: []Database{{Engine: PostgreSQL, Name: "shop"}}}
	mail := Account{Name: "shop", Mailboxes: []Mailbox{{Domain: "example.org", Name: "info"}}}
	cron := Account{Name: "shop", CronJobs: []CronJob{{Schedule: "@daily"}}}
	for _, test := range []struct {
		name    Name
		payload any
		want    int
	}{
		{InventoryApply, InventoryData{Accounts: []Account{{Name: "shop"}}}, 1},
		{InventoryApply, InventoryData{Accounts: []Account{{Name: "blog"}, with}}, 3},
		{InventoryApply, InventoryData{Accounts: []Account{mail}}, 3},
		{InventoryApply, InventoryData{Accounts: []Account{cron}}, 3},
		{TaskFinish, TaskFinishData{Task: "t1", Snapshot: &Snapshot{}}, 1},
		{TaskFinish, TaskFinishData{Task: "t1"}, 1},
		{TaskFinish, TaskFinishData{Task: "t1", Snapshot: &Snapshot{Parts: []Part{{Name: "mysql/shop"}}}}, 3},
		{TaskFinish, TaskFinishData{Task: "t1", Snapshot: &Snapshot{Copied: 1}}, 3},
		{TaskFinish, TaskFinishData{Task: "t1", Snapshot: &Snapshot{Repository: 2}}, 3},
		{RepositoryRenew, RepositoryRenewData{}, 3},
		{ClusterInit, ClusterInitData{Level: 3}, 3},
		{ClusterInit, ClusterInitData{}, 1},
		{KeyringRetire, KeyringRetireData{}, 2},
	} {
		if got := NewCommand(test.name, "c1", epoch, "operator/ada", test.payload).Level(); got != test.want {
			t.Errorf("%s %+v: got level %d, want %d", test.name, test.payload, got, test.want)
		}
	}
}
