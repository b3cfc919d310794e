package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"drp/raftstore/state"
)

// Config is guard.yaml.
type Config struct {
	Server   state.ServerName `yaml:"server"`
	Socket   string           `yaml:"socket"`    // path; orders come here
	Data     string           `yaml:"data"`      // directory on a disk; survives boots
	Run      string           `yaml:"run"`       // directory on a tmpfs; gone after a boot
	AS       uint32           `yaml:"as"`        // of the provider; the routers are in it too
	RouterID string           `yaml:"router_id"` // written like an IPv4 address; no two speakers may share one
	Local    netip.Addr       `yaml:"local"`     // the server's address towards the routers; the routes' next hop
	Routers  []netip.Addr     `yaml:"routers"`
	Logger   *slog.Logger     `yaml:"-"` // nil: slog.Default()
}

func (c Config) check() error {
	for _, p := range []struct{ name, path string }{{"socket", c.Socket}, {"data", c.Data}, {"run", c.Run}} {
		if !filepath.IsAbs(p.path) {
			return fmt.Errorf("%s: %q is no absolute path", p.name, p.path)
		}
	}
	if c.AS == 0 {
		return errors.New("as: want the number of the autonomous system")
	}
	if id, err := netip.ParseAddr(c.RouterID); err != nil || !id.Is4() || id.IsUnspecified() {
		return fmt.Errorf("router_id: %q is not of the form 10.1.0.21", c.RouterID)
	}
	if !c.Local.Is6() || c.Local.Is4In6() || !c.Local.IsGlobalUnicast() {
		return fmt.Errorf("local: %s is no global IPv6 address", c.Local)
	}
	if len(c.Routers) == 0 {
		return errors.New("routers: want at least one")
	}
	seen := map[netip.Addr]bool{}
	for _, r := range c.Routers {
		if !r.Is6() || r.Is4In6() || !r.IsGlobalUnicast() {
			return fmt.Errorf("routers: %s is no global IPv6 address", r)
		}
		if seen[r] {
			return fmt.Errorf("routers: %s is there twice", r)
		}
		seen[r] = true
	}
	return nil
}

// Run is the guard: it announces what Run holds from before, then obeys the socket until ctx ends or something
// breaks. It leaves the routes with the routers in either case (see the package's text on restarts).
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.check(); err != nil {
		return fmt.Errorf("check configuration: %w", err)
	}
	logger := cfg.Logger
	if logger == nil {
		logger = slog.Default()
	}
	for _, dir := range []string{cfg.Data, cfg.Run} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	unlock, err := lock(filepath.Join(cfg.Data, "lock"))
	if err != nil {
		return err
	}
	defer unlock()
	b, err := openBook(cfg.Data, cfg.Run)
	if err != nil {
		return err
	}
	before := b.list()
	s, err := startSpeaker(ctx, cfg, before, logger)
	if err != nil {
		return err
	}
	b.bgp = s
	listener, err := listen(ctx, cfg.Socket)
	if err != nil {
		return errors.Join(err, s.stop())
	}
	srv := &http.Server{
		Handler:           handler(cfg, b, s, logger),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		MaxHeaderBytes:    1 << 16,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	logger.Info("guard ready", "server", cfg.Server, "socket", cfg.Socket, "routes", len(before), "routers", len(cfg.Routers))

	select {
	case err = <-served:
		err = fmt.Errorf("serve socket: %w", err)
	case <-ctx.Done():
		// Orders are short; one that is not answered is repeated to the next guard.
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err = srv.Shutdown(grace)
	}
	if stopErr := s.stop(); stopErr != nil {
		err = errors.Join(err, fmt.Errorf("stop BGP: %w", stopErr))
	}
	logger.Info("guard ended", "server", cfg.Server, "routes", len(b.list()))
	return err
}

// lock keeps a second guard away from the same files. The kernel releases it with the process.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock data: another guard uses %s", filepath.Dir(path))
		}
		return nil, fmt.Errorf("lock data: %w", err)
	}
	return func() { f.Close() }, nil
}

// listen makes the socket, for root alone from its first moment on. One left by a guard that was killed is replaced:
// the lock says that nobody answers there any more.
func listen(ctx context.Context, path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("make socket: %w", err)
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		// Before bind: the file is made with the mode that the socket has then.
		if outer := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) }); outer != nil {
			return outer
		}
		return err
	}}
	l, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("make socket: %w", err)
	}
	return l, nil
}
