package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"drp/e2e/lab/host"
)

// What a host sees of the lab's directory.
const (
	hostBin  = "/run/drp-bin"
	hostEtc  = "/etc/drp"
	hostData = "/var/lib/drp"
	hostRun  = "/run/drp"
	homes    = hostData + "/homes"
)

// machine is one host, running or dead. Its disks are directories and files of the state directory and outlive it.
type machine struct {
	Host
	paths    paths
	services []host.Service
	control  *host.Client

	mu     sync.Mutex
	pid    int // of its init, as the machine counts; zero: dead
	net    *network
	exited chan struct{} // closed when the host's last process is gone
}

func newMachine(h Host, p paths, services []host.Service) *machine {
	return &machine{Host: h, paths: p, services: services, control: host.NewClient(p.control(h.Name))}
}

// process returns the host's init.
func (m *machine) process() (pid int, alive bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pid, m.pid != 0
}

// network returns the host's network, nil when it is dead.
func (m *machine) network() *network {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.net
}

// spec describes the host for its init.
func (m *machine) spec() *host.Spec {
	s := &host.Spec{
		Name:    m.Name,
		Control: m.paths.control(m.Name),
		Logs:    m.paths.logs(),
		Binds: []host.Bind{
			{From: m.paths.bin(), To: hostBin, ReadOnly: true},
			{From: m.paths.etc(m.Name), To: hostEtc},
			{From: m.paths.data(m.Name), To: hostData},
		},
		Directories: []string{hostRun, "/run/bird", "/run/lock"},
		Sysctls:     sysctls(m.Role),
		Environment: []string{
			"PATH=" + hostBin + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"HOME=" + hostData,
			"LANG=C.UTF-8",
		},
		Services: m.services,
	}
	if m.Role == Server {
		s.Disk = &host.Disk{Image: m.paths.image(m.Name), Filesystem: "btrfs", To: homes}
	}
	return s
}

// boot starts the host's init and returns when it can be given links. Nothing of an earlier life is left by then but
// its disks.
func (m *machine) boot(ctx context.Context, l *launcher, t *topology) error {
	if err := clearGroups(ctx, m.Name); err != nil {
		return err
	}
	if m.Role == Server {
		if err := waitDetached(ctx, m.paths.image(m.Name)); err != nil {
			return err
		}
	}
	if err := host.WriteSpec(m.paths.spec(m.Name), m.spec()); err != nil {
		return err
	}
	pid, exited, err := m.launch(ctx, l)
	if err != nil {
		return fmt.Errorf("boot %s: %w", m.Name, err)
	}
	net, err := openNetwork(m.Name, pid)
	if err == nil {
		err = net.prepare(t, m.Host)
	}
	if err == nil {
		err = m.showRoot(pid)
	}
	if err != nil {
		if net != nil {
			net.close()
		}
		return errors.Join(err, m.end(ctx, pid, exited))
	}
	m.mu.Lock()
	m.pid, m.net, m.exited = pid, net, exited
	m.mu.Unlock()
	return nil
}

// launch starts init and waits for its word.
func (m *machine) launch(ctx context.Context, l *launcher) (pid int, exited chan struct{}, err error) {
	logPath := filepath.Join(m.paths.logs(), m.Name+"-init.log")
	out, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return 0, nil, fmt.Errorf("open log: %w", err)
	}
	defer out.Close()
	ready, tell, err := os.Pipe()
	if err != nil {
		return 0, nil, fmt.Errorf("make pipe: %w", err)
	}
	defer ready.Close()
	cmd := exec.Command(m.paths.binary(), "dev", "host", m.paths.spec(m.Name))
	cmd.Env = m.spec().Environment
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = out, out
	cmd.ExtraFiles = []*os.File{tell}
	cmd.SysProcAttr = &unix.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Setsid:     true, // Ctrl-C is for the lab alone, which ends its hosts itself
		Pdeathsig:  unix.SIGKILL,
	}
	err = l.start(cmd)
	tell.Close()
	if err != nil {
		return 0, nil, fmt.Errorf("start init: %w", err)
	}
	exited = make(chan struct{})
	go func() {
		cmd.Wait() // ends when every process of the host has ended
		close(exited)
	}()
	pid = cmd.Process.Pid
	if err := place(m.Name, pid); err != nil {
		return 0, nil, errors.Join(err, m.end(ctx, pid, exited))
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(30 * time.Second)
	}
	ready.SetReadDeadline(deadline)
	if _, err := bufio.NewReader(ready).ReadString('\n'); err != nil {
		end := m.end(ctx, pid, exited)
		return 0, nil, errors.Join(fmt.Errorf("init did not get ready: %s", tail(logPath)), end)
	}
	return pid, exited, nil
}

// showRoot makes the host's files reachable at a path that stays the same over its boots.
func (m *machine) showRoot(pid int) error {
	link := m.paths.root(m.Name)
	if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("show root of %s: %w", m.Name, err)
	}
	if err := os.Symlink(fmt.Sprintf("/proc/%d/root", pid), link); err != nil {
		return fmt.Errorf("show root of %s: %w", m.Name, err)
	}
	return nil
}

// crash sends SIGKILL to the host's init; with it the kernel ends every process inside. It does not wait: several
// hosts can die at the same moment. A dead host is left alone.
func (m *machine) crash() {
	if pid, alive := m.process(); alive {
		unix.Kill(pid, unix.SIGKILL)
	}
}

// bury waits until nothing of a crashed host is left but its disks.
func (m *machine) bury(ctx context.Context) error {
	m.mu.Lock()
	pid, net, exited := m.pid, m.net, m.exited
	m.pid, m.net = 0, nil
	m.mu.Unlock()
	if pid == 0 {
		return nil
	}
	net.close()
	os.Remove(m.paths.root(m.Name))
	os.Remove(m.paths.control(m.Name))
	return m.end(ctx, pid, exited)
}

// end kills init and waits. What is frozen in it is thawed as often as it takes.
func (m *machine) end(ctx context.Context, pid int, exited <-chan struct{}) error {
	unix.Kill(pid, unix.SIGKILL)
	for {
		select {
		case <-exited:
			return clearGroups(ctx, m.Name)
		case <-ctx.Done():
			return fmt.Errorf("end %s: its processes did not die: %w", m.Name, ctx.Err())
		case <-time.After(20 * time.Millisecond):
			if err := thaw(m.Name); err != nil {
				return err
			}
		}
	}
}

// startServices starts those services of the host that want keeps.
func (m *machine) startServices(ctx context.Context, want func(service string) bool) error {
	for _, s := range m.services {
		if !want(s.Name) {
			continue
		}
		if err := m.control.Start(ctx, s.Name); err != nil {
			return fmt.Errorf("start %s/%s: %w", m.Name, s.Name, err)
		}
	}
	return nil
}

// launcher starts processes from one thread that lives as long as the lab's process: Linux sends the parent-death
// signal when the *thread* that started a child ends.
type launcher struct {
	work chan func()
}

func newLauncher() *launcher {
	l := &launcher{work: make(chan func())}
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread() // the thread goes on, and nobody's signal is sent
		for f := range l.work {
			f()
		}
	}()
	return l
}

func (l *launcher) start(cmd *exec.Cmd) error {
	result := make(chan error, 1)
	l.work <- func() { result <- cmd.Start() }
	return <-result
}

func (l *launcher) close() { close(l.work) }

// tail returns the last lines of a log for an error message.
func tail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(lines) > 5 {
		lines = lines[len(lines)-5:]
	}
	return strings.Join(lines, " | ")
}
