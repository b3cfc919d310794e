package home

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"drp/raftstore/state"
)

// A file of SQLite that is read while it is written may be torn: pages of before a transaction beside pages of after it, or
// a journal of another time than its database. Where the filesystem takes no snapshot, such files are copied while the
// account stands still, each with what SQLite keeps beside it, and restic reads the copies in their places.

// Limits bound how long an account stands still for that, and what is copied.
type Limits struct {
	Files  int
	Bytes  int64         // that are really copied; clones cost nothing
	Within time.Duration // after that no copy begins or goes on
	Now    func() time.Time
}

// DefaultLimits are for servers.
var DefaultLimits = Limits{Files: 1000, Bytes: 4 << 30, Within: 5 * time.Second, Now: time.Now}

const (
	sqliteHeader = "SQLite format 3\x00"
	smallestPage = 512 // of SQLite; a database is a whole number of them

	// How far the search goes. What is beyond is read as it is, and told.
	deepestSearch = 256
	mostEntries   = 20_000_000

	copyStep = 8 << 20 // between two looks at the time
)

// besides are the files that SQLite keeps beside a database: together with it they are its state.
var besides = []string{"-wal", "-shm", "-journal"}

// copies is what is known of the SQLite files of a live view.
type copies struct {
	found   []found
	taken   []string // paths of databases
	missing []string // paths beside them that did not exist
	dirs    map[string]unix.Stat_t
	live    []state.Part // what could not be copied, and why
	more    int          // that are not in it
	room    int64        // bytes that may still be copied
	until   time.Time
}

type found struct {
	path string // in the home
	size int64
}

// Copied is how many databases were copied while the account stood still.
func (v *View) Copied() int { return len(v.copies.taken) }

// mostLive is how many of them are named.
const mostLive = 20

// Live are the SQLite files that are read while programs may write them, with the reason.
func (v *View) Live() []state.Part {
	live := v.copies.live
	if v.copies.more > 0 {
		live = append(slices.Clip(live), state.Part{Name: "files", Error: fmt.Sprintf("%d more SQLite files were read while programs could write them", v.copies.more)})
	}
	return live
}

func (v *View) readLive(path, because string) {
	if len(v.copies.live) == mostLive {
		v.copies.more++
		return
	}
	v.copies.live = append(v.copies.live, state.Part{Name: "files/" + path, Error: "it was read while programs could write it: " + because})
}

// Search takes the snapshot of the volume that the homes lie on. Without one it finds the SQLite files that Take is to copy.
func (v *View) Search(ctx context.Context) error {
	if v.Kind == "live" && v.store.volume != nil {
		v.Why = v.snapshotVolume(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if v.Kind != "live" {
		return nil
	}
	home, err := openDir(v.store.Path(v.account))
	if err != nil {
		return fmt.Errorf("search home of %s: %w", v.account, err)
	}
	defer home.Close()
	s := &search{view: v, left: mostEntries}
	if err := s.directory(ctx, home, "", 0); err != nil {
		return fmt.Errorf("search home of %s: %w", v.account, err)
	}
	// Small ones first: whatever is too large or too slow keeps none of them out.
	slices.SortFunc(v.copies.found, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.size, b.size), strings.Compare(a.path, b.path))
	})
	return nil
}

type search struct {
	view *View
	left int // entries
}

