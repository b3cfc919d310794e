package export

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// What is kept of the exports in one store. Who can write exports can bring any number of them, under any name: so each
// signer has its own, and none pushes those of another out.
const (
	keepAll = 2 * 24 * time.Hour
	// Kept is how long one export of each day is kept; no snapshot of an account is kept longer.
	Kept = 35 * 24 * time.Hour
	// Least is how many of each signer stay, whatever their age.
	Least = 30
)

// Stored is one export in a store.
type Stored struct {
	Name   string
	Signer string    // empty: nobody vouches for it
	At     time.Time // when the store took it, by the store's clock
}

// Over names those that are not needed any more. Of each signer it leaves all of two days, then the last of each day for
// five weeks, and in any case the newest thirty. An age is the time between two objects by the store's own clock, so that
// a platform which stands still, or a wrong clock here, takes nothing away.
func Over(all []Stored) []string {
	var newest time.Time
	bySigner := map[string][]Stored{}
	for _, s := range all {
		bySigner[s.Signer] = append(bySigner[s.Signer], s)
		if s.At.After(newest) {
			newest = s.At
		}
	}
	var over []string
	for _, list := range bySigner {
		slices.SortFunc(list, func(a, b Stored) int { return cmp.Or(b.At.Compare(a.At), cmp.Compare(b.Name, a.Name)) })
		keep := leading(list) // names order what exports hold, which need not be when they came
		day := time.Time{}
		for i, s := range list {
			age, last := newest.Sub(s.At), day.IsZero() || s.At.UTC().Truncate(24*time.Hour) != day
			day = s.At.UTC().Truncate(24 * time.Hour)
			if i >= Least && age > keepAll && (age > Kept || !last) && !keep[s.Name] {
				over = append(over, s.Name)
			}
		}
	}
	slices.Sort(over)
	return over
}

// leading are those that hold the newest state.
func leading(list []Stored) map[string]bool {
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = s.Name
	}
	slices.Sort(names)
	keep := map[string]bool{}
	for _, n := range names[max(0, len(names)-Least):] {
		keep[n] = true
	}
	return keep
}

// Shelf is where exports lie, for somebody who may delete there.
type Shelf interface {
	// Objects are all that is there, and when the store took them.
	Objects(ctx context.Context) (map[string]time.Time, error)
	// Get reads an object. One that is larger than what a coordinator puts there is ErrDamaged.
	Get(ctx context.Context, name string) ([]byte, error)
	Delete(ctx context.Context, name string) error
}

// Thinner takes exports that are over from one store.
type Thinner struct {
	Shelf Shelf
	Vouch Vouch

	signers map[string]string // of exports that were read before: they never change
}

// Thin does it once, and returns the names of what went. A manifest goes before what it speaks for: where one is, the
// export is whole.
func (t *Thinner) Thin(ctx context.Context) ([]string, error) {
	objects, err := t.Shelf.Objects(ctx)
	if err != nil {
		return nil, fmt.Errorf("thin out exports: %w", err)
	}
	var all []Stored
	signers := map[string]string{}
	for object, at := range objects {
		name, ok := strings.CutSuffix(object, Clear)
		if !ok {
			continue
		}
		signer, known := t.signers[name]
		if !known {
			if signer, err = t.signer(ctx, name); err != nil {
				return nil, fmt.Errorf("thin out exports: %w", err)
			}
		}
		signers[name] = signer
		all = append(all, Stored{Name: name, Signer: signer, At: at})
	}
	t.signers = signers
	var gone []string
	for _, name := range Over(all) {
		if err := t.Shelf.Delete(ctx, name+Clear); err != nil {
			return gone, fmt.Errorf("thin out exports: %w", err)
		}
		gone = append(gone, name)
	}
	return gone, t.leftovers(ctx, objects, gone)
}

// leftovers deletes sealed states without a manifest: those whose manifest went now or in a run that broke off, and those
// of exports that never came to their end.
func (t *Thinner) leftovers(ctx context.Context, objects map[string]time.Time, gone []string) error {
	var newest time.Time
	for _, at := range objects {
		if at.After(newest) {
			newest = at
		}
	}
	for object, at := range objects {
		name, ok := strings.CutSuffix(object, Sealed)
		if !ok {
			continue
		}
		_, whole := objects[name+Clear]
		if slices.Contains(gone, name) || !whole && newest.Sub(at) > keepAll {
			if err := t.Shelf.Delete(ctx, object); err != nil {
				return fmt.Errorf("thin out exports: %w", err)
			}
		}
	}
	return nil
}

// signer is who vouches for an export. For one that is damaged or forged, nobody does.
func (t *Thinner) signer(ctx context.Context, name string) (string, error) {
	e := readEntry(ctx, t.Shelf, t.Vouch, name)
	switch {
	case e.signer != nil:
		return e.signer.Name, nil
	case errors.Is(e.err, ErrDamaged), errors.Is(e.err, ErrUnsigned):
		return "", nil
	}
	return "", e.err
}
