package export

import (
	"context"
	"fmt"
	"time"

	"filippo.io/age"

	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// search looks through the exports of one source, and reads each of them once.
type search struct {
	from       Source
	vouch      Vouch
	identities []age.Identity
	names      []string // the newest first
	known      map[string]*entry
}

// entry is what is known of one export.
type entry struct {
	name     string
	manifest Manifest
	signer   *Signer
	err      error // why its manifest counts for nothing

	judged      bool
	disbelieved error

	opened  bool
	revoked identity.Revocations // that its state knows, once it is opened
	openErr error
}

func newSearch(ctx context.Context, from Source, vouch Vouch, identities []age.Identity) (*search, error) {
	names, err := list(ctx, from)
	if err != nil {
		return nil, err
	}
	return &search{from: from, vouch: vouch, identities: identities, names: names, known: map[string]*entry{}}, nil
}

func (s *search) read(ctx context.Context, name string) *entry {
	if e := s.known[name]; e != nil {
		return e
	}
	e := readEntry(ctx, s.from, s.vouch, name)
	s.known[name] = e
	return e
}

// readEntry reads the manifest of an export, and asks who vouches for it.
func readEntry(ctx context.Context, from interface {
	Get(ctx context.Context, name string) ([]byte, error)
}, vouch Vouch, name string) *entry {
	e := &entry{name: name}
	data, err := from.Get(ctx, name+Clear)
	if err == nil {
		e.manifest, err = ReadManifest(data)
	}
	if got := e.manifest.Name(); err == nil && got != name {
		err = fmt.Errorf("read manifest: %w: it belongs to %s", ErrDamaged, got)
	}
	if err == nil {
		e.signer, err = vouch(e.manifest)
	}
	e.err = err
	return e
}

func (s *search) open(ctx context.Context, e *entry) (*state.State, error) {
	sealed, err := s.from.Get(ctx, e.name+Sealed)
	if err != nil {
		return nil, err
	}
	return e.manifest.Check(sealed, s.identities...)
}

// revocations are those that an export's state knows. The state itself is not kept: it may be large.
func (s *search) revocations(ctx context.Context, e *entry) (identity.Revocations, error) {
	if e.opened {
		return e.revoked, e.openErr
	}
	e.opened = true
	opened, err := s.open(ctx, e)
	if err != nil {
		e.openErr = err
		return nil, err
	}
	for _, r := range opened.View().Revocations() {
		e.revoked = append(e.revoked, identity.Revoked{Role: identity.Role(r.Role), Holder: r.Holder, Serial: r.Serial, Before: r.Before})
	}
	return e.revoked, nil
}

// clocks is by how much two coordinators' clocks may differ before it means something here.
const clocks = time.Hour

// others calls f with the exports that another coordinator signed before this one, the newest first, until f says false.
// It ends where the signer's certificate begins: what was made earlier cannot know that it was revoked.
func (s *search) others(ctx context.Context, e *entry, f func(*entry) bool) {
	if e.signer == nil {
		return
	}
	began := identity.IssuedAt(e.signer.Certificate).Add(-clocks)
	for _, name := range s.names {
		if name >= e.name {
			continue
		}
		if m, err := ParseName(name); err != nil || m.At.Before(began) {
			continue
		}
		o := s.read(ctx, name)
		if o.err != nil || o.signer == nil || o.signer.Name == e.signer.Name {
			continue
		}
		if !f(o) || ctx.Err() != nil {
			return
		}
	}
}

// disbelieve says what other coordinators' exports know against the signer of this one. The certificate was good at the time
// that the manifest bears; but who holds a stolen key writes what time he likes. Exports are in the order of the log, so
// what an earlier one knows had been decided when this one was made:
//
//   - that the certificate is revoked: then its holder was told nothing any more, and has no newer state to export;
//   - the time: no clock that is a certificate's whole life behind would have got, or used, that certificate.
//
// An accusation counts only when the accuser's own signer is believed: else a revoked one could have everybody else's
// exports passed over, by accusing them in forged ones of its own.
func (s *search) disbelieve(ctx context.Context, e *entry) error {
	if !e.judged {
		e.disbelieved, e.judged = s.judge(ctx, e), true
	}
	return e.disbelieved
}

func (s *search) judge(ctx context.Context, e *entry) (why error) {
	s.others(ctx, e, func(o *entry) bool {
		if behind := o.manifest.At.Sub(e.manifest.At); behind > identity.MaxValidity+clocks {
			why = fmt.Errorf("%w: %s signed it with the time %s, %d days before %s, which %s signed and which holds less: a certificate lives no longer than %d days",
				ErrDisbelieved, e.signer.Name, e.manifest.At.Format(time.RFC3339), int(behind.Hours()/24), o.name, o.signer.Name, int(identity.MaxValidity.Hours()/24))
			return false
		}
		revoked, err := s.revocations(ctx, o)
		if err != nil {
			return true // it cannot be asked
		}
		err = revoked.Check(e.signer.Certificate)
		if err == nil {
			return false // the newest that can be asked knows nothing against it
		}
		if s.disbelieve(ctx, o) != nil {
			return true
		}
		why = fmt.Errorf("%w: %w, as %s knows, which %s signed before", ErrDisbelieved, err, o.name, o.signer.Name)
		return false
	})
	return why
}

// other finds the newest export that somebody else vouches for.
func (s *search) other(ctx context.Context, e *entry, f *Found) {
	s.others(ctx, e, func(o *entry) bool {
		if s.disbelieve(ctx, o) != nil {
			return true
		}
		f.Other = &Other{Manifest: o.manifest, Signer: o.signer.Name}
		return false
	})
	for _, name := range s.names {
		if name >= e.name || f.Other != nil && name <= f.Other.Manifest.Name() {
			continue
		}
		if x := s.known[name]; x != nil && x.err == nil && x.signer != nil && e.signer != nil && x.signer.Name == e.signer.Name {
			f.Since++
		}
	}
}
