package container

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"drp/orchestrator/agent/container/accountinit"
	"drp/orchestrator/agent/home"
	"drp/raftstore/state"
)

// Spec is all that a container is made of.
type Spec struct {
	Account state.Account
	Token   state.Token
	IDs     home.IDs
	Home    string // on the host; mounted as /home/ACCOUNT
}

// Fingerprint changes when the container has to be made anew: with its services, its limits and its addresses, and
// not with its tier or policy, nor with its cron jobs: see SetCronJobs.
func (s Spec) Fingerprint() string {
	raw, err := json.Marshal(struct {
		Plan      state.Resources
		Addresses []netip.Addr
		Services  []state.Service
	}{s.Account.Plan, s.Account.Addresses, s.Account.Services})
	if err != nil { // numbers, strings and addresses: cannot fail
		panic(err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16])
}

// Annotations by which a container is known again after the agent that made it is gone.
const (
	annotationToken       = "drp.token"
	annotationFingerprint = "drp.fingerprint"
	annotationAddresses   = "drp.addresses" // JSON
)

const (
	initInside     = "/.drp/init"
	servicesInside = "/.drp/services.json"
	cronInside     = "/.drp/" + accountinit.CronFile

	// initProcesses is what account-init itself takes of the processes limit; the plan's number is the account's.
	initProcesses = 16
)

// config is the OCI configuration of a container.
func config(s Spec, cgroup, initBinary string) *specs.Spec {
	name := string(s.Account.Name)
	caps := []string{"CAP_NET_BIND_SERVICE", "CAP_SETUID", "CAP_SETGID", "CAP_KILL"}
	addresses, err := json.Marshal(s.Account.Addresses)
	if err != nil { // addresses: cannot fail
		panic(err)
	}
	mapping := []specs.LinuxIDMapping{{ContainerID: 0, HostID: s.IDs.First, Size: s.IDs.Size}}
	return &specs.Spec{
		Version:  "1.0.2",
		Hostname: name,
		Root:     &specs.Root{Path: "rootfs", Readonly: true},
		Process: &specs.Process{
			Args: []string{initInside, "account-init", servicesInside},
			Env: []string{
				"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
				"GOMAXPROCS=1", // of the init; it does next to nothing
			},
			Cwd: "/",
			// For the init to become the services' users, to end them, and to let them bind port 80. Nothing else.
			Capabilities:    &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps},
			NoNewPrivileges: true,
			Rlimits:         []specs.POSIXRlimit{openFiles(), {Type: "RLIMIT_CORE"}},
		},
		Mounts: mounts(s, initBinary),
		Annotations: map[string]string{
			annotationToken:       s.Token.String(),
			annotationFingerprint: s.Fingerprint(),
			annotationAddresses:   string(addresses),
		},
		Linux: &specs.Linux{
			UIDMappings: mapping,
			GIDMappings: mapping,
			CgroupsPath: cgroup,
			Namespaces:  namespaces(),
			Resources:   limits(s.Account.Plan),
			Seccomp:     seccomp(runtime.GOARCH),
			// Nobody on the account's link tells it where the world is.
			Sysctl: map[string]string{
				"net.ipv6.conf.all.accept_ra":            "0",
				"net.ipv6.conf.default.accept_ra":        "0",
				"net.ipv6.conf.all.accept_redirects":     "0",
				"net.ipv6.conf.default.accept_redirects": "0",
			},
			MaskedPaths: []string{
				"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
				"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
				"/sys/devices/virtual/powercap", "/sys/firmware",
			},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
}

// openFiles is never more than the agent's own limit: runc applies it from inside, where it cannot be raised.
func openFiles() specs.POSIXRlimit {
	own := unix.Rlimit{Max: 4096}
	_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &own) // cannot fail with these arguments
	return specs.POSIXRlimit{Type: "RLIMIT_NOFILE", Hard: min(own.Max, 65536), Soft: min(own.Max, 8192)}
}

func namespaces() []specs.LinuxNamespace {
	list := []specs.LinuxNamespace{
		{Type: specs.UserNamespace}, {Type: specs.PIDNamespace}, {Type: specs.MountNamespace},
		{Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
	}
	if exists("/proc/self/ns/cgroup") {
		list = append(list, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	return list
}

// limits of the plan. The weight is the same for every account, so idle time goes to whoever needs it and a full
// server shrinks everybody's share alike; the quota is the plan's.
func limits(plan state.Resources) *specs.LinuxResources {
	shares, period := uint64(1024), uint64(100_000)
	res := &specs.LinuxResources{
		CPU:     &specs.LinuxCPU{Shares: &shares},
		Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}},
	}
	if plan.CPU > 0 {
		quota := max(int64(plan.CPU*float64(period)), 1000) // the kernel's smallest
		res.CPU.Quota, res.CPU.Period = &quota, &period
	}
	if plan.Memory > 0 {
		res.Memory = &specs.LinuxMemory{Limit: &plan.Memory}
		if swapIsCounted() {
			res.Memory.Swap = &plan.Memory // memory and swap together: no swap
		}
	}
	if plan.Processes > 0 {
		n := plan.Processes + initProcesses
		res.Pids = &specs.LinuxPids{Limit: &n}
	}
	return res
}

// swapIsCounted: version 2 always takes a swap limit; version 1 only where the kernel was started with it.
func swapIsCounted() bool {
	const v1 = "/sys/fs/cgroup/memory"
	return !exists(v1) || exists(filepath.Join(v1, "memory.memsw.limit_in_bytes"))
}

// fromHost are the parts of /etc that programs want, where the host has them.
var fromHost = [...]string{
	"/etc/alternatives", "/etc/ld.so.cache", "/etc/localtime", "/etc/mime.types", "/etc/nginx/fastcgi.conf",
	"/etc/nginx/fastcgi_params", "/etc/nginx/mime.types", "/etc/php", "/etc/ssl/certs", "/etc/ssl/openssl.cnf",
}

func mounts(s Spec, initBinary string) []specs.Mount {
	tmpfs := func(at, mode, size string, more ...string) specs.Mount {
		return specs.Mount{Destination: at, Type: "tmpfs", Source: "tmpfs",
			Options: append([]string{"nosuid", "nodev", "mode=" + mode, "size=" + size}, more...)}
	}
	readOnly := func(from, to string) specs.Mount {
		return specs.Mount{Destination: to, Type: "bind", Source: from, Options: []string{"bind", "ro", "nosuid", "nodev"}}
	}
	list := []specs.Mount{
		readOnly("/usr", "/usr"),
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		tmpfs("/dev", "755", "64k", "noexec", "strictatime"),
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts",
			Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		tmpfs("/dev/shm", "1777", "25%", "noexec"),
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		tmpfs("/tmp", "1777", "50%"), // what lies in them counts as memory of the account
		tmpfs("/run", "755", "16m", "noexec"),
		{Destination: "/home/" + string(s.Account.Name), Type: "bind", Source: s.Home,
			Options: []string{"bind", "rw", "nosuid", "nodev"}},
		readOnly(initBinary, initInside),
	}
	for _, path := range fromHost {
		if real, err := filepath.EvalSymlinks(path); err == nil && path == filepath.Clean(path) {
			list = append(list, readOnly(real, path))
		}
	}
	return list
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
