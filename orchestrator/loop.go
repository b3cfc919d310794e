package orchestrator

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

const (
	proposalsAtOnce = 32
	probesAtOnce    = 16
	tellEvery       = 3 * time.Second
)

// Lead leads whenever this coordinator is the leader, until ctx ends.
func (o *Orchestrator) Lead(ctx context.Context) error {
	return o.config.Store.Lead(ctx, o.lead)
}

// lead is one term: look, decide, carry out, again as soon as anything has changed. ctx ends with the leadership.
func (o *Orchestrator) lead(ctx context.Context) error {
	since := o.config.Clock()
	o.observed.reset()
	o.setSince(since)
	defer o.setSince(time.Time{})
	if err := o.initialise(ctx); err != nil {
		return err
	}
	o.log.Info("leading")
	defer o.log.Info("no longer leading")
	t := &term{Orchestrator: o, probes: make(chan struct{}, probesAtOnce)}
	defer t.probing.Wait()
	t.probing.Go(func() { o.keepSecrets(ctx) })
	t.probing.Go(func() { t.keepTrail(ctx) })
	t.probing.Go(func() { t.keepUp(ctx, since) })
	told := time.Time{}
	var clock clockWatch
	for ctx.Err() == nil {
		changed, reported := o.config.Store.Changed(), o.observed.next()
		n := t.look(since, &clock)
		if n.at.Sub(told) >= tellEvery {
			told = n.at
			go o.config.Peers.TellContacts(ctx, wire.Contacts{Last: n.seen.contacts}, func(name string, said wire.Introduction) {
				o.observed.coordinator(name, said, o.config.Clock())
			})
		}
		t.carryOut(ctx, n, decide(n))
		timer := time.NewTimer(o.config.Tick)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-reported:
		case <-timer.C:
		}
		timer.Stop()
	}
	return ctx.Err()
}

func (o *Orchestrator) now(since time.Time) now {
	return now{
		view: o.config.Store.View(), seen: o.observed.glance(), at: o.config.Clock(), since: since,
		sites: o.config.Peers.Sites(), own: o.config.Site, exported: o.exportedAt(), clocks: o.clocksDiffer(), missing: &o.missing, asks: &o.asks, free: &placement{}, held: &heldOnce{},
	}
}

// look is what a loop decides by. Where its clock went another way than a clock does, nobody can tell yet how late it is.
func (t *term) look(since time.Time, clock *clockWatch) now {
	n := t.now(since)
	if set := clock.look(n.at); n.clocks == "" && set {
		n.clocks = "the clock of this coordinator was set, or it has begun to lead, a moment ago"
	}
	return n
}

// initialise gives a new cluster its identity. On any other it changes nothing.
func (o *Orchestrator) initialise(ctx context.Context) error {
	if o.config.Store.View().Cluster() != nil {
		return nil
	}
	_, err := o.propose(ctx, "coordinator/"+o.config.Name, state.ClusterInit,
		state.ClusterInitData{UUID: o.config.Cluster, Incarnation: 1, Level: state.Level})
	return err
}

// term is what one leadership remembers of what it has tried.
type term struct {
	*Orchestrator
	refusals refusals
	probing  sync.WaitGroup
	probes   chan struct{} // slots
}

// carryOut waits for every proposal, so that the next look sees their effect. Probes go on beside it: a service that
// does not answer must not hold up the others.
func (t *term) carryOut(ctx context.Context, n now, actions []action) {
	var group errgroup.Group
	group.SetLimit(proposalsAtOnce)
	var unsure atomic.Bool
	t.refusals.forget(n.at)
	for _, a := range actions {
		switch a := a.(type) {
		case propose:
			key := a.key()
			if t.refusals.rests(key, n.at) {
				continue
			}
			group.Go(func() error {
				refused, err := t.report(ctx, a.name, a.payload)
				if refused {
					t.refusals.note(key, n.at)
				} else if err != nil {
					unsure.Store(true)
				}
				return nil
			})
		case reported:
			group.Go(func() error {
				if _, err := t.reportAs(ctx, a.id, a.at, a.name, a.payload); err != nil {
					unsure.Store(true)
				}
				return nil
			})
		case createRepository:
			group.Go(func() error {
				t.createRepository(ctx, a)
				return nil
			})
		case probe:
			t.startProbe(ctx, a)
		}
	}
	_ = group.Wait() // every error was logged where it arose
	if !unsure.Load() {
		t.forgetTaken(n)
	}
}

