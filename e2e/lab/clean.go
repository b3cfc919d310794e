package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Clean removes what a lab left that was killed, also half of it. It refuses while a lab runs.
//
// Namespaces, links and mounts ended with the processes that held them, and those with the lab: each host's init
// asks the kernel to be killed when the lab dies. What can be left is a process that could not die then (frozen), a
// loop device that it held, cgroups and files.
func Clean(ctx context.Context, state string) error {
	l, err := acquire(lockPath, "state in "+state)
	if err != nil {
		return err
	}
	defer l.release()
	return clean(ctx, paths{state}, false)
}

func clean(ctx context.Context, p paths, keepLogs bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := clearGroups(ctx, ""); err != nil {
		return err
	}
	if err := unmountBelow(p.state); err != nil {
		return err
	}
	images, err := filepath.Glob(p.image("*"))
	if err != nil {
		return fmt.Errorf("find disks: %w", err)
	}
	for _, image := range images {
		if err := detach(image); err != nil {
			return err
		}
		if err := waitDetached(ctx, image); err != nil {
			return err
		}
	}
	return p.remove(keepLogs)
}

// unmountBelow takes away mounts in the state directory. The lab makes none in the machine's own namespace; a person
// who looked into a disk may have.
func unmountBelow(dir string) error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	defer f.Close()
	var found []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			found = append(found, fields[4])
		}
	}
	for i := len(found) - 1; i >= 0; i-- {
		if err := unix.Unmount(found[i], unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", found[i], err)
		}
	}
	return nil
}
