package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// makeDisk writes a sparse image with an empty btrfs.
func makeDisk(ctx context.Context, image string, size int64) error {
	f, err := os.OpenFile(image, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("make disk: %w", err)
	}
	err = f.Truncate(size)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("make disk %s: %w", image, err)
	}
	mkfs, err := findProgram("mkfs.btrfs")
	if err != nil {
		return fmt.Errorf("make disk: %w", err)
	}
	var messages bytes.Buffer
	cmd := exec.CommandContext(ctx, mkfs, "--quiet", image)
	cmd.Stderr = &messages
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("make disk %s: %w: %s", image, err, bytes.TrimSpace(messages.Bytes()))
	}
	return nil
}

// loopsOf lists the loop devices that hold an image, whatever path they were told.
func loopsOf(image string) ([]string, error) {
	var file unix.Stat_t
	if err := unix.Stat(image, &file); err != nil {
		if err == unix.ENOENT {
			return nil, nil
		}
		return nil, fmt.Errorf("find loop devices of %s: %w", image, err)
	}
	attached, err := filepath.Glob("/sys/block/loop*/loop")
	if err != nil {
		return nil, fmt.Errorf("find loop devices of %s: %w", image, err)
	}
	var list []string
	for _, a := range attached {
		device := filepath.Join("/dev", filepath.Base(filepath.Dir(a)))
		f, err := os.Open(device)
		if err != nil {
			continue // freed meanwhile
		}
		info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
		f.Close()
		if err == nil && info.Inode == file.Ino && info.Device == file.Dev {
			list = append(list, device)
		}
	}
	return list, nil
}

// waitDetached waits until the kernel has unmounted the disk of a host that died.
func waitDetached(ctx context.Context, image string) error {
	for {
		list, err := loopsOf(image)
		if err != nil || len(list) == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s to be free of %v: %w", image, list, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// detach frees the loop devices of an image; one that is still mounted somewhere goes with its mount.
func detach(image string) error {
	list, err := loopsOf(image)
	if err != nil {
		return err
	}
	for _, device := range list {
		f, err := os.Open(device)
		if err != nil {
			continue // freed meanwhile
		}
		err = unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0)
		f.Close()
		if err != nil && err != unix.ENXIO {
			return fmt.Errorf("free %s: %w", device, err)
		}
	}
	return nil
}
