package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupParent holds everything that the lab starts, in every hierarchy: below it a directory per host, and in that
// the containers of its accounts.
const cgroupParent = "drp-dev"

// ownProcesses is the host's leaf for its own programs: cgroup v2 gives controllers only to a group without processes.
const ownProcesses = "@host"

// hierarchy is one mounted cgroup hierarchy.
type hierarchy struct {
	path        string
	v2          bool
	controllers []string // of v1
}

// hierarchies lists what is mounted: one on a machine with cgroup v2, one per controller with v1.
func hierarchies() ([]hierarchy, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list cgroups: %w", err)
	}
	defer f.Close()
	var list []hierarchy
	for lines := bufio.NewScanner(f); lines.Scan(); {
		left, right, ok := strings.Cut(lines.Text(), " - ")
		a, b := strings.Fields(left), strings.Fields(right)
		if !ok || len(a) < 5 || len(b) < 3 || !strings.HasPrefix(b[0], "cgroup") {
			continue
		}
		list = append(list, hierarchy{path: a[4], v2: b[0] == "cgroup2", controllers: strings.Split(b[2], ",")})
	}
	if len(list) == 0 {
		return nil, errors.New("list cgroups: none is mounted below /sys/fs/cgroup")
	}
	return list, nil
}

// place puts a host's first process into the lab's cgroup of one hierarchy; all that it starts is born there. One is
// enough to find and end them.
func place(host string, pid int) error {
	all, err := hierarchies()
	if err != nil {
		return err
	}
	dir := filepath.Join(tracking(all).path, cgroupParent, host, ownProcesses)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make cgroup of %s: %w", host, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		return fmt.Errorf("put %s into its cgroup: %w", host, err)
	}
	return nil
}

// tracking chooses the hierarchy that processes can enter without further settings (cpuset of v1 is not one).
func tracking(all []hierarchy) hierarchy {
	for _, h := range all {
		if h.v2 {
			return h
		}
	}
	for _, h := range all {
		if slices.Contains(h.controllers, "pids") || slices.Contains(h.controllers, "freezer") {
			return h
		}
	}
	return all[0]
}

// groups lists the cgroup directories of a host (all hosts: ""), the deepest first.
func groups(host string) ([]string, error) {
	all, err := hierarchies()
	if err != nil {
		return nil, err
	}
	var list []string
	for _, h := range all {
		filepath.WalkDir(filepath.Join(h.path, cgroupParent, host), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				list = append(list, path)
			}
			return nil // groups come and go while we look
		})
	}
	slices.Reverse(list)
	return list, nil
}

// thaw lets the frozen die: in cgroup v1 a frozen process does not even take SIGKILL, and a backup that was under way has
// frozen its account.
func thaw(host string) error {
	dirs, err := groups(host)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		for file, value := range map[string]string{"freezer.state": "THAWED", "cgroup.freeze": "0"} {
			if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
				os.WriteFile(filepath.Join(dir, file), []byte(value), 0) // gone meanwhile: as well
			}
		}
	}
	return nil
}

// members lists the processes in the lab's cgroups.
func members(host string) ([]int, error) {
	dirs, err := groups(host)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, dir := range dirs {
		data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			continue // gone meanwhile
		}
		for _, field := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 && !slices.Contains(pids, pid) {
				pids = append(pids, pid)
			}
		}
	}
	return pids, nil
}

// clearGroups kills whatever is in the cgroups of a host (all hosts: ""), waits for its end, and removes them.
func clearGroups(ctx context.Context, host string) error {
	for {
		if err := thaw(host); err != nil {
			return err
		}
		pids, err := members(host)
		if err != nil {
			return err
		}
		for _, pid := range pids {
			if pid != os.Getpid() {
				unix.Kill(pid, unix.SIGKILL)
			}
		}
		dirs, err := groups(host)
		if err != nil {
			return err
		}
		var last error
		for _, dir := range dirs {
			if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
				last = fmt.Errorf("remove cgroup %s (%d processes): %w", dir, len(pids), err)
			}
		}
		if last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return last
		case <-time.After(20 * time.Millisecond):
		}
	}
}
