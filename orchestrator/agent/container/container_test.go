package container_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"drp/orchestrator/agent/container"
	"drp/orchestrator/agent/container/accountinit"
	"drp/orchestrator/agent/home"
	"drp/raftstore/state"
)

// The test binary is also the init of the containers, and the program that runs in them.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "account-init" {
		os.Exit(accountinit.Run(os.Args[2]))
	}
	if len(os.Args) > 1 && os.Args[1] == "probe" {
		os.Exit(probe())
	}
	os.Exit(m.Run())
}

// bench is a place where real containers can be made, and everything of it is gone at the end.
type bench struct {
	*container.Runtime
	homes string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir, err := os.MkdirTemp("", "drp-container-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	init, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{homes: filepath.Join(dir, "homes"), Runtime: &container.Runtime{
		Dir: filepath.Join(dir, "run"), CgroupParent: "/drp-test-" + strconv.Itoa(os.Getpid()) + "-" + filepath.Base(dir), Init: init,
		Grace: 5 * time.Second,
	}}
	t.Cleanup(func() {
		list, err := b.List(context.Background())
		if err != nil {
			t.Error(err)
		}
		for _, c := range list {
			if err := b.Stop(context.Background(), c.Account); err != nil {
				t.Error(err)
			}
		}
		removeCgroups(t, b.CgroupParent)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := b.Open(); err != nil {
		t.Fatal(err)
	}
	return b
}

func removeCgroups(t testing.TB, parent string) {
	for _, pattern := range []string{"/sys/fs/cgroup" + parent, "/sys/fs/cgroup/*" + parent} {
		found, _ := filepath.Glob(pattern)
		for _, dir := range found {
			if err := os.Remove(dir); err != nil {
				t.Errorf("remove cgroup: %v", err)
			}
		}
	}
}

func (b *bench) spec(t *testing.T, n int, command ...string) container.Spec {
	t.Helper()
	ids := home.IDs{First: 1_900_000_000 + uint32(n)*65536, Size: 65536}
	name := fmt.Sprintf("acct%d", n)
	path := filepath.Join(b.homes, name, "home")
	for _, dir := range []string{b.homes, filepath.Dir(path), path} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chown(path, ids.Host(0), ids.Host(home.User)), os.Chmod(path, 0o770)); err != nil {
		t.Fatal(err)
	}
	return container.Spec{
		Token: state.Token{Incarnation: 1, Generation: uint64(n)}, IDs: ids, Home: path,
		Account: state.Account{
			Name:      state.AccountName(name),
			Plan:      state.Resources{Memory: 256 << 20, Processes: 60, CPU: 1},
			Addresses: []netip.Addr{netip.MustParseAddr("2001:db8:a::1")},
			Services:  []state.Service{{Program: state.Program{Name: "main", Command: command, User: home.User, Environment: map[string]string{"PROBE": "1"}}}},
		},
	}
}

func (b *bench) run(t *testing.T, s container.Spec) container.State {
	t.Helper()
	ctx := t.Context()
	if _, err := b.Create(ctx, s); err != nil {
		t.Fatal(err)
	}
	if err := b.Start(ctx, s.Account.Name); err != nil {
		t.Fatal(err)
	}
	c, ok, err := b.State(ctx, s.Account.Name)
	if err != nil || !ok || c.Status != container.Running {
		t.Fatalf("state after start: %+v, %v, %v; want running", c, ok, err)
	}
	return c
}

// read waits for a file that a program in a container writes under another name first.
func read(t *testing.T, path string) string {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for time.Now().Before(deadline) {
		if raw, err := os.ReadFile(path); err == nil {
			return string(raw)
		}
		runtime.Gosched()
		unix.Poll(nil, 20)
	}
	t.Fatalf("%s was not written", path)
	return ""
}

