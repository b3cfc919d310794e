package lab

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"testing"
)

func TestPreflight_check(t *testing.T) {
	bin := t.TempDir()
	for _, name := range []string{"restic", "versitygw"} {
		if err := install("/bin/true", bin+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
	good := preflight{
		user:        func() int { return 0 },
		find:        func(program string) (string, error) { return "/usr/bin/" + program, nil },
		memory:      func() (int64, error) { return 4 << 30, nil },
		disk:        func(string) (int64, error) { return 10 << 30, nil },
		filesystems: func() ([]byte, error) { return []byte("nodev\ttmpfs\n\text4\n\tbtrfs\n"), nil },
		ipv6:        func() bool { return true },
	}
	without := func(missing string) func(string) (string, error) {
		return func(program string) (string, error) {
			if program == missing {
				return "", errors.New("not found")
			}
			return program, nil
		}
	}
	for _, c := range []struct {
		name   string
		change func(*preflight, *Config)
		want   string
	}{
		{"all there", func(*preflight, *Config) {}, ""},
		{"not root", func(p *preflight, _ *Config) { p.user = func() int { return 1000 } },
			"drp dev makes network namespaces and mounts, so it needs root: run it with sudo"},
		{"no runc", func(p *preflight, _ *Config) { p.find = without("runc") }, "runc is not installed: apt-get install runc"},
		{"no bird", func(p *preflight, _ *Config) { p.find = without("bird") }, "bird is not installed: apt-get install bird2"},
		{"no btrfs", func(p *preflight, _ *Config) { p.find = without("mkfs.btrfs") }, "mkfs.btrfs is not installed: apt-get install btrfs-progs"},
		{"no btrfs in the kernel", func(p *preflight, _ *Config) {
			p.filesystems = func() ([]byte, error) { return []byte("\text4\n"), nil }
		},
			"the kernel does not know btrfs: run modprobe btrfs"},
		{"nothing built", func(_ *preflight, c *Config) { c.Bin = "/nonexistent" }, "restic is not in /nonexistent: run make build"},
		{"no IPv6", func(p *preflight, _ *Config) { p.ipv6 = func() bool { return false } },
			"the kernel runs without IPv6: remove ipv6.disable=1 from its command line"},
		{"little memory", func(p *preflight, _ *Config) { p.memory = func() (int64, error) { return 1 << 30, nil } },
			"drp dev needs 2 GiB of free memory, and 1024 MiB are available"},
		{"little disk", func(p *preflight, _ *Config) { p.disk = func(string) (int64, error) { return 1 << 30, nil } },
			"drp dev needs 3 GiB of free disk in /var/lib/drp-dev, and 1024 MiB are free: give another place with --state"},
		{"relative state", func(_ *preflight, c *Config) { c.State = "here" }, `the state directory "here" is not an absolute path on a disk`},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, config := good, Config{State: DefaultState, Bin: bin}
			c.change(&p, &config)
			got := ""
			if err := p.check(config); err != nil {
				got = err.Error()
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestLeftByLimits(t *testing.T) {
	write := func(files map[string]string) string {
		t.Helper()
		root := t.TempDir()
		for name, text := range files {
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return root
	}
	v2 := write(map[string]string{
		"slice/memory.max": "1000\n", "slice/memory.current": "700\n", "slice/memory.stat": "anon 5\ninactive_file 50\n",
		"slice/us/memory.max": "max\n", "slice/us/memory.current": "10\n",
	})
	v1 := write(map[string]string{
		"us/memory.limit_in_bytes": "900\n", "us/memory.usage_in_bytes": "800\n", "us/memory.stat": "inactive_file 1\ntotal_inactive_file 20\n",
		"memory.limit_in_bytes": "9223372036854771712\n", "memory.usage_in_bytes": "5000\n",
	})
	for _, c := range []struct {
		name string
		all  []hierarchy
		own  string
		want int64
	}{
		{"v2, limited above us", []hierarchy{{path: v2, v2: true}}, "0::/slice/us\n", 350},
		{"v1", []hierarchy{{path: v1, controllers: []string{"rw", "memory"}}}, "4:memory:/us\n1:name=systemd:/\n0::/\n", 120},
		{"no memory controller", []hierarchy{{path: v1, controllers: []string{"rw", "pids"}}}, "4:pids:/us\n", math.MaxInt64},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := leftByLimits(c.all, c.own); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}
