package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"drp/e2e/lab/host"
)

// Report is how a lab stands.
type Report struct {
	State   string       `json:"state"`
	Sockets string       `json:"sockets"`
	Hosts   []HostReport `json:"hosts"`
	Cuts    []CutReport  `json:"cuts,omitempty"`
}

// HostReport is one host. PID is its init on the machine; zero: the host is dead.
type HostReport struct {
	Host
	PID      int                  `json:"pid,omitempty"`
	Services []host.ServiceStatus `json:"services,omitempty"`
}

// CutReport is a site whose links are down.
type CutReport struct {
	Site   string `json:"site"`
	Uplink bool   `json:"uplink"` // from the client, too
}

// Report tells how the lab stands.
func (l *Lab) Report(ctx context.Context) Report {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r := Report{State: l.State(), Sockets: l.Sockets()}
	for _, h := range l.Hosts() {
		m := l.machines[h.Name]
		report := HostReport{Host: h}
		if pid, alive := m.process(); alive {
			report.PID = pid
			if list, err := m.control.Status(ctx); err == nil { // else it died meanwhile
				report.Services = list
			}
		}
		r.Hosts = append(r.Hosts, report)
	}
	cuts := l.currentCuts()
	for _, s := range l.top.sites {
		if c := cuts[s.name]; c.mesh || c.uplink {
			r.Cuts = append(r.Cuts, CutReport{Site: s.name, Uplink: c.uplink})
		}
	}
	return r
}

// order is one change that a person asks a running lab for.
type order struct {
	Do         string `json:"do"` // kill, cut, heal
	What       string `json:"what,omitempty"`
	Name       string `json:"name,omitempty"`
	KeepUplink bool   `json:"keep_uplink,omitempty"`
}

// What can be killed. A process is named HOST/SERVICE.
const (
	KindSite        = "site"
	KindServer      = "server"
	KindCoordinator = "coordinator"
	KindProcess     = "process"
)

// Kill ends a part of the lab, by its kind and name.
func (l *Lab) Kill(ctx context.Context, kind, name string) error {
	switch kind {
	case KindSite:
		return l.KillSite(ctx, name)
	case KindProcess:
		h, service, ok := strings.Cut(name, "/")
		if !ok {
			return fmt.Errorf("%w process %q: want HOST/SERVICE, as in par1-s1/agent", ErrUnknown, name)
		}
		return l.KillService(ctx, h, service)
	case KindServer, KindCoordinator:
		h, err := l.Host(name)
		if err != nil {
			return err
		}
		if string(h.Role) != kind {
			return fmt.Errorf("%w %s %q: that host is a %s", ErrUnknown, kind, name, h.Role)
		}
		return l.KillHost(ctx, name)
	}
	return fmt.Errorf("%w kind %q; there are site, server, coordinator, process", ErrUnknown, kind)
}

func (l *Lab) carryOut(ctx context.Context, o order) error {
	switch o.Do {
	case "kill":
		return l.Kill(ctx, o.What, o.Name)
	case "cut":
		return l.CutSite(ctx, o.Name, o.KeepUplink)
	case "heal":
		if o.Name != "" {
			return l.Heal(ctx, o.Name)
		}
		return l.Heal(ctx)
	}
	return fmt.Errorf("%w order %q", ErrUnknown, o.Do)
}

// serveControl opens the socket by which drp dev's other commands reach this process.
func (l *Lab) serveControl(context.Context) error {
	listener, err := net.Listen("unix", l.paths.dev())
	if err != nil {
		return fmt.Errorf("listen for control: %w", err)
	}
	if err := os.Chmod(l.paths.dev(), 0o600); err != nil {
		return fmt.Errorf("protect control socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /report", func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(l.Report(r.Context()))
	})
	mux.HandleFunc("POST /order", func(w http.ResponseWriter, r *http.Request) {
		var o order
		if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		// What was begun is finished, also when the one who asked is gone.
		ctx, cancel := context.WithTimeout(l.life, 2*time.Minute)
		defer cancel()
		if err := l.carryOut(ctx, o); err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		}
	})
	server := &http.Server{Handler: mux}
	l.mu.Lock()
	l.server = server
	l.mu.Unlock()
	go server.Serve(listener)
	return nil
}

// Control reaches a lab that runs in another process.
type Control struct{ http *http.Client }

// ErrNotRunning means that no lab runs with that state directory.
var ErrNotRunning = errors.New("no drp dev is running")

// NewControl makes a client of the lab with that state directory.
func NewControl(state string) *Control {
	path := paths{state}.dev()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED) {
			return nil, fmt.Errorf("%w with its state in %s", ErrNotRunning, state)
		}
		return conn, err
	}
	return &Control{http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Report tells how the lab stands.
func (c *Control) Report(ctx context.Context) (*Report, error) {
	r := new(Report)
	return r, c.do(ctx, http.MethodGet, "/report", nil, r)
}

// Kill ends a part of the lab, by its kind and name.
func (c *Control) Kill(ctx context.Context, kind, name string) error {
	return c.do(ctx, http.MethodPost, "/order", order{Do: "kill", What: kind, Name: name}, nil)
}

// CutSite takes a site's links down.
func (c *Control) CutSite(ctx context.Context, name string, keepUplink bool) error {
	return c.do(ctx, http.MethodPost, "/order", order{Do: "cut", Name: name, KeepUplink: keepUplink}, nil)
}

// Heal brings a site back, or all ("").
func (c *Control) Heal(ctx context.Context, site string) error {
	return c.do(ctx, http.MethodPost, "/order", order{Do: "heal", Name: site}, nil)
}

// Process returns the init of a host that runs.
func (c *Control) Process(ctx context.Context, hostName string) (int, error) {
	r, err := c.Report(ctx)
	if err != nil {
		return 0, err
	}
	for _, h := range r.Hosts {
		if h.Name != hostName {
			continue
		}
		if h.PID == 0 {
			return 0, fmt.Errorf("reach host %s: it is dead: %w", hostName, os.ErrProcessDone)
		}
		return h.PID, nil
	}
	return 0, fmt.Errorf("%w host %q; see drp dev status", ErrUnknown, hostName)
}

func (c *Control) do(ctx context.Context, method, path string, body, into any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://lab"+path, bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("ask drp dev: %w", err)
	}
	resp, err := c.http.Do(req)
	if errors.Is(err, ErrNotRunning) {
		return errors.Unwrap(err) // the URL says nothing to a person
	}
	if err != nil {
		return fmt.Errorf("ask drp dev: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return errors.New(strings.TrimSpace(string(text)))
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("read drp dev's answer: %w", err)
	}
	return nil
}
