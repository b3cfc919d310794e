package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path"
	"strings"
	"time"

	"drp/orchestrator/agent/home"
	"drp/orchestrator/wire"
	"drp/raftstore/identity"
	"drp/raftstore/state"
	"drp/replicator/restic"
)

// gatewayWithin is how long a gateway may be away before a job fails: restic itself would try for 15 minutes.
const gatewayWithin = 45 * time.Second

// Restic is Backups by the restic child process, in the account's user namespace.
//
// Nothing that the child needs is reached by a path that the account's root would have to be let through: the
// program, the directory and the secrets are descriptors.
type Restic struct {
	Binary      string
	Credentials identity.Files
	Trust       *identity.Credentials // nil: restic alone looks at a gateway's certificate
	Log         *slog.Logger
}

// In the child: the program, and the directory that it works in.
const (
	programInChild   = "/proc/self/fd/3"
	directoryInChild = "/proc/self/fd/4"
)

// Backup is part of Backups.
func (r *Restic) Backup(ctx context.Context, account state.AccountName, ids home.IDs, access wire.RepositoryAccess, view *os.File, others []string, at time.Time) (Saved, error) {
	repo, err := r.repository(ctx, access)
	if err != nil {
		return Saved{}, err
	}
	program, err := os.Open(r.Binary)
	if err != nil {
		return Saved{}, fmt.Errorf("open restic: %w", err)
	}
	defer program.Close()
	run := r.runner(ids, program, view)
	sum, err := run.Backup(ctx, repo, restic.BackupOptions{
		Paths: append([]string{"files", "account.json"}, others...), Host: string(account), Tags: []string{"drp"}, Time: at,
		Exclude: []string{"files/" + home.WorkPattern}, // what an interrupted restore left; not the account's
	})
	saved := Saved{ID: state.SnapshotID(sum.SnapshotID), Files: sum.Files, Bytes: sum.Bytes}
	if errors.Is(err, restic.ErrIncomplete) {
		var only bool
		if saved.Failed, only = unreadableMail(view, sum); !only || errors.Is(err, restic.ErrDamaged) {
			return Saved{}, fmt.Errorf("%w: %s: snapshot %s lacks them", err, strings.Join(sum.Unreadable, ", "), saved.ID.Short())
		}
		err = nil
	}
	if err != nil {
		return Saved{}, explain(repo, err)
	}
	return saved, nil
}

// unreadableMail are the mailboxes of which restic could not read something. only: it could read all the rest.
func unreadableMail(view *os.File, sum restic.Summary) (failed []state.Part, only bool) {
	dir, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", view.Fd()))
	if err != nil || sum.Errors == 0 || sum.Errors > len(sum.Unreadable) {
		return nil, false
	}
	for _, said := range sum.Unreadable {
		at, ok := strings.CutPrefix(said, dir+"/"+mails+"/")
		domain, rest, inDomain := strings.Cut(at, "/")
		name, _, inMailbox := strings.Cut(rest, "/")
		if !ok || !inDomain || !inMailbox {
			return nil, false
		}
		failed = append(failed, state.Part{Name: state.Mailbox{Domain: domain, Name: name}.Part(), Error: "it lacks what cannot be read: " + strings.TrimPrefix(said, dir+"/")})
	}
	return failed, true
}

// Restore is part of Backups. When at is a file, it comes alone into the directory; a directory's content does.
func (r *Restic) Restore(ctx context.Context, ids home.IDs, access wire.RepositoryAccess, from state.SnapshotID, at string, into home.Within) (Restored, error) {
	repo, err := r.repository(ctx, access)
	if err != nil {
		return Restored{}, err
	}
	program, err := os.Open(r.Binary)
	if err != nil {
		return Restored{}, fmt.Errorf("open restic: %w", err)
	}
	defer program.Close()
	run := r.runner(ids, program, into.Parent)
	// No lock: the snapshot's home is fenced or is this account's own, and what is pruned is kept for a time. An index with
	// wrong lengths, which anybody with the password can add, makes restic write wrong bytes and say that all is well:
	// only reading them again finds it.
	options := restic.RestoreOptions{Snapshot: string(from), Target: path.Join(directoryInChild, into.Name), Sparse: true, NoLock: true, Verify: true}
	places := []string{path.Join("/files", at)}
	if within, ok := strings.CutPrefix(at+"/", home.Mail+"/"); ok { // where snapshots hold mail, and where older ones do
		places = append([]string{path.Join("/", mails, within)}, places...)
	}
	got, err := restoreAt(ctx, run, repo, options, places[0])
	if err != nil && len(places) > 1 && ctx.Err() == nil {
		// In newer snapshots the other place is an empty directory: that nothing came from there is no success.
		if older, olderErr := restoreAt(ctx, run, repo, options, places[1]); olderErr == nil && older.Files > 0 {
			got, err = older, nil
		}
	}
	if err != nil {
		return Restored{}, explain(repo, err)
	}
	return Restored{Files: got.Files, Bytes: got.Bytes}, nil
}

