// Package accountinit is process 1 of an account's container: it starts the account's services, starts them again
// when they end, runs its cron jobs at their times, buries what they leave behind, and passes the end on.
package accountinit

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"drp/orchestrator/agent/home"
	"drp/raftstore/state"
)

const (
	firstWait = 200 * time.Millisecond
	lastWait  = 30 * time.Second
	// settled is how long a service has to live for its next end to count as the first.
	settled = 60 * time.Second
)

type service struct {
	state.Service
	log     *ring
	pid     int
	started time.Time
	problem string // why it did not start, or how it ended the last time
	wait    time.Duration
	timer   *time.Timer
}

// supervisor has one lock: a child is never buried before the start that made it has noted its pid.
type supervisor struct {
	mu       sync.Mutex
	services []*service
	cron     *cron
	ending   bool
}

// CronFile lies beside the list of the services. It is read again at each SIGHUP.
const CronFile = "cron.json"

// Run supervises the services listed in a JSON file until SIGTERM, and returns the exit code.
func Run(specPath string) int {
	if err := run(specPath); err != nil {
		fmt.Fprintln(os.Stderr, "account-init:", err)
		return 1
	}
	return 0
}

func run(specPath string) error {
	// First of all: what is written anew before a signal is read after it. Each kind has a place of its own, so that none is
	// lost behind others.
	died, reload, stop := make(chan os.Signal, 1), make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(died, unix.SIGCHLD)
	signal.Notify(reload, unix.SIGHUP)
	signal.Notify(stop, unix.SIGTERM, unix.SIGINT)
	raw, err := os.ReadFile(specPath)
	if err != nil {
		return err
	}
	var list []state.Service
	if err := json.Unmarshal(raw, &list); err != nil {
		return fmt.Errorf("read %s: %w", specPath, err)
	}
	// What Debian's programs expect below /var, which leads here.
	old := unix.Umask(0)
	for _, d := range []struct {
		path string
		mode os.FileMode
	}{{"/run/lib", 0o755}, {"/run/lib/nginx", 0o777}, {"/run/lib/php", 0o755}, {"/run/lib/php/sessions", 0o777},
		{"/run/log", 0o755}, {"/run/log/cron", 0o755}, {"/run/log/nginx", 0o777}, {"/run/lock", 0o777}} {
		if err := os.Mkdir(d.path, d.mode); err != nil && !os.IsExist(err) {
			return err
		}
	}
	unix.Umask(old)

	s := &supervisor{}
	for _, one := range list {
		s.services = append(s.services, &service{Service: one, log: openRing("/run/log/"+one.Name+".log", serviceLog)})
	}
	for _, one := range s.services {
		s.start(one)
	}
	s.cron = &cron{clock: wall, after: s.after, spawn: spawn, kill: func(pid int, sig unix.Signal) { unix.Kill(pid, sig) }, logs: "/run/log/cron"}
	jobs := filepath.Join(filepath.Dir(specPath), CronFile)
	if err := s.load(jobs); err != nil {
		return err
	}
	for over := false; !over; {
		select {
		case <-died:
			over = s.bury()
		case <-reload:
			_ = s.load(jobs) // what cannot be read leaves the list as it was
		case <-stop:
			over = s.end()
		}
	}
	return nil
}

// wall is without the monotonic clock, by which one that is set back would not be seen.
func wall() time.Time { return time.Now().Round(0) }

// after does something later, with the lock held, unless all is to end.
func (s *supervisor) after(d time.Duration, do func()) *time.Timer {
	return time.AfterFunc(d, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.ending {
			do()
		}
	})
}

func (s *supervisor) load(path string) error {
	list, err := readJobs(path)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ending {
		s.cron.load(list)
	}
	return nil
}

// start starts a service, or notes when to try again.
func (s *supervisor) start(one *service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending {
		return
	}
	one.started = time.Now()
	defer s.tell()
	pid, err := spawn(one.Program, one.log)
	if err != nil {
		one.problem = "cannot start: " + err.Error()
		fmt.Fprintf(one.log, "account-init: start %s: %v\n", one.Name, err)
		s.again(one)
		return
	}
	one.pid = pid
}

func (s *supervisor) again(one *service) {
	if time.Since(one.started) > settled {
		one.wait = 0
	}
	one.wait = min(max(2*one.wait, firstWait), lastWait)
	one.timer = time.AfterFunc(one.wait, func() { s.start(one) })
}

// bury takes in all dead children, also those that a service left behind. It reports true when all is over.
func (s *supervisor) bury() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil { // ECHILD: nobody is left
			return s.ending
		}
		if pid == 0 {
			return false
		}
		i := slices.IndexFunc(s.services, func(one *service) bool { return one.pid == pid })
		if i < 0 {
			s.cron.ended(pid, status)
			continue
		}
		one := s.services[i]
		one.pid = 0
		if !s.ending {
			fmt.Fprintf(one.log, "account-init: %s ended (exit %d, signal %d)\n", one.Name, status.ExitStatus(), status.Signal())
			one.problem = fmt.Sprintf("ended with exit status %d", status.ExitStatus())
			if status.Signaled() {
				one.problem = "ended by signal: " + status.Signal().String()
			}
			s.again(one)
			s.tell()
		}
	}
}

// end asks every process of the container to end. It reports true when there is none.
func (s *supervisor) end() bool {
	s.mu.Lock()
	s.ending = true
	for _, one := range s.services {
		if one.timer != nil {
			one.timer.Stop()
		}
	}
	s.mu.Unlock()
	unix.Kill(-1, unix.SIGTERM)
	return s.bury()
}

// spawn starts a program under its user, with the one capability that lets it bind port 80. It leads a process group.
func spawn(one state.Program, log *ring) (pid int, err error) {
	if len(one.Command) == 0 {
		return 0, fmt.Errorf("no command")
	}
	dir := "/home/" + hostname()
	env := environment(one, dir)
	path, err := look(one.Command[0], dir)
	if err != nil {
		return 0, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer w.Close()

	// The group of the home for everybody, so that each user of the account can work in it.
	credential := &syscall.Credential{Uid: one.User, Gid: home.User, Groups: []uint32{home.User}}
	pid, err = syscall.ForkExec(path, one.Command, &syscall.ProcAttr{
		Dir: dir, Env: env, Files: []uintptr{null.Fd(), w.Fd(), w.Fd()},
		Sys: &syscall.SysProcAttr{Setsid: true, Credential: credential, AmbientCaps: []uintptr{unix.CAP_NET_BIND_SERVICE}},
	})
	if err != nil {
		r.Close()
		return 0, fmt.Errorf("run %s: %w", path, err)
	}
	go log.readFrom(r)
	return pid, nil
}

// environment is what a program starts with. What the account gives takes the place of what there is without it: of a variable that is
// there twice most programs take the first, and some the last.
func environment(one state.Program, home string) []string {
	all := map[string]string{"PATH": os.Getenv("PATH"), "HOME": home, "LANG": "C.UTF-8"}
	maps.Copy(all, one.Environment)
	var env []string
	for k, v := range all {
		env = append(env, k+"="+v)
	}
	slices.Sort(env)
	return env
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}
