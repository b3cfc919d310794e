package identity

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// ErrRevoked means that a certificate counts no more.
var ErrRevoked = errors.New("certificate revoked")

// Revoked is one certificate that counts no more, by its serial number; or, without one, all of a holder's that were
// signed before a moment.
type Revoked struct {
	Role   Role      `json:"role"`
	Holder string    `json:"holder"`
	Serial string    `json:"serial,omitempty"`
	Before time.Time `json:"before"`
}

// covers compares whole seconds, which is what certificates keep: one that was signed in the second of the revocation
// is revoked too.
func (r Revoked) covers(c *x509.Certificate, id Identity) bool {
	if r.Role != id.Role || r.Holder != id.Name {
		return false
	}
	if r.Serial != "" {
		return r.Serial == SerialOf(c)
	}
	return IssuedAt(c).Before(r.Before)
}

// Outlived reports whether every certificate that it covers has expired by itself. An hour is for clocks that are wrong.
func (r Revoked) Outlived(now time.Time) bool {
	return r.Before.Add(MaxValidity + time.Hour).Before(now)
}

// Revocations is the list that a process goes by.
type Revocations []Revoked

// Check returns ErrRevoked for a certificate that is on the list.
func (l Revocations) Check(c *x509.Certificate) error {
	if len(l) == 0 {
		return nil
	}
	id, err := ofCertificate(c)
	if err != nil {
		return err
	}
	for _, r := range l {
		if r.covers(c, id) {
			return fmt.Errorf("the certificate of %s (serial %s, signed %s) is revoked: %w",
				id, SerialOf(c), IssuedAt(c).UTC().Format(time.RFC3339), ErrRevoked)
		}
	}
	return nil
}

// NotBefore is the earliest moment at which a certificate of this holder can be signed so that no revocation covers it.
func (l Revocations) NotBefore(role Role, holder string) time.Time {
	var at time.Time
	for _, r := range l {
		if r.Role != role || r.Holder != holder || r.Serial != "" {
			continue
		}
		if next := r.Before.Truncate(time.Second).Add(time.Second); next.After(at) {
			at = next
		}
	}
	return at
}

// with is both lists, without what has expired by itself.
func (l Revocations) with(next Revocations, now time.Time) Revocations {
	type key struct {
		role           Role
		holder, serial string
	}
	at := map[key]int{}
	var all Revocations
	for _, r := range append(append(Revocations{}, l...), next...) {
		k := key{r.Role, r.Holder, r.Serial}
		i, known := at[k]
		switch {
		case r.Outlived(now):
		case !known:
			at[k] = len(all)
			all = append(all, r)
		case r.Before.After(all[i].Before):
			all[i] = r
		}
	}
	return all
}

// revoked is the file that keeps the list over a restart.
func (f Files) revoked() string { return f.Certificate + ".revoked" }

func (f Files) saveRevocations(l Revocations) error {
	data, err := json.Marshal(l)
	if err == nil {
		err = WriteFile(f.revoked(), data, 0o644)
	}
	if err != nil {
		return fmt.Errorf("save revocations: %w", err)
	}
	return nil
}

func (f Files) loadRevocations() (Revocations, error) {
	data, err := os.ReadFile(f.revoked())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var l Revocations
	if err == nil {
		err = json.Unmarshal(data, &l)
	}
	if err != nil {
		return nil, fmt.Errorf("load revocations %s: %w", f.revoked(), err)
	}
	return l, nil
}
