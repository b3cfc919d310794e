package raftstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"drp/raftstore/identity"
	"drp/raftstore/state"
)

func recovery(self Peer, how string, incarnation uint64) Recovery {
	return Recovery{
		Self: self, At: time.Now(), By: "operator/ada",
		Recover: state.ClusterRecoverData{UUID: "7d1f", Incarnation: incarnation, How: how, Source: "test"},
	}
}

func propose(t *testing.T, s *Store, c state.Command) {
	t.Helper()
	if r, err := s.Propose(t.Context(), c); err != nil || r.Err != nil {
		t.Fatalf("propose %s: %v, refused: %v", c.Name, err, r.Err)
	}
}

// proposeTogether puts commands into one entry of the log.
func proposeTogether(t *testing.T, s *Store, commands ...state.Command) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), proposeTimeout)
	defer cancel()
	var together []*proposal
	for _, c := range commands {
		line, err := encode(c)
		if err != nil {
			t.Fatal(err)
		}
		together = append(together, &proposal{ctx: ctx, line: line, answer: make(chan answer, 1)})
	}
	s.send(together)
	for _, p := range together {
		if a := <-p.answer; a.err != nil || a.result.Err != nil {
			t.Fatalf("propose together: %v, refused: %v", a.err, a.result.Err)
		}
	}
}

func clusterInit(id string) state.Command {
	return state.NewCommand(state.ClusterInit, id, time.Now(), "coordinator/a", state.ClusterInitData{UUID: "7d1f", Incarnation: 1})
}

// wantRecovered holds that a recovered cluster has what it should, and waits.
func wantRecovered(t *testing.T, v *state.View, incarnation uint64, names ...string) {
	t.Helper()
	for _, name := range names {
		if !has(v, name) {
			t.Errorf("%s is lost", name)
		}
	}
	if c := v.Cluster(); c == nil || c.UUID != "7d1f" || c.Incarnation != incarnation || c.Held == nil {
		t.Errorf("got cluster %+v, want incarnation %d, held", c, incarnation)
	}
}

