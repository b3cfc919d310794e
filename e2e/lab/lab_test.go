package lab_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drp/e2e/lab"
	"drp/e2e/lab/host"
)

// The test binary is the lab's drp: as "dev host FILE" it is a host's init, as "serve" the stand-in for every service.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "dev" && os.Args[2] == "host" {
		if err := host.Run(os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 3 && os.Args[1] == "serve" {
		serve(os.Args[2])
	}
	if state := os.Getenv("DRP_LAB_TEST_HOLD"); state != "" {
		hold(state)
	}
	release, err := lab.TakeTurn(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	release()
	os.Exit(code)
}

// serve answers every request with the name of its host.
func serve(address string) {
	name, _ := os.Hostname()
	err := http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, name)
	}))
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// The account of these tests: two servers can announce its address, the second under a higher preference.
var account = netip.MustParseAddr("2001:db8:a::100")

// standIns run the real routers and stores; what drp would be answers on port 80, and a BIRD stands for the guard.
func standIns(h lab.Host, platform []host.Service) []host.Service {
	web := host.Service{Name: "web", Command: []string{"/run/drp-bin/drp", "serve", "[::]:80"}}
	switch {
	case h.Role == lab.Router || h.Role == lab.Transit:
		return platform
	case h.Role == lab.Data:
		return platform[:1] // the store
	case h.Name == "par1-s1":
		return []host.Service{web, announcer(h, "2001:db8:f001::1", 101)}
	case h.Name == "par2-s1":
		return []host.Service{web, announcer(h, "2001:db8:f002::1", 102)}
	case h.Role == lab.Coordinator || h.Role == lab.Server:
		return []host.Service{web}
	}
	return nil
}

func announcer(h lab.Host, router string, preference int) host.Service {
	script := fmt.Sprintf(`
ip -6 addr replace %[1]s/128 dev lo
cat >/run/announce.conf <<END
router id %[2]s;
protocol device {}
protocol static { ipv6; route %[1]s/128 unreachable { bgp_local_pref = %[5]d; }; }
protocol bgp uplink {
	local %[3]s as 64512; neighbor %[4]s as 64512; direct; graceful restart on;
	connect delay time 1; connect retry time 1; error wait time 1, 1;
	ipv6 { import none; export all; next hop self; };
}
END
exec bird -f -c /run/announce.conf -s /run/announce.ctl -P /run/announce.pid
`, account, h.Identifier, h.Address, router, preference)
	return host.Service{Name: "guard", Command: []string{"sh", "-c", script}}
}

