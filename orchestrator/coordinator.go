package orchestrator

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// Orchestrator is one coordinator's brain. It implements API; what only the leader may answer it refuses elsewhere
// with ErrNotLeader.
type Orchestrator struct {
	config   Config
	log      *slog.Logger
	observed *observed
	exports  exports
	records  records
	asked    sync.Map // probeKey → true while a probe is under way
	secrets  secrets
	chores   chores
	asks     asks
	missing  missing

	mu    sync.Mutex
	since time.Time // when this coordinator began to lead; zero: it does not
}

var _ API = (*Orchestrator)(nil)

// New makes a coordinator's brain. It does nothing before Lead.
func New(c Config) *Orchestrator {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Tick == 0 {
		c.Tick = 500 * time.Millisecond
	}
	return &Orchestrator{config: c, log: c.Logger.With("part", "orchestrator"), observed: newObserved()}
}

func (o *Orchestrator) setSince(t time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.since = t
}

// leading returns when this coordinator began to lead, or ErrNotLeader.
func (o *Orchestrator) leading() (time.Time, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		return time.Time{}, ErrNotLeader
	}
	return o.since, nil
}

func (o *Orchestrator) system() string { return "coordinator/" + o.config.Name }

// View is linearizable.
func (o *Orchestrator) View(ctx context.Context) (*state.View, error) {
	if _, err := o.leading(); err != nil {
		return nil, err
	}
	return o.config.Store.Read(ctx)
}

const longestPoll = 5 * time.Second

// AgentSync takes what a server holds and answers with what it should hold, as soon as that differs.
func (o *Orchestrator) AgentSync(ctx context.Context, r wire.AgentReport) (wire.AgentDesired, error) {
	if _, err := o.leading(); err != nil {
		return wire.AgentDesired{}, err
	}
	view := o.config.Store.View()
	if _, err := knownServer(view, r.Server); err != nil {
		return wire.AgentDesired{}, err
	}
	if err := o.notSuperseded("agent/"+string(r.Server), r.Incarnation); err != nil { // it does not count as heard
		return wire.AgentDesired{}, err
	}
	o.observed.agent(r, o.config.Clock())
	return poll(ctx, o, r.Wait, r.Revision, func(v *state.View) (wire.AgentDesired, uint64, error) {
		if _, out := lockedOut(v, r.Server); out && !held(v) {
			// Its poll may have begun before it was shut out, or have come by a coordinator that does not know yet.
			return wire.AgentDesired{}, 0, fmt.Errorf("the certificates of server %s were revoked: enrol it anew (drp ca enrol agent %s): %w", r.Server, r.Server, ErrRefused)
		}
		d, err := agentDesired(v, &r, o.opener())
		if d.Revoked = Revocations(v, o.config.Clock()); len(d.Revoked) > 0 {
			d.Revision = revision(d)
		}
		return d, d.Revision, err
	})
}

// GatewaySync answers with who may do what at a site.
func (o *Orchestrator) GatewaySync(ctx context.Context, r wire.GatewayReport) (wire.GatewayView, error) {
	if _, err := o.leading(); err != nil {
		return wire.GatewayView{}, err
	}
	if err := o.notSuperseded("gateway/"+string(r.Site), r.Incarnation); err != nil {
		return wire.GatewayView{}, err
	}
	o.observed.gateway(r, o.config.Clock())
	return poll(ctx, o, r.Wait, r.Revision, func(v *state.View) (wire.GatewayView, uint64, error) {
		d := gatewayView(v, r.Site)
		if d.Revoked = Revocations(v, o.config.Clock()); len(d.Revoked) > 0 {
			d.Revision = revision(d)
		}
		return d, d.Revision, nil
	})
}

// WorkerSync takes what a site's worker has done and answers with what its site lacks.
func (o *Orchestrator) WorkerSync(ctx context.Context, r wire.WorkerReport) (wire.WorkerDesired, error) {
	since, err := o.leading()
	if err != nil {
		return wire.WorkerDesired{}, err
	}
	if err := o.notSuperseded("worker/"+string(r.Site), r.Incarnation); err != nil {
		return wire.WorkerDesired{}, err
	}
	o.observed.worker(r, o.config.Clock())
	return poll(ctx, o, r.Wait, r.Revision, func(v *state.View) (wire.WorkerDesired, uint64, error) {
		n := o.now(since)
		n.view = v
		d := workerDesired(v, r.Site, o.chores.of(n, r.Site), o.opener(), &o.missing)
		d.Keys = o.chores.keyJobs(n, r.Site, o.opener())
		if d.Revoked = Revocations(v, o.config.Clock()); len(d.Revoked)+len(d.Keys) > 0 {
			d.Revision = revision(d)
		}
		return d, d.Revision, nil
	})
}

func (o *Orchestrator) notSuperseded(caller string, obeyed uint64) error {
	err := notSuperseded(o.config.Store.View(), obeyed)
	if err != nil {
		o.log.Error("a caller is refused", "caller", caller, "error", err)
	}
	return err
}

// poll answers at once when the caller has another revision, else after a change, else after the wait. Whatever it
// answers with was read while this coordinator provably led: an agent that believed a deposed leader would start what
// was fenced. To look whether there is news at all, the own state is good enough.
func poll[T any](ctx context.Context, o *Orchestrator, wait time.Duration, have uint64, make func(*state.View) (T, uint64, error)) (T, error) {
	var none T
	timer := time.NewTimer(min(max(wait, 0), longestPoll))
	defer timer.Stop()
	for {
		changed := o.config.Store.Changed()
		_, revision, err := make(o.config.Store.View())
		if err != nil {
			return none, err
		}
		if revision == have {
			select {
			case <-changed:
				continue
			case <-timer.C:
			case <-ctx.Done():
				return none, ctx.Err()
			}
		}
		view, err := o.View(ctx)
		if err != nil {
			return none, err
		}
		d, _, err := make(view)
		return d, err
	}
}

// SetContacts takes over what the leader knows, for the day when this coordinator leads. It answers with what the leader
// has to know of this one.
func (o *Orchestrator) SetContacts(c wire.Contacts) wire.Introduction {
	o.observed.heard(c)
	return o.introduce()
}

// Probe fetches a check from this coordinator's site.
func (o *Orchestrator) Probe(ctx context.Context, p wire.Probe) wire.ProbeResult {
	r := fetch(ctx, p)
	r.At, r.Site = o.config.Clock(), string(o.config.Site)
	return r
}
