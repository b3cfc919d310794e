package orchestrator

import (
	"encoding/json"
	"sync"
	"time"
)

// How long a proposal rests that the state has refused: a refusal is an entry of the log as well, and one that is
// repeated at each look would be a loop through every coordinator's disk.
const (
	firstRest = 500 * time.Millisecond
	lastRest  = 30 * time.Second
)

// refusals are the proposals of one leadership that were refused, until they have rested.
type refusals struct {
	mu   sync.Mutex
	rest map[string]rest
}

type rest struct {
	until  time.Time
	length time.Duration
}

// key is the proposal itself.
func (p propose) key() string {
	data, err := json.Marshal(p.payload)
	if err != nil {
		panic("orchestrator: encode " + string(p.name) + ": " + err.Error()) // plain values
	}
	return string(p.name) + string(data)
}

// rests reports whether a proposal was refused a short while ago.
func (r *refusals) rests(key string, at time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return at.Before(r.rest[key].until)
}

// note lets a proposal rest, each time longer.
func (r *refusals) note(key string, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rest == nil {
		r.rest = map[string]rest{}
	}
	length := min(max(firstRest, 2*r.rest[key].length), lastRest)
	r.rest[key] = rest{at.Add(length), length}
}

// forget drops what nobody has proposed for a while.
func (r *refusals) forget(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, rest := range r.rest {
		if at.Sub(rest.until) > lastRest {
			delete(r.rest, key)
		}
	}
}
