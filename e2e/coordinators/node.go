package coordinators

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Node is one coordinator's process. One that ends by itself is started again after a moment, as systemd would.
type Node struct {
	cluster *Cluster
	index   int
	place   Place
	dir     string

	mu       sync.Mutex
	wanted   bool // it should run
	process  *os.Process
	ended    chan struct{} // closed when process has ended
	restarts int
}

const restartPause = 500 * time.Millisecond

func newNode(c *Cluster, index int, p Place) *Node {
	if p.Listen == "" {
		p.Listen = p.Address
	}
	if p.Client == "" {
		p.Client = p.Address
	}
	return &Node{cluster: c, index: index, place: p, dir: filepath.Join(c.cfg.Dir, p.Name)}
}

func (n *Node) config() string { return filepath.Join(n.dir, "server.yaml") }

// Name of the coordinator.
func (n *Node) Name() string { return n.place.Name }

// Data is its data directory.
func (n *Node) Data() string { return n.place.Data }

// Pid of its process; zero: none runs.
func (n *Node) Pid() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process == nil {
		return 0
	}
	return n.process.Pid
}

// Restarts is how often it ended by itself.
func (n *Node) Restarts() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.restarts
}

// Start begins the process, if none runs.
func (n *Node) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wanted = true
	return n.start()
}

func (n *Node) start() error {
	if n.process != nil || !n.wanted {
		return nil
	}
	out, err := os.OpenFile(filepath.Join(n.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("start coordinator %s: %w", n.place.Name, err)
	}
	defer out.Close()
	cmd := exec.Command(n.cluster.cfg.Program, "server", "--config", n.config())
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	enter := n.cluster.cfg.Enter
	if enter == nil {
		enter = func(_ int, start func() error) error { return start() }
	}
	if err := enter(n.index, cmd.Start); err != nil {
		return fmt.Errorf("start coordinator %s: %w", n.place.Name, err)
	}
	n.process, n.ended = cmd.Process, make(chan struct{})
	go n.wait(cmd, n.ended)
	return nil
}

func (n *Node) wait(cmd *exec.Cmd, ended chan struct{}) {
	_ = cmd.Wait() // why it ended is in its log
	n.mu.Lock()
	n.process = nil
	close(ended)
	again := n.wanted
	if again {
		n.restarts++
	}
	n.mu.Unlock()
	if !again {
		return
	}
	time.AfterFunc(restartPause, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		_ = n.start() // it fails as the first start would have, which worked
	})
}

// Signal sends a signal to the process, if one runs.
func (n *Node) Signal(s syscall.Signal) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process == nil {
		return nil
	}
	if err := n.process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal coordinator %s: %w", n.place.Name, err)
	}
	return nil
}

// signalKill sends SIGKILL, and does not wait.
func (n *Node) signalKill() (ended chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wanted = false
	if n.process == nil {
		return nil
	}
	_ = n.process.Kill() // it has ended already, else
	return n.ended
}

// Kill ends the process with SIGKILL, and waits until it is gone. It is not started again before Start.
func (n *Node) Kill() {
	if ended := n.signalKill(); ended != nil {
		<-ended
	}
}

const logEnd = 4 << 10

// log is the end of what the process wrote.
func (n *Node) log() string {
	data, err := os.ReadFile(filepath.Join(n.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-logEnd):])
}
