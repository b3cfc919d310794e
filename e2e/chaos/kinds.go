package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"
)

// kind is one way in which a run goes wrong, again and again.
type kind struct {
	name  string
	nodes int
	disks bool // each coordinator has a disk of its own
	// hurt does one thing, and heals it. What it does is the seed's; that it waits for anything is the run's.
	hurt func(ctx context.Context, r *trial) error
}

// kinds of runs, in the order in which they take turns.
func kinds() []kind {
	return []kind{
		{name: "kill", nodes: 3, hurt: kill},
		{name: "pause", nodes: 3, hurt: pause},
		{name: "cut-one", nodes: 3, hurt: cutOne},
		{name: "cut-majority", nodes: 5, hurt: cutMajority},
		{name: "cut-ring", nodes: 5, hurt: cutRing},
		{name: "cut-asymmetric", nodes: 3, hurt: cutAsymmetric},
		{name: "delay", nodes: 3, hurt: delay},
		{name: "drop", nodes: 3, hurt: drop},
		{name: "full", nodes: 3, disks: true, hurt: full},
		{name: "slow", nodes: 3, disks: true, hurt: slow},
		{name: "hung", nodes: 3, disks: true, hurt: hung},
		{name: "power", nodes: 3, disks: true, hurt: power},
		{name: "mix", nodes: 5, hurt: mix},
	}
}

func kindNames() []string {
	var names []string
	for _, k := range kinds() {
		names = append(names, k.name)
	}
	return names
}

func findKind(name string) (kind, error) {
	for _, k := range kinds() {
		if k.name == name {
			return k, nil
		}
	}
	return kind{}, fmt.Errorf("there is no kind %q of run: it is one of %v", name, kindNames())
}

// between is a random time.
func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64(most-least)))
}

// victim is the leader in every second case.
func (t *trial) victim() int {
	if i, ok := t.leader(); ok && t.random.IntN(2) == 0 {
		return i
	}
	return t.random.IntN(len(t.cluster.Nodes))
}

func kill(ctx context.Context, t *trial) error {
	n := t.cluster.Nodes[t.victim()]
	n.Kill()
	t.wait(ctx, between(t.random, 100*time.Millisecond, 5*time.Second))
	return n.Start()
}

func pause(ctx context.Context, t *trial) error {
	n := t.cluster.Nodes[t.victim()]
	if err := n.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	t.wait(ctx, between(t.random, 500*time.Millisecond, 7*time.Second))
	return n.Signal(syscall.SIGCONT)
}

// severed cuts the network for a while.
func (t *trial) severed(ctx context.Context, pairs []pair) error {
	if err := t.network.cut(pairs...); err != nil {
		return err
	}
	t.wait(ctx, between(t.random, time.Second, 8*time.Second))
	return t.network.cut()
}

// apart are all directions between two groups; apart is whether two coordinators are in different ones.
func (t *trial) pairs(apart func(a, b int) bool) []pair {
	var list []pair
	for a := range t.cluster.Nodes {
		for b := range t.cluster.Nodes {
			if a != b && apart(a, b) {
				list = append(list, pair{a, b})
			}
		}
	}
	return list
}

func cutOne(ctx context.Context, t *trial) error {
	v := t.victim()
	return t.severed(ctx, t.pairs(func(a, b int) bool { return a == v || b == v }))
}

// cutMajority leaves the leader with a minority, as a rule.
func cutMajority(ctx context.Context, t *trial) error {
	few := map[int]bool{t.victim(): true}
	for len(few) < (len(t.cluster.Nodes)-1)/2 {
		few[t.random.IntN(len(t.cluster.Nodes))] = true
	}
	return t.severed(ctx, t.pairs(func(a, b int) bool { return few[a] != few[b] }))
}

