// Package home keeps the homes of a server's accounts.
//
// The layout under the root:
//
//	ACCOUNT/home     the files, mounted as /home/ACCOUNT in the container; a subvolume on btrfs
//	ACCOUNT/token    the token under which they are held, and the host ids that own them
//	aside/ACCOUNT@TOKEN/…   homes of tokens that are over, untouched, never deleted by this package
//	.fresh/ACCOUNT/… a home that is being made; not there for anybody else
//	.views/ACCOUNT/… what a backup reads
//
// A home is live from one rename on: ACCOUNT exists if and only if its home is whole. Whatever lies in .fresh
// and .views after a crash is half done and is removed at the next Open.
package home

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"drp/raftstore/state"
)

// User is the id, inside the account, of its ordinary user and of the group that its home belongs to.
const User = 1000

// IDs is the range of host ids that an account's processes and files have on this server. Ranges need not agree
// between servers: snapshots hold the ids of the inside.
type IDs struct {
	First uint32 `json:"first"`
	Size  uint32 `json:"size"`
}

// Host translates an id of the inside.
func (r IDs) Host(inside uint32) int { return int(r.First + inside) }

// Mappings is the user namespace of the account, for a child process.
func (r IDs) Mappings() []syscall.SysProcIDMap {
	return []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(r.First), Size: int(r.Size)}}
}

// Child makes a child process the account's root, in a user namespace of its own: nobody to the host.
func (r IDs) Child() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:                 syscall.CLONE_NEWUSER,
		UidMappings:                r.Mappings(),
		GidMappings:                r.Mappings(),
		GidMappingsEnableSetgroups: true,
		Credential:                 &syscall.Credential{Uid: 0, Gid: 0},
		// An agent that was killed leaves nobody behind who reads what the next one removes. (The signal is tied to
		// the thread that starts the child; no thread of the agent ends before the agent.)
		Pdeathsig: syscall.SIGTERM,
	}
}

// Record says what a home is.
type Record struct {
	Token state.Token `json:"token"`
	IDs   IDs         `json:"ids"`
}

const (
	asideDir = "aside"
	freshDir = ".fresh"
	viewsDir = ".views"
)

// Store is the homes of one server. It is for one process; calls for different accounts may run at once, calls for
// one account may not.
type Store struct {
	// Copying bounds how long an account stands still where no snapshot can be taken of its files.
	Copying Limits
	// ViewPercent is how much of the homes' volume an LVM snapshot that is not thin may take. Zero: 10.
	ViewPercent int
	// Notes are for the agent's log: why backups will read files live, and what a crash left that could not be removed.
	Notes []error

	root   string
	btrfs  bool
	volume *volume // LVM's, that snapshots are taken of
}

// Open makes the layout where it is missing and removes what a crash left half done.
func Open(root string) (*Store, error) { return OpenWith(root, "/sys/dev/block") }

// OpenWith is Open, where the kernel tells of block devices at another place.
func OpenWith(root, devices string) (*Store, error) {
	s := &Store{root: root, Copying: DefaultLimits}
	// Accounts and restic, both with mapped ids, reach what is theirs below; nobody can list.
	if err := makeDir(root, 0o711); err != nil {
		return nil, fmt.Errorf("open homes: %w", err)
	}
	for dir, mode := range map[string]fs.FileMode{asideDir: 0o700, freshDir: 0o700, viewsDir: 0o711} {
		if err := makeDir(filepath.Join(root, dir), mode); err != nil {
			return nil, fmt.Errorf("open homes: %w", err)
		}
	}
	var err error
	if s.btrfs, err = isBtrfs(root); err != nil {
		return nil, fmt.Errorf("open homes: %w", err)
	}
	for _, dir := range []string{freshDir, viewsDir} {
		left, err := os.ReadDir(filepath.Join(root, dir))
		if err != nil {
			return nil, fmt.Errorf("open homes: %w", err)
		}
		for _, e := range left {
			if err := s.discard(filepath.Join(root, dir, e.Name())); err != nil {
				return nil, fmt.Errorf("open homes: remove what a crash left in %s: %w", dir, err)
			}
		}
	}
	if s.btrfs {
		return s, nil
	}
	if s.volume, err = findVolume(root, devices); err != nil {
		s.Notes = append(s.Notes, fmt.Errorf("backups read files of homes while programs write, and say so: %w", err))
	} else if _, err := s.volume.remove(context.Background()); err != nil { // backups try again
		s.Notes = append(s.Notes, err)
	}
	return s, nil
}

// Path is what is mounted as /home/ACCOUNT.
func (s *Store) Path(account state.AccountName) string {
	return filepath.Join(s.root, string(account), "home")
}

// Held tells under which token a whole home is here. ok is false when there is none.
func (s *Store) Held(account state.AccountName) (rec Record, ok bool, err error) {
	if err := checkName(account); err != nil {
		return Record{}, false, err
	}
	raw, err := os.ReadFile(filepath.Join(s.root, string(account), "token"))
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, false, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &rec)
	}
	if err != nil {
		return Record{}, false, fmt.Errorf("read token of home %s: %w", account, err)
	}
	return rec, true, nil
}