func TestSeed(t *testing.T) {
	authority := newAuthority(t, "7d1f")
	peers := []Peer{{"a", loopback(1)[0]}}
	cfg := prepare(t, realConfig(t, authority, t.TempDir(), "a", peers))
	s := open(t, cfg)
	firstToLead(t, []*Store{s})
	propose(t, s, clusterInit("init"))
	propose(t, s, token("kept", "1"))
	var exported bytes.Buffer
	if err := s.View().Persist(&exported); err != nil {
		t.Fatal(err)
	}
	index := s.View().Index()
	closeStore(t, s)

	dir := filepath.Join(t.TempDir(), "data", "new")
	for words, try := range map[string]func() error{
		"holds " + logName: func() error {
			_, err := Seed(cfg.Dir, recovery(peers[0], state.RecoveredExport, 2), bytes.NewReader(exported.Bytes()))
			return err
		},
		"restore state": func() error {
			_, err := Seed(dir, recovery(peers[0], state.RecoveredExport, 2), bytes.NewReader(exported.Bytes()[:exported.Len()/2]))
			return err
		},
		"incarnation": func() error {
			_, err := Seed(dir, recovery(peers[0], state.RecoveredExport, 1), bytes.NewReader(exported.Bytes()))
			return err
		},
		"this is cluster 7d1f": func() error {
			r := recovery(peers[0], state.RecoveredExport, 2)
			r.Recover.UUID = "another"
			_, err := Seed(dir, r, bytes.NewReader(exported.Bytes()))
			return err
		},
		"no directory": func() error {
			_, err := Seed("", recovery(peers[0], state.RecoveredExport, 2), bytes.NewReader(exported.Bytes()))
			return err
		},
	} {
		if err := try(); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("got %v, want the words %q", err, words)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an attempt that failed left %s: %v", dir, err)
	}
	report, err := Seed(dir, recovery(peers[0], state.RecoveredExport, 2), bytes.NewReader(exported.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if report.Cluster != "7d1f" || report.Before != 1 || report.Incarnation != 2 || report.Last != index+1 || report.Term == 0 {
		t.Errorf("got %+v", report)
	}
	if entries, _ := os.ReadDir(filepath.Dir(dir)); len(entries) != 1 {
		t.Errorf("%d entries beside it, want it alone", len(entries))
	}
	cfg.Dir = dir
	s = open(t, cfg)
	wantRecovered(t, s.View(), 2, "kept") // before anything else happened
	firstToLead(t, []*Store{s})
	propose(t, s, token("next", "2"))
	if got := s.View().Index(); got <= report.Last {
		t.Errorf("the next command has index %d, want more than %d", got, report.Last)
	}
	closeStore(t, s)
}

func TestRecoverQuorum(t *testing.T) {
	dir, authority := t.TempDir(), newAuthority(t, "7d1f")
	peers := []Peer{}
	for i, address := range loopback(3) {
		peers = append(peers, Peer{string(rune('a' + i)), address})
	}
	var stores []*Store
	for _, p := range peers {
		stores = append(stores, open(t, prepare(t, realConfig(t, authority, dir, p.Name, peers))))
	}
	leader := firstToLead(t, stores)
	propose(t, leader, clusterInit("init"))
	propose(t, leader, token("in-the-snapshot", "1"))
	if err := leader.Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		propose(t, leader, token(fmt.Sprintf("t%d", i), fmt.Sprintf("t%d", i)))
	}
	proposeTogether(t, leader, token("first", "first"), token("second", "second"))
	survivor := leader.cfg
	if _, err := RecoverQuorum(survivor.Dir, recovery(peers[0], state.RecoveredQuorum, 2)); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "stop that first") {
		t.Errorf("got %v while a coordinator runs from it, want %v", err, ErrInUse)
	}
	for _, s := range stores {
		if s != leader {
			closeStore(t, s)
		}
	}
	// One that no majority ever had: it is kept, and told of.
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	_, err := leader.Propose(ctx, token("unsure", "unsure"))
	cancel()
	if !errors.Is(err, ErrUnknownOutcome) && !errors.Is(err, ErrNotLeader) {
		t.Fatalf("got %v, want %v", err, ErrUnknownOutcome)
	}
	unsure := errors.Is(err, ErrUnknownOutcome)
	closeStore(t, leader)

	view, seen, err := Survey(survivor.Dir)
	if err != nil || seen.Incarnation != 1 || !has(view, "t4") || !has(view, "first") || !has(view, "second") || view.Cluster().Held != nil {
		t.Fatalf("survey: got %+v, %v", seen, err)
	}
	self := Peer{survivor.Name, loopback(1)[0]}
	stranger := survivor.Dir + ".incarnation-1"
	if err := os.Mkdir(stranger, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := RecoverQuorum(survivor.Dir, recovery(self, state.RecoveredQuorum, 2)); err == nil || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("got %v, want that what is in the way stays", err)
	}
	if err := os.Remove(stranger); err != nil {
		t.Fatal(err)
	}
	var cut bytes.Buffer // an attempt that ended before the last step
	if err := view.Persist(&cut); err != nil {
		t.Fatal(err)
	}
	if _, err := Seed(stranger, recovery(self, state.RecoveredQuorum, 2), &cut); err != nil {
		t.Fatal(err)
	}
	report, err := RecoverQuorum(survivor.Dir, recovery(self, state.RecoveredQuorum, 2))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"t0", "t1", "t2", "t3", "t4", "first", "second"}
	if unsure {
		want = append(want, "unsure")
	}
	var tail []string
	for _, e := range report.Tail {
		if e.Name == state.TokenCreate {
			tail = append(tail, e.ID)
		}
	}
	if !slices.Equal(tail, want) || report.Replayed != len(report.Tail) || report.Snapshot == 0 || report.Before != 1 ||
		report.Incarnation != 2 || report.Last != seen.Last+1 || report.Term <= seen.Term {
		t.Errorf("got %+v, want the tail %v", report, want)
	}
	if _, err := os.Stat(filepath.Join(report.Kept, logName)); err != nil {
		t.Errorf("the survivor's directory is not kept: %v", err)
	}
	if _, err := RecoverQuorum(survivor.Dir, recovery(self, state.RecoveredQuorum, 2)); err == nil {
		t.Error("the same recovery twice, want it refused")
	}
	cfg := survivor
	cfg.Peers, cfg.Listen = []Peer{self}, ""
	s := open(t, cfg)
	wantRecovered(t, s.View(), 2, append(want, "in-the-snapshot")...)
	firstToLead(t, []*Store{s})
	propose(t, s, token("next", "next"))

	t.Run("others join it", func(t *testing.T) { joinRecovered(t, authority, dir, s, self) })
	t.Run("others from before do not get a word in", func(t *testing.T) {
		other := "b"
		if survivor.Name == "b" {
			other = "c"
		}
		term := s.Status().Term
		old := realConfig(t, authority, dir, other, []Peer{self, {other, loopback(1)[0]}})
		old.Fatal = func(error) {}
		b := open(t, old)
		await(t, "an alarm about it", func() bool { return alarmed(b, AlarmIncarnation, self.Name) != "" })
		for _, m := range b.Members() { // or its removal of the third would be allowed, and nothing decided any more
			if m.Name == self.Name && (m.Quarantined == "" || b.answers(m.Name)) {
				t.Errorf("got %+v, want it not counted among those that answer", m)
			}
		}
		conn, err := b.parts.courier.(*tlsCourier).stream.Dial(raft.ServerAddress(self.Address), time.Second)
		if err == nil {
			_ = conn.Close()
			t.Error("raft of another incarnation gets a connection")
		}
		if got := s.Status(); got.Role != "leader" || got.Term != term {
			t.Errorf("got %+v, want that nothing changed in term %d", got, term)
		}
		closeStore(t, b)
	})
	closeStore(t, s)
}

func joinRecovered(t *testing.T, authority *identity.Authority, dir string, s *Store, self Peer) {
	d := Peer{"d", loopback(1)[0]}
	cfg := realConfig(t, authority, dir, "d", []Peer{self, d})
	if err := PrepareJoin(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	joining := open(t, cfg)
	if err := s.AddMember(t.Context(), d.Name, d.Address); err != nil {
		t.Fatal(err)
	}
	awaitToken(t, joining, "next")
	await(t, "it knows that it has joined", func() bool { return !joining.roster.isJoining() })
	if got := joining.parts.history.incarnation(); got != 2 {
		t.Errorf("got incarnation %d at the one that joined, want 2", got)
	}
	if err := s.RemoveMember(t.Context(), d.Name); err != nil {
		t.Fatal(err)
	}
	await(t, "it knows that it was removed", func() bool { return alarmed(joining, AlarmRemoved, "d") != "" })
	closeStore(t, joining)
}

// await waits for something that comes with time, in a test of real connections.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for !holds() {
		select {
		case <-look.C:
		case <-ctx.Done():
			t.Fatalf("%s: not after a minute", what)
		}
	}
}
