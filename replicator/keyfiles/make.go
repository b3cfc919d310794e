package keyfiles

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"

	"filippo.io/age"

	"drp/raftstore/identity"
	"drp/replicator"
	"drp/replicator/restic"
)

// Tool is restic, or what a test has in its place.
type Tool interface {
	AddKey(ctx context.Context, repo restic.Repository, password, user, host string) error
	Keys(ctx context.Context, repo restic.Repository) (keys []restic.Key, current restic.Key, err error)
}

// Whom a key's file names, in clear: so one that was made and never told of is found again.
const (
	breakGlassUser = "drp-breakglass"
	passwordUser   = "drp"
)

// Smith makes keys at one site. Store and Tool are needed. Of one repository only one of its methods may run at a time.
type Smith struct {
	Site  string
	Store *replicator.Store // with the key that writes
	Tool  Tool
	// Recipients (age1…) of break-glass passwords, by this site's own configuration: then nobody else's word counts. Empty: the
	// leader's does.
	Recipients []string
}

// Made is a new key.
type Made struct {
	Key    string            // the name of its file
	Old    []string          // files that it stands in for
	Sealed []string          // of a break-glass key: to whom its password is sealed
	File   [sha256.Size]byte // and what the sealed file's SHA-256 is
}

// BreakGlassKey is where a repository's sealed break-glass password lies in a bucket.
func BreakGlassKey(name string) string { return replicator.BreakGlassRoot + name + breakGlassSuffix }

const breakGlassSuffix = ".age"

// Make gives a repository a break-glass key. Its password is made here, is tried, and is known to nobody afterwards but the
// holders of the offline keys. An earlier one's file is replaced; its key still opens the repository, and is one of Made.Old.
func (s *Smith) Make(ctx context.Context, repo restic.Repository, name string, asked []string) (Made, error) {
	to := asked
	if len(s.Recipients) > 0 {
		to = s.Recipients
	}
	if len(to) == 0 {
		return Made{}, errors.New("make break-glass key: there is no offline recipient to seal it to")
	}
	var recipients []age.Recipient
	for _, text := range to {
		r, err := identity.ParseAgeRecipient(text)
		if err != nil {
			return Made{}, fmt.Errorf("make break-glass key of %s: %w", name, err)
		}
		recipients = append(recipients, r)
	}
	if there, _, err := s.Tool.Keys(ctx, repo); err != nil {
		return Made{}, fmt.Errorf("make break-glass key of %s: %w", name, err)
	} else if n := breakGlassKeys(there); n >= mostBreakGlass {
		return Made{}, fmt.Errorf("make break-glass key of %s: it has %d of them already, and restic tries 20 keys at most: look which ones are of use (restic key list), and remove the others", name, n)
	}
	password := newPassword()
	if err := s.Tool.AddKey(ctx, repo, password, breakGlassUser, s.Site); err != nil {
		return Made{}, fmt.Errorf("make break-glass key of %s: %w", name, err)
	}
	made := Made{Sealed: slices.Clone(to)}
	keys, current, err := s.open(ctx, repo, password)
	if err != nil {
		return Made{}, fmt.Errorf("try the break-glass key of %s: %w", name, err)
	}
	made.Key = current.ID
	for _, k := range keys {
		if k.User == breakGlassUser && k.ID != made.Key {
			made.Old = append(made.Old, k.ID)
		}
	}
	sealed, err := seal(password, recipients)
	if err != nil {
		return Made{}, fmt.Errorf("seal the break-glass key of %s: %w", name, err)
	}
	made.File = sha256.Sum256(sealed)
	if err := keepSealed(ctx, s.Store, name, made.File); err != nil {
		return Made{}, err
	}
	if _, err := s.Store.Put(ctx, BreakGlassKey(name), sealed, made.File); err != nil {
		return Made{}, err
	}
	return made, nil
}

// mostBreakGlass is how many break-glass keys a repository may have. More than the one in use and the one before it come of attempts
// that broke off.
const mostBreakGlass = 8

func breakGlassKeys(keys []restic.Key) (n int) {
	for _, k := range keys {
		if k.User == breakGlassUser {
			n++
		}
	}
	return n
}

// Rotate gives a repository the next password. The present one goes on opening it. When it was done before, that is found.
func (s *Smith) Rotate(ctx context.Context, repo restic.Repository, name, next string) (Made, error) {
	keys, current, err := s.open(ctx, repo, next)
	if errors.Is(err, restic.ErrWrongPassword) {
		if err = s.Tool.AddKey(ctx, repo, next, passwordUser, s.Site); err == nil {
			keys, current, err = s.open(ctx, repo, next)
		}
	}
	if err != nil {
		return Made{}, fmt.Errorf("give %s its next password: %w", name, err)
	}
	made := Made{Key: current.ID}
	for _, k := range keys {
		if k.User != breakGlassUser && k.ID != made.Key {
			made.Old = append(made.Old, k.ID)
		}
	}
	return made, nil
}

// open opens a repository by another password, which proves that it does.
func (s *Smith) open(ctx context.Context, repo restic.Repository, password string) ([]restic.Key, restic.Key, error) {
	repo.Password = password
	return s.Tool.Keys(ctx, repo)
}

func newPassword() string {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails: crypto/rand ends the program instead
	return base64.RawURLEncoding.EncodeToString(secret)
}

func seal(password string, recipients []age.Recipient) ([]byte, error) {
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, recipients...)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(w, password); err != nil {
		return nil, err
	}
	err = w.Close() // it writes the last part
	return sealed.Bytes(), err
}
