package restic

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// maxUnreadable is how many sources a Summary names; Errors counts them all.
const maxUnreadable = 20

// Init creates the repository. On one that exists restic exits 1: ask Exists first.
func (r *Runner) Init(ctx context.Context, repo Repository) error {
	_, err := r.run(ctx, repo, call{verb: "init", limit: r.quick()})
	return err
}

// Exists reports whether there is a repository that the password opens.
func (r *Runner) Exists(ctx context.Context, repo Repository) (bool, error) {
	_, err := r.run(ctx, repo, call{verb: "cat", args: []string{"config"}, limit: r.quick()})
	if errors.Is(err, ErrNoRepository) {
		return false, nil
	}
	return err == nil, err
}

// BackupOptions say what goes into a snapshot.
type BackupOptions struct {
	Dir     string   // working directory: paths in the snapshot are relative to it
	Paths   []string // relative to Dir; none: everything in it
	Host    string   // of the snapshot; together with Tags it finds the parent and groups retention
	Tags    []string
	Time    time.Time // of the snapshot; zero: now, as the child's clock says
	Exclude []string
	// Progress is called about once a second from the goroutine that reads restic's output. It may be nil.
	Progress func(files, bytes int64)
}

// Summary is what restic says of a backup.
type Summary struct {
	SnapshotID string    `json:"snapshot_id"` // 64 hexadecimal digits
	Files      int64     `json:"total_files_processed"`
	Bytes      int64     `json:"total_bytes_processed"`
	Added      int64     `json:"data_added_packed"` // bytes that the store grew by
	Start      time.Time `json:"backup_start"`
	End        time.Time `json:"backup_end"`
	// Errors counts the files that could not be read; Unreadable names the first of them, as plain text. Of a path that
	// was not there at all restic speaks in plain words only: they are in the *Error's Tail.
	Errors     int      `json:"-"`
	Unreadable []string `json:"-"`
}

var snapshotName = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Backup makes a snapshot. With ErrIncomplete the Summary is valid and the snapshot exists, without what it names
// as unreadable; so with ErrDamaged.
func (r *Runner) Backup(ctx context.Context, repo Repository, o BackupOptions) (Summary, error) {
	// Paths differ from one filesystem snapshot to the next; host and tags do not, so they find the parent.
	args := []string{"--no-scan", "--group-by=host,tags", "--host=" + o.Host}
	for _, t := range o.Tags {
		if t == "" || strings.Contains(t, ",") {
			return Summary{}, fmt.Errorf("restic backup: tag %q: want a name without comma", t)
		}
		args = append(args, "--tag="+t)
	}
	if !o.Time.IsZero() {
		args = append(args, "--time="+o.Time.UTC().Format(time.DateTime))
	}
	for _, x := range o.Exclude {
		args = append(args, "--exclude="+x)
	}
	args = append(args, "--")
	if len(o.Paths) == 0 {
		args = append(args, ".")
	}
	args = append(args, o.Paths...)

	var sum Summary
	said, err := r.run(ctx, repo, call{verb: "backup", args: args, dir: o.Dir, limit: r.limit(), line: func(line []byte) {
		switch kind(line) {
		case "summary":
			var s Summary
			if json.Unmarshal(line, &s) == nil {
				sum = s
			}
		case "status":
			var s struct {
				Files int64 `json:"files_done"`
				Bytes int64 `json:"bytes_done"`
			}
			if o.Progress != nil && json.Unmarshal(line, &s) == nil {
				o.Progress(s.Files, s.Bytes)
			}
		}
	}})
	sum.Errors, sum.Unreadable = said.errors, said.unreadable
	if err != nil && !errors.Is(err, ErrIncomplete) {
		return Summary{}, err
	}
	if !snapshotName.MatchString(sum.SnapshotID) {
		return Summary{}, &Error{Verb: "backup", Class: ErrFailed, Message: "no snapshot in its summary", Tail: said.text()}
	}
	if err != nil && slices.ContainsFunc(sum.Unreadable, func(s string) bool { return strings.Contains(s, damageSaid) }) {
		err = fmt.Errorf("%w: %w", err, ErrDamaged)
	}
	return sum, err
}

// RestoreOptions say what comes out of a snapshot, and where to.
type RestoreOptions struct {
	Snapshot string // its id, or "latest"
	Subpath  string // only what lies under this path of the snapshot; it becomes Target's root
	Target   string // directory; its owner and mode become those in the snapshot
	Include  []string
	// Refresh makes Target equal to the snapshot: unchanged files are left alone, and files that the snapshot does not hold are deleted.
	Refresh bool
	Sparse  bool // holes stay holes; a hole takes no room in the repository, and would fill the target's disk
	Verify  bool // read what was written and compare
	NoLock  bool // under a lease of our own, or where the store is read-only
}

// Restored is what restic says of a restore.
type Restored struct {
	Files   int64 `json:"files_restored"`
	Skipped int64 `json:"files_skipped"`
	Deleted int64 `json:"files_deleted"`
	Bytes   int64 `json:"bytes_restored"`
}

