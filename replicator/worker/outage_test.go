package worker

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"drp/replicator/storetest"
)

// outage is a time in which a store does not do what it should. It begins with a request that was chosen beforehand, and
// has its effect on so many: then it ends by itself, or it lasts until the test ends it.
type outage struct {
	kind  string // a key of outages
	lasts bool

	mu       sync.Mutex
	random   *rand.Rand
	skip     int    // requests before it begins
	left     int    // requests, or kilobytes, until it ends or, when it lasts, until somebody's patience does
	patience func() // is over; nil: it ends then all the same
	hit      bool
	over     chan struct{} // closed at its end
}

// outages are the faults, by kind: what a request is answered with, and nil when it is not concerned.
var outages = map[string]func(*outage, storetest.Call) *storetest.Fault{
	"down": func(o *outage, _ storetest.Call) *storetest.Fault {
		if !o.hit && o.random.IntN(2) == 0 {
			return &storetest.Fault{Lost: true} // the first one is still done
		}
		return &storetest.Fault{Down: true}
	},
	"slow": func(o *outage, _ storetest.Call) *storetest.Fault {
		return &storetest.Fault{Pace: o.pace}
	},
	"full": func(_ *outage, c storetest.Call) *storetest.Fault {
		if c.Operation != storetest.Put {
			return nil
		}
		return &storetest.Fault{Status: http.StatusInsufficientStorage, Code: "InsufficientStorage"}
	},
	"failing": func(*outage, storetest.Call) *storetest.Fault {
		return &storetest.Fault{Status: http.StatusInternalServerError, Code: "InternalError"}
	},
	"lying": func(o *outage, c storetest.Call) *storetest.Fault {
		if c.Operation != storetest.List && c.Operation != storetest.Get {
			return nil // there is no body to shorten
		}
		if o.random.IntN(2) == 0 {
			return &storetest.Fault{Truncate: true}
		}
		part := o.random.Float64()
		return &storetest.Fault{Change: func(b []byte) []byte { return b[:int(float64(len(b))*part)] }}
	},
}

// kilobyte is how long one takes in an outage. At 1 KB/s, and with the worker's patience as short in proportion, nobody
// would see anything else, and wait longer.
const kilobyte = time.Millisecond

func newOutage(kind string, random *rand.Rand, within int) *outage {
	o := &outage{
		kind: kind, random: random, skip: random.IntN(within), left: 1 + random.IntN(5), lasts: random.IntN(2) == 0,
		over: make(chan struct{}),
	}
	if kind == "slow" {
		o.left = 5 + random.IntN(60)
	}
	return o
}

func (o *outage) String() string {
	what := "ends by itself"
	if o.lasts {
		what = "lasts until somebody has lost patience"
	}
	return fmt.Sprintf("%s from request %d on, has its effect %d times, and %s", o.kind, o.skip+1, o.left, what)
}

func (o *outage) ended() bool {
	select {
	case <-o.over:
		return true
	default:
		return false
	}
}

// end is the end. It may come twice.
func (o *outage) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.close()
}

func (o *outage) close() {
	if !o.ended() {
		close(o.over)
	}
}

func (o *outage) wasHit() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.hit
}

// fault is for storetest.Proxy.Break.
func (o *outage) fault(c storetest.Call) *storetest.Fault {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended() {
		return nil
	}
	f := outages[o.kind](o, c)
	switch {
	case f == nil:
	case o.skip > 0:
		o.skip--
		return nil
	case f.Pace != nil:
		o.hit = true
	default:
		o.hit = true
		o.used()
	}
	return f
}

// used counts one effect.
func (o *outage) used() {
	o.left--
	switch patient := o.lasts && o.patience != nil; {
	case patient && o.left < 0: // by then its effects are known to whoever asks again
		o.patience()
	case !patient && o.left == 0:
		o.close()
	}
}

func (o *outage) pace() {
	wait := time.NewTimer(kilobyte)
	defer wait.Stop()
	select {
	case <-wait.C:
		o.mu.Lock()
		defer o.mu.Unlock()
		o.used()
	case <-o.over:
	}
}
