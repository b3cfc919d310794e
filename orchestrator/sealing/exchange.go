package sealing

import (
	"errors"
	"slices"
	"time"

	"filippo.io/age"

	"drp/raftstore/state"
)

// Step is one command of an exchange.
type Step struct {
	Name    state.Name
	Payload any
}

// Exchange returns the commands, in order, after which everything of a state is sealed to one new key, which these
// coordinators and offline recipients open and nobody else. It is for a state that no coordinator holds: a recovery,
// which has an offline identity and new coordinators. It is an error when a secret does not open.
func Exchange(v *state.View, open opens, coordinators, offline []string, at time.Time) ([]Step, error) {
	key, err := NewKey(coordinators, offline, at)
	if err != nil {
		return nil, err
	}
	steps := []Step{{state.KeyringSet, state.KeyringSetData{Key: key}}}
	var failed []error
	for batch, err := range Reseal(slices.Collect(Secrets(v)), open, &key) {
		failed = append(failed, err)
		if len(batch.Items) > 0 {
			steps = append(steps, Step{state.SecretsReseal, batch})
		}
	}
	if err := errors.Join(failed...); err != nil {
		return nil, err
	}
	for _, k := range v.Keys() {
		steps = append(steps, Step{state.KeyringRetire, state.KeyringRetireData{ID: k.ID}})
	}
	return steps, nil
}

// AnyOf is one identity made of several: whichever opens does.
func AnyOf(identities ...age.Identity) age.Identity { return anyOf(identities) }

type anyOf []age.Identity

// Unwrap implements age.Identity.
func (list anyOf) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	for _, i := range list {
		key, err := i.Unwrap(stanzas)
		if errors.Is(err, age.ErrIncorrectIdentity) {
			continue
		}
		return key, err
	}
	return nil, age.ErrIncorrectIdentity
}
