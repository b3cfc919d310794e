package raftstore

import (
	"context"
	"strings"
	"sync"
	"time"
)

const goodbyeTimeout = 2 * time.Second

// look draws the conclusions of what was heard, once a second.
func (s *Store) look(now time.Time) {
	s.space.look()
	s.peers.look(now, s.raft.CommitIndex())
	var known []string
	others := map[string]*heard{}
	for _, p := range s.roster.others() {
		known = append(known, p.Name)
		if o := s.peers.of(p.Name); o != nil {
			others[p.Name] = o
		}
	}
	s.peers.forget(known)
	if s.roster.isJoining() {
		s.alarms.set(AlarmJoining, s.cfg.Name, true, "this coordinator waits to be added: run drp raft join %s at a coordinator of the cluster", s.cfg.Name)
		return
	}
	s.alarms.set(AlarmJoining, s.cfg.Name, false, "")
	s.compareStates(others)
	s.lookAtSelf()
	for _, kind := range []AlarmKind{AlarmSilent, AlarmClock, AlarmLevel, AlarmDiskFull, AlarmQuarantined, AlarmNoProgress, AlarmIncarnation, AlarmSecond, AlarmTwin} {
		s.alarms.keep(kind, append(known, s.cfg.Name))
	}
	for _, name := range known {
		s.lookAt(name, others[name], now)
	}
}

func (s *Store) lookAtSelf() {
	by, stepped := s.steps.look(s.cfg.Clock)
	s.alarms.set(AlarmClockStep, s.cfg.Name, stepped, "the clock of this machine was set by %s: nothing breaks by it, but times in records are not comparable, and certificates and enrolments may expire early or late; look at its time service",
		by.Round(time.Second))
	full := s.space.full()
	s.alarms.set(AlarmDiskFull, s.cfg.Name, full != "", "coordinator %s: %s: make room; until then it takes nothing new", s.cfg.Name, full)
}

// lookAt judges one other member. Where nothing was heard of it yet, it counts as silent since we started.
func (s *Store) lookAt(name string, o *heard, now time.Time) {
	if o == nil {
		s.alarms.set(AlarmSilent, name, now.Sub(s.started) > silentAfter, "coordinator %s was not heard since this one started: nothing removes it by itself; if it never comes back, drp raft remove %s", name, name)
		return
	}
	s.alarms.set(AlarmQuarantined, name, o.Quarantined != "", "%s", o.Quarantined)
	silent := now.Sub(o.at) > silentAfter
	s.alarms.set(AlarmSilent, name, silent && o.Quarantined == "", "coordinator %s was last heard at %s: nothing removes it by itself; if it never comes back, drp raft remove %s",
		name, o.at.UTC().Format(time.RFC3339), name)
	if silent {
		return
	}
	s.alarms.set(AlarmClock, name, o.clock.Abs() > clockOffsetOfOK, "the clock of coordinator %s is %s off from that of %s: nothing breaks by it, but times in records are not comparable, and certificates and enrolments may expire early or late; look at the time services of both",
		name, o.clock.Abs().Round(time.Second), s.cfg.Name)
	s.alarms.set(AlarmLevel, name, o.Level < s.cfg.Level, "coordinator %s runs an older drp (level %d, and %s has %d): upgrade it; until then nobody uses what is new",
		name, o.Level, s.cfg.Name, s.cfg.Level)
	s.alarms.set(AlarmDiskFull, name, o.Full != "", "coordinator %s: %s: make room; until then it takes nothing new", name, o.Full)
	s.alarms.set(AlarmIncarnation, name, s.estranged(o),
		"coordinator %s is of incarnation %d of this cluster, and %s of %d: the lower one is from before a recovery. Stop it, keep its directory, and let it join anew with an empty one (drp server init --join)",
		name, o.Incarnation, s.cfg.Name, s.parts.history.incarnation())
	address, _ := s.roster.address(name)
	s.alarms.set(AlarmTwin, name, s.peers.twins(name, now),
		"two processes live under the name %s: its data directory was copied, and started a second time. They vote twice under one name, so that two could lead at once. "+
			"Stop the one that does not run at %s now. Then replace %s, since nobody can tell what both have promised: drp raft remove %s, and join a coordinator of a new name with an empty directory",
		name, address, name, name)
	s.alarms.set(AlarmNoProgress, name, s.established() && now.Sub(o.progress) > wedgedAfter,
		"coordinator %s answers, and its log has not grown for %s while others go on (it is at %d of %d): restart it",
		name, now.Sub(o.progress).Round(time.Second), o.Last, s.raft.CommitIndex())
}

// sayGoodbye tells all others why this node has ended.
func (s *Store) sayGoodbye(last *hello) {
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
	defer cancel()
	var asking sync.WaitGroup
	for _, p := range s.roster.others() {
		asking.Add(1)
		go func() {
			defer asking.Done()
			_, _ = s.parts.courier.ask(ctx, p, last) // who does not hear it sees the silence
		}()
	}
	asking.Wait()
}

func joined(names []string) string { return strings.Join(names, ", ") }
