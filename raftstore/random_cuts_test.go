package raftstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"drp/raftstore/state"
)

// Nodes are cut off and killed at random while commands are proposed, each again and again under its id until the
// outcome is known. In the end all states are the same, and each command is there once.
func TestStore_RandomCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seed := rand.Int64() // the clock of a bubble always says the same
		if s, err := strconv.ParseInt(os.Getenv("DRP_TEST_SEED"), 10, 64); err == nil {
			seed = s
		}
		t.Logf("DRP_TEST_SEED=%d", seed)
		random := rand.New(rand.NewPCG(uint64(seed), 0))
		c := newCluster(t, func(cfg *Config) {
			cfg.Snapshots = Snapshots{Interval: 5 * time.Second, Threshold: 10, Trailing: 5}
		})
		names := []string{"a", "b", "c"}
		for i := range 60 {
			name := names[random.IntN(len(names))]
			switch random.IntN(4) {
			case 0:
				c.memory.Cut(name)
			case 1:
				c.close(c.nodes[name])
				c.open(name)
			}
			c.proposeSomewhere(token(fmt.Sprintf("t%d", i), c.id()), names, random)
			for _, n := range names {
				c.memory.Heal(n)
			}
			time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond) // of the bubble's time
		}
		leader := c.leaderNow()
		for i := range 60 {
			if !has(leader.View(), fmt.Sprintf("t%d", i)) {
				t.Errorf("the acknowledged command t%d is lost", i)
			}
		}
		c.agree(leader)
	})
}

func (c *cluster) proposeSomewhere(command state.Command, names []string, random *rand.Rand) {
	c.t.Helper()
	for range 1000 {
		m := c.nodes[names[random.IntN(len(names))]]
		r, err := m.Propose(c.ctx, command)
		if err == nil {
			if r.Err != nil || !r.Changed {
				c.t.Fatalf("%s: got %+v, want the answer of the first time", command.ID, r)
			}
			return
		}
		if !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrUnknownOutcome) {
			c.t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond) // of the bubble's time
	}
	c.t.Fatalf("%s was never applied", command.ID)
}
