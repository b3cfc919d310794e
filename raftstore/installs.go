package raftstore

import "time"

const (
	loopInstalls = 3
	loopWithin   = 10 * time.Minute
)

// watchInstalls tells of a follower that gets snapshot after snapshot and never an entry (hashicorp/raft#697).
func (f *fsm) watchInstalls(now time.Time) {
	f.installs = append(f.installs, now)
	for now.Sub(f.installs[0]) > loopWithin {
		f.installs = f.installs[1:]
	}
	f.alarms.set(AlarmSnapshotLoop, f.name, len(f.installs) >= loopInstalls,
		"this coordinator got %d snapshots without going on from any: its log may not fit the leader's; "+
			"if a restart does not help stop it: the others go on without it. Keep its directory: an empty coordinator must not vote",
		len(f.installs))
}

// wentOn ends the alarm: an entry was applied.
func (f *fsm) wentOn() {
	if f.installs != nil {
		f.installs = nil
		f.alarms.set(AlarmSnapshotLoop, f.name, false, "")
	}
}
