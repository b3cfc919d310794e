package orchestrator

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"sync"
	"time"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// How long a server may be silent before its status changes.
const (
	unknownAfter = 15 * time.Second
	downAfter    = 30 * time.Second
)

// observed is what the leader has been told and the state does not hold. All of it can be lost: agents, gateways and
// workers say it again to the next leader, which knows the times of contact from the former one's.
type observed struct {
	mu       sync.Mutex
	contacts map[state.ServerName]time.Time
	reports  map[state.ServerName]*wire.AgentReport // replaced whole, never changed
	gateways map[state.SiteName]time.Time
	workers  map[state.SiteName]time.Time
	fills    map[state.SiteName]*wire.Fill // of sites whose worker told; replaced whole
	obeyed   uint64                        // the highest incarnation that a gateway or worker obeys
	peers    map[string]time.Time          // the other coordinators, by name
	said     map[string]wire.Introduction  // what they said of themselves
	passes   map[string]wire.PassReport    // by the worker's id
	ready    map[wire.Initialised]bool
	// By what the workers call them.
	maintained map[reportKey]wire.Maintained
	verified   map[reportKey]heardVerified
	removed    map[reportKey]wire.Removed
	keyed      map[reportKey]wire.Keyed
	erased     map[reportKey]wire.Erased
	trash      map[state.SiteName]heardTrash
	probes     map[probeKey]wire.ProbeResult
	changed    chan struct{} // closed at the next report that differs
}

type probeKey struct {
	run     state.RunID
	account state.AccountName
	service string
}

// reportKey is a worker's own name of a report, which is its site's.
type reportKey struct {
	site state.SiteName
	id   string
}

// heardVerified is a worker's word, and when it came.
type heardVerified struct {
	wire.Verified
	at time.Time
}

// heardTrash is what a site's worker said of its trash, and when.
type heardTrash struct {
	waiting []wire.Trash
	at      time.Time
}

// command is the id of the command that the report becomes. It has one form whatever a worker writes.
func (k reportKey) command(name state.Name) string {
	sum := sha256.Sum256([]byte(k.id))
	return string(name) + "-" + string(k.site) + "-" + hex.EncodeToString(sum[:16])
}

func newObserved() *observed {
	o := &observed{contacts: map[state.ServerName]time.Time{}, changed: make(chan struct{})}
	o.reset()
	return o
}

// reset forgets what only a sitting leader may believe. Times of contact stay: they are facts.
func (o *observed) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reports = map[state.ServerName]*wire.AgentReport{}
	o.gateways = map[state.SiteName]time.Time{}
	o.workers = map[state.SiteName]time.Time{}
	o.fills = map[state.SiteName]*wire.Fill{}
	o.obeyed = 0
	o.peers = map[string]time.Time{}
	o.said = map[string]wire.Introduction{}
	o.passes = map[string]wire.PassReport{}
	o.ready = map[wire.Initialised]bool{}
	o.maintained = map[reportKey]wire.Maintained{}
	o.verified = map[reportKey]heardVerified{}
	o.removed = map[reportKey]wire.Removed{}
	o.keyed = map[reportKey]wire.Keyed{}
	o.erased = map[reportKey]wire.Erased{}
	o.trash = map[state.SiteName]heardTrash{}
	o.probes = map[probeKey]wire.ProbeResult{}
}

func (o *observed) agent(r wire.AgentReport, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.contacts[r.Server] = now
	o.reports[r.Server] = &r
	o.wake()
}

func (o *observed) gateway(r wire.GatewayReport, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gateways[r.Site] = now
	o.obeyed = max(o.obeyed, r.Incarnation)
}

func (o *observed) coordinator(name string, said wire.Introduction, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.peers[name] = now
	o.said[name] = said
}

// introductions are what the other coordinators said of themselves to this leader.
func (o *observed) introductions() map[string]wire.Introduction {
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.said)
}

