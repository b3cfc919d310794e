package main

import (
	"context"
	"time"

	"drp/orchestrator"
	"drp/raftstore"
	"drp/raftstore/state"
)

// membership gives what the store knows of its cluster the names that the orchestrator's users know.
type membership struct{ store *raftstore.Store }

func memberNames(s *raftstore.Store) func() []string {
	return func() []string {
		var names []string
		for _, m := range s.Members() {
			names = append(names, m.Name)
		}
		return names
	}
}

func (m membership) Members() []orchestrator.Member {
	var all []orchestrator.Member
	for _, r := range m.store.Members() {
		member := orchestrator.Member{
			Name: r.Name, Address: r.Address, Role: orchestrator.RoleNonVoter, Level: r.Level, Last: r.Last, Applied: r.Applied,
			LastContact: r.LastContact, HealthySince: r.Healthy, Clock: r.Clock, Quarantined: r.Quarantined, DiskFull: r.DiskFull,
		}
		switch {
		case r.Leader:
			member.Role = orchestrator.RoleLeader
		case r.Voter:
			member.Role = orchestrator.RoleVoter
		}
		all = append(all, member)
	}
	return all
}

func (m membership) Add(ctx context.Context, name, address string) error {
	return translate(m.store.AddMember(ctx, name, address))
}

func (m membership) Remove(ctx context.Context, name string) error {
	return translate(m.store.RemoveMember(ctx, name))
}

func (m membership) Transfer(ctx context.Context, to string) error {
	return translate(m.store.TransferLeadership(ctx, to))
}

func (m membership) Snapshot(ctx context.Context) error { return translate(m.store.Snapshot(ctx)) }

func (m membership) Alarms() []orchestrator.Alarm {
	var all []orchestrator.Alarm
	for _, a := range m.store.Alarms() {
		all = append(all, orchestrator.Alarm{Kind: string(a.Kind), Member: a.Member, Message: a.Message, Since: a.Since})
	}
	return all
}

func (m membership) ReadStale() (*state.View, time.Duration, error) {
	v, age, err := m.store.ReadStale()
	if age == raftstore.AgeUnknown {
		age = orchestrator.AgeUnknown
	}
	return v, age, translate(err)
}

func (m membership) Verify(ctx context.Context) (*orchestrator.Verification, error) {
	v, err := m.store.Verify(ctx)
	if err != nil {
		return nil, translate(err)
	}
	return verification(v), nil
}

// verification calls a member's state the same only when it was compared. What this node computes anew counts as its own.
func verification(v raftstore.Verification) *orchestrator.Verification {
	out := &orchestrator.Verification{Index: v.Index, Recomputed: v.Recomputed}
	for _, m := range v.Members {
		node := orchestrator.NodeDigest{Name: m.Name, Same: m.Result == raftstore.VerifiedEqual}
		switch m.Result {
		case raftstore.VerifiedUnknown:
			node.Problem = "not compared: " + m.Why
		default:
			node.Digest = m.Digest.String()
		}
		out.Nodes = append(out.Nodes, node)
	}
	return out
}
