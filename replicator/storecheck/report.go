package storecheck

import (
	"slices"
	"time"
)

// Answer is what was found out about one property.
type Answer string

// The answers. Unknown: the store did not answer in a way that tells.
const (
	OK      Answer = "ok"
	No      Answer = "no"
	Unknown Answer = "unknown"
)

// Result is one property of a store.
type Result struct {
	Property string `json:"property"`
	Answer   Answer `json:"answer"`
	Needed   bool   `json:"needed"` // drp cannot do without it
	Detail   string `json:"detail"` // what was seen; of OK: what the property is
	// What follows from anything but OK.
	NotGuaranteed string `json:"not_guaranteed,omitempty"`
	Instead       string `json:"instead,omitempty"` // what drp does
}

// Measurement is how long requests of one kind took.
type Measurement struct {
	What      string        `json:"what"`
	Bytes     int64         `json:"bytes"` // of one request's body or answer; 0: not counted
	Requests  int           `json:"requests"`
	Median    time.Duration `json:"median_ns"`
	Most      time.Duration `json:"most_ns"`
	PerSecond int64         `json:"bytes_per_second,omitempty"` // of one request at a time
}

// Report is all that was found out.
type Report struct {
	Store    string        `json:"store"`
	At       time.Time     `json:"at"`
	Fit      bool          `json:"fit"` // all that is needed was found to hold
	Results  []Result      `json:"results"`
	Measured []Measurement `json:"measured"`
}

// Lacking are the properties that are needed and were not found to hold.
func (r *Report) Lacking() []string {
	var names []string
	for _, x := range r.Results {
		if x.Needed && x.Answer != OK {
			names = append(names, x.Property)
		}
	}
	return names
}

// Count of one answer.
func (r *Report) Count(a Answer) int {
	n := 0
	for _, x := range r.Results {
		if x.Answer == a {
			n++
		}
	}
	return n
}

// meter holds how long requests took, by kind.
type meter struct {
	kinds []string
	took  map[string][]time.Duration
	bytes map[string]int64
}

func newMeter() *meter {
	return &meter{took: make(map[string][]time.Duration), bytes: make(map[string]int64)}
}

// add one request of a kind, all of which move as many bytes.
func (m *meter) add(kind string, bytes int64, took time.Duration) {
	if _, known := m.took[kind]; !known {
		m.kinds = append(m.kinds, kind)
	}
	m.took[kind], m.bytes[kind] = append(m.took[kind], took), bytes
}

func (m *meter) measured() []Measurement {
	all := []Measurement{}
	for _, kind := range m.kinds {
		took := slices.Sorted(slices.Values(m.took[kind]))
		x := Measurement{What: kind, Bytes: m.bytes[kind], Requests: len(took), Median: took[len(took)/2], Most: took[len(took)-1]}
		if x.Bytes >= 1<<20 && x.Median > 0 {
			x.PerSecond = int64(float64(x.Bytes) / x.Median.Seconds())
		}
		all = append(all, x)
	}
	return all
}
