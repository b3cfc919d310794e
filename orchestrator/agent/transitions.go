package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"drp/orchestrator/agent/container"
	"drp/orchestrator/agent/home"
	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// withdrawWithin: a stop does not wait for ever for a guard that does not answer.
const withdrawWithin = 5 * time.Second

// hold makes the account run here under d.Token. The gate is held.
func (w *account) hold(ctx context.Context, d wire.DesiredAccount) error {
	c, there, err := w.Containers.State(ctx, w.name)
	if err != nil {
		return err
	}
	rec, held, err := w.Homes.Held(w.name)
	if err != nil {
		return err
	}
	spec := container.Spec{Account: d.Account, Token: d.Token, IDs: rec.IDs, Home: w.Homes.Path(w.name)}
	runs := there && (c.Status == container.Running || c.Status == container.Paused) && c.Token == d.Token &&
		c.Fingerprint == spec.Fingerprint() && held && rec.Token == d.Token
	if !runs {
		if there {
			if err := w.clear(ctx, d, c); err != nil {
				return err
			}
		}
		if spec.IDs, err = w.makeHome(ctx, d); err != nil {
			return err
		}
		w.observe(w, d.Token, wire.Starting, "")
		if err := w.start(ctx, spec); err != nil {
			return err
		}
		w.started = time.Now()
		if c, _, err = w.Containers.State(ctx, w.name); err != nil {
			return err
		}
		if c.Status != container.Running {
			return errors.New("its container ended as soon as it was started")
		}
	}
	if c.Status == container.Paused {
		if err := w.Containers.Resume(ctx, w.name); err != nil {
			return err
		}
	}
	w.watch(c)
	if err := w.withdrawOthers(ctx, d); err != nil {
		return err
	}
	for _, address := range d.Account.Addresses {
		if err := w.Router.Announce(ctx, address, w.name, d.Token); err != nil {
			return fmt.Errorf("announce %s: %w", address, err)
		}
	}
	// Running all the same: the container is up, and one service of many may be what its owner is about to mend.
	w.trouble = w.Containers.Trouble(c)
	if err := w.Containers.SetCronJobs(ctx, spec); err != nil {
		w.Log.Error("account goes by older cron jobs", "account", w.name, "error", err)
		w.trouble = strings.TrimPrefix(w.trouble+"; "+err.Error(), "; ")
	}
	w.observe(w, d.Token, wire.Running, sentence(w.trouble))
	return nil
}

// clear removes a container that is not the one that is wanted: of an older token, of an older description, or dead.
func (w *account) clear(ctx context.Context, d wire.DesiredAccount, c container.State) error {
	for _, address := range c.Addresses {
		if c.Token == d.Token && slices.Contains(d.Account.Addresses, address) {
			continue
		}
		if err := w.Router.Withdraw(ctx, address, w.name, d.Token); err != nil {
			return fmt.Errorf("withdraw %s: %w", address, err)
		}
	}
	w.watched, w.died = 0, false
	if err := w.Containers.Stop(ctx, w.name); err != nil {
		return err
	}
	return w.Network.Detach(ctx, w.name)
}

// withdrawOthers takes back addresses that the account had once and has no more. The guard alone knows them all: the
// container that had them may be gone since a start that failed.
func (w *account) withdrawOthers(ctx context.Context, d wire.DesiredAccount) error {
	announced, err := w.Router.RoutesOf(ctx, w.name)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	for _, address := range announced {
		if slices.Contains(d.Account.Addresses, address) {
			continue
		}
		if err := w.Router.Withdraw(ctx, address, w.name, d.Token); err != nil {
			return fmt.Errorf("withdraw %s: %w", address, err)
		}
	}
	return nil
}

// makeHome sees to it that a whole home of d.Token is here. One of an older token is set aside untouched.
func (w *account) makeHome(ctx context.Context, d wire.DesiredAccount) (home.IDs, error) {
	rec, held, err := w.Homes.Held(w.name)
	if err != nil {
		return home.IDs{}, err
	}
	if held && rec.Token == d.Token {
		return rec.IDs, w.noteMade(d.Token)
	}
	f, err := w.journal.fenceOf(w.name)
	if err != nil {
		return home.IDs{}, err
	}
	if !d.New || f.Token == d.Token && f.Made {
		return home.IDs{}, fmt.Errorf("the home of token %s is gone from this server, and nothing may take its place unasked: is the disk mounted? else fail the account over", d.Token)
	}
	if held {
		w.cancelTask("the account was given to this server anew")
		if err := w.awaitTask(ctx); err != nil {
			return home.IDs{}, err
		}
		aside, err := w.setAside()
		if err != nil {
			return home.IDs{}, err
		}
		w.Log.Info("home set aside", "account", w.name, "token", rec.Token.String(), "path", aside)
	}
	ids, err := w.journal.ids(w.name, nil, w.Identities)
	if err != nil {
		return home.IDs{}, err
	}
	w.observe(w, d.Token, wire.Restoring, "")
	fresh, err := w.Homes.Fresh(w.name, ids)
	if err != nil {
		return home.IDs{}, err
	}
	if d.Restore != nil {
		if err := w.fill(ctx, d, ids, fresh); err != nil {
			return home.IDs{}, errors.Join(err, fresh.Abandon())
		}
	}
	if err := ctx.Err(); err != nil {
		return home.IDs{}, errors.Join(err, fresh.Abandon())
	}
	if err := fresh.Commit(d.Token); err != nil {
		return home.IDs{}, err
	}
	return ids, w.noteMade(d.Token)
}

