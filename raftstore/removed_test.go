package raftstore

import (
	"crypto/tls"
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"drp/raftstore/identity"
)

// A coordinator that was removed and not revoked still stands in every configuration file. Raft talks to it no more: what it
// connects is refused, and what it had connected is closed. Hellos it may exchange, so that it learns what it is.
func TestRaftPort_Removed(t *testing.T) {
	g := newGuarded(t)
	followers := g.followers()
	out, stays := followers[0], followers[1]
	as := presenting(t, g.authority, identity.Coordinator, out.cfg.Name, time.Hour, nil)
	at := func(s *Store) string { p, _ := s.cfg.peer(s.cfg.Name); return p.Address }
	if !greeted(t, at(stays), as) {
		t.Fatal("a member was refused")
	}
	standing, err := tls.Dial("tcp", at(stays), as)
	if err != nil {
		t.Fatal(err)
	}
	defer standing.Close()
	await(t, "all answer", func() bool { return g.leader.answers(stays.cfg.Name) && g.leader.answers(out.cfg.Name) })
	if err := g.leader.RemoveMember(t.Context(), out.cfg.Name); err != nil {
		t.Fatal(err)
	}
	if r, err := g.leader.Propose(t.Context(), token("after", "after")); err != nil || r.Err != nil {
		t.Fatalf("propose: %v, refused: %v", err, r.Err)
	}
	awaitToken(t, stays, "after")
	for _, s := range []*Store{g.leader, stays} {
		if got := saidTo(t, at(s), as); got != "" {
			t.Errorf("%s: got an answer of %q, want the connection closed", s.cfg.Name, got)
		}
	}
	_ = standing.SetReadDeadline(time.Now().Add(30 * time.Second))
	if _, err := standing.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want the connection of before closed", err)
	}
	await(t, "it learns that it was removed", func() bool { return alarmed(out, AlarmRemoved, out.cfg.Name) != "" })
}

func TestRoster_admits(t *testing.T) {
	r := newRoster(&Config{Name: "a", Peers: []Peer{{"a", "a:1"}, {"b", "b:1"}, {"c", "c:1"}}})
	want := func(when string, names ...string) {
		t.Helper()
		admitted := map[string]bool{}
		for _, n := range names {
			admitted[n] = true
		}
		for _, n := range []string{"b", "c", "d", "z"} {
			if got := r.admits(n); got != admitted[n] {
				t.Errorf("%s: %s is admitted: %v", when, n, got)
			}
		}
	}
	want("before there is a configuration", "b", "c")
	r.current = func() raft.Configuration {
		return raft.Configuration{Servers: []raft.Server{{ID: "a"}, {ID: "b"}}}
	}
	want("c was removed", "b")
	r.believe([]helloMember{{"a", true}, {"b", true}, {"d", false}})
	want("d was added, and our log has not come so far", "b", "d")
	r.setJoining(true)
	want("it waits to be added", "b", "c", "d", "z")
}

// The configurations of long ago that a newcomer finds at the beginning of the log may name nobody who lives. It goes by the
// word of who sends it the log until it has found itself there: else it would refuse that one, and wait for ever.
func TestStore_JoinBehindOldConfigurations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClusterOf(t, 1, nil)
		a := c.leader()
		a.parts.transport.gate = newVoteGate(make(chan raft.RPC))
		a.roster.setJoining(true)
		log := []raft.Server{{ID: "x"}, {ID: "y"}}
		a.roster.mu.Lock()
		a.roster.current = func() raft.Configuration { return raft.Configuration{Servers: log} }
		a.roster.mu.Unlock()
		leader := &hello{Name: "d", Leads: true, Term: a.raft.CurrentTerm(), Members: []helloMember{{"a", false}, {"d", true}}}
		a.judgeOwnPlace(leader)
		if !a.roster.isJoining() || !a.roster.admits("d") {
			t.Error("it has stopped to wait, and refuses the leader that it does not know yet")
		}
		log = []raft.Server{{ID: "a", Suffrage: raft.Nonvoter}, {ID: "d"}}
		a.judgeOwnPlace(leader)
		if a.roster.isJoining() || !a.roster.admits("d") || a.roster.admits("x") {
			t.Error("it has found itself in the log, and waits on")
		}
	})
}
