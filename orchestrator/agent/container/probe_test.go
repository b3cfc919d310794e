package container_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// probe runs inside a container as the account's ordinary user. It tries what must work and what must not, writes
// one line for each into the home, and waits for its end.
func probe() int {
	if len(os.Args) > 2 && os.Args[2] == "fetch" {
		return fetch()
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, unix.SIGTERM)
	// A loopback is down in a new namespace until runc brings it up; the port is what counts.
	var report bytes.Buffer
	for _, p := range probes() {
		switch err := p.try(); {
		case p.works && err != nil:
			fmt.Fprintf(&report, "FAILED %s: %v\n", p.what, err)
		case !p.works && err == nil:
			fmt.Fprintf(&report, "POSSIBLE %s\n", p.what)
		default:
			fmt.Fprintf(&report, "ok %s (%v)\n", p.what, err)
		}
	}
	if err := os.WriteFile("report.new", report.Bytes(), 0o644); err != nil {
		fmt.Println(err)
		return 1
	}
	if err := os.Rename("report.new", "report"); err != nil {
		fmt.Println(err)
		return 1
	}
	sig := <-term
	os.WriteFile("goodbye", []byte(sig.String()), 0o644)
	return 0
}

type attempt struct {
	what  string
	works bool
	try   func() error
}

