package orchestrator

import (
	"strings"
	"testing"
	"time"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

const year = 365 * day

// trashed has a site's worker say that the trash of an account waits.
func (p *platform) trashed(site state.SiteName, account state.AccountName, over time.Duration) {
	p.seen.worker(wire.WorkerReport{Site: site, Trash: []wire.Trash{{Account: account, Objects: 3, Bytes: 5 << 20, Over: over}}}, p.at)
}

// leaves takes a site out of the policy.
func (p *platform) leaves(site state.SiteName) {
	policy := *p.view().Policy("hourly")
	policy.Replicas = nil
	for _, s := range []state.SiteName{"par1", "par2"} {
		if s != site {
			policy.Replicas = append(policy.Replicas, s)
		}
	}
	p.apply(state.InventoryApply, state.InventoryData{Policies: []state.Policy{policy}})
}

// failOver moves an account to a server of another site, from the newest snapshot there.
func (p *platform) failOver(account state.AccountName, to state.ServerName) {
	token := p.view().Assignment(account).Token
	p.apply(state.AssignmentStop, state.AssignmentStopData{Account: account, Token: token})
	p.apply(state.AssignmentFenced, state.AssignmentFencedData{Account: account, Token: token, Method: state.AgentStopped, By: "test"})
	p.apply(state.Assign, state.AssignData{Account: account, Server: to, Previous: token,
		Restore: &state.RestorePoint{Snapshot: p.view().Snapshots(account)[0].ID, Site: p.view().Server(to).Site}})
}

// The trash of a home that no policy names any more is emptied only when its copy was read: somebody has to ask for that.
func TestChores_trashOfOldHome(t *testing.T) {
	p := keeping(t, state.Policy{CheckWithin: year, ReadWithin: year, ProveWithin: year}, 2, 3)
	a, memory := accountName(0), &chores{}
	p.failOver(a, "par2-s1")
	p.leaves("par1")
	asked := func() []wire.VerifyJob { return p.chores(memory, "par1").Verify }
	if got := asked(); len(got) != 0 {
		t.Fatalf("got %+v before anything waits", got)
	}
	p.trashed("par1", a, time.Hour)
	got := asked()
	if len(got) != 1 || got[0].Kind != state.Checked || got[0].Part != 1 || got[0].Parts != 1 || got[0].Password == "" {
		t.Fatalf("got %+v, want its copy checked, all of it at once", got)
	}
	p.verified("par1", got[0], "pack is broken")
	if got := asked(); len(got) != 0 {
		t.Errorf("got %+v right after a failure", got)
	}
	p.at = p.at.Add(choreRest)
	if got := asked(); len(got) != 1 {
		t.Errorf("got %+v after the rest, want it once more", got)
	}
	p.verified("par1", got[0], "")
	if got := asked(); len(got) != 0 {
		t.Errorf("got %+v though it was read since, and the worker has yet to empty its trash", got)
	}
	p.at = p.at.Add(trashRead)
	if got := asked(); len(got) != 1 {
		t.Errorf("got %+v when the trash still waits long after, want it read again", got)
	}
	p.seen.worker(wire.WorkerReport{Site: "par1"}, p.at)
	if got := asked(); len(got) != 0 {
		t.Errorf("got %+v when nothing waits", got)
	}
	// Another account, which still lives there, has its rounds of checks, and keeps nobody's place.
	p.seen.worker(wire.WorkerReport{Site: "par1", Trash: []wire.Trash{{Account: accountName(1), Over: 2 * time.Hour}, {Account: a, Over: time.Hour}}}, p.at)
	if got := asked(); len(got) != 1 || got[0].Account != a {
		t.Errorf("got %+v, want the one that nobody looks at", got)
	}
}

// A worker's word alone gets it no password; nor is anything asked for twice where checks come in rounds.
func TestChores_trashElsewhere(t *testing.T) {
	p := keeping(t, state.Policy{}, 1, 3)
	a := accountName(0)
	p.trashed("par2", a, time.Hour)
	if got := p.chores(&chores{}, "par2").Verify; len(got) != 0 {
		t.Errorf("got %+v at a replica of the policy, whose rounds come anyway", got)
	}
	p.leaves("par2")
	if got := p.chores(&chores{}, "par2").Verify; len(got) != 0 {
		t.Errorf("got %+v for a site that never ran the account", got)
	}
	p.trashed("par1", "nobody", time.Hour)
	if got := p.chores(&chores{}, "par1").Verify; len(got) != 0 {
		t.Errorf("got %+v for an account that there is not", got)
	}
}

func TestTrashAlarms(t *testing.T) {
	p := keeping(t, state.Policy{ReadWithin: 20 * day}, 1, 3)
	a := accountName(0)
	alarms := func() string {
		var all []string
		for _, alarm := range repositoryAlarms(p.now()) {
			all = append(all, alarm.Message)
		}
		return strings.Join(all, "\n")
	}
	p.trashed("par2", a, 20*day)
	if got := alarms(); got != "" {
		t.Errorf("got %s, though a round of checks has not had its time", got)
	}
	p.at = p.at.Add(time.Hour)
	if got, want := alarms(), "the trash of site par2 keeps 5 MiB of 1 accounts beyond its grace, such as that of account a00000 for 481h0m0s: no check has read all"; !strings.Contains(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	p.apply(state.VerificationRecord, state.VerificationRecordData{Account: a, Site: "par2", Kind: state.Checked, Part: 1, Parts: 1, Error: "pack is broken"})
	if got, want := alarms(), "its copy there cannot be checked: pack is broken"; !strings.Contains(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	p.trashed("par2", a, trashLimit+time.Hour)
	if got := alarms(); got != "" {
		t.Errorf("got %s", got)
	}
	p.leaves("par2")
	if got := alarms(); !strings.Contains(got, "the trash of site par2") {
		t.Errorf("got %q, want an alarm sooner where no policy has a copy", got)
	}
	p.seen.worker(wire.WorkerReport{Site: "par2"}, p.at)
	if got := alarms(); got != "" {
		t.Errorf("got %s when nothing waits any more", got)
	}
}