func (o *observed) worker(r wire.WorkerReport, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.workers[r.Site] = now
	if r.Fill != nil {
		o.fills[r.Site] = r.Fill
	}
	o.obeyed = max(o.obeyed, r.Incarnation)
	o.trash[r.Site] = heardTrash{r.Trash, now}
	for _, p := range r.Passes {
		p.To = r.Site
		o.passes[p.ID] = p
	}
	for _, i := range r.Ready {
		o.ready[i] = true
	}
	for _, m := range r.Maintained {
		o.maintained[reportKey{r.Site, m.ID}] = m
	}
	for _, v := range r.Verified {
		o.verified[reportKey{r.Site, v.ID}] = heardVerified{v, now}
	}
	for _, m := range r.Removed {
		o.removed[reportKey{r.Site, m.ID}] = m
	}
	for _, k := range r.Keyed {
		o.keyed[reportKey{r.Site, k.ID}] = k
	}
	for _, e := range r.Erased {
		o.erased[reportKey{r.Site, e.ID}] = e
	}
	if len(r.Passes)+len(r.Ready)+len(r.Maintained)+len(r.Verified)+len(r.Removed)+len(r.Keyed)+len(r.Erased) > 0 {
		o.wake()
	}
}

func (o *observed) probed(k probeKey, r wire.ProbeResult) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.probes[k] = r
	o.wake()
}

// heard takes over times of contact that another coordinator knows.
func (o *observed) heard(c wire.Contacts) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for s, t := range c.Last {
		if t.After(o.contacts[s]) {
			o.contacts[s] = t
		}
	}
}

// wake is called with mu held.
func (o *observed) wake() {
	close(o.changed)
	o.changed = make(chan struct{})
}

func (o *observed) next() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.changed
}

// glance is one moment of what is observed; decide reads it without locks.
type glance struct {
	contacts map[state.ServerName]time.Time
	reports  map[state.ServerName]*wire.AgentReport
	gateways map[state.SiteName]time.Time
	workers  map[state.SiteName]time.Time
	fills    map[state.SiteName]*wire.Fill
	obeyed   uint64
	peers    map[string]time.Time
	passes   map[string]wire.PassReport
	ready    map[wire.Initialised]bool
	// By what the workers call them.
	maintained map[reportKey]wire.Maintained
	verified   map[reportKey]heardVerified
	removed    map[reportKey]wire.Removed
	keyed      map[reportKey]wire.Keyed
	erased     map[reportKey]wire.Erased
	trash      map[state.SiteName]heardTrash
	probes     map[probeKey]wire.ProbeResult
}

func (o *observed) glance() glance {
	o.mu.Lock()
	defer o.mu.Unlock()
	return glance{
		contacts:   maps.Clone(o.contacts),
		reports:    maps.Clone(o.reports),
		gateways:   maps.Clone(o.gateways),
		workers:    maps.Clone(o.workers),
		fills:      maps.Clone(o.fills),
		obeyed:     o.obeyed,
		peers:      maps.Clone(o.peers),
		passes:     maps.Clone(o.passes),
		ready:      maps.Clone(o.ready),
		maintained: maps.Clone(o.maintained),
		verified:   maps.Clone(o.verified),
		removed:    maps.Clone(o.removed),
		keyed:      maps.Clone(o.keyed),
		erased:     maps.Clone(o.erased),
		trash:      maps.Clone(o.trash),
		probes:     maps.Clone(o.probes),
	}
}

// taken forgets what has been committed, so that it is not proposed again.
func (o *observed) taken(g glance) {
	o.mu.Lock()
	defer o.mu.Unlock()
	forget(o.passes, g.passes)
	forget(o.ready, g.ready)
	forget(o.maintained, g.maintained)
	forget(o.verified, g.verified)
	forget(o.removed, g.removed)
	forget(o.keyed, g.keyed)
	forget(o.erased, g.erased)
}

func forget[K comparable, V any](from, taken map[K]V) {
	for key := range taken {
		delete(from, key)
	}
}

// lastContact is when a server was last heard by anybody we know of; zero: never. A time that has not come yet was
// written by a wrong clock: it says that the server was heard, and not when, so it counts as this leader's beginning.
func (n now) lastContact(s state.ServerName) time.Time {
	last := n.seen.contacts[s]
	if row := n.view.ServerStatus(s); row != nil && row.LastContact.After(last) {
		last = row.LastContact
	}
	if last.After(n.at) {
		return n.since
	}
	return last
}

// account is what the server of an assignment last said of it; nil when it said nothing.
func (g glance) account(a *state.Assignment) *wire.ObservedAccount {
	r := g.reports[a.Server]
	if r == nil {
		return nil
	}
	for i := range r.Accounts {
		if o := &r.Accounts[i]; o.Account == a.Account && o.Token == a.Token {
			return o
		}
	}
	return nil
}
