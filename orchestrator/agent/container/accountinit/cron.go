package accountinit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"drp/orchestrator/schedule"
	"drp/raftstore/state"
)

const (
	// lookAgain is the longest wait without a look at the clock, which may have been set.
	lookAgain = time.Minute
	// tooLate is when a time that came while the account stood still is not made up for any more.
	tooLate = 5 * time.Minute
	// setBack is how far a clock may be set back without a time coming twice. When it was further ahead it goes by the new one.
	setBack = time.Hour
	// mercy is what a job has from SIGTERM to SIGKILL when it has run for too long.
	mercy = 10 * time.Second
	// cronLog keeps the logs of as many jobs as there may be well within /run.
	cronLog = 32 << 10
)

// cron runs the account's cron jobs. Like the services they depend on nothing outside of the container: not on the agent,
// and not on a coordinator. Everything here is called with the supervisor's lock held.
type cron struct {
	jobs []*job
	// What is around it; after calls what is due with the lock held, and never once the end has begun.
	clock func() time.Time
	after func(time.Duration, func()) *time.Timer
	spawn func(state.Program, *ring) (pid int, err error)
	kill  func(pid int, s unix.Signal)
	logs  string // directory of their logs

	timer *time.Timer // of the next look
}

type job struct {
	state.CronJob
	times schedule.Schedule
	log   *ring
	// seen: whatever was due up to then has been started, or left out for good.
	seen time.Time

	pid      int // zero: it does not run
	started  time.Time
	overtime bool // it was told to end
	limit    *time.Timer
	removed  bool // from the account while it ran
}

// readJobs reads what the account is to run. No file is no job.
func readJobs(path string) (list []state.CronJob, err error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return list, nil
}

// load takes over the list. What runs goes on, also when it is no longer in the list: it counts as running until it ends, so
// that there are never two of it. What is new has its first time from now on.
func (c *cron) load(list []state.CronJob) {
	now := c.clock()
	before := c.jobs
	c.jobs = nil
	for _, one := range list {
		i := slices.IndexFunc(before, func(j *job) bool { return j.Name == one.Name })
		j := &job{log: openRing(filepath.Join(c.logs, one.Name+".log"), cronLog), seen: now}
		if i >= 0 {
			j = before[i]
			before = slices.Delete(before, i, i+1)
			if (j.removed || j.Schedule != one.Schedule || j.TimeZone != one.TimeZone) && j.seen.Before(now) {
				j.seen = now
			}
		}
		j.CronJob, j.removed = one, false
		var err error
		if j.times, err = schedule.Parse(one.Schedule, one.TimeZone); err != nil { // of a later drp
			j.tell("never comes: %v", err)
		}
		c.jobs = append(c.jobs, j)
	}
	for _, j := range before {
		if j.pid != 0 {
			j.removed = true
			c.jobs = append(c.jobs, j)
		}
	}
	c.look()
}

// look starts what is due, and waits for what is next.
func (c *cron) look() {
	if c.timer != nil {
		c.timer.Stop()
		c.timer = nil
	}
	now := c.clock()
	wait := time.Duration(-1)
	for _, j := range c.jobs {
		if j.removed {
			continue
		}
		if j.seen.Sub(now) > setBack {
			j.seen = now
		}
		if due, ok := j.times.Latest(j.seen, now); ok {
			j.seen = due
			c.come(j, due, now)
		}
		from := now
		if j.seen.After(now) {
			from = j.seen
		}
		if next := j.times.Next(from); !next.IsZero() && (wait < 0 || next.Sub(now) < wait) {
			wait = next.Sub(now)
		}
	}
	if wait >= 0 {
		c.timer = c.after(min(wait, lookAgain), c.look)
	}
}

// come does what is to be done when the time of a job has come.
func (c *cron) come(j *job, due, now time.Time) {
	switch {
	case now.Sub(due) > tooLate:
		j.tell("left out: its time %s passed while the account stood still, or its clock was set", stamp(due))
		return
	case j.pid != 0:
		j.tell("left out: at its time %s the run of %s was not over", stamp(due), stamp(j.started))
		return
	}
	pid, err := c.spawn(j.Program, j.log)
	if err != nil {
		j.tell("cannot start: %v", err)
		return
	}
	j.pid, j.started, j.overtime = pid, now, false
	if j.Timeout > 0 {
		j.limit = c.after(j.Timeout, func() { c.overtime(j, pid) })
	}
}

// overtime ends a run that has taken too long, and what it has started itself. It may have ended in this very moment.
func (c *cron) overtime(j *job, pid int) {
	if j.pid != pid {
		return
	}
	sign := unix.SIGKILL
	if !j.overtime {
		j.overtime, sign = true, unix.SIGTERM
		j.tell("has run for %s: it is told to end", j.Timeout)
		j.limit = c.after(mercy, func() { c.overtime(j, pid) })
	}
	c.kill(-pid, sign)
}

// ended takes note of a child that is gone, and reports whether it was a job.
func (c *cron) ended(pid int, status unix.WaitStatus) bool {
	i := slices.IndexFunc(c.jobs, func(j *job) bool { return j.pid == pid })
	if i < 0 {
		return false
	}
	j := c.jobs[i]
	j.pid = 0
	if j.limit != nil {
		j.limit.Stop()
		j.limit = nil
	}
	if j.overtime { // those that it leaves behind had their time, too
		c.kill(-pid, unix.SIGKILL)
	}
	how := fmt.Sprintf("exit status %d", status.ExitStatus())
	if status.Signaled() {
		how = "signal: " + status.Signal().String()
	}
	j.tell("ended with %s; it began at %s", how, stamp(j.started))
	if j.removed {
		c.jobs = slices.Delete(c.jobs, i, i+1)
	}
	return true
}

// tell writes a line between those of the job itself.
func (j *job) tell(format string, args ...any) {
	fmt.Fprintf(j.log, "account-init: %s "+format+"\n", append([]any{j.Name}, args...)...)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
