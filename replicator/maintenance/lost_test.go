package maintenance_test

import (
	"slices"
	"testing"
)

// TestRun_LostBeforeItWasOver: a snapshot that the home has lost by the time it is over goes at the replica as well; else the replica
// would wait for the home to have it again, and follow no list any more.
func TestRun_LostBeforeItWasOver(t *testing.T) {
	w, home, job := lone(t)
	replica := w.sites[1]
	w.copy(0, 1)
	w.copy(0, 1)
	over := w.order[0]
	home.double.Forget("shop/snapshots/" + over)
	for range 2 {
		result, err := home.keeper.Run(t.Context(), job)
		if err != nil || !slices.Equal(result.Forgotten, []string{over}) {
			t.Fatalf("got %+v, %v", result, err)
		}
	}
	delete(w.catalogue, over)
	for range 3 {
		w.copy(0, 1)
	}
	if _, ok := w.files(replica, "snapshots")[over]; ok {
		t.Errorf("the replica keeps it: %v", w.past)
	}
	if here, there := w.files(home, "data"), w.files(replica, "data"); len(here) != len(there) {
		t.Errorf("the replica has %d packs, and the home %d", len(there), len(here))
	}
	w.look()
}
