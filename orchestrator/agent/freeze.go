package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"drp/orchestrator/agent/container"
	"drp/orchestrator/agent/home"
)

// frozenAtMost is how long an account may stand still for a snapshot, which takes milliseconds on a disk that works.
const frozenAtMost = 10 * time.Second

// look makes a view of the home. release is to be called when nobody reads it any more. One snapshot that waits for
// its disk keeps later ones away: the view of an account is always at the same place.
func (w *account) look(ctx context.Context) (view *home.View, release func(), err error) {
	if err := w.claimView(); err != nil {
		return nil, nil, err
	}
	if view, err = w.Homes.PrepareView(w.name); err != nil {
		<-w.view
		return nil, nil, err
	}
	release = func() {
		if err := view.Close(); err != nil {
			w.Log.Error("remove what a backup read", "account", w.name, "error", err)
		}
		<-w.view
	}
	if err := view.Search(ctx); err != nil {
		release()
		return nil, nil, err
	}
	return view, release, nil
}

// setAside moves the home out of the way, when nobody makes a view of it.
func (w *account) setAside() (string, error) {
	if err := w.claimView(); err != nil {
		return "", err
	}
	defer func() { <-w.view }()
	return w.Homes.SetAside(w.name)
}

// claimView does not wait: tasks have ended before anybody else wants the view, and a disk may take for ever.
func (w *account) claimView() error {
	select {
	case w.view <- struct{}{}:
		return nil
	default:
		return fmt.Errorf("the snapshot of an earlier backup of %s still waits for the disk", w.name)
	}
}

// freeze takes the moment of a view: if they are to, programs stand still while the filesystem takes its snapshot or files are
// copied, and go on in any case and soon, even when the disk never answers. It returns the time before which everything that was written is
// in the view. With an error the view is released, as soon as take has returned.
func (w *account) freeze(ctx context.Context, still bool, take func() error, release func()) (at time.Time, err error) {
	ended := make(chan struct{})
	taking := false
	defer func() {
		switch {
		case err == nil:
		case taking: // nobody can stop it
			go func() {
				<-ended
				release()
			}()
		default:
			release()
		}
	}()
	if err := w.lock(ctx); err != nil {
		return time.Time{}, err
	}
	defer w.unlock()
	c, there, err := w.Containers.State(ctx, w.name)
	if err != nil {
		return time.Time{}, err
	}
	at = time.Now()
	if !still || !there || c.Status != container.Running {
		return at, take()
	}
	limit, cancel := context.WithTimeoutCause(ctx, frozenAtMost,
		fmt.Errorf("no snapshot within %s, so the account goes on without it: does the disk answer?", frozenAtMost))
	defer cancel()
	// Resumed also when freezing failed or was given up: it may have happened all the same.
	defer func() { err = errors.Join(err, w.thaw(ctx)) }()
	if err := w.Containers.Pause(limit, w.name); err != nil {
		return time.Time{}, err
	}
	var taken error
	taking = true
	go func() {
		defer close(ended)
		taken = take()
	}()
	select {
	case <-ended:
		taking = false
		return at, taken
	case <-limit.Done():
		return time.Time{}, context.Cause(limit)
	}
}

func (w *account) thaw(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	err := w.Containers.Resume(ctx, w.name)
	if err == nil {
		return nil
	}
	c, there, stateErr := w.Containers.State(ctx, w.name)
	if stateErr == nil && (!there || c.Status != container.Paused) {
		return nil // it ended meanwhile, or was never frozen
	}
	w.poke() // the next turn finds it frozen and tries again
	return fmt.Errorf("resume after the snapshot: %w", err)
}
