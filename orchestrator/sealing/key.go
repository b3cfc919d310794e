package sealing

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"filippo.io/age"

	"drp/raftstore/state"
)

// NewKey makes a key that each of these opens: the coordinators' recipients and the operators' offline ones. It goes into
// the state by keyring.set.
func NewKey(coordinators, offline []string, at time.Time) (state.Key, error) {
	all, offline := Sorted(slices.Concat(coordinators, offline)), Sorted(offline)
	if len(all) == 0 {
		return state.Key{}, errors.New("make key: nobody is named who could open it")
	}
	recipients, err := ParseRecipients(all)
	if err != nil {
		return state.Key{}, fmt.Errorf("make key: %w", err)
	}
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return state.Key{}, fmt.Errorf("make key: %w", err)
	}
	sealed, err := encrypt([]byte(identity.String()), recipients...)
	if err != nil {
		return state.Key{}, fmt.Errorf("make key: %w", err)
	}
	public := identity.Recipient().String()
	return state.Key{ID: keyID(public), Recipient: public, Sealed: sealed, Recipients: all, Offline: offline, Created: at}, nil
}

// keyID names a key after its recipient, so that two keys never share a name.
func keyID(recipient string) string {
	sum := sha256.Sum256([]byte(recipient))
	return hex.EncodeToString(sum[:8])
}

// Opener opens secrets by one identity: a coordinator's own, or an offline one. It is not changed once it is made.
type Opener struct {
	identity age.Identity // for what an earlier version sealed to it directly
	keys     map[string]*age.X25519Identity
	closed   []string // ids of keys that the identity does not open
}

// OpenKeyring opens what the identity opens of the state's keys. It is an error when there are keys and none of them
// opens; Closed tells of single ones.
func OpenKeyring(identity age.Identity, keys []*state.Key) (*Opener, error) {
	o := (&Opener{identity: identity}).with(keys)
	if len(keys) > 0 && len(o.keys) == 0 {
		return nil, fmt.Errorf("open keyring: this identity opens none of its %d keys: it is not among the recipients that they are sealed to", len(keys))
	}
	return o, nil
}

// Closed are the ids of the keys that did not open.
func (o *Opener) Closed() []string { return o.closed }

// with returns an opener of exactly these keys. Those that were opened before are not opened again: it is the only
// costly part.
func (o *Opener) with(keys []*state.Key) *Opener {
	next := &Opener{identity: o.identity, keys: make(map[string]*age.X25519Identity, len(keys))}
	for _, k := range keys {
		if known, ok := o.keys[k.ID]; ok && known.Recipient().String() == k.Recipient {
			next.keys[k.ID] = known
			continue
		}
		opened, err := openKey(o.identity, k)
		if err != nil {
			next.closed = append(next.closed, k.ID)
			continue
		}
		next.keys[k.ID] = opened
	}
	return next
}

func openKey(identity age.Identity, k *state.Key) (*age.X25519Identity, error) {
	text, err := decrypt(k.Sealed, identity)
	if err != nil {
		return nil, fmt.Errorf("open key %s: %w", k.ID, err)
	}
	opened, err := age.ParseX25519Identity(string(text))
	if err != nil {
		return nil, fmt.Errorf("open key %s: what is sealed in it is no age identity", k.ID) // and not shown
	}
	if opened.Recipient().String() != k.Recipient {
		return nil, fmt.Errorf("open key %s: it holds the identity of another recipient", k.ID)
	}
	return opened, nil
}

// sealTo encrypts to a key of the keyring. It takes no more than the key's recipient.
func sealTo(k *state.Key, plain []byte) ([]byte, error) {
	recipient, err := age.ParseX25519Recipient(k.Recipient)
	if err != nil {
		return nil, fmt.Errorf("seal to key %s: its recipient cannot be read: %w", k.ID, err)
	}
	body, err := encrypt(plain, recipient)
	if err != nil {
		return nil, fmt.Errorf("seal to key %s: %w", k.ID, err)
	}
	return state.SealedWith(k.ID, body), nil
}

// Open decrypts what was sealed to a key that is open, or to the identity itself.
func (o *Opener) Open(sealed []byte) ([]byte, error) {
	identity, body := o.identity, sealed
	if id := state.SealedTo(sealed); id != "" {
		key, known := o.keys[id]
		if !known {
			return nil, fmt.Errorf("open what is sealed to key %s: %w", id, ErrUnknownKey)
		}
		identity, body = key, sealed[bytes.IndexByte(sealed, '\n')+1:]
	}
	plain, err := decrypt(body, identity)
	if err != nil {
		return nil, fmt.Errorf("open sealed: %w", err)
	}
	return plain, nil
}

// opens reports whether a key is open here.
func (o *Opener) opens(k *state.Key) bool {
	_, ok := o.keys[k.ID]
	return ok
}
