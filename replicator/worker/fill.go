package worker

import (
	"context"
	"time"
)

const (
	fillEvery = 6 * time.Hour // a look at how full the store is: it lists all of it
	fillAgain = 10 * time.Minute
	fillSpan  = 14 * 24 * time.Hour // of what is remembered
)

// Fill is how much of this site's store is used.
type Fill struct {
	At       time.Time
	Used     int64 // bytes, of all objects in the bucket
	Capacity int64 // bytes, of this worker's own configuration
	// Then is the oldest that this worker still remembers, of two weeks at most: what the store grew by since.
	Then     time.Time
	UsedThen int64
}

// gauge remembers how full the store was.
type gauge struct {
	looks   []look // oldest first
	looking bool
	next    time.Time // not before
}

type look struct {
	at   time.Time
	used int64
}

func (g *gauge) saw(at time.Time, used int64) {
	g.looks = append(g.looks, look{at, used})
	for len(g.looks) > 2 && at.Sub(g.looks[0].at) > fillSpan {
		g.looks = g.looks[1:]
	}
}

// fill is what there is to tell; nil: nothing yet.
func (g *gauge) fill(capacity int64) *Fill {
	if len(g.looks) == 0 {
		return nil
	}
	first, last := g.looks[0], g.looks[len(g.looks)-1]
	return &Fill{At: last.at, Used: last.used, Capacity: capacity, Then: first.at, UsedThen: first.used}
}

// startFill begins a look when it is due.
func (r *run) startFill(ctx context.Context, now time.Time) {
	if r.Capacity == 0 || r.gauge.looking || now.Before(r.gauge.next) {
		return
	}
	r.gauge.looking = true
	r.jobs.Go(func() {
		used, err := r.used(ctx)
		at := time.Now()
		r.ended <- func() {
			r.gauge.looking, r.gauge.next = false, at.Add(fillEvery)
			switch {
			case err == nil:
				r.gauge.saw(at, used)
				r.log.Info("looked how full the store is", "used", used, "capacity", r.Capacity)
			case ctx.Err() == nil:
				r.gauge.next = at.Add(fillAgain)
				r.log.Error("cannot tell how full the store is", "error", err)
			}
		}
	})
}
