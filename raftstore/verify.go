package raftstore

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"drp/raftstore/state"
)

// Verification says whether all members have the same state.
type Verification struct {
	Index      uint64       `json:"index"` // at which they were compared; 0: at none
	Digest     state.Digest `json:"digest"`
	Recomputed bool         `json:"recomputed"` // our rows, read anew, give our digest
	Members    []Verified   `json:"members"`
}

// Verified is what is known of one member's state.
type Verified struct {
	Name   string        `json:"name"`
	Result VerifiedState `json:"result"`
	Digest state.Digest  `json:"digest,omitzero"`
	Why    string        `json:"why,omitempty"` // where it is unknown
}

// VerifiedState is equal, differs or unknown.
type VerifiedState string

const (
	VerifiedEqual   VerifiedState = "equal"
	VerifiedDiffers VerifiedState = "differs"
	VerifiedUnknown VerifiedState = "unknown"
)

// OK reports whether every member was heard, and all are equal.
func (v *Verification) OK() bool {
	return v.Recomputed && len(v.Members) > 0 &&
		!slices.ContainsFunc(v.Members, func(m Verified) bool { return m.Result != VerifiedEqual })
}

// A member may be an entry behind or ahead when it is asked, and before the first 256 entries there are no marks at which it
// could be compared all the same. So they are asked again for a while: who is up to date meets us at the head, and where
// entries come faster than that, the next mark does not take long.
const (
	verifyAgain  = 250 * time.Millisecond
	verifyWithin = 5 * time.Second
)

// Verify asks all members for their digests now, compares them with ours at the newest index that most of them tell of,
// and computes ours anew from the rows. It puts nothing into the log.
func (s *Store) Verify(ctx context.Context) (Verification, error) {
	if err := s.Err(); err != nil {
		return Verification{}, fmt.Errorf("verify: %w", err)
	}
	result, view, apart := s.compareAll(ctx)
	for until := time.Now().Add(verifyWithin); apart && time.Now().Before(until); result, view, apart = s.compareAll(ctx) {
		select {
		case <-time.After(verifyAgain):
		case <-ctx.Done():
			return result, fmt.Errorf("verify: %w", ctx.Err())
		}
	}
	q, err := recomputed(view)
	if err != nil {
		return result, fmt.Errorf("verify: %w", err)
	}
	if result.Recomputed = q == nil; q != nil {
		s.quarantine(*q)
	}
	return result, nil
}

// compareAll compares once, and says with which state. Apart: somebody who answers was at no index at which it could be
// compared.
func (s *Store) compareAll(ctx context.Context) (result Verification, view *state.View, apart bool) {
	members := s.Members()
	heard, failed := s.askAll(ctx, members)
	view = s.View()
	ours := append(s.fsm.marks.all(), mark{view.Index(), view.Digest()})
	at := common(ours, heard)
	result = Verification{Index: at.Index, Digest: at.Digest}
	for _, m := range members {
		one := Verified{Name: m.Name, Result: VerifiedUnknown}
		switch h := heard[m.Name]; {
		case m.Self:
			one.Result, one.Digest = VerifiedEqual, at.Digest
		case m.Quarantined != "":
			one.Why = m.Quarantined
		case h == nil:
			one.Why = fmt.Sprintf("it does not answer: %v", failed[m.Name])
		default:
			digest, ok := h.knows(at.Index)
			switch {
			case !ok:
				apart = true
				one.Why = fmt.Sprintf("it is at index %d and has no digest of index %d; ask again in a moment", h.Applied, at.Index)
			case digest == at.Digest:
				one.Result, one.Digest = VerifiedEqual, digest
			default:
				one.Result, one.Digest = VerifiedDiffers, digest
			}
		}
		result.Members = append(result.Members, one)
	}
	return result, view, apart
}

// askAll asks all members at once.
func (s *Store) askAll(ctx context.Context, members []Member) (map[string]*hello, map[string]error) {
	var mu sync.Mutex
	var asking sync.WaitGroup
	heard, failed := map[string]*hello{}, map[string]error{}
	for _, m := range members {
		if m.Self {
			continue
		}
		asking.Go(func() {
			h, err := s.ask(ctx, Peer{m.Name, m.Address})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed[m.Name] = err
				return
			}
			heard[m.Name] = h
		})
	}
	asking.Wait()
	return heard, failed
}

// common is the newest of our marks that most of those heard tell of.
func common(ours []mark, heard map[string]*hello) mark {
	var best mark
	most := -1
	for _, m := range slices.Backward(ours) {
		count := 0
		for _, h := range heard {
			if _, ok := h.knows(m.Index); ok {
				count++
			}
		}
		if count > most {
			best, most = m, count
		}
	}
	return best
}