func TestRuntime(t *testing.T) {
	b := newBench(t)
	states := make([]container.State, 4)
	for n := 1; n <= 3; n++ {
		states[n] = b.run(t, b.spec(t, n, "/.drp/init", "probe"))
	}
	for n := 1; n <= 3; n++ {
		s := b.spec(t, n)
		report := read(t, filepath.Join(s.Home, "report"))
		t.Run(string(s.Account.Name), func(t *testing.T) {
			for _, line := range strings.Split(strings.TrimSpace(report), "\n") {
				if !strings.HasPrefix(line, "ok ") {
					t.Errorf("in the container: %s", line)
				}
			}
			if n := strings.Count(report, "\n"); n < 25 {
				t.Errorf("%d probes reported; want all of them", n)
			}
			var st unix.Stat_t
			if err := unix.Stat(filepath.Join(s.Home, "report"), &st); err != nil {
				t.Fatal(err)
			}
			if got, want := int(st.Uid), s.IDs.Host(home.User); got != want {
				t.Errorf("owner on the host = %d, want %d", got, want)
			}
			uids, err := os.ReadFile(fmt.Sprintf("/proc/%d/uid_map", states[n].Pid))
			if err != nil {
				t.Fatal(err)
			}
			if got, want := strings.Fields(string(uids)), fmt.Sprint(s.IDs.First); len(got) != 3 || got[0] != "0" || got[1] != want {
				t.Errorf("uid_map = %q, want 0 %s", got, want)
			}
		})
	}
	t.Run("limits", func(t *testing.T) {
		memory, pids := "memory.limit_in_bytes", "pids.max"
		group := func(controller string) string { return "/sys/fs/cgroup/" + controller + b.CgroupParent + "/acct1/" }
		if _, err := os.Stat("/sys/fs/cgroup/memory"); err != nil {
			memory = "memory.max"
			group = func(string) string { return "/sys/fs/cgroup" + b.CgroupParent + "/acct1/" }
		}
		for file, want := range map[string]string{group("memory") + memory: fmt.Sprint(256 << 20), group("pids") + pids: "76"} {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSpace(string(raw)); got != want {
				t.Errorf("%s = %s, want %s", file, got, want)
			}
		}
	})
	t.Run("another runtime adopts", func(t *testing.T) {
		later := *b.Runtime
		list, err := later.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got, want := len(list), 3; got != want {
			t.Fatalf("%d containers listed, want %d", got, want)
		}
		for _, c := range list {
			want := states[c.Token.Generation]
			if c.Pid != want.Pid || c.Status != container.Running || c.Fingerprint != b.spec(t, int(c.Token.Generation), "/.drp/init", "probe").Fingerprint() {
				t.Errorf("listed %+v, want %+v", c, want)
			}
		}
	})
	t.Run("freeze", func(t *testing.T) {
		if err := b.Pause(t.Context(), "acct2"); err != nil {
			t.Fatal(err)
		}
		c, _, err := b.State(t.Context(), "acct2")
		if err != nil || c.Status != container.Paused {
			t.Errorf("state = %+v, %v; want paused", c, err)
		}
		if err := b.Resume(t.Context(), "acct2"); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("stop of a frozen one, and waiting", func(t *testing.T) {
		if err := b.Pause(t.Context(), "acct3"); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- b.Wait(t.Context(), states[3]) }()
		if err := b.Stop(t.Context(), "acct3"); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil {
			t.Errorf("wait: %v", err)
		}
		if _, ok, err := b.State(t.Context(), "acct3"); ok || err != nil {
			t.Errorf("state after stop: %v, %v; want none", ok, err)
		}
		if err := b.Stop(t.Context(), "acct3"); err != nil {
			t.Errorf("second stop: %v", err)
		}
		said, err := os.ReadFile(filepath.Join(b.spec(t, 3).Home, "goodbye"))
		if err != nil || string(said) != "terminated" {
			t.Errorf("program's last word = %q, %v; want it to have got SIGTERM", said, err)
		}
	})
	t.Run("waiting can be cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.Wait(ctx, states[1]); !errors.Is(err, context.Canceled) {
			t.Errorf("wait = %v, want cancelled", err)
		}
	})
}

func TestRuntime_halfMade(t *testing.T) {
	b := newBench(t)
	if err := os.MkdirAll(filepath.Join(b.Dir, "runc", "acct1"), 0o711); err != nil {
		t.Fatal(err)
	}
	c, ok, err := b.State(t.Context(), "acct1")
	if err != nil || !ok || c.Status != container.Broken {
		t.Fatalf("state = %+v, %v, %v; want broken", c, ok, err)
	}
	if err := b.Stop(t.Context(), "acct1"); err != nil {
		t.Fatal(err)
	}
	// Created, and its maker died before the start.
	if _, err := b.Create(t.Context(), b.spec(t, 1, "/.drp/init", "probe")); err != nil {
		t.Fatal(err)
	}
	if c, _, err := b.State(t.Context(), "acct1"); err != nil || c.Status != container.Created {
		t.Fatalf("state = %+v, %v; want created", c, err)
	}
	if err := b.Stop(t.Context(), "acct1"); err != nil {
		t.Fatal(err)
	}
}

