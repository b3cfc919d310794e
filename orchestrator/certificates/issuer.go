package certificates

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/google/uuid"

	"drp/orchestrator"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// AuthorityInfo is what the platform's certificates rest on: GET /v1/ca.
type AuthorityInfo struct {
	Cluster string                 `json:"cluster"`
	Roots   []AuthorityCertificate `json:"roots" nullable:"false"`
	Issuer  *AuthorityCertificate  `json:"issuer,omitempty"`
}

// AuthorityCertificate is a root or an issuing authority, without its key.
type AuthorityCertificate struct {
	Serial      string    `json:"serial"`
	Fingerprint string    `json:"fingerprint"`
	From        time.Time `json:"from"`
	Until       time.Time `json:"until"`
}

func describe(c *x509.Certificate) AuthorityCertificate {
	return AuthorityCertificate{Serial: identity.SerialOf(c), Fingerprint: identity.Fingerprint(c), From: identity.IssuedAt(c), Until: c.NotAfter}
}

// Show says what the platform's certificates rest on.
func (r *Registrar) Show(ctx context.Context) (*AuthorityInfo, error) {
	v, err := r.view(ctx)
	if err != nil {
		return nil, err
	}
	roots, err := identity.DecodeCertificates(r.Credentials.AuthorityPEM())
	if err != nil {
		return nil, err
	}
	info := &AuthorityInfo{Cluster: r.Credentials.Identity().Cluster, Roots: []AuthorityCertificate{}}
	for _, c := range roots {
		info.Roots = append(info.Roots, describe(c))
	}
	if row := v.Issuer(); row != nil {
		certs, err := identity.DecodeCertificates(row.Certificate)
		if err != nil {
			return nil, err
		}
		a := describe(certs[0])
		info.Issuer = &a
	}
	return info, nil
}

// IssuerKey is a new key for an issuing authority: POST /v1/ca/issuer/request. It is sealed; the coordinators alone
// open it again. What the root's holder signs is the request.
type IssuerKey struct {
	Request   string `json:"request"`
	SealedKey []byte `json:"sealed_key"`
}

// NewIssuerKey makes one. Nothing changes yet.
func (r *Registrar) NewIssuerKey(ctx context.Context) (*IssuerKey, error) {
	if _, err := r.view(ctx); err != nil {
		return nil, err
	}
	request, key, err := identity.NewRequest()
	if err != nil {
		return nil, err
	}
	sealed, err := r.Sealer.Seal(key)
	if err != nil {
		return nil, err
	}
	return &IssuerKey{Request: string(request), SealedKey: sealed}, nil
}

// IssuingAuthority is an issuing authority as it is put into the state, and as drp ca init leaves it in a file.
type IssuingAuthority struct {
	Certificate string `json:"certificate"`
	SealedKey   []byte `json:"sealed_key"`
}

// SetIssuer makes an issuing authority the one that signs from now on. What the one before has signed stays good.
func (r *Registrar) SetIssuer(ctx context.Context, by string, i IssuingAuthority) error {
	fail := func(err error) error { return fmt.Errorf("set issuing authority: %w", err) }
	if _, err := r.view(ctx); err != nil {
		return fail(err)
	}
	a, err := r.open([]byte(i.Certificate), i.SealedKey)
	if err != nil {
		return fail(fmt.Errorf("%w: %w", err, state.ErrInvalid))
	}
	if err := r.Credentials.VerifyIssuing(a.Certificate()); err != nil {
		return fail(fmt.Errorf("%w: %w", err, orchestrator.ErrRefused))
	}
	// To repeat it is harmless by itself. An id made of it would turn the change back to one that was there before into a retry.
	err = r.propose(ctx, uuid.NewString(), by, state.IssuerSet,
		state.IssuerSetData{Certificate: []byte(i.Certificate), SealedKey: i.SealedKey})
	if err != nil {
		return fail(err)
	}
	return nil
}

// Install puts the issuing authority of a new platform into the state, once, from the file that drp ca init made. It
// returns when there is one, whoever put it there, or when ctx ends.
func (r *Registrar) Install(ctx context.Context, path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read issuing authority: %w", err)
	}
	var i IssuingAuthority
	if err := json.Unmarshal(data, &i); err != nil {
		return fmt.Errorf("read issuing authority %s: %w", path, err)
	}
	for ; ctx.Err() == nil; wait(ctx, time.Second) {
		v := r.Store.View()
		if v.Issuer() != nil {
			return nil
		}
		if name, ok := r.Store.Leader(); !ok || name != r.Name || v.Cluster() == nil {
			continue
		}
		err := r.SetIssuer(ctx, "coordinator/"+r.Name, i)
		switch {
		case err == nil:
			r.log().Info("issuing authority is in the state; its file is of no use any more", "file", path)
		case errors.Is(err, orchestrator.ErrRefused), errors.Is(err, state.ErrInvalid):
			return err
		case ctx.Err() == nil:
			r.log().Warn("issuing authority is not in the state yet", "error", err)
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