// cutRing leaves each with its two neighbours in a ring: all have a majority, and no two the same.
func cutRing(ctx context.Context, t *trial) error {
	ring := t.random.Perm(len(t.cluster.Nodes))
	at := map[int]int{}
	for i, n := range ring {
		at[n] = i
	}
	return t.severed(ctx, t.pairs(func(a, b int) bool {
		d := (at[a] - at[b] + len(ring)) % len(ring)
		return d != 1 && d != len(ring)-1
	}))
}

// cutAsymmetric lets some connect to others that cannot connect to them.
func cutAsymmetric(ctx context.Context, t *trial) error {
	var list []pair
	for len(list) == 0 {
		list = t.pairs(func(a, b int) bool { return t.random.IntN(3) == 0 })
	}
	return t.severed(ctx, list)
}

func delay(ctx context.Context, t *trial) error {
	seed, most := t.random.Uint64(), between(t.random, 20*time.Millisecond, 700*time.Millisecond)
	t.network.slow(func() time.Duration {
		seed = seed*6364136223846793005 + 1442695040888963407
		return time.Duration(seed>>1) % most
	})
	t.wait(ctx, between(t.random, 2*time.Second, 7*time.Second))
	t.network.slow(nil)
	return nil
}

func drop(ctx context.Context, t *trial) error {
	if err := t.network.lose(5 + t.random.IntN(40)); err != nil {
		return err
	}
	t.wait(ctx, between(t.random, 2*time.Second, 7*time.Second))
	return t.network.lose(0)
}

// full fills one disk, or several.
func full(ctx context.Context, t *trial) error {
	some := t.some()
	for _, i := range some {
		if err := t.disks[i].fill(); err != nil {
			return err
		}
	}
	t.wait(ctx, between(t.random, 2*time.Second, 6*time.Second))
	for _, i := range some {
		if err := t.disks[i].empty(); err != nil {
			return err
		}
	}
	return nil
}

// slow makes the writes to a disk wait, again and again, for less than a watchdog minds.
func slow(ctx context.Context, t *trial) error {
	some := t.some()
	until := time.Now().Add(between(t.random, 2*time.Second, 7*time.Second))
	for time.Now().Before(until) && ctx.Err() == nil {
		if err := t.hold(ctx, some, between(t.random, 20*time.Millisecond, 900*time.Millisecond)); err != nil {
			return err
		}
		t.wait(ctx, between(t.random, 20*time.Millisecond, 300*time.Millisecond))
	}
	return nil
}

// hung makes a disk wait for longer than its coordinator may lead. It is the leader's, where somebody leads.
func hung(ctx context.Context, t *trial) error {
	victim, ok := t.leader()
	if !ok {
		victim = t.victim()
	}
	return t.hold(ctx, []int{victim}, between(t.random, 22*time.Second, 26*time.Second))
}

func (t *trial) hold(ctx context.Context, some []int, d time.Duration) error {
	for _, i := range some {
		if err := t.disks[i].hang(); err != nil {
			return err
		}
	}
	t.wait(ctx, d)
	for _, i := range some {
		if err := t.disks[i].thaw(); err != nil {
			return err
		}
	}
	return nil
}

// some are one coordinator or more.
func (t *trial) some() []int {
	return t.random.Perm(len(t.cluster.Nodes))[:1+t.random.IntN(len(t.cluster.Nodes))]
}

// power takes the power from all coordinators at once: what was not synced is gone.
func power(ctx context.Context, t *trial) error {
	// Stopped first: nobody may see what becomes of a disk while it goes.
	for _, n := range t.cluster.Nodes {
		if err := n.Signal(syscall.SIGSTOP); err != nil {
			return err
		}
	}
	for _, d := range t.disks {
		if err := d.cutPower(); err != nil {
			return err
		}
	}
	t.cluster.Kill()
	for _, d := range t.disks {
		if err := d.restore(ctx); err != nil {
			return err
		}
	}
	return t.cluster.Start()
}

func mix(ctx context.Context, t *trial) error {
	all := []func(context.Context, *trial) error{kill, pause, cutOne, cutMajority, cutRing, cutAsymmetric, delay, drop}
	return all[t.random.IntN(len(all))](ctx, t)
}
