package guard_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"drp/orchestrator/agent/address/nstest"
)

const patience = 60 * time.Second

// neighbour is one BGP session in testdata/router.conf.
type neighbour struct{ Name, Local, Remote string }

// router is a BIRD in a namespace of its own.
type router struct {
	*nstest.Namespace
	dir string
}

// startRouter runs BIRD on testdata/router.conf until the test ends.
func startRouter(t *testing.T, in *nstest.Namespace, id string, servers, routers []neighbour) *router {
	t.Helper()
	r := &router{in, t.TempDir()}
	var conf bytes.Buffer
	if err := template.Must(template.ParseFiles("testdata/router.conf")).Execute(&conf, map[string]any{
		"ID": id, "AS": 64512, "Range": "2001:db8:a::/48", "Servers": servers, "Routers": routers,
	}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.path("conf"), conf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	in.Run(t, "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding")
	bird := in.Command(background, "bird", "-f", "-c", r.path("conf"), "-s", r.path("ctl"), "-P", r.path("pid"))
	said := &output{}
	bird.Stdout, bird.Stderr = said, said
	start(t, bird)
	t.Cleanup(func() {
		if t.Failed() {
			routes, _ := r.ask("show route all")
			sessions, _ := r.ask("show protocols all")
			t.Logf("BIRD %s:\n%s\n%s\n%s", id, said, routes, sessions)
		}
	})
	nstest.Eventually(t, patience, func() error {
		_, err := r.ask("show status")
		return err
	})
	return r
}

func (r *router) path(name string) string { return filepath.Join(r.dir, name) }

// ask puts a question to BIRD.
func (r *router) ask(question string) (string, error) {
	out, err := exec.Command("birdc", append([]string{"-s", r.path("ctl")}, strings.Fields(question)...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("birdc %s: %w: %s", question, err, out)
	}
	return string(out), nil
}

// says waits until the answer holds the words, or does not hold them.
func (r *router) says(t *testing.T, question, words string, want bool) {
	t.Helper()
	nstest.Eventually(t, patience, func() error {
		answer, err := r.ask(question)
		if err != nil {
			return err
		}
		if got := strings.Contains(answer, words); got != want {
			return fmt.Errorf("answer to %q holds %q: got %v, want %v:\n%s", question, words, got, want, answer)
		}
		return nil
	})
}

// nextHop is where the router's kernel sends packets for an address: invalid when it has no /128 for it.
func (r *router) nextHop(ip netip.Addr) (netip.Addr, error) {
	out, err := r.Command(background, "ip", "-6", "-j", "route", "show", ip.String()+"/128").Output()
	if err != nil {
		return netip.Addr{}, err
	}
	var routes []struct{ Gateway netip.Addr }
	if err := json.Unmarshal(out, &routes); err != nil {
		return netip.Addr{}, fmt.Errorf("%s: %w", out, err)
	}
	switch len(routes) {
	case 0:
		return netip.Addr{}, nil
	case 1:
		return routes[0].Gateway, nil
	}
	return netip.Addr{}, fmt.Errorf("got %d routes: %s", len(routes), out)
}

// sends waits until the router's kernel sends packets for ip to this next hop; the zero Addr: nowhere.
func (r *router) sends(t *testing.T, ip, to netip.Addr) {
	t.Helper()
	nstest.Eventually(t, patience, func() error {
		got, err := r.nextHop(ip)
		if err != nil {
			return err
		}
		if got != to {
			return fmt.Errorf("next hop of %s: got %v, want %v", ip, got, to)
		}
		return nil
	})
}

// deletions counts how often the router's kernel loses a route to ip from now on.
func (r *router) deletions(t *testing.T, ip netip.Addr) func() int {
	t.Helper()
	space, err := netns.GetFromPid(r.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { space.Close() })
	updates, done := make(chan netlink.RouteUpdate), make(chan struct{})
	if err := netlink.RouteSubscribeAt(space, updates, done); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { close(done) })
	var mu sync.Mutex
	var count int
	go func() {
		for u := range updates {
			if u.Type == unix.RTM_DELROUTE && u.Dst != nil && u.Dst.String() == ip.String()+"/128" {
				mu.Lock()
				count++
				mu.Unlock()
			}
		}
	}()
	return func() int {
		mu.Lock()
		defer mu.Unlock()
		return count
	}
}

// start starts a process that is gone when the test ends.
func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

// output keeps what a process prints.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
