package orchestrator

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"drp/raftstore/state"
)

// Membership is the cluster of coordinators itself, as package raftstore gives it. What changes it works on the leader
// alone and is ErrNotLeader elsewhere; what it would never do safely is ErrRefused.
type Membership interface {
	// Members are those of Raft's own configuration, with what this coordinator knows of each: Name, Address, Role, Level,
	// Last, Applied, LastContact, HealthySince, Clock, Quarantined and DiskFull are set.
	Members() []Member
	// Add makes a coordinator a non-voter. It becomes a voter when it has been healthy for a while, by itself.
	Add(ctx context.Context, name, address string) error
	Remove(ctx context.Context, name string) error
	// Transfer makes another voter the leader. An empty name: whichever is best.
	Transfer(ctx context.Context, to string) error
	// Snapshot cuts this coordinator's log.
	Snapshot(ctx context.Context) error
	// Verify compares the state of all members at one index.
	Verify(ctx context.Context) (*Verification, error)
	Alarms() []Alarm
	// ReadStale is the state as this coordinator knows it: whatever was acknowledged longer than age ago is in it. It needs
	// nobody.
	ReadStale() (v *state.View, age time.Duration, err error)
}

// MemberRole is what a coordinator is in the Raft cluster.
type MemberRole string

const (
	RoleLeader   MemberRole = "leader"
	RoleVoter    MemberRole = "voter"
	RoleNonVoter MemberRole = "non-voter" // it is sent everything, and counts for nothing yet
	// RoleUnfinished is one of which there is a record only: its join, or its removal, was broken off.
	RoleUnfinished MemberRole = "unfinished"
)

// Member is one coordinator of the Raft cluster, as the one that answers sees it.
type Member struct {
	Name      string         `json:"name"`
	Site      state.SiteName `json:"site,omitempty"`
	Address   string         `json:"address"` // host:port for the other coordinators
	API       string         `json:"api,omitempty"`
	Recipient string         `json:"recipient,omitempty"` // whom secrets are sealed to; empty: as its configuration file says
	Role      MemberRole     `json:"role"`
	Level     int            `json:"level,omitempty"` // newest commands that it knows; zero: not heard yet
	Last      uint64         `json:"last"`            // newest entry of its log
	Applied   uint64         `json:"applied"`
	Behind    uint64         `json:"behind"` // entries that it lacks of the one that is furthest
	// LastContact is when it was last heard; zero: never by the one who answers.
	LastContact time.Time `json:"last_contact,omitzero"`
	// HealthySince is zero for one that is silent, far behind or quarantined.
	HealthySince time.Time     `json:"healthy_since,omitzero"`
	Clock        time.Duration `json:"clock"` // its clock − that of the one who answers
	Quarantined  string        `json:"quarantined,omitempty"`
	DiskFull     string        `json:"disk_full,omitempty"` // it takes nothing new
	Answers      bool          `json:"answers"`             // heard of late, not quarantined, and able to write
	Problem      string        `json:"problem,omitempty"`   // for a person; empty: none
}

// Votes reports whether the member counts for a majority.
func (m Member) Votes() bool { return m.Role == RoleLeader || m.Role == RoleVoter }

// MembersReport is `drp raft members`.
type MembersReport struct {
	At      time.Time `json:"at"`
	From    string    `json:"from"`             // who answers
	Leader  string    `json:"leader,omitempty"` // as far as it knows
	Quorum  Quorum    `json:"quorum"`
	Members []Member  `json:"members"` // by name
	// Warnings are sentences about the whole: an even number of voters, no failure left to survive.
	Warnings []string `json:"warnings,omitempty"`
}

// Alarm is a fault of the coordinators themselves that a person has to look at.
type Alarm struct {
	Kind    string    `json:"kind"`
	Member  string    `json:"member,omitempty"`
	Message string    `json:"message"`
	Since   time.Time `json:"since,omitzero"`
}

// Verification says whether all coordinators hold the same state.
type Verification struct {
	Index uint64       `json:"index"` // of the log, where they were compared
	Nodes []NodeDigest `json:"nodes"`
	// Recomputed: the digest of the one that answers, made anew from all its rows, is the one that it kept.
	Recomputed bool      `json:"recomputed"`
	At         time.Time `json:"at"`
}

