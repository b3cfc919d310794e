package home

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// The copies are shown in their places by an overlay above the home, that nobody can write to. Mounts on the single files
// would not do: SQLite removes its journals all the time, and a mount on a file goes with it.

// overlay mounts the home under the copies, and tells whether it did. If that fails the files are read as they are.
func (v *View) overlay(home *os.File, at string) bool {
	c := &v.copies
	if len(c.taken) == 0 {
		return false
	}
	err := v.finishCopies(home)
	if err == nil {
		var top *os.File
		if top, err = openDir(v.path("copies")); err == nil {
			defer top.Close()
			err = unix.Mount("overlay", at, "overlay", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV,
				fmt.Sprintf("lowerdir=%s:%s", byDescriptor(top), byDescriptor(home)))
		}
		if err == nil {
			if err = private(at); err != nil {
				err = errors.Join(err, unix.Unmount(at, 0))
			}
		}
	}
	if err != nil {
		for _, path := range c.taken {
			v.readLive(path, fmt.Sprintf("its copy could not be put into its place: %v", err))
		}
		c.taken = nil
	}
	return err == nil
}

// finishCopies hides what did not exist beside a database when it was copied, and makes the directories what they are in the
// home: as they are above it, their owners and modes are seen.
func (v *View) finishCopies(home *os.File) error {
	for _, name := range v.copies.missing {
		if err := unix.Mknod(v.path(path.Join("copies", name)), unix.S_IFCHR, 0); err != nil {
			return fmt.Errorf("hide %s: %w", path.Base(name), err)
		}
	}
	for at, was := range v.copies.dirs {
		to, err := openDir(v.path(path.Join("copies", at)))
		if err != nil {
			return err
		}
		from, err := Beneath(home, at)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			err = sameStat(was, to) // it is gone by now
		} else if err == nil {
			err = errors.Join(SameAttributes(from, to), from.Close())
		}
		if err := errors.Join(err, to.Close()); err != nil {
			return err
		}
	}
	return nil
}

// SameAttributes gives a file or directory another one's owner, mode, attributes and times.
func SameAttributes(from, to *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(from.Fd()), &st); err != nil {
		return err
	}
	if err := sameXattrs(int(from.Fd()), int(to.Fd())); err != nil {
		return err
	}
	return sameStat(st, to)
}

func sameStat(st unix.Stat_t, to *os.File) error {
	if err := to.Chown(int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := unix.Fchmod(int(to.Fd()), st.Mode&0o7777); err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, byDescriptor(to), []unix.Timespec{st.Atim, st.Mtim}, 0)
}

// mostXattrs is the kernel's limit on their names, and on each value.
const mostXattrs = 64 << 10

func sameXattrs(from, to int) error {
	size, err := unix.Flistxattr(from, nil)
	if errors.Is(err, unix.EOPNOTSUPP) || err == nil && size == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	names := make([]byte, mostXattrs)
	if size, err = unix.Flistxattr(from, names); err != nil {
		return err
	}
	value := make([]byte, mostXattrs)
	for _, name := range strings.Split(strings.TrimSuffix(string(names[:size]), "\x00"), "\x00") {
		if strings.HasPrefix(name, "trusted.") {
			continue // the host's, or the overlay's
		}
		n, err := unix.Fgetxattr(from, name, value)
		if err == nil {
			err = unix.Fsetxattr(to, name, value[:n], 0)
		}
		if err != nil && !errors.Is(err, unix.ENODATA) {
			return fmt.Errorf("attribute %s: %w", name, err)
		}
	}
	return nil
}
