// Package agent is the loop on each server: it asks the leader what this server should hold, and makes it so.
//
// Each account has a worker of its own, which does one transition at a time, each of them check-then-do, so that a
// slow restore never delays another account and everything is safe to do twice. The highest token of an account is
// on disk before anything is done under it; lower ones are refused, and so is a token that was stopped. When no
// leader answers, everything stays as it is.
package agent

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"drp/orchestrator/agent/container"
	"drp/orchestrator/agent/home"
	"drp/orchestrator/obedience"
	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

const (
	heartbeat = 5 * time.Second // longest time between two reports
	// answerWithin is what a leader may take beyond the wait that it was asked for.
	answerWithin = 10 * time.Second
	// gather lets changes that come together be told together.
	gather    = 100 * time.Millisecond
	firstWait = time.Second
	lastWait  = 30 * time.Second
	// restoresAtOnce keeps a failover of many accounts from taking all memory: each takes about 100 MB.
	restoresAtOnce = 12
)

// Agent is one server's agent. All fields but the last are set before Run.
type Agent struct {
	Server     state.ServerName
	Boot       string
	Leader     Leader
	Containers Containers
	Network    Network
	Router     Router
	Backups    Backups
	Databases  Databases
	Engines    []state.Engine // that Databases has
	Homes      *home.Store
	Identities Identities
	// Parallel is how many backups run at once.
	Parallel int
	Log      *slog.Logger

	journal *journal
	// recovering: the leader has asked for all that is remembered here. Only the loop of run uses it.
	recovering bool
	asked      bool                 // for the engines; of that loop too
	obedience  *obedience.Obedience // of that loop alone, too
	restores   chan struct{}        // a slot for each restore of a home that is under way
	held       held
}

// held is what the agent has in memory. The lock is held for moments only, never while something is done.
type held struct {
	sync.Mutex
	accounts map[state.AccountName]*account
	changed  chan struct{} // closed at the next change of what is reported
	tasks    taskBoard
}

// run works until ctx ends. Containers go on.
func (a *Agent) run(ctx context.Context) (err error) {
	var workers sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer workers.Wait()
	defer cancel()
	a.held.accounts = map[state.AccountName]*account{}
	a.held.changed = make(chan struct{})
	a.restores = make(chan struct{}, restoresAtOnce)
	a.held.tasks = newTaskBoard(max(a.Parallel, 1))
	a.held.tasks.base, a.held.tasks.running = ctx, &workers
	if err := a.takeStock(ctx, &workers); err != nil {
		return err
	}
	if a.obedience, err = obedience.New(a.journal); err != nil {
		return err
	}
	a.Log.Info("agent ready", "server", a.Server, "accounts", len(a.held.accounts))

	revision, wait := uint64(0), firstWait
	for ctx.Err() == nil {
		desired, news, err := a.sync(ctx, revision)
		if err == nil {
			err = a.obedience.Take(desired.Incarnation, desired.Recovering)
		}
		switch {
		case err == nil:
			wait = firstWait
			revision = desired.Revision
			a.asked = desired.AskEngines
			if a.recovering = desired.Recovering; !a.recovering {
				a.apply(ctx, desired, &workers)
			}
		case news: // not an error: there is something to tell
		case ctx.Err() == nil:
			a.asked = false // by whoever leads now: an older one refuses what it did not ask for
			a.Log.Warn("no leader answers; everything stays as it is", "error", err)
			sleep(ctx, wait)
			wait = min(2*wait, heartbeat)
		}
	}
	return nil
}

// sync is one exchange with the leader. news is true when it was given up because there is something new to tell.
func (a *Agent) sync(ctx context.Context, revision uint64) (d wire.AgentDesired, news bool, err error) {
	report, changed := a.report(revision)
	if a.recovering {
		report.Memory = a.memory(ctx)
	}
	if a.asked {
		report.Engines = &wire.Engines{List: a.Engines}
	}
	report.Incarnation = a.obedience.Told()
	asking, cancel := context.WithTimeout(ctx, heartbeat+answerWithin)
	defer cancel()
	type answer struct {
		desired wire.AgentDesired
		err     error
	}
	answered := make(chan answer, 1)
	go func() {
		d, err := a.Leader.Sync(asking, report)
		answered <- answer{d, err}
	}()
	select {
	case got := <-answered:
		return got.desired, false, got.err
	case <-changed:
	}
	// What the leader says in this moment still counts; whatever is lost it says again.
	t := time.NewTimer(gather)
	defer t.Stop()
	select {
	case got := <-answered:
		return got.desired, false, got.err
	case <-t.C:
	}
	cancel()
	got := <-answered
	return got.desired, got.err != nil, got.err
}

