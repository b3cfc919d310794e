package host

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// reaper is the only one that waits for processes: pid 1 gets its own children and every orphan alike, and os/exec's
// Wait would race with a wait for any.
type reaper struct {
	mu      sync.Mutex
	waiting map[int]chan<- unix.WaitStatus
}

func newReaper() *reaper { return &reaper{waiting: make(map[int]chan<- unix.WaitStatus)} }

// start starts cmd, whose standard streams are files or nil, and returns where its end is told. The lock is held
// over the start, so that a child that ends at once is known when it is reaped.
func (r *reaper) start(cmd *exec.Cmd) (pid int, ended <-chan unix.WaitStatus, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return 0, nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	pid = cmd.Process.Pid
	cmd.Process.Release()
	c := make(chan unix.WaitStatus, 1)
	r.waiting[pid] = c
	return pid, c, nil
}

// kill signals a child that has not been reaped, so never another process that got its pid.
func (r *reaper) kill(pid int, sig unix.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.waiting[pid]; !ok {
		return os.ErrProcessDone
	}
	return unix.Kill(pid, sig)
}

func (r *reaper) run() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	for {
		r.reap()
		<-ended
	}
}

func (r *reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if c, ok := r.waiting[pid]; ok {
			c <- status
			delete(r.waiting, pid)
		}
	}
}

// describe says in words how a process ended.
func describe(s unix.WaitStatus) string {
	if s.Signaled() {
		return "killed by " + unix.SignalName(s.Signal())
	}
	return fmt.Sprintf("exit status %d", s.ExitStatus())
}
