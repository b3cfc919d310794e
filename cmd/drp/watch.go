package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"drp/orchestrator"
	"drp/orchestrator/api"
	"drp/raftstore/state"
)

const (
	// watchWait is one long-poll of a run.
	watchWait = 20 * time.Second
	// watchPatience is how long a watcher goes on while no coordinator answers.
	watchPatience = 10 * time.Minute
	watchPause    = time.Second
)

// watcher follows one run, whichever coordinators come and go meanwhile.
type watcher struct {
	client   *api.Client
	out      io.Writer
	json     bool
	progress progress
	title    string
	notFit   []orchestrator.PlanRefusal // accounts of the plan that the run leaves behind
	revision string
}

func newWatcher(c *connection, client *api.Client, out, errOut io.Writer) *watcher {
	w := &watcher{client: client, out: out, json: c.json}
	switch {
	case c.json:
		w.progress = &jsonProgress{out: out, changes: newChanges()}
	case isTerminal(out):
		w.progress = &liveProgress{out: out, size: sizeOf(out), now: time.Now}
	default:
		w.progress = &plainProgress{out: out, changes: newChanges()}
	}
	c.notice = w.progress.note
	return w
}

// until follows the run until stop says so, or it has ended.
func (w *watcher) until(ctx context.Context, id state.RunID, stop func(*state.Run) bool) (*api.RunView, error) {
	var silent time.Time // since when nobody answers
	for {
		var view *api.RunView
		var err error
		whileWaiting(time.Second, w.progress.tick, func() { view, err = w.client.Run(ctx, id, w.revision, watchWait) })
		if err == nil {
			silent = time.Time{}
			w.revision = view.Revision
			w.progress.show(view.Run, w.title)
			if stop(view.Run) || view.Run.Status.Ended() {
				return view, nil
			}
			continue
		}
		if ctx.Err() != nil {
			w.progress.end()
			return nil, &interruptError{id}
		}
		if exitCode(err) != codeUnreachable {
			w.progress.end()
			return nil, err
		}
		if silent.IsZero() {
			silent = time.Now()
			w.progress.note(fmt.Sprintf("%v; run %s does not need this command, which goes on asking", err, id))
		}
		if time.Since(silent) > watchPatience {
			w.progress.end()
			return nil, fmt.Errorf("follow run %s (see drp run watch %s): %w", id, id, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(watchPause):
		}
	}
}

// whileWaiting does work, and calls tick meanwhile: a clock that stands looks like a command that hangs.
func whileWaiting(every time.Duration, tick, work func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		work()
	}()
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-done:
			return
		case <-t.C:
			tick()
		}
	}
}

// follow shows the run to its end, and says what became of it.
func (w *watcher) follow(ctx context.Context, id state.RunID) error {
	view, err := w.until(ctx, id, func(*state.Run) bool { return false })
	if err != nil {
		return err
	}
	w.progress.end()
	s := summarize(view.Run, w.notFit)
	if w.json {
		if err := printLine(w.out, event{Event: "run", Run: view.Run, NotFit: w.notFit}); err != nil {
			return err
		}
	} else {
		s.print(w.out, w.title)
	}
	return s.err()
}

// errRunCancelled is not a failure of the platform: somebody decided it.
var errRunCancelled = errors.New("the run was cancelled")
