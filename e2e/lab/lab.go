// Package lab is a whole platform on one machine: three sites with routers, coordinators, stores and servers, an
// internet and a client, each a host of its own with its own network, mounts, processes and name. The programs in it
// are the real ones; drp dev and the end-to-end tests stand on it.
//
// Nothing of it touches the machine's own network or files but the state directory, and all of it lives in processes
// that die with the one that called Start.
package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"drp/e2e/lab/host"
)

// DefaultState is where a lab keeps its files unless it is told otherwise.
const DefaultState = "/var/lib/drp-dev"

// Config says what to start. The zero value is the platform as drp dev makes it.
type Config struct {
	// State is the directory for everything that is written. It is made, and removed by Close.
	State string
	// Binary is the drp that the hosts run, and whose "dev host FILE" is their init. Default: this program.
	Binary string
	// Bin is the directory that holds restic and versitygw. Default: Binary's own, or its sibling bin.
	Bin    string
	Logger *slog.Logger
	// KeepLogs leaves the services' logs in State after Close.
	KeepLogs bool
	// DiskSize is that of each server's homes. The file is sparse. Default: 4 GiB.
	DiskSize int64
	// Services chooses what a host runs, given what it runs in the platform; tests put stand-ins here. Default: the
	// platform's own.
	Services func(h Host, platform []host.Service) []host.Service
	// Ready are the checks that have to pass before Start returns, in this order. Nil: PlatformReady.
	Ready []Check
	// Progress is called with a sentence for the person who waits. May be nil.
	Progress func(string)
}

// Check is one condition of a lab that is up. Wait returns nil once it holds, or says what is missing when ctx ends.
type Check struct {
	Name string
	Wait func(ctx context.Context, l *Lab) error
}

// Lab is a running lab. Its methods may be called from any goroutine.
type Lab struct {
	config   Config
	log      *slog.Logger
	paths    paths
	top      *topology
	secrets  *secrets
	lock     *lock
	launcher *launcher
	machines map[string]*machine

	doing sync.Mutex // one change of hosts or links at a time
	// life ends with Close: what a person asked for by drp dev's other commands does not hold it up.
	life context.Context
	end  context.CancelFunc

	mu     sync.Mutex
	cuts   map[string]cut
	wired  map[int]bool // index into top.links: the link is there
	server *http.Server
	closed bool
}

// Start makes a lab from nothing and returns when it is ready. When it cannot, nothing is left behind.
func Start(ctx context.Context, c Config) (_ *Lab, err error) {
	c, err = c.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := newPreflight().check(c); err != nil {
		return nil, err
	}
	lock, err := acquire(lockPath, "state in "+c.State)
	if err != nil {
		return nil, err
	}
	l := &Lab{
		config:   c,
		log:      c.Logger,
		paths:    paths{c.State},
		top:      newTopology(),
		lock:     lock,
		launcher: newLauncher(),
		machines: make(map[string]*machine),
		cuts:     make(map[string]cut),
		wired:    make(map[int]bool),
	}
	l.life, l.end = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"clean", func(ctx context.Context) error { return clean(ctx, l.paths, false) }},
		{"prepare", l.prepare},
		{"boot", l.bootAll},
		{"control", l.serveControl},
		{"wait", l.waitReady},
	} {
		began := time.Now()
		if err := step.do(ctx); err != nil {
			return nil, err
		}
		l.log.Debug("start lab", "step", step.name, "took", time.Since(began).Round(time.Millisecond))
	}
	return l, nil
}

