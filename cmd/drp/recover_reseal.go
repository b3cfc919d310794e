package main

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"filippo.io/age"
	"github.com/google/uuid"

	"drp/orchestrator/sealing"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// reseal sees to it that this coordinator opens every secret of a recovered state, with the offline key where its own does
// not: the state that is about to be seeded is changed by commands, which are in its audit trail.
func (r *clusterRecovery) reseal(s *state.State, offline []age.Identity, who identity.Identity) (int, error) {
	sealer, err := sealing.Load(r.server.AgeIdentity, r.server.Recipients)
	if err != nil {
		return 0, err
	}
	v := s.View()
	var items []state.ResealItem
	for _, repo := range v.Repositories() {
		if _, err := sealer.Open(repo.SealedPassword); err == nil {
			continue
		}
		plain, err := openWith(repo.SealedPassword, offline)
		if err != nil {
			return 0, fmt.Errorf("open the repository's password of account %s: neither this coordinator's key nor the offline one does: %w", repo.Account, err)
		}
		sealed, err := sealer.Seal(plain)
		if err != nil {
			return 0, err
		}
		items = append(items, state.ResealItem{Kind: state.SecretRepository, Account: repo.Account, Old: state.Sum(repo.SealedPassword), Sealed: sealed})
	}
	if len(items) == 0 {
		return 0, nil
	}
	command := state.NewCommand(state.SecretsReseal, uuid.NewString(), time.Now(), who.String(), state.SecretsResealData{Items: items})
	result, err := s.Apply(v.Index()+1, command)
	if err == nil {
		err = result.Err
	}
	if err != nil {
		return 0, fmt.Errorf("seal secrets again: %w", err)
	}
	return len(items), nil
}

func openWith(sealed []byte, identities []age.Identity) ([]byte, error) {
	plain, err := age.Decrypt(bytes.NewReader(sealed), identities...)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(plain)
}
