package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A world holds what the host needs of the machine's files, opened before the host's own mounts hide them.
type world struct {
	cgroups int // detached copy of the cgroup mounts
	binds   []int
	image   *os.File
}

// enterWorld turns the copied mount namespace into the host's own: the machine's files read-only, /etc and /var
// copied on write into memory, /run, /tmp and /dev/shm empty, and /proc and /sys of the host's own namespaces.
//
// Nothing here can leave a trace on the machine: the mounts live in a namespace that ends with the host.
func enterWorld(s *Spec) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	w, err := openWorld(s)
	if err != nil {
		return err
	}
	defer w.close()
	readOnly := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &readOnly); err != nil {
		return fmt.Errorf("make the machine's files read-only: %w", err)
	}
	for _, dir := range []string{"/run", "/tmp", "/dev/shm"} {
		if err := mountTmpfs(dir); err != nil {
			return err
		}
	}
	for _, dir := range []string{"/etc", "/var"} {
		if err := mountCopy(dir); err != nil {
			return err
		}
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	// A sysfs shows the devices of the network namespace that mounted it. runc finds the cgroups below it.
	if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	if err := attach(w.cgroups, "/sys/fs/cgroup"); err != nil {
		return fmt.Errorf("mount cgroups: %w", err)
	}
	for i, b := range s.Binds {
		if err := os.MkdirAll(b.To, 0o755); err != nil {
			return fmt.Errorf("bind %s: %w", b.To, err)
		}
		if b.ReadOnly {
			if err := unix.MountSetattr(w.binds[i], "", unix.AT_EMPTY_PATH, &readOnly); err != nil {
				return fmt.Errorf("bind %s read-only: %w", b.To, err)
			}
		}
		if err := attach(w.binds[i], b.To); err != nil {
			return fmt.Errorf("bind %s: %w", b.To, err)
		}
	}
	for _, dir := range s.Directories {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	if s.Disk != nil {
		return mountDisk(w.image, s.Disk)
	}
	return nil
}

func openWorld(s *Spec) (*world, error) {
	w := &world{cgroups: -1}
	var err error
	if w.cgroups, err = detach("/sys/fs/cgroup"); err != nil {
		return nil, err
	}
	for _, b := range s.Binds {
		fd, err := detach(b.From)
		if err != nil {
			w.close()
			return nil, err
		}
		w.binds = append(w.binds, fd)
	}
	if s.Disk != nil {
		if w.image, err = openImage(s.Disk.Image); err != nil {
			w.close()
			return nil, err
		}
	}
	return w, nil
}

// openImage opens the disk through a mount of its own: a file that is open for writing would keep the mount that it was
// opened by from becoming read-only.
func openImage(path string) (*os.File, error) {
	dir, err := detach(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	fd, err := unix.Openat(dir, filepath.Base(path), unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open disk %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

func (w *world) close() {
	if w.cgroups >= 0 {
		unix.Close(w.cgroups)
	}
	for _, fd := range w.binds {
		unix.Close(fd)
	}
	if w.image != nil {
		w.image.Close()
	}
}

// detach copies the mounts at path; attach shows them elsewhere.
func detach(path string) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return -1, fmt.Errorf("copy mount %s: %w", path, err)
	}
	return fd, nil
}

func attach(fd int, path string) error {
	return unix.MoveMount(fd, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

func mountTmpfs(dir string) error {
	if _, err := os.Stat(dir); err != nil {
		return nil // /dev/shm is not on every machine
	}
	mode := "mode=755"
	if dir != "/run" {
		mode = "mode=1777"
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, mode); err != nil {
		return fmt.Errorf("mount %s: %w", dir, err)
	}
	return nil
}

// mountCopy lets the host write into dir without the machine seeing it. The changes lie on the host's /run, in
// memory, so they are gone at its next boot.
func mountCopy(dir string) error {
	base := filepath.Join("/run/copy", strings.TrimPrefix(dir, "/"))
	upper, work := filepath.Join(base, "upper"), filepath.Join(base, "work")
	for _, d := range []string{upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("copy %s: %w", dir, err)
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", dir, upper, work)
	if err := unix.Mount("overlay", dir, "overlay", 0, options); err != nil {
		return fmt.Errorf("copy %s on write: %w", dir, err)
	}
	return nil
}

// mountDisk puts a loop device round the image. The device frees itself when the mount is gone, whoever dies first.
func mountDisk(image *os.File, d *Disk) error {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open loop control: %w", err)
	}
	defer control.Close()
	loop, err := attachLoop(int(control.Fd()), image)
	if err != nil {
		return fmt.Errorf("attach disk %s: %w", d.Image, err)
	}
	defer loop.Close()
	if err := os.MkdirAll(d.To, 0o755); err != nil {
		return fmt.Errorf("mount disk: %w", err)
	}
	if err := unix.Mount(loop.Name(), d.To, d.Filesystem, 0, ""); err != nil {
		return fmt.Errorf("mount disk %s at %s: %w", d.Image, d.To, err)
	}
	return nil
}

// attachLoop takes a free device. Hosts boot at the same time, so another may take it first: then the next one.
func attachLoop(control int, image *os.File) (*os.File, error) {
	for {
		n, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("find free loop device: %w", err)
		}
		loop, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err != nil {
			return nil, fmt.Errorf("open loop device: %w", err)
		}
		config := unix.LoopConfig{Fd: uint32(image.Fd())}
		config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
		copy(config.Info.File_name[:], image.Name())
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &config)
		if err == nil {
			return loop, nil
		}
		loop.Close()
		if err != unix.EBUSY {
			return nil, fmt.Errorf("set up loop device: %w", err)
		}
	}
}
