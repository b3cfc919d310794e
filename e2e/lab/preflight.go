package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// What a lab needs of the machine.
const (
	memoryNeeded = 2 << 30
	diskNeeded   = 3 << 30
)

// tools are the programs of the machine and the Debian packages that have them.
var tools = []struct{ program, pack string }{
	{"runc", "runc"},
	{"bird", "bird2"},
	{"birdc", "bird2"},
	{"mkfs.btrfs", "btrfs-progs"},
	{"ip", "iproute2"},
	{"nft", "nftables"},
	{"nsenter", "util-linux"},
}

// preflight looks before anything is made. Its fields stand for the machine.
type preflight struct {
	user        func() int
	find        func(program string) (string, error)
	memory      func() (available int64, err error)
	disk        func(dir string) (free int64, err error)
	filesystems func() ([]byte, error)
	ipv6        func() bool
}

func newPreflight() preflight {
	return preflight{
		user:        os.Geteuid,
		find:        findProgram,
		memory:      availableMemory,
		disk:        freeDisk,
		filesystems: func() ([]byte, error) { return os.ReadFile("/proc/filesystems") },
		ipv6:        func() bool { _, err := os.Stat("/proc/sys/net/ipv6"); return err == nil },
	}
}

// check returns one sentence about the first thing that is missing.
func (p preflight) check(c Config) error {
	if p.user() != 0 {
		return fmt.Errorf("drp dev makes network namespaces and mounts, so it needs root: run it with sudo")
	}
	for _, t := range tools {
		if _, err := p.find(t.program); err != nil {
			return fmt.Errorf("%s is not installed: apt-get install %s", t.program, t.pack)
		}
	}
	for _, name := range []string{"restic", "versitygw"} {
		if _, err := os.Stat(filepath.Join(c.Bin, name)); err != nil {
			return fmt.Errorf("%s is not in %s: run make build", name, c.Bin)
		}
	}
	list, err := p.filesystems()
	if err != nil {
		return fmt.Errorf("list filesystems: %w", err)
	}
	if !strings.Contains(string(list), "\tbtrfs\n") {
		return fmt.Errorf("the kernel does not know btrfs: run modprobe btrfs")
	}
	if !p.ipv6() {
		return fmt.Errorf("the kernel runs without IPv6: remove ipv6.disable=1 from its command line")
	}
	if !filepath.IsAbs(c.State) || strings.HasPrefix(c.State+"/", "/proc/") || strings.HasPrefix(c.State+"/", "/sys/") {
		return fmt.Errorf("the state directory %q is not an absolute path on a disk", c.State)
	}
	memory, err := p.memory()
	if err != nil {
		return err
	}
	if memory < memoryNeeded {
		return fmt.Errorf("drp dev needs 2 GiB of free memory, and %s are available", inMiB(memory))
	}
	disk, err := p.disk(c.State)
	if err != nil {
		return err
	}
	if disk < diskNeeded {
		return fmt.Errorf("drp dev needs 3 GiB of free disk in %s, and %s are free: give another place with --state", c.State, inMiB(disk))
	}
	return nil
}

func inMiB(n int64) string { return strconv.FormatInt(n>>20, 10) + " MiB" }

// findProgram looks where root's programs are, too: PATH of a plain user's sudo may lack them.
func findProgram(program string) (string, error) {
	for _, name := range []string{program, "/usr/local/sbin/" + program, "/usr/sbin/" + program, "/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("find %s: %w", program, exec.ErrNotFound)
}

// freeDisk looks at the nearest directory that exists.
func freeDisk(dir string) (int64, error) {
	for {
		var fs unix.Statfs_t
		err := unix.Statfs(dir, &fs)
		if err == nil {
			return int64(fs.Bavail) * fs.Bsize, nil
		}
		if err != unix.ENOENT || dir == "/" {
			return 0, fmt.Errorf("read free disk of %s: %w", dir, err)
		}
		dir = filepath.Dir(dir)
	}
}
