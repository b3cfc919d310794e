package orchestrator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"drp/orchestrator/sealing"
	"drp/raftstore/state"
)

const (
	// keyringTick is how often the keyring is looked at when nothing in the state changes.
	keyringTick = time.Second
	// resealRetry is when what could not be sealed anew is tried again.
	resealRetry = time.Minute
)

// keeper looks after the keyring for one leadership.
type keeper struct {
	*Orchestrator
	settled string    // id of the key to which everything is sealed; empty: not known yet
	rest    time.Time // until then what could not be sealed anew is left alone
}

// keepSecrets looks after the keyring until ctx ends with the leadership.
func (o *Orchestrator) keepSecrets(ctx context.Context) {
	k := &keeper{Orchestrator: o}
	defer o.setSecretsTrouble("")
	tick := time.NewTicker(keyringTick)
	defer tick.Stop()
	for ctx.Err() == nil {
		changed := o.config.Store.Changed()
		if err := k.look(ctx); err != nil && ctx.Err() == nil {
			o.log.Warn("look after the keyring", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-tick.C:
		}
	}
}

// look does what is due. Whatever it does a next leader finds done, or does again without harm.
func (k *keeper) look(ctx context.Context) error {
	v := k.config.Store.View()
	if v.Cluster() == nil {
		return nil
	}
	if v.Level() < state.LevelOf(state.KeyringSet) {
		k.setSecretsTrouble("not every coordinator knows the keyring yet: upgrade all of them")
		return nil
	}
	keys := v.Keys()
	closed := k.config.Sealer.Take(keys)
	d := k.custody(v).decide()
	for _, m := range d.members {
		if _, err := k.propose(ctx, k.system(), state.MemberSet, state.MemberSetData{Member: m}); err != nil {
			return fmt.Errorf("record coordinator %s: %w", m.Name, err)
		}
	}
	switch {
	case closed != nil:
		k.setSecretsTrouble(fmt.Sprintf("coordinator %s cannot open the keyring (%v); let another one lead, which seals it to this one too", k.config.Name, closed))
		return nil
	case d.wait != "":
		k.setSecretsTrouble(d.wait)
		return nil
	case d.key != nil:
		return k.exchange(ctx, d.key)
	case len(keys) > 0:
		return k.settle(ctx, keys)
	}
	return nil
}

func (k *keeper) custody(v *state.View) custody {
	c := custody{
		view: v, own: k.config.Name, recipient: k.config.Sealer.Recipient(),
		configured: k.config.Coordinators, recipients: k.config.Recipients, introduced: k.observed.introductions(),
	}
	if k.config.Membership == nil {
		for _, m := range k.config.Coordinators {
			c.cluster = append(c.cluster, m.Name)
		}
		return c
	}
	for _, m := range k.config.Membership.Members() {
		c.cluster = append(c.cluster, m.Name)
	}
	return c
}

// exchange makes a new key the present one. What is sealed to others is left to settle.
func (k *keeper) exchange(ctx context.Context, w *newKey) error {
	key, err := sealing.NewKey(w.coordinators, w.offline, k.config.Clock())
	if err != nil {
		k.setSecretsTrouble(err.Error())
		return err
	}
	if _, err := k.propose(ctx, k.system(), state.KeyringSet, state.KeyringSetData{Key: key}); err != nil {
		return fmt.Errorf("set key %s: %w", key.ID, err)
	}
	k.log.Info("new key", "key", key.ID, "coordinators", len(w.coordinators), "offline", len(w.offline))
	k.settled, k.rest = "", time.Time{}
	return nil
}

// settle seals everything to the present key, and retires the others.
func (k *keeper) settle(ctx context.Context, keys []*state.Key) error {
	present := keys[0]
	if k.settled == present.ID && len(keys) == 1 {
		k.setSecretsTrouble("")
		return nil
	}
	if k.config.Clock().Before(k.rest) {
		return nil
	}
	failed, err := k.reseal(ctx, present)
	if err != nil {
		return err
	}
	if failed != nil {
		k.rest = k.config.Clock().Add(resealRetry)
		k.setSecretsTrouble("not everything can be sealed to the present key: " + state.Shorten(failed.Error()))
		return nil
	}
	for _, old := range keys[1:] {
		if err := k.retire(ctx, old); errors.Is(err, state.ErrConflict) {
			return nil // something was sealed to it meanwhile: the next look finds it
		} else if err != nil {
			return err
		}
	}
	k.settled = present.ID
	k.secrets.opened.Clear() // it has what was sealed to others
	k.setSecretsTrouble("")
	return nil
}

// reseal seals everything to a key in small steps. failed is what could not be opened.
func (k *keeper) reseal(ctx context.Context, present *state.Key) (failed, err error) {
	if err := k.sealClear(ctx); err != nil {
		return nil, err
	}
	behind := sealing.Behind(k.config.Store.View(), present)
	for batch, unopened := range sealing.Reseal(behind, k.config.Sealer, present) {
		if unopened != nil && failed == nil {
			failed = unopened
		}
		if len(batch.Items) == 0 {
			continue
		}
		if err := k.commitExchange(ctx, state.SecretsReseal, batch); err != nil {
			return nil, fmt.Errorf("seal %d secrets to key %s: %w", len(batch.Items), present.ID, err)
		}
	}
	if len(behind) > 0 {
		k.log.Info("sealed secrets to the present key", "key", present.ID, "secrets", len(behind), "failed", failed != nil)
	}
	return failed, nil
}

func (k *keeper) retire(ctx context.Context, old *state.Key) error {
	if err := k.commitExchange(ctx, state.KeyringRetire, state.KeyringRetireData{ID: old.ID}); err != nil {
		return fmt.Errorf("retire key %s: %w", old.ID, err)
	}
	k.log.Info("key is retired", "key", old.ID)
	return nil
}

// commitExchange commits while nothing that was just sealed is on its way.
func (k *keeper) commitExchange(ctx context.Context, name state.Name, payload any) error {
	k.secrets.committing.Lock()
	defer k.secrets.committing.Unlock()
	_, err := k.propose(ctx, k.system(), name, payload)
	return err
}

// sealClear seals the environments that were committed before level 2, one account at a time: there is no other way by
// which one could get into the state in clear.
func (k *keeper) sealClear(ctx context.Context) error {
	for _, a := range k.config.Store.View().Accounts() {
		if !inClear(a) {
			continue
		}
		if err := k.sealAccount(ctx, a.Name); err != nil {
			return fmt.Errorf("seal the environments of account %s: %w", a.Name, err)
		}
	}
	return nil
}

func inClear(a *state.Account) bool {
	for _, p := range a.Programs() {
		if len(p.Environment) > 0 {
			return true
		}
	}
	return false
}

func (k *keeper) sealAccount(ctx context.Context, name state.AccountName) error {
	k.secrets.committing.Lock()
	defer k.secrets.committing.Unlock()
	v := k.config.Store.View()
	a := v.Account(name)
	if a == nil || !inClear(a) {
		return nil
	}
	changed := []state.Account{a.WithOwnPrograms()}
	if err := k.sealEnvironments(v, changed); err != nil {
		return err
	}
	_, err := k.propose(ctx, k.system(), state.InventoryApply, state.InventoryData{Accounts: changed})
	return err
}
