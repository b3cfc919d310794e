package raftstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"drp/raftstore/state"
)

// Commands that come together share entries of the log, and each gets the answer that is its own. As long as one member
// cannot read such entries, each command has one to itself.
func TestStore_Bundles(t *testing.T) {
	const commands = 200
	for level, shared := range map[int]bool{state.LevelBundles - 1: false, state.LevelBundles: true} {
		t.Run(fmt.Sprint("level ", level), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, func(cfg *Config) { cfg.Level = level })
				leader := c.leader()
				c.until("all are heard", func() bool { return leader.answers("a") && leader.answers("b") && leader.answers("c") })
				r, err := leader.Propose(c.ctx, state.NewCommand(state.ClusterInit, "init", time.Now(), "coordinator/a",
					state.ClusterInitData{UUID: "7d1f", Incarnation: 1, Level: level}))
				if err != nil || r.Err != nil {
					t.Fatal(err, r.Err)
				}
				before := leader.raft.LastIndex()
				var group sync.WaitGroup
				for i := range commands {
					group.Go(func() {
						name := fmt.Sprintf("token-%d", i)
						if i%10 == 9 { // is refused: it was never there
							r, err := leader.Propose(c.ctx, state.NewCommand(state.TokenRevoke, "revoke-"+name, time.Now(), "operator/ada", state.TokenRevokeData{Name: name}))
							if err != nil || !errors.Is(r.Err, state.ErrNotFound) || !strings.Contains(r.Err.Error(), name) {
								t.Errorf("revoke %s: got %v, %v", name, err, r.Err)
							}
							return
						}
						if r, err := leader.Propose(c.ctx, token(name, "create-"+name)); err != nil || r.Err != nil || !r.Changed {
							t.Errorf("create %s: got %v, %v", name, err, r.Err)
						}
					})
				}
				group.Wait()
				if got, want := len(leader.View().APITokens()), commands*9/10; got != want {
					t.Errorf("got %d tokens, want %d", got, want)
				}
				entries := leader.raft.LastIndex() - before
				if shared != (entries < commands/2) || !shared && entries != commands {
					t.Errorf("%d commands made %d entries", commands, entries)
				}
				c.agree(leader)
			})
		})
	}
}

func TestQueue_Take(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	waits := func(ctx context.Context, size int) *proposal {
		return &proposal{ctx: ctx, line: make([]byte, size)}
	}
	here := t.Context()
	q := queue{flying: 1, waiting: []*proposal{
		waits(gone, 9), waits(here, 99), waits(here, 10), waits(here, 20), waits(gone, 9), waits(here, 9), waits(here, 9), waits(gone, 9),
	}}
	sizes := func(list []*proposal) string {
		var text []string
		for _, p := range list {
			text = append(text, fmt.Sprint(len(p.line)))
		}
		return strings.Join(text, " ")
	}
	for _, want := range []string{"99", "10 20", "9 9", ""} { // the first always has room
		if got := sizes(q.take(40)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if q.flying != 0 {
		t.Errorf("got %d flying, want none", q.flying)
	}
}
