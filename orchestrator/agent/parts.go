package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"drp/orchestrator/agent/home"
	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// parts puts the dumps of an account's databases beside the view of its files, and looks for its mailboxes there. One that
// fails is told, and keeps nothing else out of the snapshot. An error means that the backup is given up.
func (w *account) parts(ctx context.Context, a state.Account, view *home.View, ids home.IDs) (parts []state.Part, dirs []string, err error) {
	open := map[string]*os.Root{}
	defer func() {
		for _, root := range open {
			root.Close()
		}
	}()
	for _, d := range a.Databases {
		dir := path.Dir(d.Part())
		if open[dir] == nil {
			if open[dir], err = view.Scratch(dir); err != nil {
				return nil, nil, err
			}
		}
		failed := w.Databases.Dump(ctx, d, open[dir], ids.Host(0))
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		parts = append(parts, w.part(d.Part(), failed))
	}
	dirs = slices.Sorted(maps.Keys(open))
	if view.Mail {
		dirs = append(dirs, mails)
	}
	for _, m := range a.Mailboxes {
		missing := view.Holds(m.Part())
		if missing != nil {
			missing = fmt.Errorf("there is no such mailbox: %w", missing)
		}
		parts = append(parts, w.part(m.Part(), missing))
	}
	return parts, dirs, nil
}

// part is how one went.
func (w *account) part(name string, failed error) state.Part {
	if failed == nil {
		return state.Part{Name: name}
	}
	w.Log.Error("part of a snapshot failed", "account", w.name, "part", name, "error", failed)
	return state.Part{Name: name, Error: sentence(failed.Error())}
}

// withFailed are the parts, of which some failed later.
func withFailed(parts, failed []state.Part) []state.Part {
	for _, f := range failed {
		i := slices.IndexFunc(parts, func(p state.Part) bool { return p.Name == f.Name })
		if i < 0 {
			parts, i = append(parts, f), len(parts)
		}
		parts[i].Error = sentence(f.Error)
	}
	for i := range parts {
		parts[i].Name = sentence(parts[i].Name)
	}
	return parts
}

// failures tells a person which parts failed.
func failures(parts []state.Part) string {
	var list []string
	for _, p := range parts {
		if p.Error != "" {
			list = append(list, p.Name+": "+p.Error)
		}
	}
	if len(list) == 0 {
		return ""
	}
	return "; without " + strings.Join(list, "; without ")
}

// loadDatabases makes the account's databases as they were, before its home is live and any of its programs runs. Each
// comes whole, or the account does not come; only one that no snapshot holds is left out, and told.
func (w *account) loadDatabases(ctx context.Context, d wire.DesiredAccount, ids home.IDs, fresh *home.Fresh) error {
	if len(d.Account.Databases) == 0 {
		return nil
	}
	if err := w.keepDatabases(ctx, d); err != nil {
		return err
	}
	from := map[state.SnapshotID][]state.Database{}
	for _, b := range d.Account.Databases {
		id, older := d.Parts[b.Part()]
		switch {
		case !older:
			id = *d.Restore
		case id == "":
			w.Log.Error("no snapshot holds a database: the account comes back without", "account", w.name, "database", b.Part())
			continue
		default:
			w.Log.Warn("a database comes from an older snapshot: the newer one's dump failed", "account", w.name, "database", b.Part(), "snapshot", id.Short())
		}
		from[id] = append(from[id], b)
	}
	for _, id := range slices.Sorted(maps.Keys(from)) {
		if err := w.loadFrom(ctx, d, id, from[id], ids, fresh); err != nil {
			return err
		}
	}
	return nil
}

// dumps is where they lie beside a home that is being made.
const dumps = "dumps"

func (w *account) loadFrom(ctx context.Context, d wire.DesiredAccount, id state.SnapshotID, list []state.Database, ids home.IDs, fresh *home.Fresh) (err error) {
	into, root, err := fresh.Scratch(dumps)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close(), fresh.RemoveScratch(dumps)) }()
	var names []string
	for _, b := range list {
		names = append(names, b.Part()+".sql", b.Part()+".json")
	}
	from := *d.Repository
	if elsewhere, ok := d.Elsewhere[list[0].Part()]; ok { // one snapshot is in one repository
		from = elsewhere
	}
	if err := w.Backups.RestoreOthers(ctx, ids, from, id, names, into); err != nil {
		return fmt.Errorf("restore databases of snapshot %s: %w", id.Short(), err)
	}
	for _, b := range list {
		began := time.Now()
		dir, err := root.OpenRoot(path.Dir(b.Part()))
		if err == nil {
			err = errors.Join(w.Databases.Load(ctx, b, d.Account.Databases, dir, ids), dir.Close())
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return fmt.Errorf("restore database %s of snapshot %s: %w", b.Part(), id.Short(), err)
		}
		w.Log.Info("database restored", "account", w.name, "database", b.Part(), "snapshot", id.Short(), "took", time.Since(began))
	}
	return nil
}

// keepDatabases writes what the engines hold under the names of the account's databases into files beside the homes
// that were set aside: it may be all that is left of it, and it is about to be replaced. Once under each token; what is
// there afterwards is ours.
func (w *account) keepDatabases(ctx context.Context, d wire.DesiredAccount) error {
	f, err := w.journal.fenceOf(w.name)
	if err != nil || f.Token == d.Token && f.Kept {
		return err
	}
	var kept *os.Root
	for _, b := range d.Account.Databases {
		there, err := w.Databases.Exists(ctx, b)
		if err != nil {
			return fmt.Errorf("look for database %s: %w", b.Part(), err)
		}
		if !there {
			continue
		}
		if kept == nil {
			if kept, err = w.Homes.Keep(w.name, d.Token); err != nil {
				return err
			}
			defer kept.Close()
		}
		dir := path.Dir(b.Part())
		if err := kept.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		into, err := kept.OpenRoot(dir)
		if err == nil {
			err = errors.Join(w.Databases.Dump(ctx, b, into, os.Getuid()), into.Close())
		}
		if err != nil {
			return fmt.Errorf("keep database %s, which is on this server already: %w", b.Part(), err)
		}
		w.Log.Info("database of an earlier time kept", "account", w.name, "database", b.Part(), "path", kept.Name())
	}
	return w.journal.fence(w.name, func(f *fence) { f.Kept = f.Token == d.Token })
}
