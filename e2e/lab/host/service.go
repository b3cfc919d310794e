package host

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// host is what Run serves.
type host struct {
	spec     *Spec
	logs     *os.Root
	children *reaper
	services map[string]*service
	log      *slog.Logger
}

// Restarts follow systemd's Restart=always: soon, then less often, and soon again once a service has held.
const (
	firstRestart = 200 * time.Millisecond
	lastRestart  = 2 * time.Second
	held         = 10 * time.Second
	stopGrace    = 10 * time.Second
)

// service keeps one program running while it is wanted. Only the program itself is ever signalled, as systemd's
// KillMode=process does: what an agent started must outlive it.
type service struct {
	host *host
	spec Service

	mu     sync.Mutex
	status ServiceStatus
	ended  chan struct{} // closed when the loop is over; nil: no loop
	stop   chan struct{} // closed to end the loop
}

func newService(h *host, s Service) *service {
	return &service{host: h, spec: s, status: ServiceStatus{Name: s.Name}}
}

// Start wants the service. Twice is the same as once.
func (s *service) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status.Wanted {
		return
	}
	s.status.Wanted = true
	s.stop, s.ended = make(chan struct{}), make(chan struct{})
	go s.keep(s.stop, s.ended)
}

// Stop ends the service and returns when its program is gone.
func (s *service) Stop() {
	s.mu.Lock()
	ended := s.ended
	if s.status.Wanted {
		s.status.Wanted = false
		close(s.stop)
	}
	s.mu.Unlock()
	if ended != nil {
		<-ended
	}
}

// Kill sends SIGKILL to the program. The service is restarted.
func (s *service) Kill() error {
	pid := s.Status().PID
	if pid == 0 {
		return fmt.Errorf("kill service %s: %w", s.spec.Name, os.ErrProcessDone)
	}
	if err := s.host.children.kill(pid, unix.SIGKILL); err != nil {
		return fmt.Errorf("kill service %s: %w", s.spec.Name, err)
	}
	return nil
}

// Status says how the service stands now.
func (s *service) Status() ServiceStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

func (s *service) keep(stop <-chan struct{}, ended chan<- struct{}) {
	defer close(ended)
	delay := firstRestart
	for {
		began := time.Now()
		exit := s.runOnce(stop)
		select {
		case <-stop:
			return
		default:
		}
		if time.Since(began) >= held {
			delay = firstRestart
		}
		s.host.log.Info("service ended", "service", s.spec.Name, "exit", exit, "restart_in", delay)
		select {
		case <-stop:
			return
		case <-time.After(delay):
		}
		delay = min(2*delay, lastRestart)
		s.mu.Lock()
		s.status.Restarts++
		s.mu.Unlock()
	}
}

// runOnce runs the program to its end and says what that was.
func (s *service) runOnce(stop <-chan struct{}) string {
	pid, ended, err := s.launch()
	if err != nil {
		s.finish(err.Error())
		return err.Error()
	}
	s.mu.Lock()
	s.status.PID, s.status.Since = pid, time.Now()
	s.mu.Unlock()
	var status unix.WaitStatus
	select {
	case status = <-ended:
	case <-stop:
		s.host.children.kill(pid, unix.SIGTERM)
		select {
		case status = <-ended:
		case <-time.After(stopGrace):
			s.host.children.kill(pid, unix.SIGKILL)
			status = <-ended
		}
	}
	exit := describe(status)
	s.finish(exit)
	return exit
}

func (s *service) finish(exit string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.PID, s.status.Since, s.status.LastExit = 0, time.Time{}, exit
}

func (s *service) launch() (int, <-chan unix.WaitStatus, error) {
	name := s.host.spec.Name + "-" + s.spec.Name + ".log"
	out, err := s.host.logs.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return 0, nil, fmt.Errorf("open log: %w", err)
	}
	defer out.Close()
	cmd := exec.Command(s.spec.Command[0], s.spec.Command[1:]...)
	cmd.Env = slices.Concat(s.host.spec.Environment, s.spec.Environment)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	return s.host.children.start(cmd)
}

// find returns a service by its name, or answers 404.
func (h *host) find(w http.ResponseWriter, name string) *service {
	s, ok := h.services[name]
	if !ok {
		http.Error(w, fmt.Sprintf("host %s has no service %q", h.spec.Name, name), http.StatusNotFound)
		return nil
	}
	return s
}
