package orchestrator

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"sync"
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
	var probing sync.WaitGroup
	defer probing.Wait()
	probes := make(chan struct{}, probesAtOnce)
	told := time.Time{}
	for ctx.Err() == nil {
		changed, reported := o.config.Store.Changed(), o.observed.next()
		n := o.now(since)
		if n.at.Sub(told) >= tellEvery {
			told = n.at
			go o.config.Peers.TellContacts(ctx, wire.Contacts{Last: n.seen.contacts})
		}
		o.carryOut(ctx, n, decide(n), &probing, probes)
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
		sites: o.config.Peers.Sites(), own: o.config.Site,
	}
}

// initialise gives a new cluster its identity. On any other it changes nothing.
func (o *Orchestrator) initialise(ctx context.Context) error {
	if o.config.Store.View().Cluster() != nil {
		return nil
	}
	_, err := o.propose(ctx, "coordinator/"+o.config.Name, state.ClusterInit,
		state.ClusterInitData{UUID: o.config.Cluster, Incarnation: 1})
	return err
}

// carryOut waits for every proposal, so that the next look sees their effect. Probes go on beside it: a service that
// does not answer must not hold up the others.
func (o *Orchestrator) carryOut(ctx context.Context, n now, actions []action, probing *sync.WaitGroup, slots chan struct{}) {
	var group errgroup.Group
	group.SetLimit(proposalsAtOnce)
	for _, a := range actions {
		switch a := a.(type) {
		case propose:
			group.Go(func() error {
				o.report(a.name, a.payload, ctx, o.system())
				return nil
			})
		case createRepository:
			group.Go(func() error {
				o.createRepository(ctx, a)
				return nil
			})
		case probe:
			o.startProbe(ctx, a, probing, slots)
		}
	}
	_ = group.Wait() // every error was logged where it arose
	o.forgetTaken(n)
}

// report proposes for the loop itself: a refusal means that the state moved on, and the next look will see it.
func (o *Orchestrator) report(name state.Name, payload any, ctx context.Context, by string) {
	_, err := o.propose(ctx, by, name, payload)
	switch {
	case err == nil, ctx.Err() != nil:
	case errors.Is(err, state.ErrConflict):
		o.log.Debug("proposal overtaken", "command", name, "reason", err)
	default:
		o.log.Warn("proposal failed", "command", name, "error", err)
	}
}

// forgetTaken drops the reports that have been committed. One that was not is still there for the next look, unless
// the state made it meaningless.
func (o *Orchestrator) forgetTaken(n now) {
	var passes []string
	for id := range n.seen.passes {
		passes = append(passes, id)
	}
	var ready []wire.Initialised
	for r := range n.seen.ready {
		ready = append(ready, r)
	}
	o.observed.taken(passes, ready)
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

func (o *Orchestrator) createRepository(ctx context.Context, a createRepository) {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails: crypto/rand ends the program instead
	sealed, err := o.config.Sealer.Seal([]byte(base64.RawURLEncoding.EncodeToString(secret)))
	if err != nil {
		o.log.Error("seal repository password", "account", a.account, "error", err)
		return
	}
	o.report(state.RepositoryCreate, state.RepositoryCreateData{Account: a.account, Site: a.site, SealedPassword: sealed}, ctx, o.system())
}

// startProbe asks once at a time for each check. A failed one is asked again at the next look.
func (o *Orchestrator) startProbe(ctx context.Context, a probe, probing *sync.WaitGroup, slots chan struct{}) {
	if _, running := o.probing.LoadOrStore(a.key, true); running {
		return
	}
	select {
	case slots <- struct{}{}:
	default:
		o.probing.Delete(a.key)
		return // all slots busy; the next look tries again
	}
	probing.Go(func() {
		defer func() { <-slots; o.probing.Delete(a.key) }()
		ctx, cancel := context.WithTimeout(ctx, a.ask.Timeout+2*time.Second)
		defer cancel()
		result, err := o.config.Peers.Probe(ctx, a.from, a.ask)
		if err != nil {
			result = wire.ProbeResult{Message: err.Error(), Site: string(a.from)}
		}
		o.observed.probed(a.key, result)
	})
}
