package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"drp/orchestrator/agent/address/nstest"
	"drp/orchestrator/agent/container"
	"drp/orchestrator/agent/container/accountinit"
	"drp/orchestrator/agent/home"
	"drp/orchestrator/agent/home/hometest"
	"drp/orchestrator/wire"
	"drp/raftstore/state"
	"drp/replicator/restic"
)

// The test binary is also the init of the containers.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "account-init" {
		os.Exit(accountinit.Run(os.Args[2]))
	}
	if len(os.Args) > 1 && os.Args[1] == "agent-with-child" {
		agentWithChild()
	}
	os.Exit(m.Run())
}

// agentWithChild starts a child as restic is started, prints its pid, and waits for its own end.
func agentWithChild() {
	program, err := os.Open("/usr/bin/sleep")
	if err != nil {
		panic(err)
	}
	dir, err := os.Open("/")
	if err != nil {
		panic(err)
	}
	run := (&Restic{}).runner(home.IDs{First: 1_600_000_000, Size: 65536}, program, dir)
	cmd := run.Command(context.Background(), programInChild, "1000")
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	fmt.Println(cmd.Process.Pid)
	io.Copy(io.Discard, os.Stdin)
}

func TestRestic_endsWithItsAgent(t *testing.T) {
	agent := exec.Command("/proc/self/exe", "agent-with-child")
	out, err := agent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := agent.StdinPipe(); err != nil { // open until it is killed
		t.Fatal(err)
	}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscan(out, &pid); err != nil {
		t.Fatal(err)
	}
	child, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(child)
	agent.Process.Kill()
	agent.Wait()
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(child), Events: unix.POLLIN}}, 30_000); n != 1 {
		unix.PidfdSendSignal(child, unix.SIGKILL, nil, 0)
		t.Errorf("the child outlived the agent that was killed: %v", err)
	}
}

// server is a server with all parts real but the leader and the routes: runc, btrfs, veth, restic.
type server struct {
	t      *testing.T
	dir    string
	pool   Identities
	space  *nstest.Namespace
	group  string
	leader *script

	containers *container.Runtime
	homes      *home.Store
	databases  Databases
}

func newServer(t *testing.T, n uint32) *server { return newServerOn(t, n, hometest.Btrfs(t)) }

func newServerOn(t *testing.T, n uint32, dir string) *server {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, dir: dir, space: nstest.New(t), leader: newScript(),
		group: fmt.Sprintf("/drp-test-agent-%d-%d", os.Getpid(), n),
		pool:  Identities{First: 1_700_000_000 + n*10*65536, Size: 65536, Count: 10}}
	s.containers = &container.Runtime{Dir: filepath.Join(dir, "run"), CgroupParent: s.group, Init: self, Grace: 3 * time.Second}
	t.Cleanup(func() {
		if err := s.containers.Stop(context.Background(), "shop"); err != nil {
			t.Error(err)
		}
		for _, pattern := range []string{"/sys/fs/cgroup" + s.group, "/sys/fs/cgroup/*" + s.group} {
			found, _ := filepath.Glob(pattern)
			for _, group := range found {
				if err := os.Remove(group); err != nil {
					t.Error(err)
				}
			}
		}
	})
	return s
}

func (s *server) agent() (stop func()) {
	s.t.Helper()
	if err := s.containers.Open(); err != nil {
		s.t.Fatal(err)
	}
	j, err := openJournal(filepath.Join(s.dir, "journal.db"))
	if err != nil {
		s.t.Fatal(err)
	}
	if s.homes, err = home.Open(filepath.Join(s.dir, "homes")); err != nil {
		s.t.Fatal(err)
	}
	a := &Agent{Server: "par1-s1", Boot: "boot", Leader: s.leader, Containers: s.containers, Network: s, Router: s, Homes: s.homes, Databases: s.databases,
		Backups:    &Restic{Binary: resticBinary(s.t), Log: slog.New(slog.DiscardHandler)},
		Identities: s.pool, Parallel: 1, Log: slog.New(slog.NewTextHandler(s.t.Output(), nil)), journal: j}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := errors.Join(<-ended, j.close()); err != nil {
				s.t.Error(err)
			}
		})
	}
	s.t.Cleanup(stop)
	return stop
}

