package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// recordFormat is the version of account.json.
const recordFormat = 1

// record is account.json of a snapshot: with it and its files an account can be rebuilt when nothing else is left.
type record struct {
	Format  int           `json:"format"`
	Account state.Account `json:"account"`
	Token   state.Token   `json:"token"`
	Read    reading       `json:"read"`
}

// reading is how its files were read.
type reading struct {
	View   string       `json:"view"`
	Why    string       `json:"why,omitempty"`    // live, although there is a volume that snapshots can be taken of
	Copied int          `json:"copied,omitempty"` // SQLite files, while the account stood still
	Live   []state.Part `json:"live,omitempty"`   // those that were not
}

// backup may run any number of times: each makes one more snapshot.
func (w *account) backup(ctx context.Context, t wire.DesiredTask) (result *wire.TaskReport, err error) {
	rec, held, err := w.Homes.Held(w.name)
	if err != nil || !held {
		return nil, errors.Join(errors.New("there is no home here"), err)
	}
	w.held.Lock()
	order := w.want
	w.held.Unlock()
	view, release, err := w.look(ctx)
	if err != nil {
		return nil, err
	}
	at, err := w.freeze(ctx, view.Still(), view.Take, release)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := view.Arrange(); err != nil {
		return nil, err
	}
	if !view.Moment.IsZero() {
		at = view.Moment
	}
	kind, why := view.Kind, ""
	if view.Why != nil {
		why = sentence(view.Why.Error())
		w.Log.Warn("files are read live", "account", w.name, "error", view.Why)
	}
	document, err := json.MarshalIndent(record{recordFormat, order.Account, rec.Token, reading{view.Kind, why, view.Copied(), view.Live()}}, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := view.Document(document); err != nil {
		return nil, err
	}
	parts, others, err := w.parts(ctx, order.Account, view, rec.IDs)
	if err != nil {
		return nil, err
	}
	saved, err := w.Backups.Backup(ctx, w.name, rec.IDs, t.Repository, view.Dir, others, at)
	if err := errors.Join(view.Whole(ctx), err); err != nil {
		return nil, err
	}
	parts = withFailed(append(parts, view.Live()...), saved.Failed)
	if view.Copied() > 0 {
		kind += fmt.Sprintf(" with %d SQLite files copied", view.Copied())
	}
	if why != "" {
		kind += ", for " + why
	}
	return &wire.TaskReport{
		Task:   t.Task.ID,
		Detail: fmt.Sprintf("snapshot %s: %d files, %d bytes, view %s", saved.ID.Short(), saved.Files, saved.Bytes, kind) + failures(parts),
		Snapshot: &state.Snapshot{
			ID: saved.ID, Account: w.name, Server: w.Server, Token: rec.Token,
			Start: at.UTC(), Finished: time.Now().UTC(), View: view.Kind, Copied: view.Copied(), Files: saved.Files, Bytes: saved.Bytes,
			Parts: parts,
		},
	}, nil
}

// restoreFiles writes files as of a snapshot beside the live data. The journal knows again what it made, so that it
// is done once however often it is asked for.
func (w *account) restoreFiles(ctx context.Context, t wire.DesiredTask) (*wire.TaskReport, error) {
	task := t.Task
	if task.Restore == nil {
		return nil, errors.New("the task names no snapshot")
	}
	from := strings.TrimPrefix(path.Clean("/"+task.Path), "/")
	shown := from
	if shown == "" {
		shown = "the whole home"
	}
	done := &wire.TaskReport{Task: task.ID}
	placing, err := w.journal.placing(task.ID)
	if err != nil {
		return nil, err
	}
	beside, err := w.Homes.Beside(w.name, task.Target, task.ID, placing)
	if err != nil {
		return nil, err
	}
	if beside.Placed {
		done.Detail = fmt.Sprintf("%s as of snapshot %s is in %s", shown, task.Restore.Snapshot.Short(), task.Target)
		return done, nil
	}
	rec, _, err := w.Homes.Held(w.name)
	if err != nil {
		return nil, errors.Join(err, beside.Abandon())
	}
	got, err := w.Backups.Restore(ctx, rec.IDs, t.Repository, task.Restore.Snapshot, from, beside.Into)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("restore %s: %w", shown, err), beside.Abandon())
	}
	if err := beside.Place(func(placing string) error { return w.journal.place(task, placing) }); err != nil {
		return nil, err
	}
	done.Detail = fmt.Sprintf("%d files (%d bytes) of %s as of snapshot %s are in %s", got.Files, got.Bytes, shown, task.Restore.Snapshot.Short(), task.Target)
	return done, nil
}
