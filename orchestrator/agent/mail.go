package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"drp/orchestrator/agent/home"
	"drp/orchestrator/agent/mail"
	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// mails is where a snapshot holds mail: DOMAIN/NAME. Older ones hold it among the files.
const mails = "mails"

// returning is what is restored of a home before it is merged into its place. It is in the home, so that nothing has to be copied.
const returning = "mails"

// restoreMail brings the mail back into a home that is being made, before any program runs. A mailbox that the snapshot
// lacks comes from the newest that has it.
func (w *account) restoreMail(ctx context.Context, d wire.DesiredAccount, ids home.IDs, fresh *home.Fresh) error {
	from := map[state.SnapshotID][]string{}
	in := map[state.SnapshotID]wire.RepositoryAccess{}
	for _, m := range d.Account.Mailboxes {
		switch id, older := d.Parts[m.Part()]; {
		case !older:
		case id == "":
			w.Log.Error("no snapshot holds a mailbox: the account comes back without", "account", w.name, "mailbox", m.Part())
		default:
			if err := fresh.Directory(path.Join(home.Mail, m.Domain)); noDirectory(err) {
				w.Log.Error("a mailbox is left out: its place in the restored files is no directory", "account", w.name, "mailbox", m.Part(), "snapshot", id.Short())
				continue
			} else if err != nil {
				return fmt.Errorf("restore mailbox %s: %w", m.Part(), err)
			}
			w.Log.Warn("a mailbox comes from an older snapshot", "account", w.name, "mailbox", m.Part(), "snapshot", id.Short())
			from[id] = append(from[id], m.Part(), path.Join("files", home.Mail, m.Domain, m.Name))
			in[id] = *d.Repository
			if elsewhere, ok := d.Elsewhere[m.Part()]; ok { // one snapshot is in one repository
				in[id] = elsewhere
			}
		}
	}
	from[*d.Restore], in[*d.Restore] = []string{mails}, *d.Repository
	order := append([]state.SnapshotID{*d.Restore}, slices.DeleteFunc(slices.Sorted(maps.Keys(from)), func(id state.SnapshotID) bool { return id == *d.Restore })...)
	for _, id := range order {
		result, err := w.mergeFrom(ctx, in[id], id, from[id], ids, fresh)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if noDirectory(err) {
			w.Log.Error("mail is left out: its place in the restored files is no directory", "account", w.name, "snapshot", id.Short(), "place", home.Mail)
			continue
		}
		if err != nil {
			return fmt.Errorf("restore mail of snapshot %s: %w", id.Short(), err)
		}
		w.Log.Info("mail restored", "account", w.name, "snapshot", id.Short(), "result", result.String())
	}
	return nil
}

// noDirectory: the account has a file or a link where its mail would lie. That is its own business, and nobody follows the
// link; without its mail it runs all the same.
func noDirectory(err error) bool { return errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) }

// mergeFrom restores what a snapshot holds under these names, and merges it into the home's mail.
func (w *account) mergeFrom(ctx context.Context, repo wire.RepositoryAccess, id state.SnapshotID, names []string, ids home.IDs, fresh *home.Fresh) (result mail.Result, err error) {
	into, err := fresh.Inside(returning)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, fresh.RemoveInside(returning)) }()
	if err := w.Backups.RestoreOthers(ctx, ids, repo, id, names, into); err != nil {
		return result, err
	}
	for _, root := range []string{mails, path.Join("files", home.Mail)} {
		source, err := home.Beneath(into.Parent, path.Join(into.Name, root))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return result, err
		}
		err = mergeMail(source, fresh, &result)
		if err = errors.Join(err, source.Close()); err != nil {
			return result, err
		}
	}
	return result, nil
}

func mergeMail(source *os.File, fresh *home.Fresh, result *mail.Result) error {
	if err := fresh.Directory(home.Mail); err != nil {
		return err
	}
	target, err := home.Beneath(fresh.Files(), home.Mail)
	if err != nil {
		return err
	}
	defer target.Close()
	merged, err := mail.Merge(source, target)
	result.Add(merged)
	return err
}
