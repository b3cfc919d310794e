// Package sealing encrypts what the state may hold only sealed.
//
// Two steps keep the state small and a change of coordinators cheap. A key of the keyring is an age identity that is
// itself sealed to every coordinator and to the operators' offline recipients, so that any one of them is enough to
// open it. Secrets are sealed to the newest key alone: about 250 bytes each, however many coordinators there are. Each
// begins with one line that names its key:
//
//	drp1 KEY-ID
//	age-encryption.org/v1 …
//
// What has no such line was sealed by an earlier version to every coordinator and offline recipient, and still opens.
// By hand: `age -d -i offline.key` of the key's sealed form gives the key's identity, and with that as -i file the rest
// of a secret behind its first line opens.
package sealing

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"filippo.io/age"

	"drp/raftstore/identity"
)

// Errors that callers tell apart.
var (
	// ErrNoKey: there is no key yet to seal to, or the present one cannot be opened here.
	ErrNoKey = errors.New("no key to seal to")
	// ErrUnknownKey: the secret is sealed to a key that is not open here.
	ErrUnknownKey = errors.New("the key is not known here")
)

// ReadIdentity reads an age identity (AGE-SECRET-KEY-1…) from a file.
func ReadIdentity(path string) (*age.X25519Identity, error) {
	identities, err := identity.ReadAgeIdentities(path)
	if err != nil {
		return nil, fmt.Errorf("read age identity: %w", err)
	}
	own, ok := identities[0].(*age.X25519Identity)
	if !ok {
		return nil, fmt.Errorf("read age identity %s: it is no X25519 identity", path)
	}
	return own, nil
}

// ParseRecipients reads recipients (age1…).
func ParseRecipients(list []string) ([]age.Recipient, error) {
	recipients := make([]age.Recipient, len(list))
	for i, text := range list {
		r, err := identity.ParseAgeRecipient(text)
		if err != nil {
			return nil, fmt.Errorf("read recipients: %w", err)
		}
		recipients[i] = r
	}
	return recipients, nil
}

// Sorted is the same set of recipients in the one order in which it is compared and kept.
func Sorted(recipients []string) []string {
	set := make([]string, 0, len(recipients))
	for _, r := range recipients {
		set = append(set, strings.TrimSpace(r))
	}
	slices.Sort(set)
	return slices.Compact(set)
}

func encrypt(plain []byte, recipients ...age.Recipient) ([]byte, error) {
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, recipients...)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return sealed.Bytes(), nil
}

func decrypt(sealed []byte, identity age.Identity) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(sealed), identity)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
