package storecheck

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"drp/replicator"
)

// Check is one look at a store. Store has to be set; the rest has defaults. Its values are for tests alone.
type Check struct {
	Store  replicator.StoreConfig
	Folder string // below which the fresh prefix lies: "" or "NAME/"
	// Progress is told the name of each property before it is looked at. May be nil.
	Progress func(property string)

	keys      int           // of the long listing; more than one page has
	large     int64         // bytes of the large object: restic's largest pack
	rounds    int           // of what may go well by chance
	races     int           // of conditional writes
	retention time.Duration // of the locked object

	now  func() time.Time
	wait func(context.Context, time.Duration) error
}

const (
	defaultKeys      = 1100
	defaultLarge     = 128 << 20
	defaultRounds    = 10
	defaultRaces     = 30
	defaultRetention = 10 * time.Second
	cleanFor         = 2 * time.Minute // what the removal of the probes may take, also after an interruption
)

// Run looks at each property in turn. It fails when the store cannot be reached or refuses everything, when ctx ends, or
// when some of its objects could not be removed; their prefix is in the error. The report is nil only in the first case.
func (c Check) Run(ctx context.Context) (report *Report, err error) {
	c.defaults()
	p, err := newProber(c, c.Folder+".drp-check-"+rand.Text()+"/")
	if err != nil {
		return nil, err
	}
	defer p.store.Close()
	if err := p.reachable(ctx); err != nil {
		return nil, err
	}
	defer func() {
		cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanFor)
		defer cancel()
		err = errors.Join(err, p.clean(cleaning))
	}()
	report = &Report{Store: p.store.String(), At: c.now(), Fit: true}
	for _, property := range properties {
		if ctx.Err() != nil {
			return report, fmt.Errorf("check %s: %w", p.store, context.Cause(ctx))
		}
		if c.Progress != nil {
			c.Progress(property.name)
		}
		r := property.look(ctx, p)
		if ctx.Err() != nil {
			return report, fmt.Errorf("check %s: %w", p.store, context.Cause(ctx))
		}
		report.Results = append(report.Results, r)
		report.Fit = report.Fit && (r.Answer == OK || !r.Needed)
	}
	report.Measured = p.meter.measured()
	return report, nil
}

func (c *Check) defaults() {
	if c.keys == 0 {
		c.keys = defaultKeys
	}
	if c.large == 0 {
		c.large = defaultLarge
	}
	if c.rounds == 0 {
		c.rounds = defaultRounds
	}
	if c.races == 0 {
		c.races = defaultRaces
	}
	if c.retention == 0 {
		c.retention = defaultRetention
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.wait == nil {
		c.wait = wait
	}
	if c.Store.Retries == 0 {
		c.Store.Retries = 3
	}
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