// All lists the homes that are here. An error tells of those whose record cannot be read; the others are listed.
func (s *Store) All() (all map[state.AccountName]Record, unreadable error) {
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return nil, fmt.Errorf("list homes: %w", err)
	}
	all = make(map[state.AccountName]Record)
	for _, e := range entries {
		name := state.AccountName(e.Name())
		if !e.IsDir() || checkName(name) != nil {
			continue
		}
		rec, ok, err := s.Held(name)
		if ok {
			all[name] = rec
		}
		unreadable = errors.Join(unreadable, err)
	}
	return all, unreadable
}

// SetAside moves a home out of the way, untouched, and says where it is. No home: "".
func (s *Store) SetAside(account state.AccountName) (string, error) {
	rec, ok, err := s.Held(account)
	if err != nil || !ok {
		return "", err
	}
	if err := s.dropView(account); err != nil {
		return "", fmt.Errorf("set home of %s aside: %w", account, err)
	}
	from := filepath.Join(s.root, string(account))
	base := filepath.Join(s.root, asideDir, string(account)+"@"+rec.Token.String())
	for n, to := 2, base; ; n++ {
		err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
		if errors.Is(err, fs.ErrExist) && n < 1000 {
			to = fmt.Sprintf("%s.%d", base, n)
			continue
		}
		if err != nil {
			return "", fmt.Errorf("set home of %s aside: %w", account, err)
		}
		return to, errors.Join(syncDir(s.root), syncDir(filepath.Join(s.root, asideDir)))
	}
}

// Within is a directory below an open one. The account's root may pass through Parent, which belongs to the host's
// root, but it cannot get to Parent by any path: whoever is to work in the directory is handed the descriptor.
type Within struct {
	Parent *os.File
	Name   string
}

// Path is the directory as this process reaches it.
func (w Within) Path() string { return fmt.Sprintf("/proc/self/fd/%d/%s", w.Parent.Fd(), w.Name) }

// Fresh is a home that is being made.
type Fresh struct {
	// Into is the empty home, owned by the account's root and closed to everybody else.
	Into Within

	dir     *os.File
	store   *Store
	account state.AccountName
	ids     IDs
}

// Fresh begins a home. A half-done one of the same account is removed first.
func (s *Store) Fresh(account state.AccountName, ids IDs) (*Fresh, error) {
	if err := checkName(account); err != nil {
		return nil, err
	}
	dir := filepath.Join(s.root, freshDir, string(account))
	if err := s.discard(dir); err != nil {
		return nil, fmt.Errorf("make home of %s: remove the half-done one: %w", account, err)
	}
	if err := makeDir(dir, 0o711); err != nil {
		return nil, fmt.Errorf("make home of %s: %w", account, err)
	}
	files := filepath.Join(dir, "home")
	if err := s.makeTree(files); err != nil {
		return nil, fmt.Errorf("make home of %s: %w", account, err)
	}
	f := &Fresh{store: s, account: account, ids: ids}
	if err := f.open(dir, files); err != nil {
		f.close()
		return nil, fmt.Errorf("make home of %s: %w", account, err)
	}
	return f, nil
}

func (f *Fresh) open(parent, files string) (err error) {
	if f.dir, err = openDir(files); err != nil {
		return err
	}
	f.Into.Name = filepath.Base(files)
	if f.Into.Parent, err = openDir(parent); err != nil {
		return err
	}
	return errors.Join(f.dir.Chown(f.ids.Host(0), f.ids.Host(0)), f.dir.Chmod(0o700))
}

func (f *Fresh) close() {
	for _, d := range []*os.File{f.dir, f.Into.Parent} {
		if d != nil {
			d.Close()
		}
	}
}

// Scratch makes a directory beside the home, which is the account's root's, for what comes with it. RemoveScratch has to be
// called before Commit.
func (f *Fresh) Scratch(name string) (Within, *os.Root, error) {
	root, err := scratch(filepath.Join(f.store.root, freshDir, string(f.account), name), f.ids)
	return Within{f.Into.Parent, name}, root, err
}

// RemoveScratch removes it.
func (f *Fresh) RemoveScratch(name string) error {
	return os.RemoveAll(filepath.Join(f.store.root, freshDir, string(f.account), name))
}

// Files is the home itself.
func (f *Fresh) Files() *os.File { return f.dir }

// Inside makes a directory in the home that is the account's root's, for what is then moved within the home.
// RemoveInside has to be called before Commit.
func (f *Fresh) Inside(name string) (Within, error) {
	in := Within{f.dir, workPrefix + name}
	if err := f.RemoveInside(name); err != nil { // whoever wrote the snapshot may have put something there
		return Within{}, err
	}
	if err := f.makeIn(f.dir, in.Name, 0, 0o700); err != nil {
		return Within{}, err
	}
	return in, nil
}

