package raftstoretest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"drp/raftstore"
	"drp/raftstore/state"
)

// writer creates tokens as fast as it is answered, and keeps the names of those that were acknowledged.
type writer struct {
	pace time.Duration // between two writes of one goroutine

	mu   sync.Mutex
	acks []ack
}

type ack struct {
	name string
	at   time.Time
}

// acknowledged are those that were it before some time.
func (w *writer) acknowledged(before time.Time) (names []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.acks {
		if a.at.Before(before) {
			names = append(names, a.name)
		}
	}
	return names
}

// run writes from so many goroutines until the function that it returns is called.
func (w *writer) run(c *Cluster, goroutines int, prefix string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for g := range goroutines {
		running.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				name := fmt.Sprintf("%s-%d-%d", prefix, g, i)
				w.write(ctx, c, g, name)
				select {
				case <-time.After(w.pace):
				case <-ctx.Done():
				}
			}
		})
	}
	return func() {
		cancel()
		running.Wait()
	}
}

func (w *writer) write(ctx context.Context, c *Cluster, near int, name string) {
	cmd := token(name)
	for ; ctx.Err() == nil; near++ {
		one, cancel := context.WithTimeout(ctx, 3*time.Second)
		r, err := c.nodes[near%len(c.nodes)].Propose(one, cmd)
		cancel()
		if err == nil && r.Err == nil {
			w.mu.Lock()
			w.acks = append(w.acks, ack{name, time.Now()})
			w.mu.Unlock()
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// lost counts those that a state does not have. All writers have to have stopped before the state was read.
func (w *writer) lost(v *state.View) int { return w.missing(v, time.Now().Add(time.Nanosecond)) }

// missing counts those that a state does not have though they were acknowledged before some time.
func (w *writer) missing(v *state.View, before time.Time) (count int) {
	there := map[string]bool{}
	for _, t := range v.APITokens() {
		there[t.Name] = true
	}
	for _, name := range w.acknowledged(before) {
		if !there[name] {
			count++
		}
	}
	return count
}

// powerCuts kills all nodes at once, some times, while clients write, and returns how many acknowledged commands are lost.
func powerCuts(t *testing.T, cycles int, lie bool) (lost, acknowledged int) {
	seed := Seed(t)
	synctest.Test(t, func(t *testing.T) {
		c := New(t, Options{Seed: seed, Edit: func(_ string, cfg *raftstore.Config) {
			cfg.Snapshots = raftstore.Snapshots{Interval: 2 * time.Second, Threshold: 100, Trailing: 20}
		}})
		c.Leader()
		for _, n := range c.nodes {
			n.Disk.Slow(20 * time.Millisecond) // so that writes are under way when the power goes
			n.Disk.Lie(lie)
		}
		var w writer
		for cycle := range cycles {
			stop := w.run(c, 8, fmt.Sprint("cycle", cycle))
			time.Sleep(time.Duration(500+c.Random.IntN(2500)) * time.Millisecond) // of the bubble's time
			for _, n := range c.nodes {
				n.Crash()
			}
			stop()
			for _, n := range c.nodes {
				if lie {
					if err := n.start(nil); err != nil {
						return // it finds nothing on its disk
					}
				} else {
					n.Start()
				}
			}
			v := c.Leader().Store().View()
			lost += w.lost(v)
			acknowledged = len(w.acks)
		}
		c.Agree()
	})
	return lost, acknowledged
}

// T2: the power of all nodes goes at once, and what was not synced with it.
func TestT2_AllKilledAtOnce_NothingAcknowledgedIsLost(t *testing.T) {
	lost, acknowledged := powerCuts(t, 5, false)
	t.Logf("cycles=5 acknowledged=%d lost=%d", acknowledged, lost)
	if lost != 0 || acknowledged < 100 {
		t.Errorf("lost %d of %d acknowledged commands, want 0 of 100 at least", lost, acknowledged)
	}
}
