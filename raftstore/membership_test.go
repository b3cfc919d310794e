package raftstore

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"drp/raftstore/state"
)

func (c *cluster) memberOf(m *member, name string) *Member {
	for _, o := range m.Members() {
		if o.Name == name {
			return &o
		}
	}
	return nil
}

func (c *cluster) add(leader *member, name string) {
	c.t.Helper()
	if err := leader.AddMember(c.ctx, name, name+":1"); err != nil {
		c.t.Fatal(err)
	}
}

func TestStore_AddMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		leader := c.leader()
		c.addToken(leader, "before")
		d := c.join("d")
		if words := c.raises(d, AlarmJoining, "d"); !strings.Contains(words, "drp raft join d") {
			t.Errorf("got %q, want what to type", words)
		}
		start := time.Now()
		c.add(leader, "d")
		c.add(leader, "d") // a retry
		if m := c.memberOf(leader, "d"); m == nil || m.Voter {
			t.Fatalf("got %+v, want a member without a vote", m)
		}
		c.await(d, "what was there before", func(v *state.View) bool { return has(v, "before") })
		c.until("d has a vote", func() bool { return c.memberOf(leader, "d").Voter })
		if took := time.Since(start); took < promoteAfter || took > 2*promoteAfter {
			t.Errorf("it got its vote after %s, want it after %s of health", took, promoteAfter)
		}
		c.until("d knows that it has joined", func() bool { return alarmed(d.Store, AlarmJoining, "d") == "" })
		if there, err := d.parts.papers.has(joiningName); there || err != nil {
			t.Errorf("it is still marked as joining (%v)", err)
		}
		c.until("all are seen", func() bool {
			for _, m := range leader.Members() {
				if m.Healthy.IsZero() || m.Level == 0 {
					return false
				}
			}
			return len(leader.Members()) == 4
		})
		// It knows the cluster now, and comes back by itself.
		c.close(d)
		d = c.open("d")
		c.addToken(leader, "after")
		c.await(d, "the next command", func(v *state.View) bool { return has(v, "after") })
		c.agree(leader)
	})
}

func TestStore_AddMember_NotHealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		leader := c.leader()
		c.join("d")
		c.add(leader, "d")
		for range 10 { // it is there for five seconds at a time
			time.Sleep(5 * time.Second)
			c.memory.Cut("d")
			time.Sleep(5 * time.Second)
			c.memory.Heal("d")
		}
		if c.memberOf(leader, "d").Voter {
			t.Error("a member that comes and goes got a vote")
		}
		c.until("d has a vote", func() bool { return c.memberOf(leader, "d").Voter })
	})
}

func TestStore_AddMember_Refused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, func(cfg *Config) {
			if cfg.Name == "o" {
				cfg.Level = 1
			}
		})
		leader := c.leader()
		initCluster(c, leader)
		c.until("the level is known", func() bool { return leader.View().Level() == state.Level })
		c.join("o")
		c.open("x") // with a cluster of its own in mind
		for _, test := range []struct {
			name, address, words string
			want                 error
		}{
			{"d", "d:1", "does not answer", ErrRefused},
			{"a", "z:1", "a member at a:1", ErrRefused},
			{"d", "a:1", "a has the address", ErrRefused},
			{"o", "o:1", "upgrade it first", ErrTooNew},
			{"x", "x:1", "a state of its own", ErrRefused},
			{"", "d:1", "a name and an address", ErrRefused},
		} {
			err := leader.AddMember(c.ctx, test.name, test.address)
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.words) {
				t.Errorf("add %q at %q: got %v, want %v with the words %q", test.name, test.address, err, test.want, test.words)
			}
		}
		if err := c.others(leader)[0].AddMember(c.ctx, "d", "d:1"); !errors.Is(err, ErrNotLeader) {
			t.Errorf("got %v on a follower, want %v", err, ErrNotLeader)
		}
		if n := len(leader.Members()); n != 3 {
			t.Errorf("got %d members, want 3", n)
		}
	})
}