// RemoveInside removes it.
func (f *Fresh) RemoveInside(name string) error {
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", f.dir.Fd()))
	if err != nil {
		return err
	}
	return errors.Join(root.RemoveAll(workPrefix+name), root.Close())
}

// Directory makes a directory in the home, and those above it, where they are missing. What a restore put there may be
// anything: no link is followed.
func (f *Fresh) Directory(at string) error {
	dir, err := Beneath(f.dir, ".")
	for _, name := range strings.Split(at, "/") {
		if err != nil {
			return err
		}
		above := dir
		if dir, err = Beneath(above, name); errors.Is(err, fs.ErrNotExist) {
			if err = f.makeIn(above, name, User, 0o770); err == nil {
				dir, err = Beneath(above, name)
			}
		}
		above.Close()
	}
	if err != nil {
		return err
	}
	return dir.Close()
}

// makeIn makes a directory that belongs to the account's root and one of its groups.
func (f *Fresh) makeIn(parent *os.File, name string, group uint32, mode uint32) error {
	if err := unix.Mkdirat(int(parent.Fd()), name, 0o700); err != nil {
		return &fs.PathError{Op: "make", Path: name, Err: err}
	}
	err := unix.Fchownat(int(parent.Fd()), name, f.ids.Host(0), f.ids.Host(group), unix.AT_SYMLINK_NOFOLLOW)
	return errors.Join(err, unix.Fchmodat(int(parent.Fd()), name, mode, 0))
}

// Keep makes a new directory beside the homes that were set aside, for the host's root alone.
func (s *Store) Keep(account state.AccountName, token state.Token) (*os.Root, error) {
	if err := checkName(account); err != nil {
		return nil, err
	}
	base := filepath.Join(s.root, asideDir, string(account)+"@before-"+token.String())
	for n, dir := 2, base; ; n++ {
		err := os.Mkdir(dir, 0o700)
		if errors.Is(err, fs.ErrExist) && n < 1000 {
			dir = fmt.Sprintf("%s.%d", base, n)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("keep what is here of %s: %w", account, err)
		}
		return os.OpenRoot(dir)
	}
}

// Commit makes the home live under the token, once all of it is on disk. There must be no live home.
func (f *Fresh) Commit(token state.Token) error {
	defer f.close()
	if err := f.commit(token); err != nil {
		return fmt.Errorf("make home of %s live: %w", f.account, err)
	}
	return nil
}

func (f *Fresh) commit(token state.Token) error {
	// Programs run as members of the account's group, and none of them owns the top of the home.
	if err := f.dir.Chown(f.ids.Host(0), f.ids.Host(User)); err != nil {
		return err
	}
	if err := f.dir.Chmod(0o770); err != nil {
		return err
	}
	raw, err := json.Marshal(Record{Token: token, IDs: f.ids})
	if err != nil {
		return err
	}
	dir := filepath.Join(f.store.root, freshDir, string(f.account))
	if err := os.WriteFile(filepath.Join(dir, "token"), append(raw, '\n'), 0o600); err != nil {
		return err
	}
	if err := unix.Syncfs(int(f.dir.Fd())); err != nil {
		return err
	}
	live := filepath.Join(f.store.root, string(f.account))
	if err := unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, live, unix.RENAME_NOREPLACE); err != nil {
		return err
	}
	return syncDir(f.store.root)
}

// Abandon removes it.
func (f *Fresh) Abandon() error {
	f.close()
	return f.store.discard(filepath.Join(f.store.root, freshDir, string(f.account)))
}

// makeTree makes an empty directory that a view can later be taken of.
func (s *Store) makeTree(path string) error {
	if s.btrfs {
		return createSubvolume(path)
	}
	return os.Mkdir(path, 0o700)
}

// discard removes a directory of .fresh or .views, with the subvolume or mount in it.
func (s *Store) discard(dir string) error {
	for _, name := range []string{"home", "mails", "files", "volume"} {
		path := filepath.Join(dir, name)
		// Mounts of a view, with those on them: what lies behind them must never be removed through them.
		if err := unmountAll(path); err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
		if s.btrfs && isSubvolume(path) {
			if err := deleteSubvolume(path); err != nil {
				return err
			}
		}
	}
	return os.RemoveAll(dir)
}

// unmountAll removes every mount at a path, and what is mounted below. None there: nothing to do.
func unmountAll(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// checkName keeps a name from being a path, and from being one of ours.
func checkName(account state.AccountName) error {
	n := string(account)
	if n == "" || n == asideDir || strings.HasPrefix(n, ".") || strings.ContainsAny(n, "/@\x00") {
		return fmt.Errorf("account name %q cannot have a home", n)
	}
	return nil
}

func makeDir(path string, mode fs.FileMode) error {
	if err := os.MkdirAll(path, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

func openDir(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