func (c Config) withDefaults() (Config, error) {
	if c.State == "" {
		c.State = DefaultState
	}
	c.State = filepath.Clean(c.State)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Binary == "" {
		self, err := os.Executable()
		if err != nil {
			return c, fmt.Errorf("find this program: %w", err)
		}
		c.Binary = self
	}
	if c.Bin == "" {
		c.Bin = besideBinary(c.Binary)
	}
	if c.DiskSize == 0 {
		c.DiskSize = 4 << 30
	}
	if c.Services == nil {
		c.Services = func(_ Host, platform []host.Service) []host.Service { return platform }
	}
	if c.Ready == nil {
		c.Ready = PlatformReady()
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	return c, nil
}

// besideBinary is the directory of drp itself, where make build puts restic and versitygw too, or bin beside it.
func besideBinary(binary string) string {
	dir := filepath.Dir(binary)
	if _, err := os.Stat(filepath.Join(dir, "restic")); err == nil {
		return dir
	}
	return filepath.Join(dir, "bin")
}

// prepare writes everything that the hosts will find on their disks.
func (l *Lab) prepare(ctx context.Context) error {
	l.config.Progress("making keys, certificates, configurations and disks")
	if err := l.paths.make(l.top.hosts); err != nil {
		return err
	}
	for name, from := range map[string]string{
		"drp":       l.config.Binary,
		"restic":    filepath.Join(l.config.Bin, "restic"),
		"versitygw": filepath.Join(l.config.Bin, "versitygw"),
	} {
		if err := install(from, filepath.Join(l.paths.bin(), name)); err != nil {
			return err
		}
	}
	var err error
	if l.secrets, err = newSecrets(l.top); err != nil {
		return err
	}
	if err := l.secrets.writeKeys(l.paths); err != nil {
		return err
	}
	if err := os.WriteFile(l.paths.platform(), []byte(l.top.inventory()), 0o644); err != nil {
		return fmt.Errorf("write platform: %w", err)
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, h := range l.top.hosts {
		if err := configure(l.top, l.secrets, l.paths, h); err != nil {
			return err
		}
		l.machines[h.Name] = newMachine(h, l.paths, l.config.Services(h, platformServices(h, l.secrets)))
		switch h.Role {
		case Server:
			group.Go(func() error { return makeDisk(ctx, l.paths.image(h.Name), l.config.DiskSize) })
		case Data:
			for _, dir := range []string{"iam", "store"} {
				if err := os.Mkdir(filepath.Join(l.paths.data(h.Name), dir), 0o700); err != nil {
					return fmt.Errorf("make disk of %s: %w", h.Name, err)
				}
			}
		case Coordinator:
			if err := markFirstStart(l.paths.coordinator(h.Name)); err != nil {
				return fmt.Errorf("make disk of %s: %w", h.Name, err)
			}
			if err := os.Symlink(l.paths.hostSocket(h.Name), l.paths.api(h.Name)); err != nil {
				return fmt.Errorf("show socket of %s: %w", h.Name, err)
			}
		}
	}
	return group.Wait()
}

// markFirstStart does what drp server init does: it says that a coordinator is new. A host that boots again finds its
// disk as it was, and a coordinator that has lost it is never called new.
func markFirstStart(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "first-start"), nil, 0o600)
}

func (l *Lab) bootAll(ctx context.Context) error {
	l.config.Progress(fmt.Sprintf("booting %d hosts", len(l.top.hosts)))
	if err := l.boot(ctx, l.top.withRole(Fabric)); err != nil {
		return err
	}
	if err := l.boot(ctx, l.top.hosts); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, h := range l.top.withRole(Data) {
		group.Go(func() error { return l.provision(ctx, l.machines[h.Name]) })
	}
	return group.Wait()
}

// boot starts the dead ones of some hosts, wires them and starts their services. Of a data host that was never
// provisioned only the store starts.
func (l *Lab) boot(ctx context.Context, hosts []Host) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4)
	for _, h := range hosts {
		m := l.machines[h.Name]
		if _, alive := m.process(); alive {
			continue
		}
		group.Go(func() error {
			if err := m.boot(ctx, l.launcher, l.top); err != nil {
				return err
			}
			if err := l.wire(m); err != nil {
				return err
			}
			return m.startServices(ctx, func(name string) bool { return !m.bare() || name == storeName })
		})
	}
	return group.Wait()
}

// bare reports whether the host has a store without a bucket yet.
func (m *machine) bare() bool {
	if m.Role != Data {
		return false
	}
	_, err := os.Stat(m.paths.provisioned(m.Name))
	return err != nil
}

