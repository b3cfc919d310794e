package lab

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// availableMemory is what the machine has to spare, or what the limits of our own cgroups leave, if that is less.
func availableMemory() (int64, error) {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("read free memory: %w", err)
	}
	free, ok := field(string(data), "MemAvailable:")
	if !ok {
		return 0, fmt.Errorf("read free memory: no MemAvailable in /proc/meminfo")
	}
	all, err := hierarchies()
	if err != nil {
		return 0, err
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return 0, fmt.Errorf("read own cgroups: %w", err)
	}
	return min(free<<10, leftByLimits(all, string(own))), nil
}

// leftByLimits walks up from our own memory cgroup. What cannot be read limits nothing.
func leftByLimits(all []hierarchy, own string) int64 {
	left := int64(math.MaxInt64)
	for line := range strings.Lines(own) { // 4:memory:/some/group, or 0::/some/group with v2
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		for _, h := range all {
			limit, usage, inactive := "memory.max", "memory.current", "inactive_file"
			switch {
			case h.v2 && parts[1] == "":
			case !h.v2 && parts[1] != "" && slices.Contains(h.controllers, "memory") && slices.Contains(strings.Split(parts[1], ","), "memory"):
				limit, usage, inactive = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
			default:
				continue
			}
			for dir := filepath.Join(h.path, parts[2]); len(dir) >= len(h.path); dir = filepath.Dir(dir) {
				most, ok := number(filepath.Join(dir, limit))
				used, known := number(filepath.Join(dir, usage))
				if !ok || !known {
					continue
				}
				stat, _ := os.ReadFile(filepath.Join(dir, "memory.stat"))
				cache, _ := field(string(stat), inactive) // given back when somebody needs it
				left = min(left, max(0, most-used+cache))
			}
		}
	}
	return left
}

// number reads a file that holds one; "max" is none.
func number(path string) (int64, bool) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	return n, err == nil
}

// field finds the number behind a name at the beginning of a line.
func field(text, name string) (int64, bool) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) >= 2 && f[0] == name {
			n, err := strconv.ParseInt(f[1], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