// NodeDigest is one coordinator's state at that index.
type NodeDigest struct {
	Name   string `json:"name"`
	Digest string `json:"digest,omitempty"` // hexadecimal; empty: it was not compared
	Same   bool   `json:"same"`
	// Problem is why it was not compared, or how it differs.
	Problem string `json:"problem,omitempty"`
}

// Stale is the state as one coordinator knows it, given only to who asked for it: it may lack what others have.
type Stale struct {
	View *state.View
	Mark StaleMark
}

// StaleMark goes with everything that was read so.
type StaleMark struct {
	From string        `json:"from"`
	Age  time.Duration `json:"age"` // whatever was acknowledged longer ago is in it; nanoseconds
}

// AgeUnknown is that of the state of a coordinator that has heard no leader since it started.
const AgeUnknown = time.Duration(math.MaxInt64)

// JoinRequest adds a coordinator whose directory is prepared.
type JoinRequest struct {
	Name      string         `json:"name" pattern:"^[a-z0-9][a-z0-9.-]{0,62}$"`
	Site      state.SiteName `json:"site" minLength:"1"`
	Address   string         `json:"address" minLength:"3" doc:"host:port of its Raft port"`
	API       string         `json:"api" minLength:"10" doc:"https://host:port of its API"`
	Recipient string         `json:"recipient" minLength:"10" doc:"age1…: whom secrets are sealed to"`
}

// MembersAPI is what the REST layer asks about the coordinators themselves.
type MembersAPI interface {
	// Members is the leader's view on the leader, and any other coordinator's own elsewhere; From says whose.
	Members() (*MembersReport, error)
	// Join adds a coordinator as a non-voter and answers with warnings (leader). The same twice is no change.
	Join(ctx context.Context, by string, r JoinRequest) ([]string, error)
	// PlanRemoval says what a removal would mean (leader).
	PlanRemoval(ctx context.Context, name string) (*RemovalPlan, error)
	// RemoveMember removes a coordinator as it was planned (leader).
	RemoveMember(ctx context.Context, by, name, planHash string) error
	// Transfer makes another voter the leader, and answers with its name (leader).
	Transfer(ctx context.Context, by, to string) (string, error)
	SnapshotLog(ctx context.Context, by string) error                    // (leader)
	VerifyMembers(ctx context.Context, by string) (*Verification, error) // (leader)
	// Acquainted says what any coordinator knows of a name: for one who is about to start with an empty disk.
	Acquainted(name string) Acquaintance
	ReadStale() (Stale, error)                  // any coordinator
	StaleStatus(s Stale) (*StatusReport, error) // any coordinator
}

// Acquaintance is what a coordinator knows of another, or of its name.
type Acquaintance struct {
	From   string `json:"from"`
	Leader string `json:"leader,omitempty"`
	Member bool   `json:"member"` // it is in Raft's configuration
	Heard  bool   `json:"heard"`  // it has taken part: it may have voted
}

const (
	// memberSilentAfter is when a coordinator counts as silent. Raft's leader speaks several times a second.
	memberSilentAfter = 10 * time.Second
	// memberFarBehind is when a lag is a problem: then a snapshot is needed to catch up.
	memberFarBehind = 10_000
	// clockOff is how far a clock may be from another's before a person is told.
	clockOff = 5 * time.Second
)

