// Package sealing encrypts what the state may hold only sealed: to every coordinator, and to the operators' offline
// recipients, so that either is enough to open it again.
package sealing

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"filippo.io/age"
)

// Sealer seals to all recipients and opens with this coordinator's identity.
type Sealer struct {
	recipients []age.Recipient
	identity   age.Identity
}

// Load reads this coordinator's identity from a file (AGE-SECRET-KEY-1…) and takes the recipients (age1…) as given.
func Load(identityFile string, recipients []string) (*Sealer, error) {
	data, err := os.ReadFile(identityFile)
	if err != nil {
		return nil, fmt.Errorf("load age identity: %w", err)
	}
	identities, err := age.ParseIdentities(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("load age identity %s: %w", identityFile, err)
	}
	own, ok := identities[0].(*age.X25519Identity)
	if !ok {
		return nil, fmt.Errorf("load age identity %s: it is no X25519 identity", identityFile)
	}
	s := &Sealer{identity: own}
	included := false
	for _, r := range recipients {
		recipient, err := age.ParseX25519Recipient(r)
		if err != nil {
			return nil, fmt.Errorf("read age recipient %q: %w", r, err)
		}
		included = included || recipient.String() == own.Recipient().String()
		s.recipients = append(s.recipients, recipient)
	}
	if !included {
		return nil, fmt.Errorf("read age recipients: this coordinator's own (%s) is not among them: it could not open what it seals", own.Recipient())
	}
	return s, nil
}

// Seal encrypts to every recipient.
func (s *Sealer) Seal(plain []byte) ([]byte, error) {
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, s.recipients...)
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

// Open decrypts what any coordinator sealed.
func (s *Sealer) Open(sealed []byte) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(sealed), s.identity)
	if err != nil {
		return nil, fmt.Errorf("open sealed: %w", err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("open sealed: %w", err)
	}
	return plain, nil
}
