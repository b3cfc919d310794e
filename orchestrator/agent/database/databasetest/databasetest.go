// Package databasetest starts engines for tests: real ones, each in a directory of its own, as an unprivileged user,
// reachable by a socket alone.
package databasetest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"drp/orchestrator/agent/database"
)

// Password is the administrator's.
const Password = "it's the administrator's"

// nobody is whom the engines run as when the test is root: they refuse to be root.
const nobody = 65534

// Engine is one that runs until the test ends, or Stop.
type Engine struct {
	database.Server
	t   testing.TB
	cmd *exec.Cmd
}

// PostgreSQL starts an empty one.
func PostgreSQL(t testing.TB) *Engine {
	t.Helper()
	bin := newest(t, "/usr/lib/postgresql/*/bin")
	e, dir := prepare(t, database.Server{User: "admin", Programs: bin})
	e.Socket = dir
	data := filepath.Join(dir, "data")
	e.command(filepath.Join(bin, "initdb"), "-D", data, "-U", "admin", "--auth=scram-sha-256", "--pwfile="+e.PasswordFile, "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
	e.start("database system is ready to accept connections", filepath.Join(bin, "postgres"), "-D", data, "-k", dir, "-c", "listen_addresses=",
		"-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=30")
	return e
}

// MariaDB starts an empty one.
func MariaDB(t testing.TB) *Engine {
	t.Helper()
	e, dir := prepare(t, database.Server{User: "admin"})
	e.Socket = filepath.Join(dir, "sock")
	data, first := filepath.Join(dir, "data"), filepath.Join(dir, "first.sql")
	e.command("mariadb-install-db", "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve")
	sql := "create user admin@localhost identified by '" + strings.ReplaceAll(Password, "'", "''") + "';\ngrant all on *.* to admin@localhost with grant option;\ndrop user if exists ''@localhost;\n"
	if err := os.WriteFile(first, []byte(sql), 0o644); err != nil {
		t.Fatal(err)
	}
	e.start("ready for connections", "mariadbd", "--no-defaults", "--datadir="+data, "--socket="+e.Socket, "--skip-networking", "--init-file="+first,
		"--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=16M", "--pid-file="+filepath.Join(dir, "pid"), "--event-scheduler=OFF")
	return e
}

func newest(t testing.TB, pattern string) string {
	found, _ := filepath.Glob(pattern)
	if len(found) == 0 {
		t.Fatalf("there is no %s: make packages installs it", pattern)
	}
	return found[len(found)-1]
}

// prepare makes a directory with a short name: sockets lie in it.
func prepare(t testing.TB, s database.Server) (*Engine, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "drp-db-")
	if err != nil {
		t.Fatal(err)
	}
	s.PasswordFile = filepath.Join(dir, "password")
	e := &Engine{Server: s, t: t}
	t.Cleanup(func() {
		e.Stop()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(s.PasswordFile, []byte(Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		for _, path := range []string{dir, s.PasswordFile} {
			if err := os.Chown(path, nobody, nobody); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return e, dir
}

func (e *Engine) child(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir = filepath.Dir(e.PasswordFile)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/nonexistent"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	return cmd
}

func (e *Engine) command(program string, args ...string) {
	e.t.Helper()
	if out, err := e.child(program, args...).CombinedOutput(); err != nil {
		e.t.Fatalf("%s: %v: %s", program, err, out)
	}
}

// start returns when the engine has said that it is ready.
func (e *Engine) start(ready, program string, args ...string) {
	e.t.Helper()
	e.cmd = e.child(program, args...)
	said, err := e.cmd.StderrPipe()
	if err == nil {
		err = e.cmd.Start()
	}
	if err != nil {
		e.t.Fatal(err)
	}
	var words strings.Builder
	lines := bufio.NewReader(said)
	for {
		line, err := lines.ReadString('\n')
		words.WriteString(line)
		if err != nil {
			e.t.Fatalf("%s ended: %s", program, words.String())
		}
		if strings.Contains(line, ready) {
			break
		}
	}
	go io.Copy(io.Discard, lines)
}

// Stop kills the engine, as a power cut would: with all that works for it.
func (e *Engine) Stop() {
	if e.cmd == nil || e.cmd.Process == nil {
		return
	}
	_ = syscall.Kill(-e.cmd.Process.Pid, syscall.SIGKILL)
	_ = e.cmd.Wait()
	e.cmd = nil
}

// PSQL runs SQL in a database of PostgreSQL and returns what it printed.
func (e *Engine) PSQL(name, sql string) string {
	e.t.Helper()
	return e.run(sql, []string{"PGHOST=" + e.Socket, "PGUSER=admin", "PGPASSWORD=" + Password, "PGDATABASE=" + name},
		filepath.Join(e.Programs, "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1")
}

// MySQL runs SQL in MariaDB and returns what it printed.
func (e *Engine) MySQL(sql string) string {
	e.t.Helper()
	return e.run(sql, []string{"MYSQL_PWD=" + Password}, "mariadb", "--no-defaults", "--user=admin", "--socket="+e.Socket, "--default-character-set=utf8mb4", "--batch", "--raw", "--skip-column-names")
}

func (e *Engine) run(sql string, env []string, program string, args ...string) string {
	e.t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append([]string{"PATH=/usr/bin:/bin", "HOME=/nonexistent", "LC_ALL=C.UTF-8"}, env...)
	cmd.Stdin = strings.NewReader(sql)
	out, err := cmd.CombinedOutput()
	if err != nil {
		e.t.Fatalf("%v: %v: %s", fmt.Sprintf("%.200s", sql), err, out)
	}
	return strings.TrimSpace(string(out))
}
