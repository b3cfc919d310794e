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
	mu   sync.Mutex
	acks []string
}

func (w *writer) acknowledged() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.acks...)
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
			w.acks = append(w.acks, name)
			w.mu.Unlock()
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// lost counts the acknowledged ones that a state does not have.
func (w *writer) lost(v *state.View) (lost int) {
	there := map[string]bool{}
	for _, t := range v.APITokens() {
		there[t.Name] = true
	}
	for _, name := range w.acknowledged() {
		if !there[name] {
			lost++
		}
	}
	return lost
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
			acknowledged = len(w.acknowledged())
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
