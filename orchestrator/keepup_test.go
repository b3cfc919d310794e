package orchestrator

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"drp/raftstore/state"
)

// The leader marks what is over beside its loop, 32 accounts at a time, and has chores for its workers.
func TestKeepUp(t *testing.T) {
	p := keeping(t, state.Policy{Retention: 2 * time.Hour}, 40, 3)
	synctest.Test(t, func(t *testing.T) {
		began, at := time.Now(), p.at
		o := p.brain()
		o.config.Clock = func() time.Time { return at.Add(time.Since(began)) }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			(&term{Orchestrator: o}).keepUp(ctx, p.since)
		}()
		marked := func() (n int) {
			for i := range 40 {
				ids, _ := p.now().kept(p.view().Repository(accountName(i))).marked()
				n += len(ids)
			}
			return n
		}
		time.Sleep(clockSettles)
		synctest.Wait()
		if got := marked(); got != forgetAtOnce {
			t.Errorf("%d accounts at the first look that knows how late it is, want %d", got, forgetAtOnce)
		}
		time.Sleep(3 * upkeepLook)
		synctest.Wait()
		if got := marked(); got != 40 {
			t.Errorf("%d accounts after some looks, want all", got)
		}
		n := o.now(p.since)
		if d := workerDesired(n.view, "par1", o.chores.of(n, "par1"), opened, nil); len(d.Maintain) != choresAtOnce {
			t.Errorf("%d repositories to maintain, want %d", len(d.Maintain), choresAtOnce)
		}
		cancel()
		<-done
		if got := len(o.chores.of(n, "par1")); got != 0 {
			t.Errorf("%d chores after the leadership, want none", got)
		}
	})
}

// A leader's clock leaps ahead, and is set right before any other coordinator has said that it differs; or one has. What is over
// by it is not, and what is marked as over stays so.
func TestKeepUp_clock(t *testing.T) {
	p := keeping(t, state.Policy{Retention: 30 * day}, 40, 3)
	synctest.Test(t, func(t *testing.T) {
		began, at := time.Now(), p.at
		var leapt atomic.Int64
		o := p.brain()
		c := &council{platform: p}
		var differ atomic.Bool
		o.config.Membership = clockAlarm{c, &differ}
		o.config.Clock = func() time.Time { return at.Add(time.Since(began) + time.Duration(leapt.Load())) }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			(&term{Orchestrator: o}).keepUp(ctx, p.since)
		}()
		marked := func(after time.Duration) (n int) {
			time.Sleep(after)
			synctest.Wait()
			for i := range 40 {
				ids, _ := p.now().kept(p.view().Repository(accountName(i))).marked()
				n += len(ids)
			}
			return n
		}
		if got := marked(time.Minute); got != 0 {
			t.Errorf("%d are over already", got)
		}
		leapt.Store(int64(365 * day))
		if got := marked(clockSettles - upkeepLook); got != 0 {
			t.Errorf("%d are marked by a clock that has just leapt", got)
		}
		differ.Store(true)
		if got := marked(time.Hour); got != 0 {
			t.Errorf("%d are marked by a clock that differs from the others'", got)
		}
		differ.Store(false)
		if got := marked(time.Minute); got == 0 {
			t.Error("nothing is marked, though nobody says that the clock is wrong")
		}
		cancel()
		<-done
	})
}

// clockAlarm is a council that may say that clocks differ.
type clockAlarm struct {
	*council
	differ *atomic.Bool
}

func (c clockAlarm) Alarms() []Alarm {
	if c.differ.Load() {
		return []Alarm{{Kind: alarmClock, Message: "365 days off"}}
	}
	return nil
}