// noteMade is on disk before any program runs in the home.
func (w *account) noteMade(token state.Token) error {
	f, err := w.journal.fenceOf(w.name)
	if err != nil || f.Token == token && f.Made {
		return err
	}
	return w.journal.fence(w.name, func(f *fence) { f.Made = f.Token == token })
}

func (w *account) fill(ctx context.Context, d wire.DesiredAccount, ids home.IDs, fresh *home.Fresh) error {
	if d.Repository == nil {
		return fmt.Errorf("restore snapshot %s: the leader gave no way to the repository", d.Restore.Short())
	}
	select {
	case w.restores <- struct{}{}:
		defer func() { <-w.restores }()
	case <-ctx.Done():
		return ctx.Err()
	}
	began := time.Now()
	got, err := w.Backups.Restore(ctx, ids, *d.Repository, *d.Restore, "", fresh.Into)
	if err != nil {
		return fmt.Errorf("restore snapshot %s: %w", d.Restore.Short(), err)
	}
	w.Log.Info("home restored", "account", w.name, "snapshot", d.Restore.Short(), "files", got.Files, "bytes", got.Bytes, "took", time.Since(began))
	if err := w.restoreMail(ctx, d, ids, fresh); err != nil {
		return err
	}
	return w.loadDatabases(ctx, d, ids, fresh)
}

// start makes the container and connects it before any program of the account runs.
func (w *account) start(ctx context.Context, spec container.Spec) error {
	pid, err := w.Containers.Create(ctx, spec)
	if err == nil {
		err = w.Network.Attach(ctx, w.name, pid, spec.Account.Addresses)
	}
	if err == nil {
		err = w.Containers.Start(ctx, w.name)
	}
	if err != nil {
		cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		return errors.Join(err, w.Containers.Stop(cleaning, w.name), w.Network.Detach(cleaning, w.name))
	}
	return nil
}

// stop ends whatever runs here under a token up to d.Token. The route goes first, so that traffic goes elsewhere
// before the programs end; but programs end also when the guard does not answer. The gate is held.
func (w *account) stop(ctx context.Context, d wire.DesiredAccount) error {
	w.trouble = ""
	w.cancelTask("the account was stopped")
	c, there, err := w.Containers.State(ctx, w.name)
	if err != nil {
		return err
	}
	withdrawing, cancel := context.WithTimeout(ctx, withdrawWithin)
	defer cancel()
	announced, routes := w.Router.RoutesOf(withdrawing, w.name)
	// Also what is not announced: the guard then knows the token, and lets no older word in afterwards.
	addresses := slices.Concat(d.Account.Addresses, c.Addresses, announced)
	slices.SortFunc(addresses, netip.Addr.Compare)
	for _, address := range slices.Compact(addresses) {
		if err := w.Router.Withdraw(withdrawing, address, w.name, d.Token); err != nil {
			routes = errors.Join(routes, fmt.Errorf("withdraw %s: %w", address, err))
		}
	}
	if there {
		if err := w.Containers.Stop(ctx, w.name); err != nil {
			return errors.Join(routes, err)
		}
	}
	w.watched, w.died = 0, false
	if err := errors.Join(routes, w.Network.Detach(ctx, w.name), w.awaitTask(ctx)); err != nil {
		return err
	}
	// On disk before it is told: from here on this token never starts again.
	if err := w.journal.fence(w.name, func(f *fence) { f.Stopped = true }); err != nil {
		return err
	}
	if !d.SetAside {
		w.observe(w, d.Token, wire.Stopped, "")
		return nil
	}
	rec, _, err := w.Homes.Held(w.name)
	if err != nil {
		return err
	}
	aside, err := w.setAside()
	if err != nil {
		return err
	}
	if aside != "" {
		w.Log.Info("home set aside", "account", w.name, "token", rec.Token.String(), "path", aside)
	}
	w.observe(w, d.Token, wire.SetAside, "")
	return nil
}