// report is all that is here, and a channel that is closed when that has changed.
func (a *Agent) report(revision uint64) (wire.AgentReport, <-chan struct{}) {
	a.held.Lock()
	defer a.held.Unlock()
	r := wire.AgentReport{Server: a.Server, Boot: a.Boot, Revision: revision, Wait: heartbeat}
	for _, w := range a.held.accounts {
		if !w.seen.Token.IsZero() {
			r.Accounts = append(r.Accounts, w.seen)
		}
	}
	slices.SortFunc(r.Accounts, func(x, y wire.ObservedAccount) int { return cmp.Compare(x.Account, y.Account) })
	r.Tasks = a.held.tasks.reports()
	return r, a.held.changed
}

// news is called with the lock held.
func (a *Agent) news() {
	close(a.held.changed)
	a.held.changed = make(chan struct{})
}

// takeStock finds what runs already and what lies here, before the leader has said anything. Nothing is started.
func (a *Agent) takeStock(ctx context.Context, workers *sync.WaitGroup) error {
	homes, err := a.Homes.All()
	if err != nil {
		a.Log.Error("some homes cannot be read; their accounts will say so", "error", err)
	}
	running, err := a.Containers.List(ctx)
	if err != nil {
		return err
	}
	for name, rec := range homes {
		// A journal that was lost learns again what the homes know.
		if _, err := a.journal.ids(name, &rec.IDs, a.Identities); err != nil {
			return err
		}
		f, err := a.journal.fenceOf(name)
		if err != nil {
			return err
		}
		if f.Token.Less(rec.Token) {
			f = fence{Token: rec.Token, Made: true}
			if err := a.journal.fence(name, func(old *fence) { *old = f }); err != nil {
				return err
			}
		}
		seen := wire.ObservedAccount{Account: name, Token: rec.Token, Phase: wire.Starting, Message: "waits for the leader's word", Since: time.Now()}
		if f.Stopped && f.Token == rec.Token {
			seen.Phase, seen.Message = wire.Stopped, ""
		}
		a.add(ctx, name, seen, workers)
	}
	for _, c := range running {
		if c.Status == container.Paused { // its agent died in the middle of a backup
			if err := a.Containers.Resume(ctx, c.Account); err != nil {
				a.Log.Error("resume account that a backup left frozen", "account", c.Account, "error", err)
				continue
			}
			c.Status = container.Running
		}
		if c.Status == container.Running {
			a.add(ctx, c.Account, wire.ObservedAccount{Account: c.Account, Token: c.Token, Phase: wire.Running, Since: time.Now()}, workers)
		}
	}
	return nil
}

// add starts the worker of an account, or changes what is seen of one that was just added.
func (a *Agent) add(ctx context.Context, name state.AccountName, seen wire.ObservedAccount, workers *sync.WaitGroup) *account {
	a.held.Lock()
	defer a.held.Unlock()
	w := a.held.accounts[name]
	if w == nil {
		w = newAccount(a, name)
		a.held.accounts[name] = w
		ctx, w.end = context.WithCancel(ctx)
		workers.Go(func() { defer close(w.ended); w.work(ctx) })
	}
	w.seen = seen
	return w
}

// apply hands every account its order. One that is not named is left as it is; one that is over and no longer named
// is forgotten here (not in the journal).
func (a *Agent) apply(ctx context.Context, d wire.AgentDesired, workers *sync.WaitGroup) {
	named := map[state.AccountName]bool{}
	for i := range d.Accounts {
		order := &d.Accounts[i]
		name := order.Account.Name
		named[name] = true
		a.held.Lock()
		w := a.held.accounts[name]
		a.held.Unlock()
		if w == nil {
			w = a.add(ctx, name, wire.ObservedAccount{Account: name}, workers)
		}
		w.order(order)
	}
	var over []*account
	a.held.Lock()
	for name, w := range a.held.accounts {
		if !named[name] && w.seen.Phase == wire.SetAside {
			over = append(over, w)
			delete(a.held.accounts, name)
		}
	}
	a.held.Unlock()
	for _, w := range over {
		w.end()
		<-w.ended
	}
	a.setTasks(d.Tasks)
}

// observe notes what is now, and tells it.
func (a *Agent) observe(w *account, token state.Token, phase wire.Phase, message string) {
	a.held.Lock()
	defer a.held.Unlock()
	if w.seen.Token == token && w.seen.Phase == phase && w.seen.Message == message {
		return
	}
	if w.seen.Phase != phase || w.seen.Token != token {
		a.Log.Info("account", "account", w.name, "token", token.String(), "phase", phase, "message", message)
	}
	w.seen = wire.ObservedAccount{Account: w.name, Token: token, Phase: phase, Message: message, Since: time.Now()}
	a.news()
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
