package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"
)

// disk is a coordinator's own file system: ext4 in a file, which can be filled, can hang, and can lose its power. The
// mount is in this program's mount namespace, and the loop device goes with it.
type disk struct {
	image, path string
	frozen      bool
}

const diskSize = 96 << 20

func newDisk(ctx context.Context, dir, name string) (*disk, error) {
	d := &disk{image: filepath.Join(dir, name+".img"), path: filepath.Join(dir, name+".disk")}
	f, err := os.Create(d.image)
	if err == nil {
		err = errors.Join(f.Truncate(diskSize), f.Close())
	}
	if err != nil {
		return nil, fmt.Errorf("make disk image: %w", err)
	}
	if err := run(ctx, "mkfs.ext4", "-q", "-E", "lazy_itable_init=0", d.image); err != nil {
		return nil, err
	}
	if err := os.Mkdir(d.path, 0o700); err != nil {
		return nil, fmt.Errorf("make mount point: %w", err)
	}
	return d, d.mount(ctx)
}

func (d *disk) mount(ctx context.Context) error {
	return run(ctx, "mount", "-t", "ext4", "-o", "loop", d.image, d.path)
}

// data is the directory for a coordinator.
func (d *disk) data() string { return filepath.Join(d.path, "data") }

// fill leaves no space.
func (d *disk) fill() error {
	f, err := os.Create(filepath.Join(d.path, "filler"))
	if err != nil {
		return fmt.Errorf("fill disk: %w", err)
	}
	defer f.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := f.Write(block); errors.Is(err, unix.ENOSPC) {
			block = block[:len(block)/2] // down to the last bytes
		} else if err != nil {
			return fmt.Errorf("fill disk: %w", err)
		}
	}
	return nil
}

// empty gives the space back.
func (d *disk) empty() error { return os.Remove(filepath.Join(d.path, "filler")) }

const (
	freeze   = 0xc0045877 // FIFREEZE
	thaw     = 0xc0045878 // FITHAW
	shutdown = 0x8004587d // EXT4_IOC_SHUTDOWN
	noFlush  = 2          // EXT4_GOING_FLAGS_NOLOGFLUSH: what was not synced is gone
)

// hang makes every write wait, until thaw.
func (d *disk) hang() error {
	err := d.control(freeze, 0)
	d.frozen = err == nil
	return err
}

func (d *disk) thaw() error {
	if !d.frozen {
		return nil
	}
	d.frozen = false
	return d.control(thaw, 0)
}

// cutPower drops all that was not synced, from one moment to the next. Only restore makes the disk work again.
func (d *disk) cutPower() error { return d.control(shutdown, noFlush) }

// restore mounts what is left.
func (d *disk) restore(ctx context.Context) error {
	if err := unix.Unmount(d.path, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", d.path, err)
	}
	return d.mount(ctx)
}

func (d *disk) control(request uintptr, argument uint32) error {
	f, err := os.Open(d.path)
	if err != nil {
		return fmt.Errorf("open disk: %w", err)
	}
	defer f.Close()
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(&argument))); errno != 0 {
		return fmt.Errorf("control disk %s: %w", d.path, errno)
	}
	return nil
}

func run(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("run %s: %w: %s", name, err, out)
	}
	return nil
}

// sync makes what is there last: a power cut before it would take the directory away.
func (d *disk) sync() error {
	f, err := os.Open(d.path)
	if err != nil {
		return fmt.Errorf("sync disk: %w", err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync disk: %w", err)
	}
	return nil
}

// close gives the disk up; its mount ends with this program at the latest.
func (d *disk) close() { _ = unix.Unmount(d.path, unix.MNT_DETACH) }
