package accountinit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"drp/raftstore/state"
)

// gate is a lock for which a bubble's time goes on while somebody waits.
type gate chan struct{}

func (g gate) Lock()   { g <- struct{}{} }
func (g gate) Unlock() { <-g }

// bench is a cron on fake time, of which a test may set the clock. Its programs run until the test ends them.
type bench struct {
	*cron
	t      *testing.T
	dir    string
	mu     gate
	offset time.Duration // of the wall clock
	events []string
	next   int
	fails  error
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, dir: t.TempDir(), mu: make(gate, 1), next: 100}
	b.cron = &cron{
		clock: func() time.Time { return wall().Add(b.offset) },
		after: func(d time.Duration, do func()) *time.Timer {
			return time.AfterFunc(d, func() {
				b.mu.Lock()
				defer b.mu.Unlock()
				do()
			})
		},
		spawn: func(p state.Program, log *ring) (int, error) {
			if b.fails != nil {
				return 0, b.fails
			}
			b.next++
			b.note("%s %d", p.Name, b.next)
			return b.next, nil
		},
		kill: func(pid int, s unix.Signal) { b.note("kill %d %s", pid, s) },
		logs: b.dir,
	}
	return b
}

// note is called with the lock held. Times are those of the wall clock, in UTC.
func (b *bench) note(format string, args ...any) {
	b.events = append(b.events, b.clock().UTC().Format("02T15:04:05 ")+fmt.Sprintf(format, args...))
}

func (b *bench) give(jobs ...state.CronJob) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.load(jobs)
}

func (b *bench) end(pid int, status unix.WaitStatus) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ended(pid, status)
}

// until lets time go by until the wall clock shows this, and tells what happened.
func (b *bench) until(want string, shown string) {
	b.t.Helper()
	at, err := time.Parse(time.RFC3339, shown)
	if err != nil {
		b.t.Fatal(err)
	}
	b.mu.Lock()
	wait := at.Sub(b.clock())
	b.mu.Unlock()
	time.Sleep(wait)
	synctest.Wait()
	b.happened(want)
}

func (b *bench) happened(want string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if got := strings.Join(b.events, "; "); got != want {
		b.t.Errorf("got  %s\nwant %s", got, want)
	}
	b.events = nil
}

// says wants the words in the log of a job.
func (b *bench) says(job string, words ...string) {
	b.t.Helper()
	raw, err := os.ReadFile(filepath.Join(b.dir, job+".log"))
	for _, w := range words {
		if err != nil || !strings.Contains(string(raw), w) {
			b.t.Errorf("log of %s: %q, %v; want %q in it", job, raw, err, w)
		}
	}
}

func daily(name, schedule string) state.CronJob {
	return state.CronJob{Program: state.Program{Name: name}, Schedule: schedule}
}

// fake time begins on 1 January 2000, 00:00 UTC.
func TestCron(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.until("", "2000-01-01T00:05:00Z")
		paris := daily("paris", "0 3 * * *")
		paris.TimeZone = "Europe/Paris"
		b.give(daily("often", "*/5 * * * *"), paris, daily("once", "7 0 * * *"))
		b.until("", "2000-01-01T00:05:00Z") // its first time is the next one
		b.until("01T00:07:00 once 101; 01T00:10:00 often 102", "2000-01-01T00:12:00Z")

		// Never two of it, and that is seen.
		b.until("", "2000-01-01T00:20:30Z")
		b.says("often", "left out: at its time 2000-01-01T00:20:00Z the run of 2000-01-01T00:10:00Z was not over", "its time 2000-01-01T00:15:00Z")
		if !b.end(102, 3<<8) || b.end(102, 0) || b.end(7, 0) {
			t.Error("a child is known once, while it is one")
		}
		b.says("often", "ended with exit status 3; it began at 2000-01-01T00:10:00Z")
		b.until("01T00:25:00 often 103", "2000-01-01T00:29:00Z")
		b.end(103, unix.WaitStatus(unix.SIGKILL))
		b.says("often", "ended with signal: killed")

		// One that cannot be started is told, and tried at its next time.
		b.mu.Lock()
		b.fails = errors.New("no such program")
		b.mu.Unlock()
		b.until("", "2000-01-01T00:34:00Z")
		b.says("often", "cannot start: no such program")
		b.mu.Lock()
		b.fails = nil
		b.mu.Unlock()
		b.until("01T00:35:00 often 104", "2000-01-01T00:39:00Z")
		b.until("01T02:00:00 paris 105", "2000-01-01T02:01:00Z")
	})
}