func (s *server) Attach(ctx context.Context, account state.AccountName, pid int, list []netip.Addr) (err error) {
	s.space.Do(s.t, func() { err = addresses{}.Attach(ctx, account, pid, list) })
	return err
}

func (s *server) Detach(ctx context.Context, account state.AccountName) (err error) {
	s.space.Do(s.t, func() { err = addresses{}.Detach(ctx, account) })
	return err
}

func (s *server) Announce(context.Context, netip.Addr, state.AccountName, state.Token) error {
	return nil
}
func (s *server) Withdraw(context.Context, netip.Addr, state.AccountName, state.Token) error {
	return nil
}
func (s *server) Tokens(context.Context) (map[state.AccountName]state.Token, error) { return nil, nil }
func (s *server) RoutesOf(context.Context, state.AccountName) ([]netip.Addr, error) { return nil, nil }

// fetch asks the account's web server from its server's own network.
func (s *server) fetch(ip netip.Addr, path string) string {
	var answer string
	eventually(s.t, "answer of "+ip.String(), func() bool {
		s.space.Do(s.t, func() {
			conn, err := net.DialTimeout("tcp6", netip.AddrPortFrom(ip, 80).String(), time.Second)
			if err != nil {
				return
			}
			defer conn.Close()
			fmt.Fprintf(conn, "GET %s HTTP/1.0\r\nHost: shop\r\n\r\n", path)
			raw, _ := io.ReadAll(conn)
			answer = string(raw)
		})
		return answer != ""
	})
	_, body, _ := strings.Cut(answer, "\r\n\r\n")
	return body
}

// script is a leader that says what a test tells it to.
type script struct {
	mu       sync.Mutex
	desired  wire.AgentDesired
	report   wire.AgentReport
	changed  chan struct{}
	reported chan struct{}
}

func newScript() *script { return &script{changed: make(chan struct{}), reported: make(chan struct{})} }

func (l *script) say(accounts []wire.DesiredAccount, tasks ...wire.DesiredTask) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.desired = wire.AgentDesired{Revision: l.desired.Revision + 1, Accounts: accounts, Tasks: tasks}
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *script) Sync(ctx context.Context, r wire.AgentReport) (wire.AgentDesired, error) {
	t := time.NewTimer(r.Wait)
	defer t.Stop()
	l.mu.Lock()
	l.report = r
	close(l.reported)
	l.reported = make(chan struct{})
	desired, changed := l.desired, l.changed
	l.mu.Unlock()
	if desired.Revision != r.Revision {
		return desired, nil
	}
	select {
	case <-changed:
	case <-t.C:
	case <-ctx.Done():
		return wire.AgentDesired{}, ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.desired, nil
}

// until waits for a report.
func (l *script) until(t *testing.T, what string, good func(wire.AgentReport) bool) wire.AgentReport {
	t.Helper()
	deadline := time.After(90 * time.Second)
	for {
		l.mu.Lock()
		r, next := l.report, l.reported
		l.mu.Unlock()
		if good(r) {
			return r
		}
		select {
		case <-next:
		case <-deadline:
			t.Fatalf("%s was not reported; last: %+v", what, r)
		}
	}
}

func (l *script) phase(t *testing.T, token state.Token, phase wire.Phase) {
	t.Helper()
	l.until(t, token.String()+" "+string(phase), func(r wire.AgentReport) bool {
		return len(r.Accounts) == 1 && r.Accounts[0].Token == token && r.Accounts[0].Phase == phase
	})
}

func (l *script) answer(t *testing.T, task state.TaskID) wire.TaskReport {
	t.Helper()
	var got wire.TaskReport
	l.until(t, "answer to "+string(task), func(r wire.AgentReport) bool {
		for _, a := range r.Tasks {
			if a.Task == task {
				got = a
				return true
			}
		}
		return false
	})
	if got.Error != "" {
		t.Fatalf("task %s: %s", task, got.Error)
	}
	return got
}

func eventually(t *testing.T, what string, good func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !good(); unix.Poll(nil, 20) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: nothing in time", what)
		}
	}
}

