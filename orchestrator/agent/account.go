package agent

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"drp/orchestrator/agent/container"
	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

const (
	// lookAgain is how often what runs is looked at, and announced again, without any reason.
	lookAgain = 5 * time.Minute
	// firstLook is when what was started is looked at again.
	firstLook = 5 * time.Second
	// settled is how long a container has to run for its next end to count as the first.
	settled = time.Minute
)

// account is the worker of one account. Its fields down to "worker's own" are under the agent's lock.
type account struct {
	*Agent
	name state.AccountName

	seen      wire.ObservedAccount
	want      *wire.DesiredAccount // the leader's last word; nil: none yet, so nothing is touched
	interrupt context.CancelFunc   // of the transition that is under way; nil: none
	task      *runningTask

	wake  chan struct{} // one slot
	gate  chan struct{} // one slot: whoever holds it may start, stop or freeze the container
	view  chan struct{} // one slot: whoever holds it makes, reads or removes the view of the home
	end   context.CancelFunc
	ended chan struct{}

	// The worker's own.
	life    context.Context
	watched int // pid of the init whose end is waited for
	started time.Time
	died    bool
	trouble string        // of services, when it was last looked at
	wait    time.Duration // before the next try
	deaths  chan int      // pids
}

func newAccount(a *Agent, name state.AccountName) *account {
	return &account{Agent: a, name: name, wake: make(chan struct{}, 1), gate: make(chan struct{}, 1), view: make(chan struct{}, 1),
		ended: make(chan struct{}), deaths: make(chan int, 1)}
}

// order takes over the leader's word. A transition towards another one is given up.
func (w *account) order(d *wire.DesiredAccount) {
	w.held.Lock()
	defer w.held.Unlock()
	old := w.want
	w.want = d
	if old != nil && sameOrder(old, d) {
		if !reflect.DeepEqual(old.Account.CronJobs, d.Account.CronJobs) {
			w.poke() // and nothing is given up for that
		}
		return
	}
	if w.interrupt != nil {
		w.interrupt()
	}
	w.poke()
}

// sameOrder: the way to the repository is used when it is needed, and is no order.
func sameOrder(x, y *wire.DesiredAccount) bool {
	return x.Token == y.Token && x.Run == y.Run && x.SetAside == y.SetAside &&
		(container.Spec{Account: x.Account}).Fingerprint() == (container.Spec{Account: y.Account}).Fingerprint()
}

func (w *account) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// work is the worker's loop.
func (w *account) work(ctx context.Context) {
	w.life = ctx
	for ctx.Err() == nil {
		w.pause(ctx, w.turn(ctx))
	}
}

// pause waits for a reason to look again.
func (w *account) pause(ctx context.Context, atMost time.Duration) {
	t := time.NewTimer(atMost)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
			return
		case <-t.C:
			return
		case pid := <-w.deaths:
			if pid == w.watched { // else one that was stopped on purpose
				w.watched, w.died = 0, true
				return
			}
		}
	}
}

// turn does one transition and says when to look again.
func (w *account) turn(ctx context.Context) time.Duration {
	w.held.Lock()
	select {
	case <-w.wake: // for what is read now
	default:
	}
	order := w.want
	if order == nil {
		w.held.Unlock()
		return lookAgain
	}
	d := *order
	turn, cancel := context.WithCancel(ctx)
	defer cancel()
	w.interrupt = cancel
	w.held.Unlock()

	if w.died && d.Run {
		// Started again, but not in a tight circle. Its route stays: only an order takes it away.
		w.died = false
		if time.Since(w.started) > settled {
			w.wait = 0
		}
		wait := w.longer()
		w.observe(w, d.Token, wire.Failed, fmt.Sprintf("its container ended by itself; it is started again in %s", wait))
		return wait
	}
	err := w.reconcile(turn, d)
	w.held.Lock()
	w.interrupt = nil
	replaced := w.want != order && !sameOrder(w.want, order)
	w.held.Unlock()
	switch {
	case ctx.Err() != nil:
		return 0
	case err == nil:
		if !w.died && time.Since(w.started) > settled {
			w.wait = 0
		}
		w.reconsider()
		return w.nextLook()
	case replaced:
		return 0
	}
	w.observe(w, w.tokenOf(d), wire.Failed, sentence(err.Error()))
	w.Log.Warn("account is not as ordered", "account", w.name, "token", d.Token.String(), "error", err)
	return w.longer()
}

// nextLook is when to look without a reason: soon after a start, which is when services fail, and while they do.
func (w *account) nextLook() time.Duration {
	switch age := time.Since(w.started); {
	case w.trouble != "":
		return lastWait
	case age < firstLook:
		return firstLook - age
	}
	return lookAgain
}

func (w *account) longer() time.Duration {
	w.wait = min(max(2*w.wait, firstWait), lastWait)
	return w.wait
}

// tokenOf is the token under which this server still holds the account: as long as a home was not set aside, its own
// older one, so that the leader goes on naming it.
func (w *account) tokenOf(d wire.DesiredAccount) state.Token {
	if d.SetAside {
		if rec, ok, err := w.Homes.Held(w.name); err == nil && ok && rec.Token.Less(d.Token) {
			return rec.Token
		}
	}
	return d.Token
}

// reconcile makes it so. It returns nil when it is so.
func (w *account) reconcile(ctx context.Context, d wire.DesiredAccount) error {
	f, err := w.journal.fenceOf(w.name)
	if err != nil {
		return err
	}
	switch {
	case d.Token.IsZero():
		return errors.New("the leader named no token")
	case d.Token.Less(f.Token):
		w.Log.Warn("refused an order under an old token", "account", w.name, "token", d.Token.String(), "seen", f.Token.String())
		if f.Stopped {
			w.observe(w, f.Token, wire.Stopped, "")
		}
		return nil
	case d.Run && d.Token == f.Token && f.Stopped:
		// The leader may have given the account away on the strength of our word.
		w.Log.Warn("refused to start what was stopped under the same token", "account", w.name, "token", d.Token.String())
		w.observe(w, d.Token, wire.Stopped, "")
		return nil
	}
	if f.Token.Less(d.Token) { // on disk before any effect
		if err := w.journal.fence(w.name, func(f *fence) { *f = fence{Token: d.Token} }); err != nil {
			return err
		}
	}
	if err := w.lock(ctx); err != nil {
		return err
	}
	defer w.unlock()
	if d.Run {
		return w.hold(ctx, d)
	}
	return w.stop(ctx, d)
}

func (w *account) lock(ctx context.Context) error {
	select {
	case w.gate <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *account) unlock() { <-w.gate }

// watch has the end of a container noticed. No polling: a thousand accounts cost nothing while they run.
func (w *account) watch(s container.State) {
	if s.Pid == w.watched {
		return
	}
	w.watched = s.Pid
	ctx := w.life
	go func() {
		if err := w.Containers.Wait(ctx, s); err != nil {
			if ctx.Err() == nil {
				w.Log.Error("cannot wait for container", "account", w.name, "error", err)
			}
			return
		}
		select {
		case w.deaths <- s.Pid:
		case <-ctx.Done():
		}
	}()
}

// sentence is a word for a person: one line of bounded length.
func sentence(text string) string {
	const limit = 500
	out := make([]rune, 0, limit)
	for _, r := range text {
		if r < ' ' {
			r = ' '
		}
		if len(out) == limit {
			return string(out) + "…"
		}
		out = append(out, r)
	}
	return string(out)
}