// members joins what Raft knows with the records of the state. Sorted by name.
func (o *Orchestrator) members(v *state.View, now time.Time) []Member {
	leader, _ := o.config.Store.Leader()
	all := o.config.Membership.Members()
	furthest := uint64(0)
	for _, m := range all {
		furthest = max(furthest, m.Last)
	}
	for i := range all {
		m := &all[i]
		if m.Name == o.config.Name {
			m.LastContact = now
		}
		switch {
		case m.Name == leader:
			m.Role = RoleLeader
		case m.Role == RoleLeader:
			m.Role = RoleVoter
		}
		m.Behind = furthest - m.Last
		m.Answers = m.Quarantined == "" && m.DiskFull == "" && !m.LastContact.IsZero() && now.Sub(m.LastContact) <= memberSilentAfter
		known := o.recorded(v, m.Name)
		m.Site, m.API, m.Recipient = known.Site, known.API, known.Recipient
		m.Problem = m.problem(now)
	}
	for _, row := range v.Members() {
		if !slices.ContainsFunc(all, func(m Member) bool { return m.Name == row.Name }) {
			all = append(all, Member{
				Name: row.Name, Site: row.Site, Address: row.Raft, API: row.API, Recipient: row.Recipient, Role: RoleUnfinished,
				Problem: "it is recorded and no member: its join or its removal was broken off, or the cluster was recovered without it. Join it, with an empty directory, or remove it",
			})
		}
	}
	slices.SortFunc(all, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// recorded is what is known of a coordinator beside Raft: its row, or the configuration file of this one.
func (o *Orchestrator) recorded(v *state.View, name string) state.Member {
	known := state.Member{Name: name}
	for _, c := range o.config.Coordinators {
		if c.Name == name {
			known = c
		}
	}
	if row := v.Member(name); row != nil {
		known.Recipient = row.Recipient
		if known.API == "" {
			known = *row
		}
	}
	return known
}

func (m Member) problem(now time.Time) string {
	switch {
	case m.Quarantined != "":
		return "quarantined: " + m.Quarantined
	case m.DiskFull != "":
		return m.DiskFull
	case m.LastContact.IsZero():
		return "it was never heard by the one who answers"
	case !m.Answers:
		return fmt.Sprintf("silent for %s", now.Sub(m.LastContact).Round(time.Second))
	case m.Clock.Abs() > clockOff:
		return fmt.Sprintf("its clock is off by %s: set it right", m.Clock.Round(100*time.Millisecond))
	case m.Behind > memberFarBehind:
		return fmt.Sprintf("%d entries behind", m.Behind)
	case m.API == "":
		return "its API's address is not known: requests cannot be handed to it when it leads"
	}
	return ""
}

// Members says who the coordinators are, as this one sees it.
func (o *Orchestrator) Members() (*MembersReport, error) {
	if err := o.hasMembership(); err != nil {
		return nil, err
	}
	now := o.config.Clock()
	leader, _ := o.config.Store.Leader()
	if leader == "" && !o.isMember() { // what it knows is of another time, or nothing
		return nil, fmt.Errorf("coordinator %s is no member of the cluster: it was removed, or waits to be added (drp raft join). "+
			"Ask another one who the members are: %w", o.config.Name, ErrNotLeader)
	}
	r := &MembersReport{At: now, From: o.config.Name, Leader: leader, Members: o.members(o.config.Store.View(), now)}
	r.Quorum = QuorumOf(r.Members)
	r.Warnings = r.Quorum.Warnings()
	return r, nil
}

func (o *Orchestrator) isMember() bool {
	return slices.ContainsFunc(o.config.Membership.Members(), func(m Member) bool { return m.Name == o.config.Name })
}

// Acquainted says what this coordinator knows of a name.
func (o *Orchestrator) Acquainted(name string) Acquaintance {
	leader, _ := o.config.Store.Leader()
	a := Acquaintance{From: o.config.Name, Leader: leader}
	if o.config.Membership == nil {
		return a
	}
	for _, m := range o.config.Membership.Members() {
		if m.Name == name {
			a.Member, a.Heard = true, !m.LastContact.IsZero()
		}
	}
	a.Heard = a.Heard || o.config.Store.View().Member(name) != nil
	return a
}

// ReadStale is the state as this coordinator knows it.
func (o *Orchestrator) ReadStale() (Stale, error) {
	if err := o.hasMembership(); err != nil {
		return Stale{}, err
	}
	v, age, err := o.config.Membership.ReadStale()
	if err != nil {
		return Stale{}, fmt.Errorf("read what coordinator %s knows: %w", o.config.Name, err)
	}
	return Stale{View: v, Mark: StaleMark{From: o.config.Name, Age: age}}, nil
}

func (o *Orchestrator) hasMembership() error {
	if o.config.Membership == nil {
		return fmt.Errorf("coordinator %s has no part in a cluster: %w", o.config.Name, ErrRefused)
	}
	return nil
}
