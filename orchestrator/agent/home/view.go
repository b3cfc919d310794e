package home

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"drp/raftstore/state"
)

// View is what a backup reads: a directory with the files of the home in "files", its mail in "mails" (if there is any) and
// the account's own record in "account.json". It lies at the same path for each backup of an account, so that restic finds
// the previous one.
//
// It is made by PrepareView and Search while the account runs, Take while it stands still, and Arrange afterwards. A snapshot of an
// LVM volume is taken by Search already: when there is none, files have to be searched.
type View struct {
	// Kind is "btrfs" or "lvm": one moment of all files; or "live": files are read while programs write, but for those that
	// Take has copied.
	Kind string
	// Moment is before that of a snapshot which is not Take's.
	Moment time.Time
	// Why the files are read live where they could be seen as of one moment.
	Why error
	// Dir is the open directory; restic runs in it.
	Dir *os.File
	// Mail: there is a directory of mailboxes.
	Mail bool

	store   *Store
	account state.AccountName
	ids     IDs
	copies  copies
}

// PrepareView begins a view. At most one of an account exists; an older one is removed.
func (s *Store) PrepareView(account state.AccountName) (*View, error) {
	rec, ok, err := s.Held(account)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("view home of %s: there is no home here", account)
	}
	v := &View{Kind: "live", store: s, account: account, ids: rec.IDs}
	if s.btrfs && isSubvolume(s.Path(account)) {
		v.Kind = "btrfs"
	}
	if err := v.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("view home of %s: %w", account, err), s.dropView(account))
	}
	return v, nil
}

func (v *View) prepare() error {
	if err := v.store.dropView(v.account); err != nil {
		return err
	}
	dir := v.store.viewDir(v.account)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	// Owned by the account's root, as which restic runs.
	if err := os.Lchown(dir, v.ids.Host(0), v.ids.Host(0)); err != nil {
		return err
	}
	var err error
	if v.Dir, err = openDir(dir); err != nil {
		return err
	}
	if v.Kind == "btrfs" { // flush now what would otherwise be flushed while the account is frozen
		return v.sync()
	}
	return nil
}

func (v *View) sync() error {
	source, err := openDir(v.store.Path(v.account))
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(source.Fd())), source.Close())
}

// Still reports whether the account is to stand still for Take.
func (v *View) Still() bool { return v.Kind == "btrfs" || len(v.copies.found) > 0 }

// Take fixes the moment. The caller freezes the account around it when Still says so.
func (v *View) Take() error {
	switch v.Kind {
	case "lvm": // is taken
		return nil
	case "live":
		v.copyAll()
		return nil
	}
	from, err := openDir(v.store.Path(v.account))
	if err != nil {
		return fmt.Errorf("view home of %s: %w", v.account, err)
	}
	defer from.Close()
	return snapshotSubvolume(from, v.path("files"))
}

// Arrange puts everything where restic is to find it.
func (v *View) Arrange() error {
	if v.Kind == "live" {
		if err := v.show(); err != nil {
			return fmt.Errorf("view home of %s: %w", v.account, err)
		}
	}
	if err := v.moveMail(); err != nil {
		return fmt.Errorf("view mail of %s: %w", v.account, err)
	}
	return nil
}

// show mounts the files as they are, under the copies if there are any.
func (v *View) show() error {
	files := v.path("files")
	if err := os.Mkdir(files, 0o700); err != nil {
		return err
	}
	home, err := openDir(v.store.Path(v.account))
	if err != nil {
		return err
	}
	defer home.Close()
	if v.overlay(home, files) {
		return nil
	}
	return bind(home, files)
}

// bind mounts a directory at another place, to be read.
func bind(dir *os.File, at string) error {
	if err := unix.Mount(byDescriptor(dir), at, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", at, err)
	}
	if err := private(at); err != nil {
		return err
	}
	if err := unix.Mount("", at, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("make %s read-only: %w", at, err)
	}
	return nil
}

// private keeps what is mounted on this mount from appearing anywhere else. Where all mounts are shared, as systemd makes them, a
// bind is a peer of the place that it shows, and what covers a directory in the one would cover it in the other: the live mail too.
func private(at string) error {
	if err := unix.Mount("", at, "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make %s private: %w", at, err)
	}
	return nil
}

// byDescriptor is a path to an open file that nobody can change.
func byDescriptor(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// Mail is where the mailboxes of an account lie in its home: DOMAIN/NAME.
const Mail = "admin/mail"

// moveMail mounts the mail beside the files, and an empty directory like it over the place where it lies among them, so that
// a snapshot holds it once.
func (v *View) moveMail() error {
	mail, err := Beneath(v.Dir, "files/"+Mail)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil // whatever is there is a file of the account
	}
	if err != nil {
		return err
	}
	defer mail.Close()
	for _, name := range []string{"mails", "empty"} {
		if err := os.Mkdir(v.path(name), 0o700); err != nil {
			return err
		}
	}
	if err := bind(mail, v.path("mails")); err != nil {
		return err
	}
	empty, err := openDir(v.path("empty"))
	if err != nil {
		return err
	}
	defer empty.Close()
	if err := SameAttributes(mail, empty); err != nil {
		return err
	}
	if err := unix.Mount(byDescriptor(empty), byDescriptor(mail), "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cover %s: %w", Mail, err)
	}
	v.Mail = true
	return nil
}

// Document writes the account's own record.
func (v *View) Document(record []byte) error {
	path := v.path("account.json")
	if err := os.WriteFile(path, record, 0o400); err != nil {
		return fmt.Errorf("view home of %s: %w", v.account, err)
	}
	return os.Lchown(path, v.ids.Host(0), v.ids.Host(0))
}

// Scratch makes a directory of the view, beside the files, that is the account's root's and nobody else's.
func (v *View) Scratch(name string) (*os.Root, error) {
	return scratch(v.path(name), v.ids)
}

func scratch(dir string, ids IDs) (*os.Root, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.Lchown(dir, ids.Host(0), ids.Host(0)); err != nil {
		return nil, err
	}
	return os.OpenRoot(dir)
}

// Holds says whether a directory is in the view, reached by no link.
func (v *View) Holds(path string) error {
	dir, err := Beneath(v.Dir, path)
	if err != nil {
		return err
	}
	return dir.Close()
}

// Whole tells, when everything is read, whether all of it was what the view is said to be.
func (v *View) Whole(ctx context.Context) error {
	if v.Kind != "lvm" {
		return nil
	}
	return v.store.volume.whole(ctx, v.account)
}

// Close removes the view.
func (v *View) Close() error {
	if v.Dir != nil {
		v.Dir.Close()
	}
	err := v.store.dropView(v.account)
	if err == nil && v.Kind == "lvm" {
		_, err = v.store.volume.remove(context.Background(), v.account)
	}
	return err
}

func (v *View) path(name string) string { return filepath.Join(v.store.viewDir(v.account), name) }

func (s *Store) viewDir(account state.AccountName) string {
	return filepath.Join(s.root, viewsDir, string(account))
}

func (s *Store) dropView(account state.AccountName) error {
	if err := s.discard(s.viewDir(account)); err != nil {
		return fmt.Errorf("remove view of %s: %w", account, err)
	}
	return nil
}