// A time that summer time leaves out comes right after the gap; one that is repeated comes once.
func TestCron_summerTime(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"begins": {"2000-03-25T12:00:00Z", "2000-03-26T12:00:00Z", "26T01:00:00 night 101"},
		"ends":   {"2000-10-28T12:00:00Z", "2000-10-29T12:00:00Z", "29T00:30:00 night 101"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.until("", c.from)
				job := daily("night", "30 2 * * *")
				job.TimeZone = "Europe/Paris"
				b.give(job)
				b.until(c.want, c.to)
			})
		})
	}
}

// What stood still for a moment (a backup freezes it) is made up for once. What stood still for long is not, and says so.
func TestCron_standsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.give(daily("minutely", "* * * * *"), daily("hourly", "0 * * * *"))
		b.until("", "2000-01-01T00:00:59Z")
		b.mu.Lock() // as one that is frozen, nothing goes on
		time.Sleep(4*time.Minute + 10*time.Second)
		b.mu.Unlock()
		synctest.Wait()
		b.happened("01T00:05:09 minutely 101")
		b.end(101, 0)
		b.until("01T00:06:00 minutely 102", "2000-01-01T00:06:30Z")
		b.end(102, 0)
		b.mu.Lock()
		time.Sleep(time.Hour)
		b.mu.Unlock()
		synctest.Wait()
		b.happened("01T01:06:30 minutely 103")
		b.says("hourly", "left out: its time 2000-01-01T01:00:00Z passed while the account stood still")
		b.until("01T02:00:00 hourly 104", "2000-01-01T02:00:00Z")
	})
}

func TestCron_clockIsSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		set := func(d time.Duration) {
			b.mu.Lock()
			b.offset += d
			b.mu.Unlock()
		}
		b.until("", "2000-01-01T00:30:00Z")
		b.give(daily("hourly", "0 * * * *"))
		b.until("01T01:00:00 hourly 101", "2000-01-01T01:00:01Z")
		b.end(101, 0)
		// Back by a little: what has come does not come again.
		set(-20 * time.Minute)
		b.until("", "2000-01-01T01:30:00Z")
		b.until("01T02:00:00 hourly 102", "2000-01-01T02:00:30Z")
		b.end(102, 0)
		// It was ahead by a day: the new one counts, and not only a day later.
		set(-24 * time.Hour)
		b.until("31T03:00:00 hourly 103", "1999-12-31T03:30:00Z")
		b.end(103, 0)
		// Ahead: what is due by the new one does not wait for as long as the old one would have.
		set(29*time.Minute + 30*time.Second)
		b.until("31T04:00:30 hourly 104", "1999-12-31T04:01:30Z")
	})
	if s := wall().String(); strings.Contains(s, " m=") {
		t.Errorf("%s goes by a clock that is never set", s)
	}
}

// A run that takes too long is told to end, with what it has started, and then made to.
func TestCron_timeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.until("", "2000-01-01T00:30:00Z")
		job := daily("slow", "0 * * * *")
		job.Timeout = 10 * time.Minute
		b.give(job)
		b.until("01T01:00:00 slow 101; 01T01:10:00 kill -101 terminated; 01T01:10:10 kill -101 killed", "2000-01-01T01:20:00Z")
		b.end(101, unix.WaitStatus(unix.SIGKILL))
		b.says("slow", "has run for 10m0s: it is told to end", "ended with signal: killed")
		b.happened("01T01:20:00 kill -101 killed")

		// It ends when it is told to; what it has left behind is ended, too.
		b.until("01T02:00:00 slow 102; 01T02:10:00 kill -102 terminated", "2000-01-01T02:10:01Z")
		b.end(102, 0)
		b.happened("01T02:10:01 kill -102 killed")

		// It ends in time; nothing is killed later on, not even by a timer that has gone off in the same moment.
		b.until("01T03:00:00 slow 103", "2000-01-01T03:09:59Z")
		b.mu.Lock()
		time.Sleep(2 * time.Second)
		b.ended(103, 0)
		b.mu.Unlock()
		b.until("", "2000-01-01T03:59:00Z")
		b.until("01T04:00:00 slow 104; 01T04:10:00 kill -104 terminated; 01T04:10:10 kill -104 killed", "2000-01-01T04:11:00Z")
	})
}

