// Package container runs each account in an OCI container of its own, by runc.
//
// Containers do not depend on the process that made them: runc keeps their state on disk, no pipe leads to the agent,
// and their cgroups are not the agent's. The agent may die, be upgraded and come back; List tells it what runs.
package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/go-runc"
	"golang.org/x/sys/unix"

	"drp/orchestrator/agent/container/accountinit"
	"drp/raftstore/state"
)

// Status is runc's word for where a container is.
type Status string

const (
	Created Status = "created" // no program of the account has run yet
	Running Status = "running"
	Paused  Status = "paused"
	Stopped Status = "stopped" // its init has ended
	Broken  Status = "broken"  // half made, since its maker died, or not readable
)

// State is one container as it is.
type State struct {
	Account     state.AccountName
	Status      Status
	Pid         int // of its init, while there is one
	Token       state.Token
	Fingerprint string
	Addresses   []netip.Addr
}

// Runtime makes and ends containers. Calls for different accounts may run at once, calls for one account may not.
type Runtime struct {
	Runc         string // binary; default: runc
	Dir          string // state and bundles; gone after a boot. Mapped ids must be able to reach it
	CgroupParent string // below each cgroup hierarchy
	Init         string // the program that is bind-mounted as the init; called with: account-init FILE
	// Grace is how long an account's programs have from SIGTERM to SIGKILL. Default 10 s.
	Grace time.Duration
}

// Open makes its directories and checks that accounts can reach them.
func (r *Runtime) Open() error {
	for _, dir := range []string{r.Dir, filepath.Join(r.Dir, "containers"), filepath.Join(r.Dir, "log")} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return fmt.Errorf("open container runtime: %w", err)
		}
		if err := os.Chmod(dir, 0o711); err != nil {
			return fmt.Errorf("open container runtime: %w", err)
		}
	}
	return Reachable(r.Dir)
}

// Reachable refuses a directory that ids of accounts could not get to.
func Reachable(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode()&0o001 == 0 {
			return fmt.Errorf("accounts cannot reach what lies in %s: allow passing through it (chmod o+x %s)", dir, dir)
		}
	}
	return nil
}

func (r *Runtime) runc(account state.AccountName) *runc.Runc {
	cli := &runc.Runc{Command: r.Runc, Root: filepath.Join(r.Dir, "runc")}
	if account != "" {
		cli.Log = filepath.Join(r.Dir, "log", string(account))
	}
	return cli
}

func (r *Runtime) bundle(account state.AccountName) string {
	return filepath.Join(r.Dir, "containers", string(account))
}

// List tells what is here. It runs runc once for each, so it is for the agent's start alone.
func (r *Runtime) List(ctx context.Context) ([]State, error) {
	entries, err := os.ReadDir(filepath.Join(r.Dir, "runc"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var list []State
	for _, e := range entries {
		s, ok, err := r.State(ctx, state.AccountName(e.Name()))
		if err != nil { // one that cannot be read must not hide the others
			s, ok = State{Account: state.AccountName(e.Name()), Status: Broken}, true
		}
		if ok {
			list = append(list, s)
		}
	}
	return list, nil
}

// State tells of one. ok is false when there is none.
func (r *Runtime) State(ctx context.Context, account state.AccountName) (s State, ok bool, err error) {
	dir := filepath.Join(r.Dir, "runc", string(account))
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return State{}, false, nil
	}
	if _, err := os.Lstat(filepath.Join(dir, "state.json")); errors.Is(err, fs.ErrNotExist) {
		return State{Account: account, Status: Broken}, true, nil
	}
	c, err := r.runc("").State(ctx, string(account))
	if err != nil {
		return State{}, false, fmt.Errorf("read state of container %s: %w", account, err)
	}
	s = State{Account: account, Status: Status(c.Status), Pid: c.Pid, Fingerprint: c.Annotations[annotationFingerprint]}
	if s.Token, err = state.ParseToken(c.Annotations[annotationToken]); err == nil {
		err = json.Unmarshal([]byte(c.Annotations[annotationAddresses]), &s.Addresses)
	}
	if err != nil { // not one that we made: to be removed
		return State{Account: account, Status: Broken, Pid: c.Pid}, true, nil
	}
	return s, true, nil
}

// Create makes the container and its namespaces, with the init waiting. There must be none of that account.
func (r *Runtime) Create(ctx context.Context, s Spec) (pid int, err error) {
	name := s.Account.Name
	dir := r.bundle(name)
	spec := config(s, filepath.Join(r.CgroupParent, string(name)), r.Init)
	if err := writeBundle(dir, s, spec); err != nil {
		return 0, fmt.Errorf("create container %s: write bundle: %w", name, err)
	}
	null, err := runc.NewNullIO()
	if err != nil {
		return 0, fmt.Errorf("create container %s: %w", name, err)
	}
	defer null.Close()
	cli := r.runc(name)
	if err := os.Remove(cli.Log); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("create container %s: %w", name, err)
	}
	pidFile := filepath.Join(dir, "pid")
	if err := cli.Create(ctx, string(name), dir, &runc.CreateOpts{IO: null, PidFile: pidFile}); err != nil {
		return 0, fmt.Errorf("create container %s: %w: %s", name, err, lastLine(cli.Log))
	}
	pid, err = runc.ReadPidFile(pidFile)
	if err != nil {
		return 0, fmt.Errorf("create container %s: %w", name, err)
	}
	return pid, nil
}

