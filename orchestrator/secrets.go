package orchestrator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// ErrNotSealed: there is something to be kept secret, and this coordinator cannot seal it now. Asking again later may work.
var ErrNotSealed = errors.New("secrets cannot be sealed now")

// Sealer seals secrets to the present key of the keyring, and opens what was sealed to any of its keys. Package sealing
// has the one that is used.
type Sealer interface {
	Seal(plain []byte) ([]byte, error)
	Open(sealed []byte) ([]byte, error)
	// Take makes it use exactly these keys, newest first. Its error says that the first one cannot be opened here.
	Take(keys []*state.Key) error
	// Recipient is this coordinator's own: what others seal keys to, so that it can open them.
	Recipient() string
}

// secrets is what a coordinator knows of them beside the state.
type secrets struct {
	// committing is held for reading from sealing something until it is in the state, and for writing while keys and what
	// is sealed to them are exchanged. So no key is retired while something sealed to it is on its way.
	committing sync.RWMutex

	// opened keeps what was opened lately: opening costs a tenth of a millisecond, and desired is made often.
	opened sync.Map // sealed bytes as a string → plain bytes

	mu      sync.Mutex
	trouble string // why secrets are not looked after here; empty: they are
}

// open opens what the state holds sealed. What is returned is shared: nobody changes it.
func (o *Orchestrator) open(sealed []byte) ([]byte, error) {
	if p, ok := o.secrets.opened.Load(string(sealed)); ok {
		return p.([]byte), nil
	}
	plain, err := o.config.Sealer.Open(sealed)
	if err != nil {
		return nil, err
	}
	o.secrets.opened.Store(string(sealed), plain)
	return plain, nil
}

// opener gives what servers and workers need in clear. What cannot be opened is a fault of that account alone: all
// others of the server or site go on.
func (o *Orchestrator) opener() opener {
	return opener{
		password: func(r *state.Repository) (string, bool) {
			plain, err := o.open(r.SealedPassword)
			if err != nil {
				o.log.Error("open repository password", "account", r.Account, "error", err)
				return "", false
			}
			return string(plain), true
		},
		environment: func(a *state.Account, p *state.Program) (map[string]string, bool) {
			e, err := o.environment(p)
			if err != nil {
				o.log.Error("open environment", "account", a.Name, "program", p.Name, "error", err)
				return nil, false
			}
			return e, true
		},
	}
}

// environment is that of a program in clear; what was committed before level 2 is so already.
func (o *Orchestrator) environment(p *state.Program) (map[string]string, error) {
	if len(p.SealedEnvironment) == 0 {
		return p.Environment, nil
	}
	plain, err := o.open(p.SealedEnvironment)
	if err != nil {
		return nil, err
	}
	var e map[string]string
	if json.Unmarshal(plain, &e) != nil { // its error would show what it could not read
		return nil, errors.New("what is sealed in it is no environment")
	}
	return e, nil
}

// sealEnvironments takes the environments of an inventory out of the clear. One that is as it was keeps its bytes, so that
// the same inventory twice is no change. It is called with committing held.
func (o *Orchestrator) sealEnvironments(v *state.View, accounts []state.Account) error {
	for i := range accounts {
		a := &accounts[i]
		before := map[string]*state.Program{}
		if old := v.Account(a.Name); old != nil {
			for _, p := range old.Programs() {
				before[p.Name] = p
			}
		}
		for what, p := range a.Programs() {
			if len(p.Environment) == 0 {
				continue
			}
			if err := o.sealEnvironment(p, before[p.Name]); err != nil {
				return fmt.Errorf("seal the environment of %s %s of account %s: %w", what, p.Name, a.Name, err)
			}
		}
	}
	return nil
}

func (o *Orchestrator) sealEnvironment(p, before *state.Program) error {
	plain, err := json.Marshal(p.Environment) // in the order of its keys
	if err != nil {
		return err
	}
	p.Variables = slices.Sorted(maps.Keys(p.Environment))
	if before != nil && len(before.SealedEnvironment) > 0 {
		if old, err := o.environment(before); err == nil && maps.Equal(old, p.Environment) {
			p.Environment, p.SealedEnvironment = nil, before.SealedEnvironment
			return nil
		}
	}
	sealed, err := o.config.Sealer.Seal(plain)
	if err != nil {
		return fmt.Errorf("%w (%w); %s", ErrNotSealed, err, o.whyNotSealed())
	}
	p.Environment, p.SealedEnvironment = nil, sealed
	return nil
}

// whyNotSealed is for a person.
func (o *Orchestrator) whyNotSealed() string {
	if t := o.SecretsTrouble(); t != "" {
		return t
	}
	return "the leader has not taken the keyring over yet: try again in a moment"
}

// SecretsTrouble says why this coordinator, which leads, does not look after the secrets. Empty: it does, or does not lead.
func (o *Orchestrator) SecretsTrouble() string {
	o.secrets.mu.Lock()
	defer o.secrets.mu.Unlock()
	return o.secrets.trouble
}

func (o *Orchestrator) setSecretsTrouble(text string) {
	o.secrets.mu.Lock()
	before := o.secrets.trouble
	o.secrets.trouble = text
	o.secrets.mu.Unlock()
	switch {
	case text == before:
	case text == "":
		o.log.Info("secrets are looked after again")
	default:
		o.log.Error("secrets are not looked after", "reason", text)
	}
}

// introduce says what the leader has to know of this coordinator.
func (o *Orchestrator) introduce() wire.Introduction {
	offline, sure := offlineOf(o.config.Recipients, o.config.Coordinators, o.config.Name)
	return wire.Introduction{Recipient: o.config.Sealer.Recipient(), Offline: offline, Configured: sure}
}

// proposeSealed seals something and commits what it is in; make gets the sealed bytes.
func (o *Orchestrator) proposeSealed(ctx context.Context, plain []byte, commit func(ctx context.Context, sealed []byte) error) error {
	o.secrets.committing.RLock()
	defer o.secrets.committing.RUnlock()
	sealed, err := o.config.Sealer.Seal(plain)
	if err != nil {
		return fmt.Errorf("%w (%w); %s", ErrNotSealed, err, o.whyNotSealed())
	}
	return commit(ctx, sealed)
}
