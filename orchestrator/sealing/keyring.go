package sealing

import (
	"fmt"
	"slices"
	"sync"

	"filippo.io/age"

	"drp/raftstore/state"
)

// Keyring is a coordinator's way to the secrets: it opens the state's keys with the coordinator's own identity, once
// each, and keeps them in memory. It is safe for concurrent use.
type Keyring struct {
	identity *age.X25519Identity

	mu      sync.RWMutex
	open    *Opener
	taken   []*state.Key // as they were given last
	present *state.Key   // what is sealed to; nil: none yet
}

// Load makes a keyring of the identity in a coordinator's file.
func Load(identityFile string) (*Keyring, error) {
	identity, err := ReadIdentity(identityFile)
	if err != nil {
		return nil, err
	}
	return New(identity), nil
}

// New makes a keyring of a coordinator's identity.
func New(identity *age.X25519Identity) *Keyring {
	return &Keyring{identity: identity, open: &Opener{identity: identity}}
}

// Recipient is this coordinator's own.
func (k *Keyring) Recipient() string { return k.identity.Recipient().String() }

// Take makes the keyring hold exactly these keys, newest first as state.View gives them: the first is what is sealed to
// from now on. A key that is gone from the list is forgotten. The error says that the first one does not open here;
// then nothing can be sealed, and what is sealed to it not be opened.
func (k *Keyring) Take(keys []*state.Key) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !slices.Equal(keys, k.taken) { // rows are never changed in place, so the same rows are the same keys
		k.open = k.open.with(keys)
		k.taken = slices.Clone(keys)
		k.present = nil
		if len(keys) > 0 {
			k.present = keys[0]
		}
	}
	if k.present != nil && !k.open.opens(k.present) {
		return fmt.Errorf("open present key %s: it is not sealed to this coordinator (%s): %w", k.present.ID, k.Recipient(), ErrNoKey)
	}
	return nil
}

// Seal encrypts to the present key.
func (k *Keyring) Seal(plain []byte) ([]byte, error) {
	k.mu.RLock()
	present, open := k.present, k.open
	k.mu.RUnlock()
	if present == nil || !open.opens(present) {
		return nil, fmt.Errorf("seal: %w", ErrNoKey)
	}
	return sealTo(present, plain)
}

// Open decrypts what was sealed to any of the keys, or by an earlier version to this coordinator.
func (k *Keyring) Open(sealed []byte) ([]byte, error) {
	k.mu.RLock()
	open := k.open
	k.mu.RUnlock()
	return open.Open(sealed)
}