func start(t testing.TB) *lab.Lab {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l, err := lab.Start(ctx, config(t, stateDir(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func config(t testing.TB, state string) lab.Config {
	return lab.Config{
		State: state, Bin: binDir(t), Services: standIns, Ready: []lab.Check{lab.RoutesReady()},
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// stateDir is a directory that the lab makes and removes itself.
func stateDir(t testing.TB) string { return filepath.Join(t.TempDir(), "state") }

// binDir finds what make build made.
func binDir(t testing.TB) string {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "bin")
		}
		if dir == "/" {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
}

func get(ctx context.Context, c *http.Client, a netip.Addr) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://["+a.String()+"]/", nil)
	if err != nil {
		return "", err
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// eventually asks until there is no error.
func eventually(t testing.TB, within time.Duration, what string, ask func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for {
		err := ask(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s: %v", what, within, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func TestLab(t *testing.T) {
	l := start(t)
	t.Run("every host reaches every other", func(t *testing.T) { testReach(t, l) })
	t.Run("hosts are apart", func(t *testing.T) { testApart(t, l) })
	t.Run("orphans are reaped", func(t *testing.T) { testOrphans(t, l) })
	t.Run("a killed service is started again", func(t *testing.T) { testRestart(t, l) })
	t.Run("stores", func(t *testing.T) { testStores(t, l) })
	t.Run("cuts", func(t *testing.T) { testCuts(t, l) })
	t.Run("coordinators are new once", func(t *testing.T) { testFirstStart(t, l) })
	t.Run("a dead site", func(t *testing.T) { testDeadSite(t, l) })
	t.Run("a second lab is refused", func(t *testing.T) {
		_, err := lab.Start(t.Context(), config(t, stateDir(t)))
		if !errors.Is(err, lab.ErrRunning) {
			t.Fatalf("got %v, want ErrRunning", err)
		}
	})
}

func testReach(t *testing.T, l *lab.Lab) {
	var targets []lab.Host
	for _, h := range l.Hosts() {
		if h.Role == lab.Coordinator || h.Role == lab.Server {
			targets = append(targets, h)
		}
	}
	for _, from := range l.Hosts() {
		if from.Site == "" {
			continue
		}
		for _, to := range targets {
			eventually(t, 5*time.Second, from.Name+" to "+to.Name, func(ctx context.Context) error {
				got, err := get(ctx, l.ClientAt(from.Name), to.Address)
				if err == nil && got != to.Name {
					err = fmt.Errorf("got %q, want %q", got, to.Name)
				}
				return err
			})
		}
	}
}

func testApart(t *testing.T, l *lab.Lab) {
	run := func(h string, args ...string) string {
		t.Helper()
		out, err := l.Exec(t.Context(), h, args...)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out.Stdout) + string(out.Stderr))
	}
	if got, want := run("par1-s1", "hostname"), "par1-s1"; got != want {
		t.Errorf("hostname: got %q, want %q", got, want)
	}
	if got, want := run("par1-s1", "cat", "/proc/1/comm"), "drp"; got != want {
		t.Errorf("init: got %q, want %q", got, want)
	}
	if got, want := run("par1-s1", "stat", "-f", "-c", "%T", "/var/lib/drp/homes"), "btrfs"; got != want {
		t.Errorf("homes: got %q, want %q", got, want)
	}
	if got, want := run("par1-s1", "ls", "/sys/class/net"), "eth0\nlo"; got != want {
		t.Errorf("devices: got %q, want %q", got, want)
	}
	run("par1-s1", "touch", "/tmp/a", "/run/a", "/etc/a", "/var/a")
	if got, want := run("par1-s2", "ls", "/tmp/a", "/run/a", "/etc/a", "/var/a"), "ls: cannot access"; !strings.HasPrefix(got, want) {
		t.Errorf("files of another host: got %q, want %q…", got, want)
	}
	if got, want := run("par1-s1", "touch", "/usr/a"), "Read-only file system"; !strings.Contains(got, want) {
		t.Errorf("write into the machine: got %q, want …%q", got, want)
	}
}

// Whoever loses its parent becomes init's child, and init buries it.
func testOrphans(t *testing.T, l *lab.Lab) {
	if _, err := l.Exec(t.Context(), "par1-c", "sh", "-c", "for i in 1 2 3 4 5; do (true &) ; done"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "no zombies", func(ctx context.Context) error {
		out, err := l.Exec(ctx, "par1-c", "sh", "-c", "cat /proc/[0-9]*/status 2>/dev/null | grep -c '^State:.Z'")
		if err == nil && strings.TrimSpace(string(out.Stdout)) != "0" {
			err = fmt.Errorf("%s zombies", out.Stdout)
		}
		return err
	})
}

func testRestart(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	coordinator, err := l.Host("par2-c")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := l.KillService(ctx, "par2-c", "web"); err != nil {
			t.Fatal(err)
		}
		eventually(t, 5*time.Second, "answer after kill -9", func(ctx context.Context) error {
			_, err := get(ctx, l.ClientAt("par2-s1"), coordinator.Address)
			return err
		})
	}
	if err := l.StopService(ctx, "par2-c", "web"); err != nil {
		t.Fatal(err)
	}
	if _, err := get(ctx, l.ClientAt("par2-s1"), coordinator.Address); err == nil {
		t.Error("a stopped service answers")
	}
	if err := l.KillService(ctx, "par2-c", "web"); !errors.Is(err, host.ErrHost) {
		t.Errorf("kill a stopped service: got %v, want ErrHost", err)
	}
	if err := l.StartService(ctx, "par2-c", "web"); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "answer after start", func(ctx context.Context) error {
		_, err := get(ctx, l.ClientAt("par2-s1"), coordinator.Address)
		return err
	})
}

// answers waits until a request of the client to the account is answered by want, then holds that it stays so.
func answers(t *testing.T, l *lab.Lab, want string) {
	t.Helper()
	eventually(t, 10*time.Second, "answer of "+want, func(ctx context.Context) error { return answersNow(ctx, l.Client(), want) })
	stays(t, l, want)
}

// stays holds that requests of the client are answered by want, from the first on.
func stays(t *testing.T, l *lab.Lab, want string) {
	t.Helper()
	for range 20 {
		if err := answersNow(t.Context(), l.Client(), want); err != nil {
			t.Fatal(err)
		}
	}
}

func answersNow(ctx context.Context, client *http.Client, want string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	got, err := get(ctx, client, account)
	if err == nil && got != want {
		err = fmt.Errorf("got %q, want %q", got, want)
	}
	return err
}

// reaches asks from one coordinator to another.
func reaches(t *testing.T, l *lab.Lab, from, to string) error {
	t.Helper()
	h, err := l.Host(to)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err = get(ctx, l.ClientAt(from), h.Address)
	return err
}

func testCuts(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(l.StopService(ctx, "par2-s1", "guard"))
	answers(t, l, "par1-s1")

	must(l.CutSite(ctx, "par1", true))
	if err := reaches(t, l, "par2-c", "par1-c"); err == nil {
		t.Error("par1 was cut, and par2 reaches it")
	}
	must(reaches(t, l, "par2-c", "par3-c"))
	must(reaches(t, l, "par1-s1", "par1-c"))
	must(l.StartService(ctx, "par2-s1", "guard"))
	eventually(t, 10*time.Second, "par2 knows its own copy", func(ctx context.Context) error {
		return answersNow(ctx, l.ClientAt("par2-c"), "par2-s1")
	})
	answers(t, l, "par1-s1") // the client comes in at par1, which knows no better

	must(l.Heal(ctx, "par1"))
	stays(t, l, "par2-s1")

	must(l.CutSite(ctx, "par1", false))
	answers(t, l, "par2-s1")
	if err := reaches(t, l, "par1-c", "par3-c"); err == nil {
		t.Error("par1 was cut, and reaches par3")
	}
	must(l.Heal(ctx))
	stays(t, l, "par2-s1")
	must(reaches(t, l, "par1-c", "par3-c"))
}

// testFirstStart holds that a coordinator which boots again without its disk's content is not called new.
func testFirstStart(t *testing.T, l *lab.Lab) {
	const dir = "/var/lib/drp/server"
	run := func(host string, args ...string) string {
		t.Helper()
		out, err := l.Exec(t.Context(), host, args...)
		if err != nil || out.Status != 0 {
			t.Fatalf("%s: %v: %v %s", host, args, err, out.Stderr)
		}
		return string(out.Stdout)
	}
	for _, h := range l.Hosts() {
		if h.Role != lab.Coordinator {
			continue
		}
		if got, want := run(h.Name, "ls", "-A", dir), "first-start\n"; got != want {
			t.Errorf("%s: got %q in its directory, want %q", h.Name, got, want)
		}
	}
	run("par3-c", "rm", dir+"/first-start")
	if err := errors.Join(l.KillSite(t.Context(), "par3"), l.Heal(t.Context(), "par3")); err != nil {
		t.Fatal(err)
	}
	if got := run("par3-c", "ls", "-A", dir); got != "" {
		t.Errorf("after a boot: got %q in the directory, want nothing", got)
	}
}

func testDeadSite(t *testing.T, l *lab.Lab) {
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(path string) {
		t.Helper()
		out, err := l.Exec(ctx, "par2-s1", "sh", "-c", "echo kept >"+path)
		if err != nil || out.Status != 0 {
			t.Fatalf("write %s: %v %s", path, err, out.Stderr)
		}
	}
	for _, path := range []string{"/var/lib/drp/homes/a", "/var/lib/drp/a", "/etc/drp/a", "/run/a"} {
		write(path)
	}
	answers(t, l, "par2-s1")
	must(l.KillSite(ctx, "par2"))
	answers(t, l, "par1-s1")
	must(reaches(t, l, "par1-c", "par3-c"))
	if _, err := l.Exec(ctx, "par2-s1", "true"); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("exec on a dead host: got %v, want ErrProcessDone", err)
	}
	must(l.Heal(ctx, "par2"))
	answers(t, l, "par2-s1")
	out, err := l.Exec(ctx, "par2-s1", "sh", "-c", "cat /var/lib/drp/homes/a /var/lib/drp/a /etc/drp/a; ls /run/a")
	must(err)
	if got, want := string(out.Stdout), "kept\nkept\nkept\n"; got != want {
		t.Errorf("files after a boot: got %q, want %q", got, want)
	}
}

// hold is a lab in a process of its own, for tests that kill it. It says when it is up.
func hold(state string) {
	l, err := lab.Start(context.Background(), lab.Config{
		State: state, Bin: os.Getenv("DRP_LAB_TEST_BIN"), Services: standIns, Ready: []lab.Check{lab.RoutesReady()},
		Progress: func(s string) { fmt.Println(s) },
	})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("up", l.State())
	select {}
}
