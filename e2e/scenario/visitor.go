package scenario

import (
	"context"
	"fmt"
	"sync"
	"time"

	"drp/raftstore/state"
)

// Visitor fetches every account all the time, and remembers what failed.
type Visitor struct {
	stop context.CancelFunc
	done sync.WaitGroup

	mu       sync.Mutex
	fetched  int
	failures []string
}

// Visit starts one visitor for each account, who comes back at this interval.
func (p *Platform) Visit(ctx context.Context, accounts []state.Account, every time.Duration) *Visitor {
	ctx, cancel := context.WithCancel(ctx)
	v := &Visitor{stop: cancel}
	for _, a := range accounts {
		v.done.Go(func() {
			tick := time.NewTicker(every)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				began := time.Now()
				err := p.CheckPage(ctx, a)
				if ctx.Err() != nil {
					return
				}
				v.note(began, err)
			}
		})
	}
	return v
}

func (v *Visitor) note(began time.Time, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fetched++
	if err != nil {
		v.failures = append(v.failures, fmt.Sprintf("%s %v", began.Format("15:04:05.000"), err))
	}
}

// Stop ends the visits and returns how many there were, and which failed.
func (v *Visitor) Stop() (fetched int, failures []string) {
	v.stop()
	v.done.Wait()
	return v.fetched, v.failures
}