// restoreAt restores the content of a directory of the snapshot, or one file.
func restoreAt(ctx context.Context, run *restic.Runner, repo restic.Repository, options restic.RestoreOptions, place string) (restic.Restored, error) {
	options.Subpath = place
	got, err := run.Restore(ctx, repo, options)
	if place == "/files" || !errors.Is(err, restic.ErrFailed) || ctx.Err() != nil {
		return got, err
	}
	options.Subpath = path.Dir(place)
	options.Include = []string{"/" + literal.Replace(path.Base(place))}
	one, oneErr := run.Restore(ctx, repo, options)
	switch {
	case oneErr == nil && one.Files > 0:
		return one, nil
	case oneErr == nil || errors.Is(oneErr, restic.ErrFailed):
		_, at, _ := strings.Cut(place[1:], "/")
		err = fmt.Errorf("%q is not in snapshot %s, or cannot be restored: %w", at, state.SnapshotID(options.Snapshot).Short(), err)
	}
	return got, err
}

// RestoreOthers is part of Backups.
func (r *Restic) RestoreOthers(ctx context.Context, ids home.IDs, access wire.RepositoryAccess, from state.SnapshotID, names []string, into home.Within) error {
	repo, err := r.repository(ctx, access)
	if err != nil {
		return err
	}
	program, err := os.Open(r.Binary)
	if err != nil {
		return fmt.Errorf("open restic: %w", err)
	}
	defer program.Close()
	options := restic.RestoreOptions{Snapshot: string(from), Target: path.Join(directoryInChild, into.Name), NoLock: true, Verify: true}
	for _, name := range names {
		options.Include = append(options.Include, "/"+literal.Replace(name))
	}
	if _, err := r.runner(ids, program, into.Parent).Restore(ctx, repo, options); err != nil {
		return explain(repo, err)
	}
	return nil
}

// explain adds which repository it was, by which gateway, and the first thing that restic complained of: its last word is
// often only a count, or the status of an answer.
func explain(repo restic.Repository, err error) error {
	var said *restic.Error
	if !errors.As(err, &said) {
		return err
	}
	first, _, _ := strings.Cut(said.Tail, "\n")
	if first == "" || first == said.Message {
		return fmt.Errorf("%w (repository %s)", err, repo)
	}
	return fmt.Errorf("%w (%s; repository %s)", err, first, repo)
}

// literal makes a file name a pattern that matches it alone.
var literal = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

// repository waits until one of the gateways answers.
func (r *Restic) repository(ctx context.Context, access wire.RepositoryAccess) (restic.Repository, error) {
	repo := restic.Repository{Password: access.Password}
	address, err := r.reachable(ctx, access.URLs)
	if err != nil {
		return repo, err
	}
	repo.URL = address
	if !strings.HasPrefix(address, "rest:https:") {
		return repo, nil
	}
	if repo.Certificate, repo.Key, repo.Authority, err = r.Credentials.Read(); err != nil {
		return repo, fmt.Errorf("read credentials for the gateway: %w", err)
	}
	return repo, nil
}

func (r *Restic) reachable(ctx context.Context, urls []string) (string, error) {
	if len(urls) == 0 {
		return "", errors.New("this server's site has no gateway")
	}
	ctx, cancel := context.WithTimeout(ctx, gatewayWithin)
	defer cancel()
	for wait := time.Second; ; wait = min(2*wait, 5*time.Second) {
		var failed error
		for _, one := range urls {
			at, err := url.Parse(strings.TrimPrefix(one, "rest:"))
			if err != nil {
				return "", errors.New("the leader named a repository whose URL cannot be read")
			}
			if at.Host == "" {
				return one, nil // a directory
			}
			if err = r.greet(ctx, at); err == nil {
				return one, nil
			}
			failed = errors.Join(failed, err)
		}
		sleep(ctx, wait)
		if ctx.Err() != nil {
			return "", fmt.Errorf("no gateway of this site answers: %w", failed)
		}
	}
}

// greet connects to a gateway, and looks at its certificate as restic cannot: for its role, and whether it was revoked.
func (r *Restic) greet(ctx context.Context, at *url.URL) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", at.Host)
	if err != nil {
		return err
	}
	defer conn.Close()
	if r.Trust == nil || at.Scheme != "https" {
		return nil
	}
	if err := tls.Client(conn, r.Trust.Client(identity.Gateway)).HandshakeContext(ctx); err != nil {
		return fmt.Errorf("greet gateway %s: %w", at.Host, err)
	}
	return nil
}

// runner runs restic as the account's root, in a directory.
func (r *Restic) runner(ids home.IDs, program, dir *os.File) *restic.Runner {
	return &restic.Runner{
		Binary: programInChild, Log: r.Log,
		Command: func(ctx context.Context, binary string, args ...string) *exec.Cmd {
			cmd := exec.CommandContext(ctx, binary, args...)
			cmd.ExtraFiles = []*os.File{program, dir}
			// The child enters it before its descriptors are put in order, so by our number.
			cmd.Dir = fmt.Sprintf("/proc/self/fd/%d", dir.Fd())
			cmd.SysProcAttr = ids.Child()
			return cmd
		},
	}
}
