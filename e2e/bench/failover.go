package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"

	"drp/e2e/coordinators"
	"drp/e2e/verdict"
	"drp/orchestrator/api"
	"drp/orchestrator/inventory"
)

const (
	failoverP50   = 4 * time.Second
	failoverP99   = 8 * time.Second
	failoverLimit = time.Minute // for one
)

// failover kills the leader of three real coordinators, again and again. A time is from the kill to the first
// change that a client gets acknowledged who asks the others from then on.
func failover(ctx context.Context, program, dir string, kills int, say func(verdict.Verdict)) error {
	var places []coordinators.Place
	for i := range members {
		name := fmt.Sprintf("f%d", i+1)
		places = append(places, coordinators.Place{Name: name, Address: fmt.Sprintf("127.93.0.%d", i+1), Data: filepath.Join(dir, "data-"+name)})
	}
	cluster, err := coordinators.New(coordinators.Config{Program: program, Dir: dir, Places: places})
	if err != nil {
		return err
	}
	defer cluster.Kill()
	if err := errors.Join(cluster.Init(ctx), cluster.Start()); err != nil {
		return err
	}
	if err := change(ctx, cluster, 0, 1, 2); err != nil {
		return errors.Join(err, cluster.Logs())
	}
	var times []time.Duration
	for range kills {
		d, err := killLeader(ctx, cluster)
		if err != nil {
			return errors.Join(fmt.Errorf("kill %d: %w", len(times)+1, err), cluster.Logs())
		}
		times = append(times, d)
	}
	slices.Sort(times)
	for _, q := range []struct {
		name  string
		at    float64
		limit time.Duration
	}{{"p50", 0.5, failoverP50}, {"p99", 0.99, failoverP99}} {
		d := times[int(math.Ceil(q.at*float64(len(times))))-1]
		say(verdict.Verdict{
			Text:  fmt.Sprintf("failover-%s drp=%s kills=%d", q.name, d.Round(10*time.Millisecond), kills),
			Limit: q.limit.String(), OK: d <= q.limit,
		})
	}
	return nil
}

func killLeader(ctx context.Context, cluster *coordinators.Cluster) (time.Duration, error) {
	leader, err := leaderOf(ctx, cluster)
	if err != nil {
		return 0, err
	}
	var others []int
	for i := range cluster.Nodes {
		if i != leader {
			others = append(others, i)
		}
	}
	cluster.Nodes[leader].Kill()
	began := time.Now()
	if err := change(ctx, cluster, others...); err != nil {
		return 0, err
	}
	took := time.Since(began)
	if err := cluster.Nodes[leader].Start(); err != nil {
		return 0, err
	}
	return took, caughtUp(ctx, cluster, leader)
}

// change changes something, by way of these coordinators.
func change(ctx context.Context, cluster *coordinators.Cluster, order ...int) error {
	client, err := cluster.Operator("bench", failoverLimit, order...)
	if err != nil {
		return err
	}
	defer client.Close()
	text := fmt.Sprintf("kind: provider\nname: %s\nas: 64512\nprefixes: [\"2001:db8:a::/48\"]\n", "p"+uuid.NewString()[:8])
	_, err = client.Apply(ctx, uuid.NewString(), []inventory.File{{Name: "bench.yaml", Data: []byte(text)}}, false)
	return err
}

// leaderOf waits until all coordinators take the same one for the leader.
func leaderOf(ctx context.Context, cluster *coordinators.Cluster) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, failoverLimit)
	defer cancel()
	for ctx.Err() == nil {
		seen := map[string]int{}
		for i := range cluster.Nodes {
			if h, err := health(ctx, cluster, i); err == nil {
				seen[h.Leader]++
			}
		}
		for i, n := range cluster.Nodes {
			if seen[n.Name()] == len(cluster.Nodes) {
				return i, nil
			}
		}
		wait(ctx, 50*time.Millisecond)
	}
	return 0, errors.New("the coordinators do not agree on a leader")
}

// caughtUp waits until a coordinator that was started again answers and knows the leader.
func caughtUp(ctx context.Context, cluster *coordinators.Cluster, i int) error {
	ctx, cancel := context.WithTimeout(ctx, failoverLimit)
	defer cancel()
	for ctx.Err() == nil {
		if h, err := health(ctx, cluster, i); err == nil && h.Leader != "" {
			return nil
		}
		wait(ctx, 50*time.Millisecond)
	}
	return fmt.Errorf("coordinator %s does not come back", cluster.Nodes[i].Name())
}

func health(ctx context.Context, cluster *coordinators.Cluster, i int) (*api.Health, error) {
	client, err := cluster.Operator("watch", 0, i)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return client.Health(ctx)
}