// report proposes for the loop itself: a refusal means that the state moved on, and the next look will see it.
func (o *Orchestrator) report(ctx context.Context, name state.Name, payload any) (refused bool, err error) {
	return o.reportAs(ctx, uuid.NewString(), o.config.Clock(), name, payload)
}

// reportAs does so under an id: what was proposed under it before is not done again.
func (o *Orchestrator) reportAs(ctx context.Context, id string, at time.Time, name state.Name, payload any) (refused bool, err error) {
	result, err := o.config.Store.Propose(ctx, state.NewCommand(name, id, at, o.system(), payload))
	switch {
	case err != nil && ctx.Err() == nil:
		o.log.Warn("proposal failed", "command", name, "error", err)
	case err == nil && errors.Is(result.Err, state.ErrConflict):
		o.log.Debug("proposal overtaken", "command", name, "reason", result.Err)
	case err == nil && result.Err != nil:
		o.log.Warn("proposal refused", "command", name, "reason", result.Err)
	}
	return err == nil && result.Err != nil, err
}

// forgetTaken drops the reports that have been committed, or refused.
func (o *Orchestrator) forgetTaken(n now) {
	o.observed.taken(n.seen)
}

// propose commits one command under an id of its own.
func (o *Orchestrator) propose(ctx context.Context, by string, name state.Name, payload any) (state.Result, error) {
	return o.proposeAs(ctx, uuid.NewString(), by, name, payload)
}

func (o *Orchestrator) proposeAs(ctx context.Context, id, by string, name state.Name, payload any) (state.Result, error) {
	result, err := o.config.Store.Propose(ctx, state.NewCommand(name, id, o.config.Clock(), by, payload))
	if err != nil {
		return state.Result{}, err
	}
	return result, result.Err
}

func newRepositoryPassword() []byte {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails: crypto/rand ends the program instead
	return []byte(base64.RawURLEncoding.EncodeToString(secret))
}

func (o *Orchestrator) createRepository(ctx context.Context, a createRepository) {
	err := o.proposeSealed(ctx, newRepositoryPassword(), func(ctx context.Context, sealed []byte) error {
		_, _ = o.report(ctx, state.RepositoryCreate, state.RepositoryCreateData{Account: a.account, Site: a.site, SealedPassword: sealed})
		return nil
	})
	if err != nil { // asked again at each look; why is logged once by whoever looks after the keyring
		o.log.Debug("seal repository password", "account", a.account, "error", err)
	}
}

// startProbe asks once at a time for each check. A failed one is asked again at the next look.
func (t *term) startProbe(ctx context.Context, a probe) {
	if _, running := t.asked.LoadOrStore(a.key, true); running {
		return
	}
	select {
	case t.probes <- struct{}{}:
	default:
		t.asked.Delete(a.key)
		return // all slots busy; the next look tries again
	}
	t.probing.Go(func() {
		defer func() { <-t.probes; t.asked.Delete(a.key) }()
		ctx, cancel := context.WithTimeout(ctx, a.ask.Timeout+2*time.Second)
		defer cancel()
		result, err := t.config.Peers.Probe(ctx, a.from, a.ask)
		if err != nil {
			result = wire.ProbeResult{Message: err.Error(), Site: string(a.from)}
		}
		if !result.OK || result.At.IsZero() {
			result.At = t.config.Clock() // when it was known here; a good answer bears the time at which it came
		}
		t.observed.probed(a.key, result)
	})
}
