package raftstoretest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"drp/raftstore"
)

// atLeader does something at whoever leads until it succeeds or is refused for good.
func (c *Cluster) atLeader(what string, f func(ctx context.Context, s *raftstore.Store) error) error {
	c.t.Helper()
	for start := time.Now(); time.Since(start) < 2*time.Minute; {
		n := c.Leader()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err := f(ctx, n.Store())
		cancel()
		if err == nil || !errors.Is(err, raftstore.ErrNotLeader) && !errors.Is(err, raftstore.ErrUnknownOutcome) && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		time.Sleep(200 * time.Millisecond) // of the bubble's time
	}
	c.t.Fatalf("%s: not done within 2 minutes; %s", what, c.describe())
	return nil
}

// awaitVoter waits until a member has a vote, by what the leader says.
func (c *Cluster) awaitVoter(name string, within time.Duration) {
	c.t.Helper()
	for start := time.Now(); time.Since(start) < within; {
		for _, m := range c.Leader().Store().Members() {
			if m.Name == name && m.Voter {
				return
			}
		}
		time.Sleep(200 * time.Millisecond) // of the bubble's time
	}
	c.t.Fatalf("%s has no vote after %s; %s", name, within, c.describe())
}

// A member is added, gets a vote, and one is removed, while the leader is killed and messages get lost.
func TestMembership_ChangesUnderFaults(t *testing.T) {
	seed := Seed(t)
	var h History
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{Seed: seed, Spare: 1})
		c.Furnish(&h)
		stop := c.Load(&h, 3, nil)
		d := c.Node("d")
		d.StartJoining()
		c.Links(Link{Delay: 20 * time.Millisecond, Drop: 0.05})
		add := func(ctx context.Context, s *raftstore.Store) error { return s.AddMember(ctx, d.Name, d.Address) }
		if err := c.atLeader("add d", add); err != nil {
			t.Fatal(err)
		}
		killed := c.Leader()
		killed.Crash()
		c.awaitVoter(d.Name, 2*time.Minute)
		c.Network.Heal()
		killed.Start()
		gone := c.Others(c.Leader())[0]
		remove := func(ctx context.Context, s *raftstore.Store) error { return s.RemoveMember(ctx, gone.Name) }
		for err := error(nil); ; {
			if err = c.atLeader("remove "+gone.Name, remove); err == nil || errors.Is(err, raftstore.ErrNotMember) {
				break
			}
			if !errors.As(err, new(*raftstore.QuorumError)) { // the one that was killed is not heard yet
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		stop()
		for _, m := range c.Leader().Store().Members() {
			if m.Name == gone.Name || !m.Voter {
				t.Errorf("%s is a member (voter: %t), want three voters without %s", m.Name, m.Voter, gone.Name)
			}
		}
		gone.Crash()
		c.Agree()
	})
	h.Check(t)
}

// Of three, one is silent: were another one removed, nobody could decide anything any more.
func TestMembership_RemovalThatLosesTheQuorumIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{})
		leader := c.Leader()
		silent, healthy := c.Others(leader)[0], c.Others(leader)[1]
		silent.Crash()
		time.Sleep(10 * time.Second) // of the bubble's time
		err := c.atLeader("remove", func(ctx context.Context, s *raftstore.Store) error { return s.RemoveMember(ctx, healthy.Name) })
		var quorum *raftstore.QuorumError
		if !errors.As(err, &quorum) || quorum.Answering != 1 || quorum.Needed != 2 {
			t.Errorf("got %v, want a refusal: 1 would answer and 2 have to", err)
		}
		if err := c.atLeader("remove", func(ctx context.Context, s *raftstore.Store) error { return s.RemoveMember(ctx, silent.Name) }); err != nil {
			t.Errorf("removal of the silent one: %v", err)
		}
		c.Do(token("two are left"))
		c.Agree()
	})
}
