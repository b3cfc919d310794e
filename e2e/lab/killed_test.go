package lab_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"drp/e2e/lab"
	"drp/e2e/lab/host"
)

// held is a lab in another process.
type held struct {
	state string
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func holdLab(t *testing.T, state string) *held {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "DRP_LAB_TEST_HOLD="+state, "DRP_LAB_TEST_BIN="+binDir(t))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if err := lab.Clean(context.WithoutCancel(t.Context()), state); err != nil {
			t.Error(err)
		}
	})
	return &held{state: state, cmd: cmd, lines: bufio.NewScanner(out)}
}

// until reads what the lab says.
func (h *held) until(t *testing.T, want string) {
	t.Helper()
	var said []string
	for h.lines.Scan() {
		said = append(said, h.lines.Text())
		if strings.HasPrefix(h.lines.Text(), want) {
			return
		}
	}
	t.Fatalf("the lab ended before it said %q: %s", want, strings.Join(said, "; "))
}

func (h *held) kill(t *testing.T) {
	t.Helper()
	if err := h.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	h.cmd.Wait()
}

// namespaces lists the network namespaces of the lab's processes.
func (h *held) namespaces(t *testing.T) []string {
	t.Helper()
	var list []string
	for _, pid := range processesWith(t, h.state) {
		if ns, err := os.Readlink(filepath.Join("/proc", pid, "ns/net")); err == nil && !slices.Contains(list, ns) {
			list = append(list, ns)
		}
	}
	return list
}

func processesWith(t *testing.T, argument string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var pids []string
	for _, f := range files {
		if line, err := os.ReadFile(f); err == nil && strings.Contains(string(line), argument) {
			pids = append(pids, filepath.Base(filepath.Dir(f)))
		}
	}
	return pids
}

// leftovers lists whatever there is of a lab on the machine.
func leftovers(t *testing.T, state string, namespaces []string) []string {
	t.Helper()
	var found []string
	for _, pid := range processesWith(t, state) {
		found = append(found, "process "+pid)
	}
	processes, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		if ns, err := os.Readlink(p); err == nil && slices.Contains(namespaces, ns) {
			found = append(found, "namespace "+ns+" of "+p)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, state) {
			found = append(found, "mount "+line)
		}
	}
	loops, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range loops {
		if file, err := os.ReadFile(l); err == nil && strings.Contains(string(file), state) {
			found = append(found, "loop device "+l)
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/drp-dev", "/sys/fs/cgroup/*/drp-dev", state, "/run/drp-dev*"} {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, matches...)
	}
	return found
}

func linkNames(t *testing.T) []string {
	t.Helper()
	list, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range list {
		names = append(names, l.Name)
	}
	return names
}

func TestClean_afterSIGKILL(t *testing.T) {
	links := linkNames(t)
	for _, when := range []string{"booting", "up"} {
		t.Run("killed when it said "+when, func(t *testing.T) {
			h := holdLab(t, stateDir(t))
			h.until(t, when)
			namespaces := h.namespaces(t)
			if when == "up" {
				if _, err := lab.NewControl(h.state).Report(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := lab.Clean(t.Context(), h.state); !errors.Is(err, lab.ErrRunning) {
					t.Fatalf("clean a running lab: got %v, want ErrRunning", err)
				}
				freeze(t, h.state)
			}
			h.kill(t)
			if err := lab.Clean(t.Context(), h.state); err != nil {
				t.Fatal(err)
			}
			if found := leftovers(t, h.state, namespaces); len(found) > 0 {
				t.Errorf("left: %s", strings.Join(found, "\n"))
			}
		})
	}
	t.Run("the next start cleans", func(t *testing.T) {
		h := holdLab(t, stateDir(t))
		h.until(t, "up")
		h.kill(t)
		next := holdLab(t, h.state)
		next.until(t, "up")
	})
	// Others may make links of their own meanwhile; none of them is the lab's.
	for _, name := range linkNames(t) {
		if !slices.Contains(links, name) && strings.Contains(name, "par") {
			t.Errorf("link %s in the machine's own network", name)
		}
	}
}

// freeze leaves a frozen process in a server's cgroup, as a backup does that is under way when the lab dies.
func freeze(t *testing.T, state string) {
	t.Helper()
	script := `set -e
d=/sys/fs/cgroup/freezer f=freezer.state v=FROZEN
test -d $d || { d=/sys/fs/cgroup f=cgroup.freeze v=1; }
mkdir -p $d/drp-dev/par1-s1/frozen
sleep 1000 >/dev/null 2>&1 &
echo $! >$d/drp-dev/par1-s1/frozen/cgroup.procs
echo $v >$d/drp-dev/par1-s1/frozen/$f
`
	client := host.NewClient(filepath.Join(state, "run", "par1-s1.sock"))
	out, err := client.Exec(t.Context(), host.Command{Args: []string{"sh", "-c", script}})
	if err != nil {
		t.Fatal(err)
	}
	if out.Status != 0 {
		t.Fatalf("freeze a process: %s", out.Stderr)
	}
}

func TestStart_refused(t *testing.T) {
	t.Run("a directory with other files", func(t *testing.T) {
		state := t.TempDir()
		file := filepath.Join(state, "letter")
		if err := os.WriteFile(file, []byte("dear"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := lab.Start(t.Context(), config(t, state))
		if err == nil || !strings.Contains(err.Error(), "other files") {
			t.Errorf("got %v, want that the directory holds other files", err)
		}
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	})
	t.Run("what never gets ready leaves nothing", func(t *testing.T) {
		c := config(t, stateDir(t))
		c.Ready = []lab.Check{{Name: "godot", Wait: func(context.Context, *lab.Lab) error { return errors.New("not today") }}}
		if _, err := lab.Start(t.Context(), c); err == nil || !strings.Contains(err.Error(), "wait for godot: not today") {
			t.Errorf("got %v, want that godot did not come", err)
		}
		if found := leftovers(t, c.State, nil); len(found) > 0 {
			t.Errorf("left: %s", strings.Join(found, "\n"))
		}
	})
	t.Run("no restic", func(t *testing.T) {
		c := config(t, stateDir(t))
		c.Bin = t.TempDir()
		_, err := lab.Start(t.Context(), c)
		if got, want := fmt.Sprint(err), "restic is not in "+c.Bin+": run make build"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}