// hostAttributes are the extended attributes that only the host's root may set. An account makes none of them, but a
// snapshot can hold them (a backup cannot leave attributes out), and each that cannot be set fails the restore.
var hostAttributes = []string{"trusted.*", "security.*"}

var snapshotArgument = regexp.MustCompile(`^([0-9a-f]{8,64}|latest)$`)

// Restore writes a snapshot's files. Any file that could not be restored is an error.
func (r *Runner) Restore(ctx context.Context, repo Repository, o RestoreOptions) (Restored, error) {
	if !snapshotArgument.MatchString(o.Snapshot) {
		return Restored{}, fmt.Errorf("restic restore: snapshot %q: want 8 to 64 hexadecimal digits", o.Snapshot)
	}
	if o.Target == "" {
		return Restored{}, errors.New("restic restore: no target directory")
	}
	args := []string{"--target=" + o.Target}
	for _, a := range hostAttributes {
		args = append(args, "--exclude-xattr="+a)
	}
	for _, p := range o.Include {
		args = append(args, "--include="+p)
	}
	if o.Refresh {
		args = append(args, "--overwrite=if-changed", "--delete")
	}
	if o.Sparse {
		args = append(args, "--sparse")
	}
	if o.Verify {
		args = append(args, "--verify")
	}
	if o.NoLock {
		args = append(args, "--no-lock")
	}
	id := o.Snapshot
	if o.Subpath != "" {
		id += ":" + o.Subpath
	}
	var sum Restored
	summary := false
	said, err := r.run(ctx, repo, call{verb: "restore", args: append(args, "--", id), limit: r.limit(), line: func(line []byte) {
		if kind(line) == "summary" && json.Unmarshal(line, &sum) == nil {
			summary = true
		}
	}})
	if err == nil && !summary {
		err = &Error{Verb: "restore", Class: ErrFailed, Message: "no summary", Tail: said.text()}
	}
	return sum, err
}

// MostParts is into how many parts the data of a repository can be divided for checks.
const MostParts = 256

// CheckOptions say how deep a check goes.
type CheckOptions struct {
	ReadData bool // each pack is read and decrypted
	// Of Parts that all packs are divided into by their names, only the packs of Part (from 1) are read. Parts is at most 256.
	Part, Parts int
	NoLock      bool
}

// Check looks for damage. Only the exit code is trusted: for missing packs the summary names none.
func (r *Runner) Check(ctx context.Context, repo Repository, o CheckOptions) error {
	var args []string
	switch {
	case o.ReadData:
		args = append(args, "--read-data")
	case o.Parts != 0:
		if o.Part < 1 || o.Part > o.Parts || o.Parts > MostParts {
			return fmt.Errorf("restic check: part %d of %d: parts are counted from 1, to %d at most", o.Part, o.Parts, MostParts)
		}
		args = append(args, fmt.Sprintf("--read-data-subset=%d/%d", o.Part, o.Parts))
	}
	if o.NoLock {
		args = append(args, "--no-lock")
	}
	said, err := r.run(ctx, repo, call{verb: "check", args: args, limit: r.limit()})
	var e *Error
	if errors.As(err, &e) && said != nil && len(said.unreadable) > 0 {
		e.Message = oneLine(e.Message + ": " + strings.Join(said.unreadable[:min(2, len(said.unreadable))], " ")) // its last word names nothing
	}
	return err
}

// Snapshot is one entry of a repository's list.
type Snapshot struct {
	ID    string    `json:"id"`
	Time  time.Time `json:"time"` // as the writer claims
	Host  string    `json:"hostname"`
	Tags  []string  `json:"tags"`
	Paths []string  `json:"paths"`
}

// Snapshots lists a repository without locking it, in restic's order (oldest first).
func (r *Runner) Snapshots(ctx context.Context, repo Repository) ([]Snapshot, error) {
	var list []Snapshot
	found := false
	said, err := r.run(ctx, repo, call{verb: "snapshots", args: []string{"--no-lock"}, limit: r.quick(), long: 64 << 20, line: func(line []byte) {
		if line = bytes.TrimSpace(line); !found && bytes.HasPrefix(line, []byte("[")) {
			found = json.Unmarshal(line, &list) == nil
		}
	}})
	if err == nil && !found {
		err = &Error{Verb: "snapshots", Class: ErrFailed, Message: "no list in its output", Tail: said.text()}
	}
	if err != nil {
		return nil, err
	}
	return list, nil
}

// Unlock removes stale locks, or with all every lock: only under a lease of our own, once their owners' tasks are proven over.
func (r *Runner) Unlock(ctx context.Context, repo Repository, all bool) error {
	var args []string
	if all {
		args = append(args, "--remove-all")
	}
	_, err := r.run(ctx, repo, call{verb: "unlock", args: args, limit: r.quick()})
	return err
}

func (r *Runner) quick() time.Duration { return cmp.Or(r.Quick, 2*time.Minute) }
func (r *Runner) limit() time.Duration { return cmp.Or(r.Limit, 12*time.Hour) }