func (s *search) directory(ctx context.Context, dir *os.File, at string, depth int) error {
	if depth > deepestSearch {
		s.view.readLive(at, fmt.Sprintf("it lies more than %d folders deep, where no SQLite file is looked for", deepestSearch))
		return nil
	}
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		some, err := dir.ReadDir(256)
		for _, e := range some {
			if s.left--; s.left == 0 {
				s.view.readLive(at, fmt.Sprintf("the home has more than %d files, and the rest was not searched", mostEntries))
			}
			if s.left <= 0 {
				return nil
			}
			if err := s.entry(ctx, dir, path.Join(at, e.Name()), e, depth); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, fs.ErrNotExist) { // it was removed meanwhile
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// unseen is for what could not be looked at. What is gone or something else by now is none of ours; anything else is read live.
func (s *search) unseen(at string, err error) {
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) {
		s.view.readLive(at, fmt.Sprintf("whether it holds databases is not known: %v", err))
	}
}

func (s *search) entry(ctx context.Context, dir *os.File, at string, e fs.DirEntry, depth int) error {
	switch {
	case e.IsDir():
		if depth == 0 && strings.HasPrefix(e.Name(), workPrefix) {
			return nil
		}
		sub, err := Beneath(dir, e.Name())
		if err != nil {
			s.unseen(at, err)
			return nil
		}
		defer sub.Close()
		return s.directory(ctx, sub, at, depth+1)
	case !e.Type().IsRegular():
		return nil
	}
	var st unix.Stat_t
	err := unix.Fstatat(int(dir.Fd()), e.Name(), &st, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		s.unseen(at, err)
		return nil
	}
	// Most files are not opened: their length says that they are none.
	if st.Size < smallestPage || st.Size%smallestPage != 0 {
		return nil
	}
	f, err := plainFile(dir, e.Name())
	if err != nil {
		s.unseen(at, err)
		return nil
	}
	defer f.Close()
	header := make([]byte, len(sqliteHeader))
	if _, err := f.ReadAt(header, 0); err != nil || string(header) != sqliteHeader {
		return nil
	}
	if len(s.view.copies.found) >= s.view.store.Copying.Files {
		s.view.readLive(at, fmt.Sprintf("%d others are copied already", s.view.store.Copying.Files))
		return nil
	}
	s.view.copies.found = append(s.view.copies.found, found{at, st.Size})
	return nil
}

// plainFile opens one below a directory, and waits for nobody.
func plainFile(dir *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat2(int(dir.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("%s is no plain file", name), err, f.Close())
	}
	return f, nil
}

// copyAll copies what was found. It is done while the account stands still, so it fails for no one file: what cannot be
// copied is noted.
func (v *View) copyAll() {
	c, limits := &v.copies, v.store.Copying
	if len(c.found) == 0 {
		return
	}
	c.room, c.until, c.dirs = limits.Bytes, limits.Now().Add(limits.Within), map[string]unix.Stat_t{}
	home, err := openDir(v.store.Path(v.account))
	if err == nil {
		defer home.Close()
		var disk unix.Statfs_t
		if err = unix.Fstatfs(int(home.Fd()), &disk); err == nil {
			c.room = min(c.room, int64(disk.Bavail)*disk.Bsize/2)
			err = os.Mkdir(v.path("copies"), 0o700)
		}
		var st unix.Stat_t
		err = errors.Join(err, unix.Fstat(int(home.Fd()), &st))
		c.dirs["."] = st
	}
	for _, f := range c.found {
		failed := err
		if failed == nil {
			failed = v.copySet(home, f)
		}
		switch {
		case failed == nil:
			c.taken = append(c.taken, f.path)
		case !errors.Is(failed, fs.ErrNotExist): // else it was removed meanwhile
			v.readLive(f.path, failed.Error())
		}
	}
}

// copySet copies a database and what lies beside it: all of it or nothing.
func (v *View) copySet(home *os.File, f found) (err error) {
	dir, err := v.dirs(home, path.Dir(f.path))
	if err != nil {
		return err
	}
	defer dir.Close()
	base := path.Base(f.path)
	names := []string{base}
	for _, ending := range besides {
		names = append(names, base+ending)
	}
	var made, missing []string
	defer func() {
		if err == nil {
			v.copies.missing = append(v.copies.missing, missing...)
			return
		}
		for _, name := range made {
			err = errors.Join(err, os.Remove(v.path(path.Join("copies", path.Dir(f.path), name))))
		}
	}()
	for i := 0; i < len(names); i++ {
		name := names[i]
		switch err := v.copyFile(dir, name, path.Join(path.Dir(f.path), name)); {
		case err == nil:
			made = append(made, name)
			if name == base+"-journal" { // of a transaction over several databases
				super, err := superJournals(dir, base)
				if err != nil {
					return err
				}
				names = append(names, super...)
			}
		case i > 0 && errors.Is(err, fs.ErrNotExist):
			missing = append(missing, path.Join(path.Dir(f.path), name))
		default:
			return err
		}
	}
	return nil
}

// mostJournals bounds the journals of transactions over several databases. SQLite leaves none behind but at a crash.
const mostJournals = 100

// superJournals of a database. Without the one that a journal names, SQLite takes the journal's transaction for committed.
func superJournals(dir *os.File, base string) (found []string, err error) {
	again, err := openDir(byDescriptor(dir) + "/.")
	if err != nil {
		return nil, err
	}
	defer again.Close()
	for {
		some, err := again.Readdirnames(256)
		for _, name := range some {
			if strings.HasPrefix(name, base+"-mj") {
				found = append(found, name)
			}
		}
		if len(found) > mostJournals {
			return nil, fmt.Errorf("it has more than %d journals", mostJournals)
		}
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// dirs opens a directory of the home, and makes it and those above it among the copies.
func (v *View) dirs(home *os.File, at string) (*os.File, error) {
	dir, err := Beneath(home, ".")
	if err != nil || at == "." {
		return dir, err
	}
	for i, part := range strings.Split(at, "/") {
		next, err := Beneath(dir, part)
		dir.Close()
		if err != nil {
			return nil, err
		}
		dir = next
		above := path.Join(strings.Split(at, "/")[:i+1]...)
		if _, made := v.copies.dirs[above]; made {
			continue
		}
		var st unix.Stat_t
		err = errors.Join(unix.Fstat(int(dir.Fd()), &st), os.Mkdir(v.path(path.Join("copies", above)), 0o700))
		if err != nil {
			dir.Close()
			return nil, err
		}
		v.copies.dirs[above] = st
	}
	return dir, nil
}

// copyFile copies one, as it is.
func (v *View) copyFile(dir *os.File, name, at string) (err error) {
	from, err := plainFile(dir, name)
	if err != nil {
		return err
	}
	defer from.Close()
	copied := v.path(path.Join("copies", at))
	to, err := os.OpenFile(copied, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, to.Close()); err != nil {
			err = errors.Join(err, os.Remove(copied))
		}
	}()
	if err := v.copyContent(from, to); err != nil {
		return err
	}
	return SameAttributes(from, to)
}

func (v *View) copyContent(from, to *os.File) error {
	if err := v.late(); err != nil {
		return err
	}
	if unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) == nil {
		return nil
	}
	for {
		if err := v.late(); err != nil {
			return err
		}
		if v.copies.room <= 0 {
			return errors.New("it is too large to be copied while the account stands still")
		}
		// The kernel copies, where it can.
		n, err := io.CopyN(to, from, min(copyStep, v.copies.room))
		v.copies.room -= n
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (v *View) late() error {
	if v.store.Copying.Now().Before(v.copies.until) {
		return nil
	}
	return fmt.Errorf("the account stood still for %s already", v.store.Copying.Within)
}
