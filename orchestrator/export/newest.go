package export

import (
	"context"
	"crypto/x509"
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

// Vouch tells which coordinator of the platform signed a manifest. Without an error and without a signer, it is taken unsigned.
type Vouch func(Manifest) (*Signer, error)

// Signer is the coordinator that signed a manifest, and the certificate that it showed.
type Signer struct {
	Name        string
	Certificate *x509.Certificate
}

// Found is an export that can be used.
type Found struct {
	Name     string
	Manifest Manifest
	State    *state.State
	Signer   *Signer // nil: it was taken unsigned
	// Other is the newest export before it that another coordinator signed, as far back as the signer's certificate
	// goes; nil when there is none. Since is how many its signer alone made after that one, itself among them.
	Other *Other
	Since int
}

// Other is an export that was not chosen.
type Other struct {
	Manifest Manifest
	Signer   string
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
	// Incarnation is the highest that any manifest names whose signer is believed, whether its export can be used or not.
	Incarnation uint64
}

// Last is the newest manifest that is vouched for, whether its export can be opened or not. Nil: there is none.
func Last(ctx context.Context, from Source, vouch Vouch) (*Manifest, error) {
	s, err := newSearch(ctx, from, vouch, nil)
	if err != nil {
		return nil, err
	}
	for _, n := range s.names {
		e := s.read(ctx, n)
		if ctx.Err() != nil {
			return nil, fmt.Errorf("look for exports: %w", ctx.Err())
		}
		if e.err == nil {
			return &e.manifest, nil
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

// Newest finds the newest export that opens, is whole, and whose signer is believed. Those before it are named, with the reason.
func Newest(ctx context.Context, from Source, vouch Vouch, identities ...age.Identity) (*Look, error) {
	s, err := newSearch(ctx, from, vouch, identities)
	if err != nil {
		return nil, err
	}
	look, closed := &Look{All: len(s.names)}, 0
	for _, n := range s.names {
		found, err := look.open(ctx, s, n)
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
	s, err := newSearch(ctx, from, vouch, identities)
	if err != nil {
		return nil, err
	}
	look := &Look{All: 1}
	for _, n := range s.names { // the first that is believed names the highest
		e := s.read(ctx, n)
		if e.err == nil && s.disbelieve(ctx, e) == nil {
			look.Incarnation = e.manifest.Incarnation
			break
		}
	}
	if look.Found, err = look.open(ctx, s, name); err != nil {
		look.Skipped = []Skipped{{name, err}}
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("look for exports: %w", ctx.Err())
	}
	return look, nil
}

func (l *Look) open(ctx context.Context, s *search, name string) (*Found, error) {
	e := s.read(ctx, name)
	if e.err != nil {
		return nil, e.err
	}
	if err := s.disbelieve(ctx, e); err != nil {
		return nil, err
	}
	l.Incarnation = max(l.Incarnation, e.manifest.Incarnation)
	opened, err := s.open(ctx, e)
	if err != nil {
		return nil, err
	}
	f := &Found{Name: name, Manifest: e.manifest, State: opened, Signer: e.signer, Since: 1}
	s.other(ctx, e, f)
	return f, nil
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
	return func(m Manifest) (*Signer, error) {
		id, err := ours.VerifySignature(m.Chain, m.Signed(), m.Signature, m.At)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%w: %w", ErrUnsigned, err)
		case id.Role != identity.Coordinator:
			return nil, fmt.Errorf("%w: %s is none", ErrUnsigned, id)
		}
		certificate, err := x509.ParseCertificate(m.Chain[0])
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnsigned, err)
		}
		return &Signer{Name: id.Name, Certificate: certificate}, nil
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
