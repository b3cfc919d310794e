package sealing

import (
	"errors"
	"fmt"
	"iter"

	"drp/raftstore/state"
)

// What one secrets.reseal holds at most, well below the log's limit for one entry.
const (
	batchItems = 64
	batchBytes = 32 << 10
)

// opens is an Opener, or a Keyring.
type opens interface {
	Open(sealed []byte) ([]byte, error)
}

// Secret is one sealed secret of a state, and where it stands.
type Secret struct {
	Kind    state.SecretKind
	Account state.AccountName
	Service string // or cron job
	What    string // which of the two
	Sealed  []byte
}

// String names the secret for a message; it shows nothing of it.
func (s Secret) String() string {
	switch s.Kind {
	case state.SecretRepository:
		return "the repository's password of account " + string(s.Account)
	case state.SecretRotation:
		return "the next password of repository " + string(s.Account)
	case state.SecretEnvironment:
		return "the environment of " + s.What + " " + s.Service + " of account " + string(s.Account)
	default:
		return "the key of the issuing authority"
	}
}

// Secrets are all sealed secrets of a state.
func Secrets(v *state.View) iter.Seq[Secret] {
	return func(yield func(Secret) bool) {
		if i := v.Issuer(); i != nil && !yield(Secret{Kind: state.SecretIssuer, Sealed: i.SealedKey}) {
			return
		}
		for _, r := range v.AllRepositories() {
			if !yield(Secret{Kind: state.SecretRepository, Account: r.Row(), Sealed: r.SealedPassword}) {
				return
			}
		}
		for _, r := range v.Removed() {
			if !yield(Secret{Kind: state.SecretRepository, Account: r.Repository.Row(), Sealed: r.Repository.SealedPassword}) {
				return
			}
		}
		for _, k := range v.AllRepositoryKeys() {
			if k.Rotation != nil && !yield(Secret{Kind: state.SecretRotation, Account: state.AccountName(k.Repository), Sealed: k.Rotation.Sealed}) {
				return
			}
		}
		for _, a := range v.Accounts() {
			for what, p := range a.Programs() {
				if len(p.SealedEnvironment) > 0 && !yield(Secret{Kind: state.SecretEnvironment, Account: a.Name, Service: p.Name, What: what, Sealed: p.SealedEnvironment}) {
					return
				}
			}
		}
	}
}

// Behind are the secrets of a state that are sealed to anything else than a key: an older one, or the coordinators
// themselves as an earlier version did.
func Behind(v *state.View, present *state.Key) []Secret {
	var behind []Secret
	for s := range Secrets(v) {
		if state.SealedTo(s.Sealed) != present.ID {
			behind = append(behind, s)
		}
	}
	return behind
}

// Reseal seals secrets to a key, in commands that are small enough for the log. A secret that does not open is left out
// and named in the error, which comes with the command that it would have been in; the others are not held up. The
// state leaves alone what has changed meanwhile, so each command may be proposed late, twice, or never.
func Reseal(secrets []Secret, open opens, to *state.Key) iter.Seq2[state.SecretsResealData, error] {
	return func(yield func(state.SecretsResealData, error) bool) {
		var batch state.SecretsResealData
		var failed []error
		size := 0
		for _, s := range secrets {
			item, err := reseal(s, open, to)
			if err != nil {
				failed = append(failed, err)
				continue
			}
			if len(batch.Items) > 0 && (len(batch.Items) == batchItems || size+len(item.Sealed) > batchBytes) {
				if !yield(batch, errors.Join(failed...)) {
					return
				}
				batch, failed, size = state.SecretsResealData{}, nil, 0
			}
			batch.Items = append(batch.Items, item)
			size += len(item.Sealed)
		}
		if len(batch.Items)+len(failed) > 0 {
			yield(batch, errors.Join(failed...))
		}
	}
}

func reseal(s Secret, open opens, to *state.Key) (state.ResealItem, error) {
	plain, err := open.Open(s.Sealed)
	if err != nil {
		return state.ResealItem{}, fmt.Errorf("seal %s anew: %w", s, err)
	}
	sealed, err := sealTo(to, plain)
	if err != nil {
		return state.ResealItem{}, fmt.Errorf("seal %s anew: %w", s, err)
	}
	return state.ResealItem{Kind: s.Kind, Account: s.Account, Service: s.Service, Old: state.Sum(s.Sealed), Sealed: sealed}, nil
}