// A new list restarts nothing. What runs and was changed or taken out counts as running until it ends.
func TestCron_newList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.until("", "2000-01-01T00:30:00Z")
		short := daily("a", "0 * * * *")
		short.Timeout = time.Minute
		b.give(short, daily("b", "0 * * * *"), daily("c", "0 5 * * *"))
		b.until("01T01:00:00 a 101; 01T01:00:00 b 102", "2000-01-01T01:00:30Z")
		b.give(daily("b", "*/10 * * * *"), daily("c", "0 5 * * *"))
		b.until("01T01:01:00 kill -101 terminated; 01T01:01:10 kill -101 killed", "2000-01-01T01:05:00Z") // within its own time
		b.give(daily("a", "*/15 * * * *"), daily("b", "*/10 * * * *"), daily("c", "0 5 * * *"))
		b.until("", "2000-01-01T01:15:30Z")
		b.says("a", "the run of 2000-01-01T01:00:00Z was not over")
		b.says("b", "the run of 2000-01-01T01:00:00Z was not over")
		b.end(101, 0)
		b.happened("01T01:15:30 kill -101 killed")
		b.end(102, 0)
		b.until("01T01:20:00 b 103", "2000-01-01T01:21:00Z")
		// Whoever changes a schedule does not get what would have been due before.
		b.until("01T01:30:00 a 104", "2000-01-01T01:34:00Z")
		b.end(104, 0)
		b.give(daily("a", "32 1 * * *"))
		b.until("", "2000-01-01T01:40:00Z")
		// b is gone, but not before it ends; added anew it is another one.
		if n := len(b.jobs); n != 2 {
			t.Errorf("%d jobs are kept, want a and b, which still runs", n)
		}
		if raw, err := os.ReadFile(filepath.Join(b.dir, "b.log")); err != nil || strings.Contains(string(raw), "01:40:00") {
			t.Errorf("log of b: %q, %v; want nothing of a time that is none of it any more", raw, err)
		}
		b.end(103, 0)
		if n := len(b.jobs); n != 1 {
			t.Errorf("%d jobs are kept, want a alone", n)
		}
		b.give(daily("a", "32 1 * * *"), daily("b", "*/10 * * * *"))
		b.until("01T01:50:00 b 105", "2000-01-01T01:51:00Z")
		// One that a later drp wrote keeps the others from nothing.
		b.end(105, 0)
		b.give(daily("odd", "at noon"), daily("b", "*/10 * * * *"))
		b.says("odd", "never comes: ")
		b.until("01T02:00:00 b 106", "2000-01-01T02:01:00Z")
	})
}

// Nothing begins once the end has begun.
func TestSupervisor_after(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &supervisor{}
		b := newBench(t)
		b.after = s.after
		s.cron = b.cron
		path := filepath.Join(b.dir, CronFile)
		if err := os.WriteFile(path, []byte(`[{"name":"a","command":["x"],"schedule":"* * * * *"}]`), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.load(path); err != nil {
			t.Fatal(err)
		}
		b.until("01T00:01:00 a 101", "2000-01-01T00:01:30Z")
		s.mu.Lock()
		s.ending = true
		s.cron.ended(101, 0)
		s.mu.Unlock()
		b.until("", "2000-01-01T00:05:30Z")
		if err := s.load(path); err != nil {
			t.Fatal(err)
		}
		b.until("", "2000-01-01T00:10:30Z")
	})
}

func TestReadJobs(t *testing.T) {
	path := filepath.Join(t.TempDir(), CronFile)
	if list, err := readJobs(path); list != nil || err != nil {
		t.Errorf("no file: got %v, %v", list, err)
	}
	for text, want := range map[string]int{`null`: 0, `[{"name":"a","command":["x"],"schedule":"@daily"}]`: 1} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if list, err := readJobs(path); err != nil || len(list) != want {
			t.Errorf("%s: got %v, %v", text, list, err)
		}
	}
	if err := os.WriteFile(path, []byte("["), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readJobs(path); err == nil || !strings.Contains(err.Error(), "cron.json") {
		t.Errorf("half a file: got %v", err)
	}
}
