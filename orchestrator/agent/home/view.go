package home

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"drp/raftstore/state"
)

// View is what a backup reads: a directory with the files of the home in "files" and the account's own record in
// "account.json". It lies at the same path for each backup of an account, so that restic finds the previous one.
type View struct {
	// Kind is "btrfs": one moment of all files; or "live": files are read while programs write.
	Kind string
	// Dir is the open directory; restic runs in it.
	Dir *os.File

	store   *Store
	account state.AccountName
}

// PrepareView does all of a view that can be done while the account runs. At most one view of an account exists;
// an older one is removed.
func (s *Store) PrepareView(account state.AccountName, record []byte) (*View, error) {
	rec, ok, err := s.Held(account)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("view home of %s: there is no home here", account)
	}
	v := &View{Kind: "live", store: s, account: account}
	if s.btrfs && isSubvolume(s.Path(account)) {
		v.Kind = "btrfs"
	}
	if err := v.prepare(rec, record); err != nil {
		return nil, errors.Join(fmt.Errorf("view home of %s: %w", account, err), s.dropView(account))
	}
	return v, nil
}

func (v *View) prepare(rec Record, record []byte) error {
	if err := v.store.dropView(v.account); err != nil {
		return err
	}
	dir := v.store.viewDir(v.account)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	// Owned by the account's root, as which restic runs.
	document := filepath.Join(dir, "account.json")
	if err := os.WriteFile(document, record, 0o400); err != nil {
		return err
	}
	for _, path := range []string{document, dir} {
		if err := os.Lchown(path, rec.IDs.Host(0), rec.IDs.Host(0)); err != nil {
			return err
		}
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

// Take fixes the moment. The caller freezes the account around it.
func (v *View) Take() error {
	source := v.store.Path(v.account)
	to := filepath.Join(v.store.viewDir(v.account), "files")
	if v.Kind == "btrfs" {
		from, err := openDir(source)
		if err != nil {
			return fmt.Errorf("view home of %s: %w", v.account, err)
		}
		defer from.Close()
		return snapshotSubvolume(from, to)
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return fmt.Errorf("view home of %s: %w", v.account, err)
	}
	if err := unix.Mount(source, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("view home of %s: bind %s: %w", v.account, to, err)
	}
	if err := unix.Mount("", to, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
		return fmt.Errorf("view home of %s: make %s read-only: %w", v.account, to, err)
	}
	return nil
}

// Scratch makes a directory of the view, beside the files, that is the account's root's and nobody else's.
func (v *View) Scratch(name string) (*os.Root, error) {
	rec, ok, err := v.store.Held(v.account)
	if err != nil || !ok {
		return nil, errors.Join(fmt.Errorf("view home of %s: there is no home here", v.account), err)
	}
	return scratch(filepath.Join(v.store.viewDir(v.account), name), rec.IDs)
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

// Holds says whether a directory is among the files of the view, reached by no link.
func (v *View) Holds(path string) error {
	dir, err := beneath(v.Dir, filepath.Join("files", path))
	if err != nil {
		return err
	}
	return dir.Close()
}

// Close removes the view.
func (v *View) Close() error {
	if v.Dir != nil {
		v.Dir.Close()
	}
	return v.store.dropView(v.account)
}

func (s *Store) viewDir(account state.AccountName) string {
	return filepath.Join(s.root, viewsDir, string(account))
}

func (s *Store) dropView(account state.AccountName) error {
	if err := s.discard(s.viewDir(account)); err != nil {
		return fmt.Errorf("remove view of %s: %w", account, err)
	}
	return nil
}
