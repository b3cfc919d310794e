package apitest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"drp/orchestrator"
	"drp/raftstore/state"
)

// Cluster is what a Brain says of the coordinators themselves.
type Cluster struct {
	Name     string // of the one that answers
	Members  []orchestrator.Member
	Verified orchestrator.Verification
	StaleAge time.Duration
	// Heard are coordinators that have taken part.
	Heard []string
}

// Members are those of the cluster, whether this coordinator leads or not.
func (b *Brain) Members() (*orchestrator.MembersReport, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Hook != nil {
		b.Hook(b, "Members")
	}
	r := &orchestrator.MembersReport{At: Start, From: b.Cluster.Name, Leader: b.leader(), Members: slices.Clone(b.Cluster.Members)}
	r.Quorum = orchestrator.QuorumOf(r.Members)
	r.Warnings = r.Quorum.Warnings()
	return r, b.Fail["Members"]
}

// leader is called with mu held.
func (b *Brain) leader() string {
	for _, m := range b.Cluster.Members {
		if m.Role == orchestrator.RoleLeader {
			return m.Name
		}
	}
	return ""
}

// Join adds a non-voter.
func (b *Brain) Join(_ context.Context, by string, r orchestrator.JoinRequest) ([]string, error) {
	if err := b.note("Join", by, "%s %s %s %s %s", r.Name, r.Site, r.Address, r.API, r.Recipient); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	q := orchestrator.QuorumOf(b.Cluster.Members)
	if !slices.ContainsFunc(b.Cluster.Members, func(m orchestrator.Member) bool { return m.Name == r.Name }) {
		b.Cluster.Members = append(b.Cluster.Members, orchestrator.Member{Name: r.Name, Site: r.Site, Address: r.Address, API: r.API,
			Role: orchestrator.RoleNonVoter, Answers: true, LastContact: Start, Behind: 1200})
		return append(q.Warnings(), "there is one more voter soon"), nil
	}
	return q.Warnings(), nil
}

// PlanRemoval says what the real one would say.
func (b *Brain) PlanRemoval(_ context.Context, name string) (*orchestrator.RemovalPlan, error) {
	if err := b.note("PlanRemoval", "", ""); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return orchestrator.RemovalOf(b.Cluster.Members, name)
}

// RemoveMember removes a member whose plan is as it was.
func (b *Brain) RemoveMember(_ context.Context, by, name, hash string) error {
	if err := b.note("RemoveMember", by, "%s", name); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	plan, err := orchestrator.RemovalOf(b.Cluster.Members, name)
	switch {
	case err != nil:
		return err
	case plan.Refused != "" || plan.Hash != hash:
		return fmt.Errorf("remove %s: %s: %w", name, plan.Refused, orchestrator.ErrRefused)
	}
	b.Cluster.Members = slices.DeleteFunc(b.Cluster.Members, func(m orchestrator.Member) bool { return m.Name == name })
	return nil
}

// Transfer moves the leadership on.
func (b *Brain) Transfer(_ context.Context, by, to string) (string, error) {
	if to == "" {
		to = "par3-c"
	}
	return to, b.note("Transfer", by, "%s", to)
}

// SnapshotLog does nothing.
func (b *Brain) SnapshotLog(_ context.Context, by string) error { return b.note("SnapshotLog", by, "") }

// VerifyMembers says what it was told to say.
func (b *Brain) VerifyMembers(_ context.Context, by string) (*orchestrator.Verification, error) {
	if err := b.note("VerifyMembers", by, ""); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	v := b.Cluster.Verified
	return &v, nil
}

// Acquainted knows the members, and who was heard.
func (b *Brain) Acquainted(name string) orchestrator.Acquaintance {
	b.mu.Lock()
	defer b.mu.Unlock()
	return orchestrator.Acquaintance{From: b.Cluster.Name, Leader: b.leader(), Heard: slices.Contains(b.Cluster.Heard, name),
		Member: slices.ContainsFunc(b.Cluster.Members, func(m orchestrator.Member) bool { return m.Name == name })}
}

// ReadStale is the brain's state, whoever leads.
func (b *Brain) ReadStale() (orchestrator.Stale, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return orchestrator.Stale{View: b.state.View(), Mark: orchestrator.StaleMark{From: b.Cluster.Name, Age: b.Cluster.StaleAge}}, b.Fail["ReadStale"]
}

// StaleStatus is the report, marked.
func (b *Brain) StaleStatus(s orchestrator.Stale) (*orchestrator.StatusReport, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := orchestrator.StatusReport{}
	if b.Report != nil {
		r = *b.Report
	}
	r.Stale = &s.Mark
	return &r, nil
}

// Member makes one for a Cluster.
func Member(name string, site state.SiteName, role orchestrator.MemberRole, answers bool) orchestrator.Member {
	m := orchestrator.Member{Name: name, Site: site, Role: role, Answers: answers, Level: state.Level, Last: 5000, Applied: 5000,
		Address: "[2001:db8::" + name[3:4] + "]:7400", API: "https://[2001:db8::" + name[3:4] + "]:7443",
		LastContact: Start.Add(-time.Second), HealthySince: Start.Add(-time.Hour)}
	if !answers {
		m.LastContact, m.HealthySince, m.Problem = Start.Add(-20*time.Minute), time.Time{}, "silent for 20m0s"
	}
	return m
}
