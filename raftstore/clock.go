package raftstore

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Clock tells the time. Raft itself needs no right clock; people do, and enrolments and certificates expire by it.
type Clock interface {
	Wall() time.Time     // what people read
	Boot() time.Duration // since some moment; never steps, and runs in suspend
}

// machineClock is the machine's, or for tests in a synctest bubble that of the bubble alone.
func machineClock(bubble bool) Clock {
	if bubble {
		return bubbleClock{time.Now()}
	}
	return bootClock{}
}

type bootClock struct{}

func (bootClock) Wall() time.Time { return time.Now() }

func (bootClock) Boot() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(fmt.Sprintf("raftstore: read CLOCK_BOOTTIME: %v", err)) // there since Linux 2.6.39
	}
	return time.Duration(t.Nano())
}

type bubbleClock struct{ start time.Time }

func (bubbleClock) Wall() time.Time       { return time.Now() }
func (c bubbleClock) Boot() time.Duration { return time.Since(c.start) }

const (
	clockStepLimit  = 2 * time.Second  // between the wall clock and the one that never steps
	clockStepShown  = 10 * time.Minute // how long the alarm stays
	clockOffsetOfOK = 5 * time.Second  // between two coordinators
)

// stepWatch finds out when the wall clock was set.
type stepWatch struct {
	wall  time.Time
	boot  time.Duration
	found bool
	at    time.Duration // of the newest step, on the clock that never steps
	by    time.Duration
}

// look compares the two clocks since the last look.
func (w *stepWatch) look(c Clock) (by time.Duration, raised bool) {
	boot, wall := c.Boot(), c.Wall().Round(0)
	if !w.wall.IsZero() {
		if step := wall.Sub(w.wall) - (boot - w.boot); step.Abs() > clockStepLimit {
			w.found, w.at, w.by = true, boot, step
		}
	}
	w.wall, w.boot = wall, boot
	return w.by, w.found && boot-w.at < clockStepShown
}