// provision readies a fresh store and then starts what needs it.
func (l *Lab) provision(ctx context.Context, m *machine) error {
	for _, s := range m.services {
		if s.Name != storeName {
			continue
		}
		site, _ := l.top.site(m.Site)
		client := HTTPClient(func() (int, error) { return l.processOf(m.Name) })
		if err := provision(ctx, m.Host, site.bucket(), l.secrets.stores[m.Site], client); err != nil {
			return fmt.Errorf("%w (%s)", err, tail(l.paths.serviceLog(m.Name, storeName)))
		}
	}
	if err := os.WriteFile(m.paths.provisioned(m.Name), nil, 0o600); err != nil {
		return fmt.Errorf("note store: %w", err)
	}
	return m.startServices(ctx, func(name string) bool { return name != storeName })
}

// wire makes those links of a host whose other end is there, too.
func (l *Lab) wire(m *machine) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, ln := range l.top.links {
		if l.wired[i] || ln.a.host != m.Name && ln.b.host != m.Name {
			continue
		}
		a, b := l.machines[ln.a.host].network(), l.machines[ln.b.host].network()
		if a == nil || b == nil {
			continue // its other end will
		}
		if err := connect(ln, a, b); err != nil {
			return err
		}
		l.wired[i] = true
		// A gateway is reachable only once the other end is up.
		if err := b.configure(ln.b, false); err != nil {
			return err
		}
		if err := a.configure(ln.a, severed(ln, l.cuts)); err != nil {
			return err
		}
	}
	return nil
}

// unwire takes away what links a dead host with the living.
func (l *Lab) unwire(m *machine) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, ln := range l.top.links {
		if !l.wired[i] || ln.a.host != m.Name && ln.b.host != m.Name {
			continue
		}
		delete(l.wired, i)
		e := ln.a
		if e.host == m.Name {
			e = ln.b
		}
		if n := l.machines[e.host].network(); n != nil {
			if err := n.remove(e.device); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *Lab) currentCuts() map[string]cut {
	l.mu.Lock()
	defer l.mu.Unlock()
	cuts := make(map[string]cut, len(l.cuts))
	for s, c := range l.cuts {
		cuts[s] = c
	}
	return cuts
}

// setCut changes what of a site is cut, and brings its links up or down.
func (l *Lab) setCut(site string, c cut) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cuts[site] = c
	for i, ln := range l.top.links {
		if !l.wired[i] || ln.kind != mesh && ln.kind != uplink {
			continue
		}
		if n := l.machines[ln.a.host].network(); n != nil {
			if err := n.set(ln.a.device, !severed(ln, l.cuts)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *Lab) waitReady(ctx context.Context) error {
	for _, c := range l.config.Ready {
		l.config.Progress("waiting for " + c.Name)
		if err := c.Wait(ctx, l); err != nil {
			l.complain(ctx)
			return fmt.Errorf("wait for %s: %w", c.Name, err)
		}
	}
	return nil
}

// complain tells what services said that did not stay up: their logs go with the lab.
func (l *Lab) complain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	for _, h := range l.Report(ctx).Hosts {
		for _, s := range h.Services {
			if s.Restarts > 0 {
				l.config.Progress(fmt.Sprintf("%s/%s ended %d times (%s): %s", h.Name, s.Name, s.Restarts, s.LastExit, tail(l.paths.serviceLog(h.Name, s.Name))))
			}
		}
	}
}

// ErrClosed means that the lab has ended.
var ErrClosed = errors.New("the lab has ended")

// change begins a change of hosts or links.
func (l *Lab) change() (done func(), err error) {
	l.doing.Lock()
	if l.life.Err() != nil {
		l.doing.Unlock()
		return nil, ErrClosed
	}
	return l.doing.Unlock, nil
}

// Close ends everything and removes it.
func (l *Lab) Close() error {
	l.mu.Lock()
	server, closed := l.server, l.closed
	l.closed = true
	l.mu.Unlock()
	if closed {
		return nil
	}
	if server != nil {
		server.Close()
	}
	l.end()
	l.doing.Lock()
	defer l.doing.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, m := range l.machines {
		m.crash()
	}
	var errs []error
	for _, m := range l.machines {
		errs = append(errs, m.bury(ctx))
	}
	errs = append(errs, clean(ctx, l.paths, l.config.KeepLogs))
	l.launcher.close()
	l.lock.release()
	return errors.Join(errs...)
}
