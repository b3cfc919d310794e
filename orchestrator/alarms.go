package orchestrator

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kinds of alarms that are seen here; package raftstore has its own.
const (
	alarmSilent     = "silent" // as the store has it, where that has not seen it yet
	alarmUnfinished = "unfinished"
	alarmQuorum     = "quorum"
	alarmHeld       = "held"
	alarmSecrets    = "secrets"
	alarmTrail      = "audit-trail"
	alarmStore      = "store"
	alarmClock      = "clock" // the store's
)

// coordinators are the members as the status shows them.
func (o *Orchestrator) coordinators(n now, leader string) []CoordinatorStatus {
	var all []CoordinatorStatus
	for _, m := range o.membersAt(n) {
		c := CoordinatorStatus{Name: m.Name, Site: m.Site, Role: "follower", LastContact: m.LastContact}
		if answered := n.seen.peers[m.Name]; answered.After(c.LastContact) {
			c.LastContact = answered
		}
		switch {
		case m.Name == leader:
			c.Role, c.LastContact = "leader", n.at
		case !m.Votes():
			c.Role = string(m.Role)
		}
		all = append(all, c)
	}
	return all
}

func (o *Orchestrator) membersAt(n now) []Member {
	if o.config.Membership == nil {
		return nil
	}
	return o.members(n.view, n.at)
}

// clocksDiffer says so where the store has seen it.
func (o *Orchestrator) clocksDiffer() string {
	if o.config.Membership == nil {
		return ""
	}
	for _, a := range o.config.Membership.Alarms() {
		if a.Kind == alarmClock {
			return a.Message
		}
	}
	return ""
}

const (
	clockLeap    = time.Minute      // between two looks: more than a leader ever waits
	clockSettles = 10 * time.Second // until the store has compared it with those of the others
)

// clockWatch notices that the clock by which a leader decides was set, before the store can have: what is irrevocable waits until that
// has had the time to see whether the others' differ. Its zero value has not seen any clock.
type clockWatch struct{ last, settled time.Time }

func (w *clockWatch) look(at time.Time) (set bool) {
	at = at.Round(0) // what people read; the other clock never leaps
	if w.last.IsZero() || at.Sub(w.last) > clockLeap || at.Before(w.last) {
		w.settled = at.Add(clockSettles)
	}
	w.last = at
	return at.Before(w.settled)
}

// alarms are what the store raises, and what follows from who answers. Oldest first.
func (o *Orchestrator) alarms(n now) []Alarm {
	if o.config.Membership == nil {
		return nil
	}
	all := slices.Clone(o.config.Membership.Alarms())
	named := map[string]bool{}
	for _, a := range all {
		named[a.Member] = true
	}
	members := o.membersAt(n)
	for _, m := range members {
		switch {
		case m.Role == RoleUnfinished:
			all = append(all, Alarm{Kind: alarmUnfinished, Member: m.Name, Message: m.Problem})
		case !m.Answers && !named[m.Name]:
			all = append(all, Alarm{Kind: alarmSilent, Member: m.Name, Since: m.LastContact, Message: m.Problem})
		}
	}
	if q := QuorumOf(members); q.Voters > 0 && q.Survives < 1 && q.Voters > 1 {
		all = append(all, Alarm{Kind: alarmQuorum, Message: q.String()})
	}
	if c := n.view.Cluster(); c != nil && c.Held != nil {
		all = append(all, Alarm{Kind: alarmHeld, Since: c.Held.Since,
			Message: fmt.Sprintf("the cluster was recovered (%s) and waits for a person: nothing is decided or moved until drp recover resume", c.Held.How)})
	}
	all = append(all, o.exportAlarms(n)...)
	if why := o.SecretsTrouble(); why != "" {
		all = append(all, Alarm{Kind: alarmSecrets, Member: o.config.Name, Message: why})
	}
	if message, since := trailTrouble(n.view, n.at); message != "" {
		all = append(all, Alarm{Kind: alarmTrail, Since: since, Message: message})
	}
	all = append(all, repositoryAlarms(n)...)
	all = append(all, keyAlarms(n, o.breakGlassWithin())...)
	all = append(all, fillAlarms(n)...)
	all = append(all, erasureAlarms(n)...)
	slices.SortStableFunc(all, func(a, b Alarm) int {
		if c := a.Since.Compare(b.Since); c != 0 {
			return c
		}
		return strings.Compare(a.Member, b.Member)
	})
	return all
}
