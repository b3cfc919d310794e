package container_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"drp/orchestrator/agent/container"
	"drp/orchestrator/agent/home"
	"drp/raftstore/state"
)

func cronJob(name string, user uint32, command ...string) state.CronJob {
	return state.CronJob{Schedule: "@every 1s", Program: state.Program{Name: name, User: user, Command: command}}
}

// logs waits until the log of a cron job has all these words.
func logs(t *testing.T, c container.State, job string, words ...string) {
	t.Helper()
	path := fmt.Sprintf("/proc/%d/root/run/log/cron/%s.log", c.Pid, job)
	deadline := time.Now().Add(60 * time.Second)
	for {
		raw, err := os.ReadFile(path)
		missing := ""
		for _, w := range words {
			if !strings.Contains(string(raw), w) {
				missing = w
			}
		}
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("log of %s: %q, %v; want %q in it", job, raw, err, missing)
		}
		unix.Poll(nil, 20)
	}
}

// What a cron job may do is what a service may: the probe that the tests of services run is run as one.
func TestRuntime_cronJobs(t *testing.T) {
	b := newBench(t)
	s := b.spec(t, 1, "sleep", "1000")
	probing := cronJob("probe", home.User, "/.drp/init", "probe")
	probing.Environment = map[string]string{"PROBE": "1"}
	s.Account.CronJobs = []state.CronJob{probing}
	c := b.run(t, s)
	report := read(t, filepath.Join(s.Home, "report"))
	for _, line := range strings.Split(strings.TrimSpace(report), "\n") {
		if !strings.HasPrefix(line, "ok ") {
			t.Errorf("in the container: %s", line)
		}
	}
	if n := strings.Count(report, "\n"); n < 25 {
		t.Errorf("%d probes reported; want all of them", n)
	}
	logs(t, c, "probe", "left out: at its time ")

	// Another list, while the probe runs; its user has a name there.
	write := func(name, text string) []string {
		return []string{"sh", "-c", fmt.Sprintf("echo %s > $HOME/%s.new; mv $HOME/%s.new $HOME/%s", text, name, name, name)}
	}
	second := cronJob("second", 1002, write("second", "$(id -un) $WHO")...)
	second.Environment = map[string]string{"WHO": "me"}
	slow := cronJob("slow", home.User, "sh", "-c", "(trap '' TERM; exec sleep 424242) & trap 'exit 7' TERM; wait")
	slow.Timeout = time.Second
	s.Account.CronJobs = []state.CronJob{second, slow}
	set := func() {
		t.Helper()
		later := *b.Runtime // as after the agent's restart
		if err := later.SetCronJobs(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if now, _, err := b.State(t.Context(), "acct1"); err != nil || now.Pid != c.Pid || now.Status != container.Running {
			t.Errorf("state = %+v, %v; want it running on as it was", now, err)
		}
	}
	set()
	if got, want := read(t, filepath.Join(s.Home, "second")), "acct1-1002 me\n"; got != want {
		t.Errorf("second wrote %q, want %q", got, want)
	}
	logs(t, c, "slow", "has run for 1s: it is told to end", "slow ended with exit status 7; it began at ")
	again := func(what string) {
		t.Helper()
		if err := os.Remove(filepath.Join(s.Home, "second")); err != nil {
			t.Fatal(err)
		}
		if got := read(t, filepath.Join(s.Home, "second")); !strings.HasSuffix(got, " me\n") {
			t.Errorf("%s: second wrote %q", what, got)
		}
	}
	set()
	again("nothing changed")
	if err := b.Pause(t.Context(), "acct1"); err != nil {
		t.Fatal(err)
	}
	if err := b.Resume(t.Context(), "acct1"); err != nil {
		t.Fatal(err)
	}
	again("after a freeze")

	// Another list was written, the init was not told of it, and then the first one is wanted again.
	bundle := filepath.Join(b.Dir, "containers/acct1")
	before := s.Account.CronJobs
	s.Account.CronJobs = []state.CronJob{cronJob("third", home.User, write("third", "x")...)}
	broken := *b.Runtime
	broken.Runc = "/no/such/runc"
	if err := broken.SetCronJobs(t.Context(), s); err == nil {
		t.Error("nobody was told, and that is no error")
	}
	third := s.Account.CronJobs
	s.Account.CronJobs = before
	set()
	if raw, err := os.ReadFile(filepath.Join(bundle, "rootfs/.drp/cron.json")); err != nil || !strings.Contains(string(raw), "second") {
		t.Errorf("the list that is there: %s, %v", raw, err)
	}
	s.Account.CronJobs = third
	set()
	read(t, filepath.Join(s.Home, "third"))
	gone := func() bool { return len(pidsOf(t, "sleep\x00424242\x00")) == 0 }
	for deadline := time.Now().Add(60 * time.Second); !gone(); unix.Poll(nil, 20) {
		if time.Now().After(deadline) {
			t.Fatal("what a job had started outlived its time")
		}
	}
	s.Account.CronJobs = before
	if err := broken.SetCronJobs(t.Context(), s); err == nil {
		t.Error("nobody was told, and that is no error")
	}
	s.Account.CronJobs = nil
	set()
	if raw, err := os.ReadFile(filepath.Join(bundle, "rootfs/.drp/cron.json")); err != nil || string(raw) != "null" {
		t.Errorf("the list that is there: %s, %v; want none", raw, err)
	}
	// As an earlier drp made it: nobody is told that there are none.
	if err := errors.Join(os.Remove(filepath.Join(bundle, "rootfs/.drp/cron.json")), os.Remove(filepath.Join(bundle, "cron.noted"))); err != nil {
		t.Fatal(err)
	}
	if err := broken.SetCronJobs(t.Context(), s); err != nil {
		t.Error(err)
	}
	s.Account.CronJobs = third
	set()

	if err := b.Stop(t.Context(), "acct1"); err != nil {
		t.Fatal(err)
	}
	if said, err := os.ReadFile(filepath.Join(s.Home, "goodbye")); err != nil || string(said) != "terminated" {
		t.Errorf("the running job's last word = %q, %v; want it to have got SIGTERM", said, err)
	}
	for _, name := range []string{"rootfs/.drp/cron.json", "rootfs/.drp/services.json", "cron.noted"} {
		if _, err := os.Lstat(filepath.Join(bundle, name)); !os.IsNotExist(err) {
			t.Errorf("%s after the stop: %v; want it gone", name, err)
		}
	}
}

// pidsOf finds processes of the host by their command lines.
func pidsOf(t *testing.T, command string) (pids []string) {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range found {
		if raw, err := os.ReadFile(path); err == nil && string(raw) == command {
			pids = append(pids, path)
		}
	}
	return pids
}
