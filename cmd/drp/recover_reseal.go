package main

import (
	"fmt"
	"time"

	"filippo.io/age"
	"github.com/google/uuid"

	"drp/orchestrator/sealing"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

// reseal sees to it that this coordinator opens every secret of a recovered state, with the offline key where its own does
// not: the state that is about to be seeded is changed by commands, which are in its audit trail. It returns how many
// secrets are sealed anew.
func (r *clusterRecovery) reseal(s *state.State, offline []age.Identity, who identity.Identity) (int, error) {
	own, err := sealing.ReadIdentity(r.server.AgeIdentity)
	if err != nil {
		return 0, err
	}
	v := s.View()
	if opensAll(v, own) {
		return 0, nil
	}
	any := sealing.AnyOf(append([]age.Identity{own}, offline...)...)
	opener, err := sealing.OpenKeyring(any, v.Keys())
	if err != nil {
		return 0, fmt.Errorf("open the secrets with the offline key: %w", err)
	}
	mine := own.Recipient().String()
	steps, err := sealing.Exchange(v, opener, []string{mine}, r.offlineRecipients(v, offline, mine), time.Now())
	if err != nil {
		return 0, fmt.Errorf("seal secrets again: %w", err)
	}
	for _, step := range steps {
		result, err := s.Apply(s.View().Index()+1, state.NewCommand(step.Name, uuid.NewString(), time.Now(), who.String(), step.Payload))
		if err == nil {
			err = result.Err
		}
		if err != nil {
			return 0, fmt.Errorf("seal secrets again: %w", err)
		}
	}
	count := 0
	for range sealing.Secrets(s.View()) {
		count++
	}
	return count, nil
}

// opensAll reports whether one identity opens every secret.
func opensAll(v *state.View, own age.Identity) bool {
	opener, err := sealing.OpenKeyring(own, v.Keys())
	if err != nil || len(opener.Closed()) > 0 {
		return false
	}
	for secret := range sealing.Secrets(v) {
		if _, err := opener.Open(secret.Sealed); err != nil {
			return false
		}
	}
	return true
}

// offlineRecipients are those that the state's present key names, and the keys that are in use here. A state from before
// there were keys leaves only the configuration file to say it.
func (r *clusterRecovery) offlineRecipients(v *state.View, offline []age.Identity, mine string) []string {
	var list []string
	for _, i := range offline {
		if x, ok := i.(*age.X25519Identity); ok {
			list = append(list, x.Recipient().String())
		}
	}
	if keys := v.Keys(); len(keys) > 0 {
		return append(list, keys[0].Offline...)
	}
	for _, c := range r.server.Recipients {
		if c != mine {
			list = append(list, c)
		}
	}
	return list
}
