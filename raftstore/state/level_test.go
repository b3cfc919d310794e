package state

import (
	"testing"
)

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
