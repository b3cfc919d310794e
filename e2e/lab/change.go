package lab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"drp/e2e/lab/host"
)

// ErrUnknown means that the lab has nothing of that name.
var ErrUnknown = errors.New("unknown")

// Hosts lists all hosts but the fabric, in the order of their boot.
func (l *Lab) Hosts() []Host {
	return slices.DeleteFunc(slices.Clone(l.top.hosts), func(h Host) bool { return h.Role == Fabric })
}

// Host returns one host.
func (l *Lab) Host(name string) (Host, error) {
	h, ok := l.top.host(name)
	if !ok || h.Role == Fabric {
		return Host{}, fmt.Errorf("%w host %q; there are %s", ErrUnknown, name, l.names())
	}
	return h, nil
}

func (l *Lab) names() string {
	var names []string
	for _, h := range l.Hosts() {
		names = append(names, h.Name)
	}
	return strings.Join(names, ", ")
}

func (l *Lab) findSite(name string) (site, error) {
	s, ok := l.top.site(name)
	if !ok {
		var names []string
		for _, s := range l.top.sites {
			names = append(names, s.name)
		}
		return site{}, fmt.Errorf("%w site %q; there are %s", ErrUnknown, name, strings.Join(names, ", "))
	}
	return s, nil
}

// KillSite ends a site as a fire does: its links go, and every process in it dies by SIGKILL, at the same moment. Its
// disks stay as they are. It returns when all are dead.
func (l *Lab) KillSite(ctx context.Context, name string) error {
	s, err := l.findSite(name)
	if err != nil {
		return err
	}
	return l.killHosts(ctx, l.top.at(s.name))
}

// KillHost ends one host, as a loss of power does.
func (l *Lab) KillHost(ctx context.Context, name string) error {
	h, err := l.Host(name)
	if err != nil {
		return err
	}
	return l.killHosts(ctx, []Host{h})
}

func (l *Lab) killHosts(ctx context.Context, hosts []Host) error {
	done, err := l.change()
	if err != nil {
		return err
	}
	defer done()
	for _, h := range hosts {
		l.machines[h.Name].crash()
	}
	for _, h := range hosts {
		if err := l.unwire(l.machines[h.Name]); err != nil {
			return err
		}
	}
	for _, h := range hosts {
		if err := l.machines[h.Name].bury(ctx); err != nil {
			return err
		}
	}
	return nil
}

// KillService sends SIGKILL to one program of a host. It is restarted, as systemd would.
func (l *Lab) KillService(ctx context.Context, hostName, service string) error {
	m, err := l.running(hostName)
	if err != nil {
		return err
	}
	return m.control.Kill(ctx, service)
}

// StopService ends a program until StartService.
func (l *Lab) StopService(ctx context.Context, hostName, service string) error {
	m, err := l.running(hostName)
	if err != nil {
		return err
	}
	return m.control.Stop(ctx, service)
}

// StartService starts a program that was stopped.
func (l *Lab) StartService(ctx context.Context, hostName, service string) error {
	m, err := l.running(hostName)
	if err != nil {
		return err
	}
	return m.control.Start(ctx, service)
}

// CutSite takes a site's links down and leaves its programs running. With keepUplink it is cut from the other sites
// alone and still reached by the client.
func (l *Lab) CutSite(_ context.Context, name string, keepUplink bool) error {
	s, err := l.findSite(name)
	if err != nil {
		return err
	}
	done, err := l.change()
	if err != nil {
		return err
	}
	defer done()
	return l.setCut(s.name, cut{mesh: true, uplink: !keepUplink})
}

// Heal brings sites back (none named: all): their links, and those of their hosts that are dead, with their disks as
// they were. It returns when the routers agree; only then do requests of the client come in by an uplink that was down,
// as a provider would do it.
func (l *Lab) Heal(ctx context.Context, names ...string) error {
	var sites []site
	for _, name := range names {
		s, err := l.findSite(name)
		if err != nil {
			return err
		}
		sites = append(sites, s)
	}
	if len(names) == 0 {
		sites = l.top.sites
	}
	done, err := l.change()
	if err != nil {
		return err
	}
	defer done()
	for _, s := range sites {
		_, alive := l.machines[s.router()].process()
		if err := l.setCut(s.name, cut{uplink: l.currentCuts()[s.name].uplink || !alive}); err != nil {
			return err
		}
		if err := l.boot(ctx, l.top.at(s.name)); err != nil {
			return err
		}
	}
	if err := l.WaitRoutes(ctx); err != nil {
		return err
	}
	for _, s := range sites {
		if err := l.setCut(s.name, cut{}); err != nil {
			return err
		}
	}
	return l.WaitRoutes(ctx)
}

// Exec runs a command inside a host.
func (l *Lab) Exec(ctx context.Context, hostName string, args ...string) (*host.Output, error) {
	m, err := l.running(hostName)
	if err != nil {
		return nil, err
	}
	return m.control.Exec(ctx, host.Command{Args: args})
}

func (l *Lab) running(name string) (*machine, error) {
	if _, err := l.Host(name); err != nil {
		return nil, err
	}
	if _, err := l.processOf(name); err != nil {
		return nil, err
	}
	return l.machines[name], nil
}

// processOf returns the init of a host.
func (l *Lab) processOf(name string) (int, error) {
	pid, alive := l.machines[name].process()
	if !alive {
		return 0, fmt.Errorf("reach host %s: it is dead: %w", name, os.ErrProcessDone)
	}
	return pid, nil
}

// Client returns an HTTP client that sits on the client host, outside of the platform. URLs have IP addresses.
func (l *Lab) Client() *http.Client { return l.ClientAt(clientName) }

// ClientAt returns an HTTP client that sits on a host.
func (l *Lab) ClientAt(name string) *http.Client {
	return HTTPClient(func() (int, error) {
		if _, err := l.Host(name); err != nil {
			return 0, err
		}
		return l.processOf(name)
	})
}

// State is the directory with everything that the lab wrote.
func (l *Lab) State() string { return l.paths.state }

// Log is the file with what a service printed.
func (l *Lab) Log(hostName, service string) string { return l.paths.serviceLog(hostName, service) }

// Root is a host's file tree as the machine sees it. It is there while the host runs.
func (l *Lab) Root(hostName string) string { return l.paths.root(hostName) }

// HomeOf is an account's home on a server as the machine sees it. It is there while the server runs.
func (l *Lab) HomeOf(server, account string) string { return l.paths.home(server, account) }

// Socket is the path of a coordinator's local socket. It stays the same when its host boots again.
func (l *Lab) Socket(coordinator string) string { return l.paths.api(coordinator) }

// Sockets lists those of all coordinators, as $DRP_SOCKET takes them: the witness first, since it is the last to be lost.
func (l *Lab) Sockets() string {
	var paths []string
	for _, h := range l.top.withRole(Coordinator) {
		paths = append(paths, l.Socket(h.Name))
	}
	slices.Reverse(paths)
	return strings.Join(paths, ",")
}

// Keys is the directory with the authority's certificate and key (ca.pem, ca.key) and the offline key (offline-age.key).
func (l *Lab) Keys() string { return l.paths.keys() }

// Platform is the inventory file of the lab's sites and servers.
func (l *Lab) Platform() string { return l.paths.platform() }
