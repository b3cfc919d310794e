package home

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"drp/raftstore/state"
)

// WorkPattern matches, at the top of a home, the directories that are being filled. They are not the account's.
const (
	workPrefix  = ".drp-restore-"
	WorkPattern = workPrefix + "*"
)

// Beside is a directory that is being filled beside the live data of an account.
//
// The home is writable by the account while we work in it, so nothing here goes by path: what is filled lies in a
// directory that belongs to the host's root and that nobody of the account can enter, it is reached by descriptors,
// and one rename, which replaces nothing, puts it into its place.
type Beside struct {
	// Into is the empty directory to fill, owned by the account's root.
	Into Within
	// Placed is true when the directory that was to be put into its place is there already; then there is nothing to do.
	Placed bool

	home   *os.File
	parent *os.File // of the target
	target string   // last element
	closed *os.File // the directory that nobody of the account can enter
	dir    *os.File // what is filled
	work   string   // its name in the home
	ids    IDs
}

// Beside begins target (relative to the home, new, in a directory that exists) for a task. What the same task left
// half done is removed; what the account has there is never touched. placing is what Place told of this task before,
// if it did: the caller keeps it, and no mark is left in the home, where it would get into snapshots.
func (s *Store) Beside(account state.AccountName, target string, task state.TaskID, placing string) (*Beside, error) {
	rec, ok, err := s.Held(account)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("restore into home of %s: there is no home here", account)
	}
	if !filepath.IsLocal(target) || path.Clean(target) == "." {
		return nil, fmt.Errorf("restore into home of %s: target %q is not a directory inside the home", account, target)
	}
	if task == "" || strings.ContainsAny(string(task), "/\x00") {
		return nil, fmt.Errorf("restore into home of %s: task %q cannot name a directory", account, task)
	}
	b := &Beside{target: path.Base(path.Clean(target)), work: workPrefix + string(task), ids: rec.IDs}
	if err := b.begin(s.Path(account), path.Dir(path.Clean(target)), placing); err != nil {
		b.close()
		return nil, fmt.Errorf("restore into %s of %s: %w", target, account, err)
	}
	return b, nil
}

func (b *Beside) begin(homePath, parent, placing string) error {
	var err error
	if b.home, err = openDir(homePath); err != nil {
		return err
	}
	if b.parent, err = Beneath(b.home, parent); err != nil {
		return err
	}
	switch placed, err := Beneath(b.parent, b.target); {
	case err == nil:
		found, err := identityOf(placed)
		placed.Close()
		if err != nil {
			return err
		}
		if found == placing {
			b.Placed = true
			return b.Abandon()
		}
		return fmt.Errorf("%w: nothing is restored over live data", fs.ErrExist)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := b.removeWork(); err != nil {
		return err
	}
	if err := unix.Mkdirat(int(b.home.Fd()), b.work, 0o700); err != nil {
		return fmt.Errorf("make %s: %w", b.work, err)
	}
	if b.closed, err = Beneath(b.home, b.work); err != nil {
		return err
	}
	if owner, err := ownerOf(b.closed); err != nil || owner != 0 {
		return fmt.Errorf("%s was replaced by the account", b.work)
	}
	// closed/through/data: the account's root gets to data from through, and to through from nowhere.
	if err := unix.Mkdirat(int(b.closed.Fd()), "through", 0o700); err != nil {
		return err
	}
	b.Into.Name = "data"
	if b.Into.Parent, err = Beneath(b.closed, "through"); err != nil {
		return err
	}
	if err := b.Into.Parent.Chmod(0o711); err != nil {
		return err
	}
	if err := unix.Mkdirat(int(b.Into.Parent.Fd()), b.Into.Name, 0o700); err != nil {
		return err
	}
	if b.dir, err = Beneath(b.Into.Parent, b.Into.Name); err != nil {
		return err
	}
	return b.dir.Chown(b.ids.Host(0), b.ids.Host(0))
}

// Place puts the filled directory into its place, owned by the account's ordinary user. Before that it tells note
// which directory it is; once note has returned, Beside knows the directory again after a crash.
func (b *Beside) Place(note func(placing string) error) error {
	defer b.close()
	if err := b.place(note); err != nil {
		return errors.Join(fmt.Errorf("put %s into its place: %w", b.target, err), b.removeWork())
	}
	return nil
}

func (b *Beside) place(note func(placing string) error) error {
	if err := b.dir.Chown(b.ids.Host(User), b.ids.Host(User)); err != nil {
		return err
	}
	if err := b.dir.Chmod(0o750); err != nil {
		return err
	}
	if err := unix.Syncfs(int(b.dir.Fd())); err != nil {
		return err
	}
	placing, err := identityOf(b.dir)
	if err != nil {
		return err
	}
	if err := note(placing); err != nil {
		return err
	}
	err = unix.Renameat2(int(b.Into.Parent.Fd()), b.Into.Name, int(b.parent.Fd()), b.target, unix.RENAME_NOREPLACE)
	if err != nil {
		return err
	}
	return errors.Join(b.parent.Sync(), b.removeWork())
}

// Abandon removes what was filled so far.
func (b *Beside) Abandon() error {
	defer b.close()
	return b.removeWork()
}

// removeWork removes the root-owned directory of this task. One of that name that the account made is not ours.
func (b *Beside) removeWork() error {
	dir, err := Beneath(b.home, b.work)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	owner, err := ownerOf(dir)
	dir.Close()
	if err != nil {
		return err
	}
	if owner != 0 {
		return fmt.Errorf("%s in the home is not the agent's: remove it", b.work)
	}
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", b.home.Fd()))
	if err != nil {
		return err
	}
	defer root.Close()
	return root.RemoveAll(b.work)
}

func (b *Beside) close() {
	for _, f := range []*os.File{b.dir, b.Into.Parent, b.closed, b.parent, b.home} {
		if f != nil {
			f.Close()
		}
	}
}

// Beneath opens a directory below another one. No link is followed, and nothing leads out.
func Beneath(dir *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat2(int(dir.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &fs.PathError{Op: "openat2", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), fmt.Sprintf("/proc/self/fd/%d", fd)), nil // os stats by this name where a directory tells no types
}

// identityOf names a directory for as long as it exists, whatever it is renamed to. It is the kernel's file handle:
// with the generation of the inode, so that nothing an account makes later, in the same inode or not, has it again.
func identityOf(dir *os.File) (string, error) {
	handle, _, err := unix.NameToHandleAt(int(dir.Fd()), "", unix.AT_EMPTY_PATH)
	if err != nil {
		return "", fmt.Errorf("tell the identity of %s: %w", dir.Name(), err)
	}
	return fmt.Sprintf("%d:%s", handle.Type(), hex.EncodeToString(handle.Bytes())), nil
}

func ownerOf(f *os.File) (uint32, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, err
	}
	return st.Uid, nil
}
