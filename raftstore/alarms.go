package raftstore

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// AlarmKind says what is wrong. Programs may compare it; people read the message.
type AlarmKind string

const (
	AlarmSnapshotLoop AlarmKind = "snapshot-loop" // snapshot after snapshot, and never an entry (hashicorp/raft#697)
	AlarmNoProgress   AlarmKind = "no-progress"   // answers, and gets no entry while others do (hashicorp/raft#612)
	AlarmClock        AlarmKind = "clock"         // of another coordinator is off
	AlarmClockStep    AlarmKind = "clock-step"    // our own was set
	AlarmDiskFull     AlarmKind = "disk-full"
	AlarmDigest       AlarmKind = "digest"  // states differ
	AlarmLevel        AlarmKind = "level"   // an older drp
	AlarmSilent       AlarmKind = "silent"  // a member does not answer
	AlarmRemoved      AlarmKind = "removed" // this node is no member any more
	AlarmJoining      AlarmKind = "joining" // this node waits to be added
	AlarmQuarantined  AlarmKind = "quarantined"
	AlarmIncarnation  AlarmKind = "incarnation" // a coordinator from before a recovery
	AlarmSecond       AlarmKind = "second"      // a member leads a cluster of its own
	AlarmTwin         AlarmKind = "twin"        // two processes live under one name
)

// Alarm is something that a person has to look at.
type Alarm struct {
	Kind    AlarmKind `json:"kind"`
	Member  string    `json:"member"` // whom it is about
	Message string    `json:"message"`
	Since   time.Time `json:"since"`
}

// alarms of this node. Each is logged when it begins and when it ends.
type alarms struct {
	logger *slog.Logger

	mu     sync.Mutex
	raised map[alarmKey]Alarm
}

type alarmKey struct {
	kind   AlarmKind
	member string
}

func newAlarms(logger *slog.Logger) *alarms {
	return &alarms{logger: logger, raised: map[alarmKey]Alarm{}}
}

// set raises an alarm, or ends it. One that is raised already keeps its time and takes the new words.
func (a *alarms) set(kind AlarmKind, member string, raised bool, format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := alarmKey{kind, member}
	old, was := a.raised[key]
	if !raised {
		if was {
			delete(a.raised, key)
			a.logger.Info("alarm ended", "kind", kind, "member", member, "was", old.Message)
		}
		return
	}
	next := Alarm{Kind: kind, Member: member, Message: fmt.Sprintf(format, args...), Since: old.Since}
	if !was {
		next.Since = time.Now()
		a.logger.Error("alarm: "+next.Message, "kind", kind, "member", member)
	}
	a.raised[key] = next
}

// keep ends the alarms of a kind about all other members than these.
func (a *alarms) keep(kind AlarmKind, members []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for key, old := range a.raised {
		if key.kind == kind && !slices.Contains(members, key.member) {
			delete(a.raised, key)
			a.logger.Info("alarm ended", "kind", kind, "member", key.member, "was", old.Message)
		}
	}
}

func (a *alarms) list() []Alarm {
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []Alarm
	for _, alarm := range a.raised {
		list = append(list, alarm)
	}
	slices.SortFunc(list, func(x, y Alarm) int {
		return cmp.Or(x.Since.Compare(y.Since), cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Member, y.Member))
	})
	return list
}

// Alarms that this node raises now, oldest first.
func (s *Store) Alarms() []Alarm { return s.alarms.list() }