func TestStore_RemoveMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		leader := c.leader()
		alive, dead := c.others(leader)[0], c.others(leader)[1]
		c.close(dead)
		time.Sleep(10 * time.Minute) // of the bubble's time
		if m := c.memberOf(leader, dead.name); m == nil || !m.Voter || !m.Healthy.IsZero() {
			t.Fatalf("got %+v, want the dead voter shown as it is", m)
		}
		if words := c.raises(leader, AlarmSilent, dead.name); !strings.Contains(words, "drp raft remove "+dead.name) {
			t.Errorf("got %q, want what to type", words)
		}

		var refused *QuorumError
		if err := leader.RemoveMember(c.ctx, alive.name); !errors.As(err, &refused) || *refused != (QuorumError{alive.name, 2, 1, 2}) {
			t.Errorf("got %v, want it refused: one of two would answer", err)
		}
		if err := leader.RemoveMember(c.ctx, "z"); !errors.Is(err, ErrNotMember) {
			t.Errorf("got %v, want %v", err, ErrNotMember)
		}
		if err := alive.RemoveMember(c.ctx, dead.name); !errors.Is(err, ErrNotLeader) {
			t.Errorf("got %v on a follower, want %v", err, ErrNotLeader)
		}
		if err := leader.RemoveMember(c.ctx, dead.name); err != nil {
			t.Fatal(err)
		}
		c.addToken(leader, "by-two")
		if err := leader.RemoveMember(c.ctx, alive.name); err != nil {
			t.Fatal(err)
		}
		c.addToken(leader, "by-one")
		if err := leader.RemoveMember(c.ctx, leader.name); !errors.As(err, &refused) || !strings.Contains(err.Error(), "the last voter") {
			t.Errorf("got %v, want it refused: the last voter", err)
		}
		if words := c.raises(alive, AlarmRemoved, alive.name); !strings.Contains(words, "empty its data directory") {
			t.Errorf("got %q, want what to do", words)
		}
		term := leader.Status().Term
		back := c.open(dead.name) // it was away when it was removed
		c.raises(back, AlarmRemoved, back.name)
		time.Sleep(10 * time.Minute) // of the bubble's time
		if got := leader.Status(); got.Term != term || got.Role != "leader" {
			t.Errorf("those that were removed disturb the rest: got %+v, want term %d", got, term)
		}
		c.addToken(leader, "undisturbed")
	})
}

// Two people change the members at the same time: the second has decided on what is no longer true.
func TestStore_MembershipChangesDoNotClash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, func(cfg *Config) { cfg.Snapshots.Trailing = 1 })
		leader := c.leader()
		index, servers, err := leader.configuration()
		if err != nil || len(servers) != 3 || index == 0 {
			t.Fatalf("got %v at %d, %v", servers, index, err)
		}
		c.join("d")
		c.add(leader, "d")
		err = leader.change(c.ctx, func() raft.IndexFuture {
			return leader.raft.RemoveServer("a", index, changeTimeout)
		})
		if err == nil || len(leader.Members()) != 4 {
			t.Errorf("got %v, want a change that was decided on an older configuration refused", err)
		}
		if err := leader.Snapshot(c.ctx); err != nil {
			t.Fatal(err)
		}
		c.addToken(leader, "after") // the entry of the change is in the snapshot alone now
		if again, servers, err := leader.configuration(); err != nil || again <= index || len(servers) != 4 {
			t.Errorf("got %v at %d, %v", servers, again, err)
		}
	})
}

func TestStore_TransferLeadership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		leader := c.leader()
		to := c.others(leader)[1]
		c.until("all are heard", func() bool { return leader.answers(to.name) })
		if err := leader.TransferLeadership(c.ctx, to.name); err != nil {
			t.Fatal(err)
		}
		if next := c.leader(); next != to {
			t.Errorf("%s leads, want %s", next.name, to.name)
		}
		if err := leader.TransferLeadership(c.ctx, to.name); !errors.Is(err, ErrNotLeader) {
			t.Errorf("got %v on a follower, want %v", err, ErrNotLeader)
		}
		c.close(leader)
		time.Sleep(10 * time.Second) // of the bubble's time
		for name, want := range map[string]error{leader.name: ErrRefused, "z": ErrNotMember, to.name: nil} {
			if err := to.TransferLeadership(c.ctx, name); !errors.Is(err, want) {
				t.Errorf("to %s: got %v, want %v", name, err, want)
			}
		}
	})
}

// A coordinator lost its disk, and somebody readied it for joining without removing it first: its vote is counted on.
func TestOpen_JoiningVoterDoesNotVote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		leader := c.leader()
		lagging, wiped := c.others(leader)[0], c.others(leader)[1]
		c.memory.Cut(lagging.name)
		c.addToken(leader, "acknowledged")
		c.close(wiped)
		c.memory.Cut(leader.name)
		again := c.join(wiped.name)
		c.memory.Heal(lagging.name)
		time.Sleep(time.Minute) // of the bubble's time: any number of elections
		if v, err := lagging.Read(c.ctx); err == nil {
			t.Errorf("%s leads; it has what was acknowledged: %v", lagging.name, has(v, "acknowledged"))
		}
		c.memory.Heal(leader.name)
		if err := <-c.fatals; !errors.Is(err, errNewVoter) {
			t.Errorf("got %v, want %v", err, errNewVoter)
		}
		<-again.Done()
		c.addToken(c.leaderNow(), "by-two")
	})
}

func initCluster(c *cluster, leader *member) {
	c.t.Helper()
	r, err := leader.Propose(c.ctx, state.NewCommand(state.ClusterInit, c.id(), time.Now(), "coordinator/"+leader.name,
		state.ClusterInitData{UUID: "7d1f", Incarnation: 1}))
	if err != nil || r.Err != nil {
		c.t.Fatalf("init: %v, refused: %v", err, r.Err)
	}
}
