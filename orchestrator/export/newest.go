package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"filippo.io/age"

	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// Source is where exports lie.
type Source interface {
	// List returns the names of all objects there.
	List(ctx context.Context) ([]string, error)
	Get(ctx context.Context, name string) ([]byte, error)
}

// Vouch tells whether a coordinator of the platform signed a manifest.
type Vouch func(Manifest) error

// Found is an export that can be used.
type Found struct {
	Name     string
	Manifest Manifest
	State    *state.State
}

// Skipped is one that is newer than what was found, and why it cannot be used.
type Skipped struct {
	Name string
	Why  error
}

// Look is the outcome of a search.
type Look struct {
	Found   *Found // nil: none can be used
	Skipped []Skipped
	All     int
	// Incarnation is the highest that any signed manifest names, whether its export can be used or not.
	Incarnation uint64
}

// Last is the newest manifest that is vouched for, whether its export can be opened or not. Nil: there is none.
func Last(ctx context.Context, from Source, vouch Vouch) (*Manifest, error) {
	manifests, err := list(ctx, from)
	if err != nil {
		return nil, err
	}
	for _, n := range manifests {
		data, err := from.Get(ctx, n+Clear)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("look for exports: %w", ctx.Err())
		}
		if err != nil {
			continue
		}
		if m, err := ReadManifest(data); err == nil && m.Name() == n && vouch(m) == nil {
			return &m, nil
		}
	}
	return nil, nil
}

// list gives the names of all exports that have a manifest, the newest first.
func list(ctx context.Context, from Source) ([]string, error) {
	names, err := from.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for exports: %w", err)
	}
	var manifests []string
	for _, n := range names {
		if strings.HasSuffix(n, Clear) {
			manifests = append(manifests, strings.TrimSuffix(n, Clear))
		}
	}
	slices.Sort(manifests)
	slices.Reverse(manifests)
	return manifests, nil
}

// Newest finds the newest export that opens and is whole. Those before it are named, with the reason.
func Newest(ctx context.Context, from Source, vouch Vouch, identities ...age.Identity) (*Look, error) {
	manifests, err := list(ctx, from)
	if err != nil {
		return nil, err
	}
	look, closed := &Look{All: len(manifests)}, 0
	for _, n := range manifests {
		found, err := look.open(ctx, from, n, vouch, identities)
		if err == nil {
			look.Found = found
			return look, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("look for exports: %w", ctx.Err())
		}
		look.Skipped = append(look.Skipped, Skipped{n, err})
		if errors.Is(err, ErrClosed) {
			if closed++; closed >= 24 {
				return look, nil // it is the key that is wrong
			}
		}
	}
	return look, nil
}

// Named opens one export and no other. The incarnation is that of all of them nevertheless: what is recovered from an older
// export begins after what was recovered before.
func Named(ctx context.Context, from Source, name string, vouch Vouch, identities ...age.Identity) (*Look, error) {
	look := &Look{All: 1}
	last, err := Last(ctx, from, vouch)
	if err != nil {
		return nil, err
	}
	if last != nil {
		look.Incarnation = last.Incarnation
	}
	if look.Found, err = look.open(ctx, from, name, vouch, identities); err != nil {
		look.Skipped = []Skipped{{name, err}}
	}
	return look, nil
}

func (l *Look) open(ctx context.Context, from Source, name string, vouch Vouch, identities []age.Identity) (*Found, error) {
	data, err := from.Get(ctx, name+Clear)
	if err != nil {
		return nil, err
	}
	m, err := ReadManifest(data)
	if err != nil {
		return nil, err
	}
	if m.Name() != name {
		return nil, fmt.Errorf("read manifest: %w: it belongs to %s", ErrDamaged, m.Name())
	}
	if err := vouch(m); err != nil {
		return nil, err
	}
	l.Incarnation = max(l.Incarnation, m.Incarnation)
	sealed, err := from.Get(ctx, name+Sealed)
	if err != nil {
		return nil, err
	}
	s, err := m.Check(sealed, identities...)
	if err != nil {
		return nil, err
	}
	return &Found{Name: name, Manifest: m, State: s}, nil
}

// ReadManifest reads a manifest, strictly.
func ReadManifest(data []byte) (Manifest, error) {
	var m Manifest
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("read manifest: %w: %w", ErrDamaged, err)
	}
	return m, nil
}

// SignedBy vouches for what a coordinator signed whose certificate our own authority vouched for at that time.
func SignedBy(ours *identity.Credentials) Vouch {
	return func(m Manifest) error {
		id, err := ours.VerifySignature(m.Chain, m.Signed(), m.Signature, m.At)
		switch {
		case err != nil:
			return fmt.Errorf("%w: %w", ErrUnsigned, err)
		case id.Role != identity.Coordinator:
			return fmt.Errorf("%w: %s is none", ErrUnsigned, id)
		}
		return nil
	}
}

// ParseName reads what Manifest.Name wrote: incarnation, index and time.
func ParseName(name string) (Manifest, error) {
	var m Manifest
	part := strings.Split(name, "-")
	if len(part) != 4 || !strings.HasPrefix(part[0], "i") {
		return m, fmt.Errorf("read name of export %q: want iINCARNATION-INDEX-TIME-DIGEST", name)
	}
	var err error
	if m.Incarnation, err = strconv.ParseUint(part[0][1:], 10, 64); err == nil {
		m.Index, err = strconv.ParseUint(part[1], 10, 64)
	}
	if err == nil {
		m.At, err = time.Parse(nameTime, part[2])
	}
	if err != nil {
		return Manifest{}, fmt.Errorf("read name of export %q: %w", name, err)
	}
	return m, nil
}
