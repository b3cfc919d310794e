package home

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The three ioctls of btrfs that are needed, from linux/btrfs.h. They are called directly, because an account is
// frozen while a snapshot is taken and starting a program then would take longer than the snapshot.
const (
	ioctlSnapDestroy    = 0x5000940f // _IOW(0x94, 15, struct btrfs_ioctl_vol_args)
	ioctlSnapCreateV2   = 0x50009417 // _IOW(0x94, 23, struct btrfs_ioctl_vol_args_v2)
	ioctlSubvolCreateV2 = 0x50009418 // _IOW(0x94, 24, struct btrfs_ioctl_vol_args_v2)

	snapshotReadOnly = 1 << 1 // BTRFS_SUBVOL_RDONLY

	subvolumeInode = 256 // BTRFS_FIRST_FREE_OBJECTID: the inode of every subvolume's top
)

type volumeArgs struct { // struct btrfs_ioctl_vol_args
	fd   int64
	name [4088]byte
}

type volumeArgsV2 struct { // struct btrfs_ioctl_vol_args_v2
	fd     int64
	transa uint64
	flags  uint64
	_      [4]uint64
	name   [4040]byte
}

func isBtrfs(path string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return false, fmt.Errorf("statfs %s: %w", path, err)
	}
	return st.Type == unix.BTRFS_SUPER_MAGIC, nil
}

// isSubvolume is for paths on a btrfs. It does not follow a link.
func isSubvolume(path string) bool {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return false
	}
	return st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Ino == subvolumeInode
}

func createSubvolume(path string) error {
	var args volumeArgsV2
	if err := setName(args.name[:], path); err != nil {
		return err
	}
	if err := inParent(path, ioctlSubvolCreateV2, unsafe.Pointer(&args)); err != nil {
		return fmt.Errorf("create subvolume %s: %w", path, err)
	}
	return nil
}

// snapshotSubvolume takes a read-only snapshot. When it returns, the snapshot is on disk.
func snapshotSubvolume(source *os.File, path string) error {
	args := volumeArgsV2{fd: int64(source.Fd()), flags: snapshotReadOnly}
	if err := setName(args.name[:], path); err != nil {
		return err
	}
	if err := inParent(path, ioctlSnapCreateV2, unsafe.Pointer(&args)); err != nil {
		return fmt.Errorf("snapshot %s to %s: %w", source.Name(), path, err)
	}
	return nil
}

func deleteSubvolume(path string) error {
	var args volumeArgs
	if err := setName(args.name[:], path); err != nil {
		return err
	}
	err := inParent(path, ioctlSnapDestroy, unsafe.Pointer(&args))
	if errors.Is(err, unix.ENOTEMPTY) { // a subvolume inside; removing file by file reaches it
		return os.RemoveAll(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete subvolume %s: %w", path, err)
	}
	return nil
}

func setName(to []byte, path string) error {
	name := filepath.Base(path)
	if len(name) >= len(to) || len(name) > 255 {
		return fmt.Errorf("name %q is too long for a subvolume", name)
	}
	copy(to, name)
	return nil
}

func inParent(path string, request uintptr, args unsafe.Pointer) error {
	parent, err := openDir(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer parent.Close()
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, parent.Fd(), request, uintptr(args))
	if errno != 0 {
		return errno
	}
	return nil
}