func TestRuntime_serviceStartsAgain(t *testing.T) {
	b := newBench(t)
	s := b.spec(t, 1, "sh", "-c", `test -e $HOME/once && { echo two > $HOME/t && mv $HOME/t $HOME/twice; exec sleep 1000; }; echo > $HOME/once; (sleep 1000 &) ; exit 3`)
	c := b.run(t, s)
	if got := read(t, filepath.Join(s.Home, "twice")); got != "two\n" {
		t.Errorf("second start wrote %q", got)
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/root/run/log/main.log", c.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(raw, []byte("main ended (exit 3")) {
		t.Errorf("log of the service = %q, want its end", raw)
	}
}

// The init tells of services that fail, tries them again in growing steps, and lets the others run.
func TestRuntime_trouble(t *testing.T) {
	b := newBench(t)
	s := b.spec(t, 1, "sleep", "1000")
	s.Account.Services = append(s.Account.Services,
		state.Service{Program: state.Program{Name: "web", User: home.User, Command: []string{"no-such-program"}}},
		state.Service{Program: state.Program{Name: "cron", User: home.User, Command: []string{"sh", "-c", "echo >> $HOME/tries; exit 3"}}})
	c := b.run(t, s)
	const want = `service web: cannot start: find "no-such-program": exec: "no-such-program": executable file not found in $PATH; ` +
		`service cron: ended with exit status 3`
	deadline := time.Now().Add(60 * time.Second)
	for got := ""; got != want; unix.Poll(nil, 20) {
		if got = b.Trouble(c); time.Now().After(deadline) {
			t.Fatalf("trouble = %q, want %q", got, want)
		}
	}
	if after, _, err := b.State(t.Context(), s.Account.Name); err != nil || after.Status != container.Running {
		t.Errorf("state = %+v, %v; want running", after, err)
	}
	if err := b.Stop(t.Context(), s.Account.Name); err != nil {
		t.Fatal(err)
	}
	if got := b.Trouble(c); got != "" {
		t.Errorf("trouble of what is gone = %q", got)
	}
	tries, err := os.ReadFile(filepath.Join(s.Home, "tries"))
	if err != nil || len(tries) > 20 {
		t.Errorf("%d tries, %v", len(tries), err)
	}
}

func TestRuntime_errorsSayWhy(t *testing.T) {
	b := newBench(t)
	s := b.spec(t, 1, "true")
	s.IDs.Size = 0
	_, err := b.Create(t.Context(), s)
	if err == nil || !strings.Contains(err.Error(), "create container acct1: ") || strings.HasSuffix(err.Error(), "no log") {
		t.Errorf("error = %v; want runc's own word in it", err)
	}
}

func TestReachable(t *testing.T) {
	dir := t.TempDir()
	closed := filepath.Join(dir, "closed")
	if err := os.MkdirAll(filepath.Join(closed, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := container.Reachable(filepath.Join(closed, "x")); err == nil {
		t.Error("a directory that only root can reach was accepted")
	}
	if err := container.Reachable("/usr/bin"); err != nil {
		t.Error(err)
	}
}

func TestNginx(t *testing.T) {
	b := newBench(t)
	s := b.spec(t, 1, "/usr/sbin/nginx", "-p", "/home/acct1", "-c", "conf", "-g", "daemon off;")
	conf := `
pid /tmp/nginx.pid; error_log stderr;
events {}
http { include /etc/nginx/mime.types; access_log off;
  client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi; uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
  server { listen 80; listen [::]:80; root www; } }`
	if err := os.MkdirAll(filepath.Join(s.Home, "www"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"conf": conf, "www/index.html": "hello"} {
		if err := os.WriteFile(filepath.Join(s.Home, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.Account.Services = append(s.Account.Services, state.Service{Program: state.Program{Name: "client", User: 1001, Command: []string{"/.drp/init", "probe", "fetch"}}})
	b.run(t, s)
	if got := read(t, filepath.Join(s.Home, "fetched")); !strings.HasSuffix(got, "hello") || !strings.Contains(got, "text/html") {
		t.Errorf("fetched %q", got)
	}
}

// fetch asks this account's own web server, until it answers.
func fetch() int {
	for {
		c, err := net.Dial("tcp", "127.0.0.1:80")
		if err != nil {
			unix.Poll(nil, 50)
			continue
		}
		fmt.Fprintf(c, "GET / HTTP/1.0\r\n\r\n")
		var answer bytes.Buffer
		answer.ReadFrom(c)
		os.WriteFile("fetched.new", answer.Bytes(), 0o644)
		os.Rename("fetched.new", "fetched")
		select {}
	}
}