func resticBinary(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "bin", "restic")
		}
	}
	t.Fatal("no go.mod above")
	return ""
}

// repository makes an empty one in a directory that the account's root on the first server owns.
func repository(t *testing.T, owner int) wire.RepositoryAccess {
	t.Helper()
	dir := filepath.Join(hometest.Memory(t), "repository")
	run := &restic.Runner{Binary: resticBinary(t)}
	if err := run.Init(t.Context(), restic.Repository{URL: dir, Password: "secret"}); err != nil {
		t.Fatal(err)
	}
	chown(t, dir, owner)
	return wire.RepositoryAccess{URLs: []string{dir}, Password: "secret"}
}

func chown(t *testing.T, dir string, owner int) {
	t.Helper()
	if out, err := exec.Command("chown", "-R", fmt.Sprintf("%d:%d", owner, owner), dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func sqlite(t *testing.T, db, query string) string {
	t.Helper()
	out, err := exec.Command("sqlite3", db, query).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// guestbook writes to SQLite without end, and a line for each entry that is committed.
const guestbook = `mkdir -p www old; echo hello > www/index.html; echo kept > old/file; ln -s /etc/passwd old/link
sqlite3 db 'pragma journal_mode=wal; create table if not exists t(x integer primary key, at real)' > /dev/null
exec php -r '$db = new SQLite3("db"); $db->busyTimeout(5000);
  for (;;) { $db->exec("insert into t(at) values (" . microtime(true) . ")"); file_put_contents("acked", $db->lastInsertRowID()); usleep(2000); }'`

// awkward gives a file attributes as the host's root, its directory the mark of a former version, and puts a sparse
// file beside it.
func awkward(t *testing.T, file string, ids home.IDs) {
	t.Helper()
	dir := filepath.Dir(file)
	capability := []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // cap_net_bind_service=ep, version 2
	err := errors.Join(unix.Setxattr(dir, "trusted.drp.task", []byte("r0"), 0), unix.Setxattr(file, "trusted.x", []byte("y"), 0),
		unix.Setxattr(file, "security.capability", capability, 0), unix.Setxattr(file, "user.kept", []byte("z"), 0))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "hole"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := errors.Join(f.Truncate(holeSize), f.Chown(ids.Host(1000), ids.Host(1000))); err != nil {
		t.Fatal(err)
	}
}

const holeSize = 600 << 20 // the filesystem has 256 MiB

func wantHole(t *testing.T, path string) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Size != holeSize || st.Blocks*512 > 1<<20 {
		t.Errorf("%s: %d bytes long, %d on the disk, %v; want %d and next to none", path, st.Size, st.Blocks*512, err, holeSize)
	}
}

// The whole way of an account through three servers, with everything real that it goes through.
func TestAgent_real(t *testing.T) {
	one, two := newServer(t, 1), newServer(t, 2)
	ip := netip.MustParseAddr("2001:db8:a::100")
	shop := state.Account{Name: "shop", Plan: state.Resources{Memory: 256 << 20, Processes: 50, CPU: 1}, Addresses: []netip.Addr{ip},
		Services: []state.Service{
			{Program: state.Program{Name: "guestbook", Command: []string{"sh", "-c", guestbook}, User: 1000}},
			{Program: state.Program{Name: "web", Command: []string{"php", "-S", "[::]:80", "-t", "/home/shop/www"}, User: 1000}},
		}}
	ticks := func(where string) []state.CronJob {
		return []state.CronJob{{Schedule: "@every 1s", Program: state.Program{Name: "tick", User: 1000,
			Command: []string{"sh", "-c", "echo >> cron-$WHERE"}, Environment: map[string]string{"WHERE": where}}}}
	}
	shop.CronJobs = ticks("one")
	order := wire.DesiredAccount{Account: shop, Token: token(1), Run: true, New: true}
	repo := repository(t, one.pool.nth(0).Host(0))

	stop := one.agent()
	one.leader.say(these(order))
	one.leader.phase(t, token(1), wire.Running)
	eventually(t, "web page", func() bool { _, err := os.Stat(filepath.Join(one.homes.Path("shop"), "acked")); return err == nil })
	if got := one.fetch(ip, "/"); got != "hello\n" {
		t.Errorf("page = %q", got)
	}
	ticked := func(s *server, where string) func() bool {
		return func() bool { _, err := os.Stat(filepath.Join(s.homes.Path("shop"), "cron-"+where)); return err == nil }
	}
	eventually(t, "cron job", ticked(one, "one"))
	before, _, err := one.containers.State(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}

	// The agent goes and comes back; the account does not notice.
	stop()
	stop = one.agent()
	one.leader.phase(t, token(1), wire.Running)
	if after, _, err := one.containers.State(t.Context(), "shop"); err != nil || after.Pid != before.Pid {
		t.Errorf("pid after the agent's restart = %d, %v; want %d", after.Pid, err, before.Pid)
	}

	// What a home may hold and a restore must not fall over: attributes that only the host's root may set, and a hole
	// that is larger than the disk.
	top := one.homes.Path("shop")
	awkward(t, filepath.Join(top, "old/file"), one.pool.nth(0))
	backup := backupTask("b1", "shop", 1)
	backup.Repository = repo
	one.leader.say(these(order), backup)
	made := one.leader.answer(t, "b1").Snapshot
	if made.View != "btrfs" || made.Files < 4 || len(made.ID) != 64 {
		t.Fatalf("snapshot = %+v", made)
	}
	live := sqlite(t, filepath.Join(one.homes.Path("shop"), "db"), "select count(*) from t")
	eventually(t, "the account goes on", func() bool {
		return sqlite(t, filepath.Join(one.homes.Path("shop"), "db"), "select count(*) from t") != live
	})

	// The other server gets it, restored.
	owner := two.pool.nth(0)
	chown(t, repo.URLs[0], owner.Host(0))
	two.agent()
	again := order
	again.Token, again.Restore, again.Repository = token(2), &made.ID, &repo
	again.Account.Services = shop.Services[1:] // so that nobody writes while the test reads
	again.Account.CronJobs = ticks("two")
	two.leader.say(these(again))
	two.leader.phase(t, token(2), wire.Running)
	if got := two.fetch(ip, "/"); got != "hello\n" {
		t.Errorf("page at the other server = %q", got)
	}
	restored := two.homes.Path("shop")
	eventually(t, "cron job at the other server", ticked(two, "two"))
	for path, want := range map[string]int{"": owner.Host(0), "www": owner.Host(1000), "db": owner.Host(1000), "old/link": owner.Host(1000)} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(restored, path), &st); err != nil || int(st.Uid) != want || int(st.Gid) != owner.Host(1000) {
			t.Errorf("%q belongs to %d:%d, %v; want %d:%d", path, st.Uid, st.Gid, err, want, owner.Host(1000))
		}
	}
	db := filepath.Join(restored, "db")
	if got := sqlite(t, db, "pragma integrity_check"); got != "ok" {
		t.Errorf("restored database: %s", got)
	}
	// Everything that was committed before the start of the snapshot is in it; the programs were stopped after it.
	oldDB, _ := filepath.Glob(filepath.Join(one.dir, "homes/shop/home/db"))
	had := sqlite(t, oldDB[0], fmt.Sprintf("select max(x) from t where at < %f", float64(made.Start.UnixMicro())/1e6-0.05))
	if got := sqlite(t, db, fmt.Sprintf("select max(x) >= %s from t", had)); got != "1" {
		t.Errorf("restored database ends at %s, want at least %s", sqlite(t, db, "select max(x) from t"), had)
	}

	// A folder, and one file, come back beside the live data.
	for id, path := range map[state.TaskID]string{"r1": "old", "r2": "old/file"} {
		task := restoreTask(id, path)
		task.Task.Token, task.Task.Restore, task.Repository = token(2), &state.RestorePoint{Snapshot: made.ID}, repo
		two.leader.say(these(again), task)
		answer := two.leader.answer(t, id)
		raw, err := os.ReadFile(filepath.Join(restored, task.Task.Target, "file"))
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(restored, task.Task.Target), &st); err != nil || int(st.Uid) != owner.Host(1000) || st.Mode&0o777 != 0o750 {
			t.Errorf("%s belongs to %d, mode %o, %v", task.Task.Target, st.Uid, st.Mode, err)
		}
		if string(raw) != "kept\n" || err != nil {
			t.Errorf("%s: %q, %v (%s)", path, raw, err, answer.Detail)
		}
	}
	wantHole(t, filepath.Join(restored, "old/hole"))
	wantHole(t, filepath.Join(restored, "restored-r1/hole"))
	if to, err := os.Readlink(filepath.Join(restored, "restored-r1/link")); to != "/etc/passwd" {
		t.Errorf("link = %q, %v", to, err)
	}
	missing := restoreTask("r3", "nowhere")
	missing.Task.Token, missing.Task.Restore, missing.Repository = token(2), &state.RestorePoint{Snapshot: made.ID}, repo
	two.leader.say(these(again), missing)
	r := two.leader.until(t, "answer to r3", func(r wire.AgentReport) bool { return len(r.Tasks) == 1 && r.Tasks[0].Task == "r3" })
	if !strings.HasPrefix(r.Tasks[0].Error, `restore nowhere: "nowhere" is not in snapshot `+made.ID.Short()) {
		t.Errorf("error = %q", r.Tasks[0].Error)
	}

	// A home with restored folders in it is backed up, and goes on to a third server.
	backup = backupTask("b2", "shop", 2)
	backup.Repository = repo
	two.leader.say(these(again), backup)
	next := two.leader.answer(t, "b2").Snapshot
	three := newServer(t, 3)
	chown(t, repo.URLs[0], three.pool.nth(0).Host(0))
	three.agent()
	again.Token, again.Restore = token(3), &next.ID
	three.leader.say(these(again))
	three.leader.phase(t, token(3), wire.Running)
	for _, file := range []string{"old/file", "restored-r1/file", "restored-r2/file"} {
		if raw, err := os.ReadFile(filepath.Join(three.homes.Path("shop"), file)); string(raw) != "kept\n" || err != nil {
			t.Errorf("%s at the third server: %q, %v", file, raw, err)
		}
	}
	wantHole(t, filepath.Join(three.homes.Path("shop"), "restored-r1/hole"))

	// The first server hears of it.
	one.leader.say(these(wire.DesiredAccount{Account: shop, Token: token(2), SetAside: true}))
	one.leader.phase(t, token(2), wire.SetAside)
	if _, ok, err := one.containers.State(t.Context(), "shop"); ok || err != nil {
		t.Errorf("it still runs: %v, %v", ok, err)
	}
	raw, err := os.ReadFile(filepath.Join(one.dir, "homes/aside/shop@1.1/token"))
	var rec home.Record
	if err != nil || json.Unmarshal(raw, &rec) != nil || rec.Token != token(1) {
		t.Errorf("set aside: %s, %v", raw, err)
	}
	stop()
}