func probes() []attempt {
	can := func(what string, try func() error) attempt { return attempt{what, true, try} }
	cannot := func(what string, try func() error) attempt { return attempt{what, false, try} }
	write := func(path string) func() error {
		return func() error { return os.WriteFile(path, []byte("x"), 0o644) }
	}
	readable := func(path string) func() error {
		return func() error {
			raw, err := os.ReadFile(path)
			if err == nil && len(raw) == 0 {
				return errors.New("empty")
			}
			return err
		}
	}
	expect := func(ok bool, format string, args ...any) error {
		if ok {
			return nil
		}
		return fmt.Errorf(format, args...)
	}
	call := func(nr uintptr, args ...uintptr) func() error {
		var a [6]uintptr
		copy(a[:], args)
		return func() error {
			if r, _, errno := unix.Syscall6(nr, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
				return errno
			} else if nr == unix.SYS_CLONE && r == 0 {
				unix.Exit(0)
			}
			return nil
		}
	}
	return []attempt{
		can("be user 1000", func() error {
			return expect(os.Getuid() == 1000 && os.Getgid() == 1000, "%d %d", os.Getuid(), os.Getgid())
		}),
		can("write the home", write("file")),
		can("write /tmp", write("/tmp/file")),
		can("bind port 80", func() error {
			l, err := net.Listen("tcp", "[::]:80")
			if err == nil {
				l.Close()
			}
			return err
		}),
		can("see the init as process 1", func() error {
			raw, err := os.ReadFile("/proc/1/cmdline")
			return errors.Join(err, expect(strings.HasPrefix(string(raw), "/.drp/init\x00account-init"), "%q", raw))
		}),
		can("have the hostname of the account", func() error {
			name, err := os.Hostname()
			return errors.Join(err, expect(strings.HasPrefix(name, "acct"), "%q", name))
		}),
		can("not see the host's cgroups", func() error {
			raw, err := os.ReadFile("/proc/self/cgroup")
			return errors.Join(err, expect(!strings.Contains(string(raw), "drp-test"), "%q", raw))
		}),
		can("have no other descriptors than its own", func() error {
			list, err := os.ReadDir("/proc/self/fd")
			for _, e := range list {
				to, _ := os.Readlink("/proc/self/fd/" + e.Name())
				err = errors.Join(err, expect(strings.HasPrefix(to, "pipe:") || strings.HasPrefix(to, "anon_inode:") ||
					strings.HasPrefix(to, "/proc/") || to == "/dev/null" || to == "" || strings.HasPrefix(to, "socket:"), "descriptor %s", to))
			}
			return err
		}),
		can("have no new privileges, and one capability", func() error {
			raw, err := os.ReadFile("/proc/self/status")
			return errors.Join(err,
				expect(bytes.Contains(raw, []byte("NoNewPrivs:\t1")), "no_new_privs is off"),
				expect(bytes.Contains(raw, []byte("Seccomp:\t2")), "no seccomp filter"),
				expect(bytes.Contains(raw, []byte("CapEff:\t0000000000000400")), "CapEff: %s", raw))
		}),

		cannot("write /usr", write("/usr/x")),
		cannot("write /etc", write("/etc/x")),
		cannot("write /", write("/x")),
		cannot("write the init", func() error { f, err := os.OpenFile("/.drp/init", os.O_WRONLY, 0); _ = f; return err }),
		cannot("write /dev", write("/dev/x")),
		cannot("write a kernel parameter", write("/proc/sys/kernel/hostname")),
		cannot("write core_pattern", write("/proc/sys/kernel/core_pattern")),
		cannot("trigger sysrq", write("/proc/sysrq-trigger")),
		cannot("write sysfs", write("/sys/kernel/mm/ksm/run")),
		cannot("read kcore", readable("/proc/kcore")),
		cannot("read the kernel's keys", readable("/proc/keys")),
		cannot("read other services' environment", readable("/.drp/services.json")),
		cannot("read the host's shadow", readable("/etc/shadow")),
		cannot("see the host's root", func() error { _, err := os.Stat("/boot"); return err }),
		cannot("see other homes", func() error {
			list, err := os.ReadDir("/home")
			return errors.Join(err, expect(len(list) != 1, "one home"))
		}),
		cannot("become root", func() error { return syscall.Setuid(0) }),
		cannot("become another user", func() error { return syscall.Setuid(1001) }),
		cannot("mount", func() error { return unix.Mount("tmpfs", "/tmp", "tmpfs", 0, "") }),
		cannot("bind mount", func() error { return unix.Mount("/usr", "/tmp", "", unix.MS_BIND, "") }),
		cannot("remount /usr", func() error { return unix.Mount("", "/usr", "", unix.MS_REMOUNT|unix.MS_BIND, "") }),
		cannot("unmount /usr", func() error { return unix.Unmount("/usr", unix.MNT_DETACH) }),
		cannot("make a user namespace", func() error { return unix.Unshare(unix.CLONE_NEWUSER) }),
		cannot("clone into a user namespace", call(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD))),
		cannot("clone3", call(unix.SYS_CLONE3, 0, 0)),
		cannot("pivot_root", call(unix.SYS_PIVOT_ROOT)),
		cannot("chroot", func() error { return unix.Chroot("/tmp") }),
		cannot("enter a namespace", func() error {
			f, err := os.Open("/proc/1/ns/mnt")
			if err != nil {
				return err
			}
			defer f.Close()
			return unix.Setns(int(f.Fd()), 0)
		}),
		cannot("make a device", func() error { return unix.Mknod("/tmp/sda", unix.S_IFBLK|0o600, int(unix.Mkdev(254, 0))) }),
		cannot("open a file by handle", call(unix.SYS_OPEN_BY_HANDLE_AT)),
		cannot("trace", call(unix.SYS_PTRACE, unix.PTRACE_TRACEME)),
		cannot("load bpf", call(unix.SYS_BPF)),
		cannot("use io_uring", call(unix.SYS_IO_URING_SETUP, 8)),
		cannot("use userfaultfd", call(unix.SYS_USERFAULTFD, 0)),
		cannot("use keys", call(unix.SYS_KEYCTL, 0)),
		cannot("load a module", call(unix.SYS_INIT_MODULE)),
		cannot("load a kernel", call(unix.SYS_KEXEC_LOAD)),
		cannot("watch performance counters", call(unix.SYS_PERF_EVENT_OPEN)),
		cannot("read the kernel's log", call(unix.SYS_SYSLOG, 3)),
		cannot("reboot", call(unix.SYS_REBOOT)),
		cannot("set the clock", func() error { return unix.ClockSettime(unix.CLOCK_REALTIME, &unix.Timespec{Sec: 1}) }),
		cannot("set the hostname", func() error { return unix.Sethostname([]byte("x")) }),
		cannot("open a vsock", func() error { _, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0); return err }),
		cannot("open a raw socket", func() error { _, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6); return err }),
		cannot("open a packet socket", func() error { _, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0); return err }),
		cannot("change addresses", func() error {
			s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
			if err != nil {
				return err
			}
			defer unix.Close(s)
			req, err := unix.NewIfreq("lo")
			if err != nil {
				return err
			}
			req.SetUint16(0)
			return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, req)
		}),
		cannot("make a subvolume", subvolume(0x50009418)),
		cannot("make a subvolume with rubbish in the upper half", subvolume(0x1_50009418)),
		can("use other ioctls", func() error {
			var r [2]int
			if err := unix.Pipe(r[:]); err != nil {
				return err
			}
			_, err := unix.IoctlGetInt(r[0], unix.TIOCINQ)
			return err
		}),
	}
}

// subvolume must be refused by the filter (EPERM), whatever filesystem the home is on (others answer ENOTTY).
func subvolume(request uintptr) func() error {
	return func() error {
		dir, err := os.Open(".")
		if err != nil {
			return nil
		}
		defer dir.Close()
		var args [4096]byte
		copy(args[56:], "sub")
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), request, uintptr(unsafe.Pointer(&args)))
		if errno != unix.EPERM {
			return nil
		}
		return errno
	}
}
