package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// logsDir is where the host sees its logs.
const logsDir = "/run/host-logs"

// Run is the host's pid 1. The lab starts it in new namespaces with the write end of a pipe as descriptor 3; Run writes
// "ready" there once the host can be given links. It returns only when it cannot start, or at SIGTERM.
func Run(specPath string) error {
	if os.Getpid() != 1 {
		return errors.New("start host: not the first process of a pid namespace; only drp dev starts hosts")
	}
	spec, err := ReadSpec(specPath)
	if err != nil {
		return err
	}
	listener, err := listen(spec.Control) // before the host's own mounts hide where it lies
	if err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(spec.Name)); err != nil {
		return fmt.Errorf("set hostname: %w", err)
	}
	spec.Binds = append(spec.Binds, Bind{From: spec.Logs, To: logsDir})
	if err := enterWorld(spec); err != nil {
		return err
	}
	logs, err := os.OpenRoot(logsDir)
	if err != nil {
		return fmt.Errorf("open logs: %w", err)
	}
	if err := writeSysctls(spec.Sysctls); err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer cancel()
	children := newReaper()
	go children.run()
	h := &host{
		spec:     spec,
		logs:     logs,
		children: children,
		services: make(map[string]*service),
		log:      slog.New(slog.NewTextHandler(os.Stderr, nil)).With("host", spec.Name),
	}
	for _, s := range spec.Services {
		h.services[s.Name] = newService(h, s)
	}
	server := &http.Server{Handler: h.routes(), BaseContext: func(net.Listener) context.Context { return ctx }}
	go server.Serve(listener)
	if err := tellReady(); err != nil {
		return err
	}
	<-ctx.Done()
	return nil // the kernel ends everything inside the host
}

// listen makes the control socket. A socket that a killed host left is in the way, and nobody's.
func listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove stale control socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen for control: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, fmt.Errorf("protect control socket: %w", err)
	}
	return l, nil
}

func writeSysctls(values map[string]string) error {
	for name, value := range values {
		path := filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
		if err := os.WriteFile(path, []byte(value), 0); err != nil {
			return fmt.Errorf("set sysctl: %w", err)
		}
	}
	return nil
}

func tellReady() error {
	pipe := os.NewFile(3, "ready")
	defer pipe.Close()
	if _, err := pipe.WriteString("ready\n"); err != nil {
		return fmt.Errorf("tell that the host is ready: %w", err)
	}
	return nil
}
