// Package host is the init of one host of the lab: pid 1 of its own network, mount, uts, ipc and pid namespaces. It
// gives the host a /run, /tmp, /proc and /sys of its own, runs its services and restarts them as systemd would, and
// answers on a control socket. When it dies, the kernel ends everything inside the host.
package host

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Spec describes one host. The lab writes it as a file of mode 0600 (environments hold keys of stores).
type Spec struct {
	Name    string `json:"name"`
	Control string `json:"control"` // path of the control socket, as the machine sees it
	Logs    string `json:"logs"`    // directory, as the machine sees it; one file per service
	// Binds are directories of the machine that the host sees elsewhere. They are made before any service starts.
	Binds []Bind `json:"binds,omitempty"`
	// Directories are made inside the host, on its private /run.
	Directories []string `json:"directories,omitempty"`
	Disk        *Disk    `json:"disk,omitempty"`
	// Sysctls are written below /proc/sys of the host's own network, before it has any link.
	Sysctls     map[string]string `json:"sysctls,omitempty"`
	Environment []string          `json:"environment,omitempty"` // of every service and command
	Services    []Service         `json:"services,omitempty"`
}

// Bind shows the machine's From as To inside the host.
type Bind struct {
	From     string `json:"from"`
	To       string `json:"to"`
	ReadOnly bool   `json:"read_only,omitempty"`
}

// Disk is an image file with a filesystem, mounted inside the host alone.
type Disk struct {
	Image      string `json:"image"`
	Filesystem string `json:"filesystem"`
	To         string `json:"to"`
}

// Service is one program that the host keeps running. It is not started before it is asked for.
type Service struct {
	Name        string   `json:"name"`
	Command     []string `json:"command"`
	Environment []string `json:"environment,omitempty"`
}

// ServiceStatus is how a service stands.
type ServiceStatus struct {
	Name     string    `json:"name"`
	PID      int       `json:"pid,omitempty"` // inside the host; zero: not running
	Wanted   bool      `json:"wanted"`
	Since    time.Time `json:"since,omitzero"` // of the running process
	Restarts int       `json:"restarts"`
	LastExit string    `json:"last_exit,omitempty"`
}

// ReadSpec reads what WriteSpec wrote.
func ReadSpec(path string) (*Spec, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read host spec: %w", err)
	}
	s := new(Spec)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("read host spec %s: %w", path, err)
	}
	return s, nil
}

// WriteSpec writes a spec for Run.
func WriteSpec(path string, s *Spec) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("write host spec: %w", err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return fmt.Errorf("write host spec: %w", err)
	}
	return nil
}
