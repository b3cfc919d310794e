package maintenance

import (
	"context"
	"fmt"
	"time"

	"drp/replicator"
)

// ReadMark is how far all data of one site's copy was read with the key.
type ReadMark struct {
	Part  int       `json:"part,omitempty"` // the last one of the round under way
	Parts int       `json:"parts,omitempty"`
	Began time.Time `json:"began,omitzero"` // the round under way
	Since time.Time `json:"since,omitzero"` // what was there then was read, all of it
}

// next counts a part only when it follows the one before: all data is read when every part was, in one round.
func (m ReadMark) next(part, parts int, began time.Time) ReadMark {
	switch {
	case parts == 1: // all at once; a round under way goes on
		m.Since = began
		return m
	case part == 1:
		m.Part, m.Parts, m.Began = 1, parts, began
	case parts == m.Parts && part == m.Part+1:
		m.Part = part
	default:
		return m
	}
	if m.Part == m.Parts {
		m.Since, m.Part = m.Began, 0
	}
	return m
}

func readMarkKey(account string) string { return replicator.MarkRoot + account + "/read.json" }

// readMark is what is known to be read by now. What was read at a time that has yet to come was dated by a clock that was
// wrong: it is forgotten for good, or it would count from that time on for what was deleted meanwhile.
func (k *Keeper) readMark(ctx context.Context, account string, now time.Time) (ReadMark, error) {
	var m ReadMark
	if _, err := k.getJSON(ctx, readMarkKey(account), &m); err != nil {
		return m, err
	}
	if !m.Since.After(now) && !m.Began.After(now) {
		return m, nil
	}
	k.log(account).Warn("what is known to be read bears a time that has yet to come, so a clock was wrong: all of it is to be read again",
		"since", m.Since, "began", m.Began)
	return ReadMark{}, k.Doubt(ctx, account)
}

// Doubt takes back what is known to be read: something of the copy was found to be bad. What is in the trash stays until
// all of the copy was read once more, and was good.
func (k *Keeper) Doubt(ctx context.Context, account string) error {
	return k.putJSON(ctx, readMarkKey(account), ReadMark{})
}

// HasRead notes that a part of all data, as it was there at began, was read with the key and is good.
func (k *Keeper) HasRead(ctx context.Context, account string, part, parts int, began time.Time) error {
	now := k.now()
	old, err := k.readMark(ctx, account, now)
	if err != nil {
		return err
	}
	began = now.Add(-now.Sub(began)) // on the clock as it is now, if it has stepped meanwhile
	if began.After(now) {
		return fmt.Errorf("note that data of %s was read: that began at %s, which has yet to come: is this machine's clock right?", account, began.UTC().Format(time.DateTime))
	}
	next := old.next(part, parts, began.UTC())
	if next == old {
		return nil
	}
	return k.putJSON(ctx, readMarkKey(account), next)
}
