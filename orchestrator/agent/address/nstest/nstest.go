// Package nstest gives tests network namespaces of their own, and wires between them.
package nstest

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is an empty network namespace with lo up. A child process holds it, and that dies with the test's
// process at the latest: whatever happens to a test, no namespace is left behind.
type Namespace struct {
	Pid int // of the process that holds it
}

// New makes a namespace that is gone when the test ends.
func New(t testing.TB) *Namespace {
	t.Helper()
	holder := exec.Command("sleep", "infinity")
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := holder.Start(); err != nil {
		t.Fatalf("make network namespace: %v", err)
	}
	t.Cleanup(func() {
		_ = holder.Process.Kill()
		_ = holder.Wait()
	})
	n := &Namespace{Pid: holder.Process.Pid}
	n.Run(t, "ip", "link", "set", "lo", "up")
	return n
}

// Path is the file of the namespace.
func (n *Namespace) Path() string { return fmt.Sprintf("/proc/%d/ns/net", n.Pid) }

// Do runs fn on a thread that is in the namespace. What fn starts as goroutines is not.
func (n *Namespace) Do(t testing.TB, fn func()) {
	t.Helper()
	// The thread goes back where it was rather than ending: the kernel kills the children that a thread
	// started with Pdeathsig when that thread ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := netns.Get()
	if err != nil {
		t.Fatalf("open own network namespace: %v", err)
	}
	defer before.Close()
	there, err := netns.GetFromPid(n.Pid)
	if err != nil {
		t.Fatalf("open network namespace: %v", err)
	}
	defer there.Close()
	if err := netns.Set(there); err != nil {
		t.Fatalf("enter network namespace: %v", err)
	}
	defer func() {
		if err := netns.Set(before); err != nil {
			panic(err) // this thread must not be used again
		}
	}()
	fn()
}

// Command is a command that will run in the namespace. It dies with the test's process.
func (n *Namespace) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + n.Path(), "--", name}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// Run runs a command in the namespace, and returns what it printed.
func (n *Namespace) Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := n.Command(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// End is one end of a wire.
type End struct {
	In        *Namespace
	Interface string
	Address   netip.Prefix // usable at once (no duplicate address detection)
}

// Wire joins two namespaces.
func Wire(t testing.TB, a, b End) {
	t.Helper()
	there, err := netns.GetFromPid(b.In.Pid)
	if err != nil {
		t.Fatalf("open network namespace: %v", err)
	}
	defer there.Close()
	a.In.Do(t, func() {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = a.Interface
		err = netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: b.Interface, PeerNamespace: netlink.NsFd(there)})
	})
	if err != nil {
		t.Fatalf("make wire %s-%s: %v", a.Interface, b.Interface, err)
	}
	for _, end := range []End{a, b} {
		end.In.Run(t, "ip", "address", "add", end.Address.String(), "dev", end.Interface, "nodad")
		end.In.Run(t, "ip", "link", "set", end.Interface, "up")
	}
}

// Eventually asks until the answer is nil, and fails the test with the last one when that takes too long.
func Eventually(t testing.TB, within time.Duration, ask func() error) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("after %v: %v", within, err)
		}
	}
}
