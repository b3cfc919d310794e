package raftstore

import (
	"encoding/json"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"drp/raftstore/state"
)

// Every command that begins an incarnation is learned of when it is applied, and not only at the next start: nodes of
// different incarnations do not talk.
func TestFSM_tellsOfEachIncarnation(t *testing.T) {
	f := newFSM("a", newAlarms(slog.New(slog.DiscardHandler)), func(err error) { t.Error(err) })
	var known []uint64
	f.known = func(c *state.Cluster) { known = append(known, c.Incarnation) }
	for i, c := range []state.Command{
		state.NewCommand(state.ClusterInit, "1", time.Now(), "coordinator/a", state.ClusterInitData{UUID: "7d1f", Incarnation: 1, Level: state.Level}),
		state.NewCommand(state.ClusterRecover, "2", time.Now(), "coordinator/a", state.ClusterRecoverData{UUID: "7d1f", Incarnation: 2, How: state.RecoveredExport}),
		state.NewCommand(state.ClusterResume, "3", time.Now(), "operator/ada", state.ClusterResumeData{Incarnation: 4}),
	} {
		data, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if r, ok := f.Apply(&raft.Log{Index: uint64(i + 1), Type: raft.LogCommand, Data: data}).([]state.Result); !ok || r[0].Err != nil {
			t.Errorf("%s: got %+v", c.Name, r)
		}
	}
	if want := []uint64{1, 2, 4}; !slices.Equal(known, want) {
		t.Errorf("got %v, want %v", known, want)
	}
}
