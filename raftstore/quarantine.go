package raftstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"drp/raftstore/state"
)

// ErrQuarantined: this node's state was found to be wrong. It neither serves nor votes any more.
var ErrQuarantined = errors.New("quarantined")

// Quarantine says why a node took itself out.
type Quarantine struct {
	Name   string       `json:"name"`
	At     time.Time    `json:"at"`
	Index  uint64       `json:"index"` // of the log
	Ours   state.Digest `json:"ours"`  // of the state after that entry
	Theirs state.Digest `json:"theirs"`
	// Voters have Theirs. None: this node computed its digest anew, and Theirs is what came of it.
	Voters []string `json:"voters,omitempty"`
}

// Error says what happened, and how the node comes back.
func (q *Quarantine) Error() string {
	who := "its rows give"
	if len(q.Voters) > 0 {
		who = fmt.Sprintf("most voters (%s) have", joined(q.Voters))
	}
	return fmt.Sprintf("the state of coordinator %s is wrong: its digest at index %d is %.16s…, and %s %.16s…. "+
		"It neither serves nor votes any more; the others go on. Look for broken memory or another version of drp; then run "+
		"drp raft remove %s at another coordinator, empty the data directory here, and run drp server init --join",
		q.Name, q.Index, q.Ours, who, q.Theirs, q.Name)
}

func (q *Quarantine) Unwrap() error { return ErrQuarantined }

// refuseQuarantined is asked before a node starts.
func refuseQuarantined(p papers) error {
	there, err := p.has(quarantineName)
	if err != nil || !there {
		return err
	}
	data, err := p.read(quarantineName)
	if err != nil {
		return fmt.Errorf("read %s: %w", quarantineName, err)
	}
	var q Quarantine
	if err := json.Unmarshal(data, &q); err != nil { // a full disk may have cut it short
		return fmt.Errorf("%s cannot be read (%w), and it says that this node is %w", quarantineName, err, ErrQuarantined)
	}
	return &q
}

// quarantine takes this node out, for good: raft ends, the directory says why, and the others are told.
func (s *Store) quarantine(q Quarantine) {
	q.Name, q.At = s.cfg.Name, time.Now().UTC()
	last := s.hello()
	last.Leads, last.Quarantined = false, q.Error()
	s.alarms.set(AlarmQuarantined, q.Name, true, "%s", q.Error())
	s.background.Add(1) // whoever found it runs in the background too
	begun := s.failAfter(&q, func() {
		defer s.background.Done()
		data, err := json.MarshalIndent(&q, "", "  ")
		if err == nil {
			err = s.parts.papers.put(quarantineName, append(data, '\n'))
		}
		if err != nil {
			s.cfg.Logger.Error("quarantine could not be written down: do not start this coordinator again before its directory was emptied", "error", err)
		}
		s.sayGoodbye(last)
	})
	if !begun {
		s.background.Done()
	}
}

// verdict is what comes of comparing digests.
type verdict struct {
	quarantine *Quarantine // most voters have another state than we
	differ     []string    // whose state is not ours at Index, where no majority is against us
	index      uint64
	majority   bool // most voters have ours
}

// compare judges our state at each index of which we know a digest. The newest difference counts.
func compare(self string, ours []mark, voters []string, theirs map[string]*hello) verdict {
	need := len(voters)/2 + 1
	for _, m := range slices.Backward(ours) {
		have := map[state.Digest][]string{}
		if slices.Contains(voters, self) {
			have[m.Digest] = append(have[m.Digest], self)
		}
		var differ []string
		for name, h := range theirs {
			d, ok := h.knows(m.Index)
			if !ok {
				continue
			}
			if d != m.Digest {
				differ = append(differ, name)
			}
			if slices.Contains(voters, name) {
				have[d] = append(have[d], name)
			}
		}
		if len(differ) == 0 {
			continue
		}
		for d, names := range have {
			if d != m.Digest && len(names) >= need {
				slices.Sort(names)
				return verdict{index: m.Index, quarantine: &Quarantine{Index: m.Index, Ours: m.Digest, Theirs: d, Voters: names}}
			}
		}
		slices.Sort(differ)
		return verdict{index: m.Index, differ: differ, majority: len(have[m.Digest]) >= need}
	}
	return verdict{}
}

// compareStates looks at what was heard of the others, and acts on it.
func (s *Store) compareStates(others map[string]*heard) {
	v := s.View()
	ours := append(s.fsm.marks.all(), mark{v.Index(), v.Digest()})
	theirs := map[string]*hello{}
	for name, o := range others {
		if o.Quarantined == "" && o.Incarnation == s.parts.history.incarnation() {
			theirs[name] = &o.hello
		}
	}
	result := compare(s.cfg.Name, ours, s.roster.voters(), theirs)
	switch {
	case result.quarantine != nil:
		s.quarantine(*result.quarantine)
	case result.majority:
		for _, name := range result.differ {
			s.alarms.set(AlarmDigest, name, true, "the state of coordinator %s differs from that of most voters at index %d: it has to quarantine itself; if it does not within a minute, stop it",
				name, result.index)
		}
	default:
		for _, name := range result.differ {
			s.alarms.set(AlarmDigest, name, true, "the states of the coordinators %s and %s differ at index %d, and no majority of the voters says which one is right: "+
				"add no data before it is known; look at the logs of both for broken memory or another version of drp, stop the wrong one, and keep its directory",
				s.cfg.Name, name, result.index)
		}
	}
	s.alarms.keep(AlarmDigest, result.differ)
}

const recomputeEvery = 10 * time.Minute

// recompute makes the digest anew from the rows now and then, beside Apply: a difference tells of broken memory, or of
// a fault in the state.
func (s *Store) recompute() {
	ticker := time.NewTicker(recomputeEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-s.done:
			return
		}
		if q, err := recomputed(s.View()); err != nil {
			s.cfg.Logger.Error("digest of the state cannot be computed anew", "error", err)
		} else if q != nil {
			s.quarantine(*q)
		}
	}
}

// recomputed is nil where the rows of a view give its digest.
func recomputed(v *state.View) (*Quarantine, error) {
	d, err := v.Recompute()
	if err != nil || d == v.Digest() {
		return nil, err
	}
	return &Quarantine{Index: v.Index(), Ours: v.Digest(), Theirs: d}, nil
}
