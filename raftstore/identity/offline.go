package identity

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"
)

// Names of what the root leaves in its directory.
const (
	RootName    = "root.pem"
	rootKeyName = "root.key.age"
)

// SaveOffline writes root.pem, and root.key.age: the key, that only the recipients (age1…) can open.
func (a *Authority) SaveOffline(dir string, recipients []string) error {
	key, err := encodeKey(a.key)
	if err != nil {
		return err
	}
	sealed, err := sealTo(key, recipients)
	if err != nil {
		return fmt.Errorf("save authority key: %w", err)
	}
	if err := WriteFile(filepath.Join(dir, RootName), a.CertificatePEM(), 0o644); err != nil {
		return fmt.Errorf("save authority: %w", err)
	}
	if err := WriteFile(filepath.Join(dir, rootKeyName), sealed, 0o600); err != nil {
		return fmt.Errorf("save authority key: %w", err)
	}
	return nil
}

// OpenOffline reads what SaveOffline wrote, with the identity file (AGE-SECRET-KEY-1…) of one of its recipients.
func OpenOffline(dir, identityFile string) (*Authority, error) {
	certificate, err := os.ReadFile(filepath.Join(dir, RootName))
	if err != nil {
		return nil, fmt.Errorf("open authority: %w", err)
	}
	sealed, err := os.ReadFile(filepath.Join(dir, rootKeyName))
	if err != nil {
		return nil, fmt.Errorf("open authority: %w", err)
	}
	identities, err := ReadAgeIdentities(identityFile)
	if err != nil {
		return nil, fmt.Errorf("open authority: read the offline key: %w", err)
	}
	r, err := age.Decrypt(bytes.NewReader(sealed), identities...)
	if err != nil {
		return nil, fmt.Errorf("open authority: %s does not open %s: %w", identityFile, filepath.Join(dir, rootKeyName), err)
	}
	key, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("open authority: %w", err)
	}
	return OpenAuthority(certificate, key)
}

// SealedKey is the key that only the recipients (age1…) can open.
func (a *Authority) SealedKey(recipients []string) ([]byte, error) {
	key, err := encodeKey(a.key)
	if err != nil {
		return nil, err
	}
	return sealTo(key, recipients)
}

func sealTo(plain []byte, to []string) ([]byte, error) {
	if len(to) == 0 {
		return nil, errors.New("seal: nobody could open it")
	}
	recipients, err := age.ParseRecipients(strings.NewReader(strings.Join(to, "\n")))
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, recipients...)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if _, err := w.Write(plain); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return sealed.Bytes(), nil
}