// Start lets the init of a created container go.
func (r *Runtime) Start(ctx context.Context, account state.AccountName) error {
	cli := r.runc(account)
	if err := cli.Start(ctx, string(account)); err != nil {
		return fmt.Errorf("start container %s: %w: %s", account, err, lastLine(cli.Log))
	}
	return nil
}

// Stop ends all programs of an account, first by asking, and removes the container. None there: nothing to do.
// When it returns without an error, no process of the container is left.
func (r *Runtime) Stop(ctx context.Context, account state.AccountName) error {
	s, ok, err := r.State(ctx, account)
	if err != nil || !ok {
		return err
	}
	cli := r.runc(account)
	if s.Status == Paused {
		if err := cli.Resume(ctx, string(account)); err != nil {
			return fmt.Errorf("stop container %s: resume: %w: %s", account, err, lastLine(cli.Log))
		}
		s.Status = Running
	}
	if s.Status == Running {
		// An error here means that it ended by itself, or that it has to be forced.
		if cli.Kill(ctx, string(account), int(unix.SIGTERM), nil) == nil {
			grace := r.Grace
			if grace == 0 {
				grace = 10 * time.Second
			}
			waiting, cancel := context.WithTimeout(ctx, grace)
			waitErr := waitPid(waiting, s.Pid)
			cancel()
			if ctx.Err() != nil && waitErr != nil {
				return fmt.Errorf("stop container %s: %w", account, ctx.Err())
			}
		}
	}
	if err := cli.Delete(ctx, string(account), &runc.DeleteOpts{Force: true}); err != nil {
		return fmt.Errorf("stop container %s: delete: %w: %s", account, err, lastLine(cli.Log))
	}
	if err := forgetSecrets(r.bundle(account)); err != nil {
		return fmt.Errorf("stop container %s: %w", account, err)
	}
	return nil
}

// Pause freezes all processes of an account.
func (r *Runtime) Pause(ctx context.Context, account state.AccountName) error {
	cli := r.runc(account)
	if err := cli.Pause(ctx, string(account)); err != nil {
		return fmt.Errorf("freeze container %s: %w: %s", account, err, lastLine(cli.Log))
	}
	return nil
}

// Resume ends a freeze.
func (r *Runtime) Resume(ctx context.Context, account state.AccountName) error {
	cli := r.runc(account)
	if err := cli.Resume(ctx, string(account)); err != nil {
		return fmt.Errorf("resume container %s: %w: %s", account, err, lastLine(cli.Log))
	}
	return nil
}

// Wait returns nil once the init of a running container has ended.
func (r *Runtime) Wait(ctx context.Context, s State) error {
	if err := waitPid(ctx, s.Pid); err != nil {
		return fmt.Errorf("wait for container %s: %w", s.Account, err)
	}
	return nil
}

// mostReport bounds what is read of an account's own word.
const mostReport = 64 << 10

// Trouble says which services of a running container fail, as far as its init tells; empty: none. The file is in the
// account's hands, so no link in it is followed and nothing in it is waited for.
func (r *Runtime) Trouble(s State) string {
	root, err := unix.Open(fmt.Sprintf("/proc/%d/root", s.Pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, accountinit.ReportFile, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return ""
	}
	f := os.NewFile(uintptr(fd), accountinit.ReportFile)
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	raw, err := io.ReadAll(io.LimitReader(f, mostReport))
	if err != nil {
		return ""
	}
	return accountinit.Trouble(raw, time.Now())
}

// waitPid parks until a process that is not our child has ended; no thread is kept for it.
func waitPid(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", pid, err)
	}
	f := os.NewFile(uintptr(fd), "process")
	defer f.Close()
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	err = conn.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return err == nil && n > 0
	})
	if ctx.Err() != nil && err != nil {
		return ctx.Err()
	}
	return err
}

// lastLine is runc's own word on what went wrong.
func lastLine(log string) string {
	raw, err := os.ReadFile(log)
	if err != nil {
		return "no log"
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return lines[len(lines)-1]
}
