package orchestrator

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"drp/raftstore/state"
)

// look keeps a platform's copies as new as they can be, all but of one kind.
func (p *platform) look(a state.AccountName, but state.VerificationKind) {
	p.t.Helper()
	p.stored(a)
	p.copied(a, "par2")
	r := p.now().kept(p.view().Repository(a))
	for _, site := range r.sites() {
		for _, c := range r.verifications(site) {
			if c.kind != but {
				p.apply(state.VerificationRecord, state.VerificationRecordData{Account: a, Site: site, Kind: c.kind, Snapshot: c.snapshot, Part: c.part, Parts: c.parts})
			}
		}
	}
}

func TestExposure_verification(t *testing.T) {
	p := keeping(t, state.Policy{CheckWithin: 2 * day, ReadWithin: 10 * day, ProveWithin: 4 * day}, 1, 1)
	a := accountName(0)
	why := func(p *platform) string {
		account := p.view().Account(a)
		return exposure(p.now(), account, p.view().Repository(a))
	}
	if got := why(p); got != "" {
		t.Fatalf("a new copy: got %q, want it to have time to be looked at", got)
	}
	for range 60 {
		p.pass(day/2, serverName(0))
		p.look(a, "")
		if got := why(p); got != "" {
			t.Fatalf("with every chore done at once: got %q", got)
		}
	}
	for _, c := range []struct {
		but  state.VerificationKind
		in   time.Duration
		want string
	}{
		{state.Checked, 3 * day, "was checked"},
		{state.Checked, 12 * day, "was read as a whole"},
		{state.Proven, 5 * day, "was proven by a restore"},
	} {
		p := keeping(t, state.Policy{CheckWithin: 2 * day, ReadWithin: 10 * day, ProveWithin: 4 * day}, 1, 1)
		for range 30 {
			p.pass(day/2, serverName(0))
			p.look(a, "")
		}
		for range int(c.in / (day / 2)) {
			p.pass(day/2, serverName(0))
			p.look(a, c.but)
		}
		if got := why(p); !strings.Contains(got, c.want) || !strings.Contains(got, "par1") || !strings.Contains(got, "par2") {
			t.Errorf("without %s for %s: got %q, want %q of both copies", c.but, c.in, got, c.want)
		}
	}

	t.Run("never looked at", func(t *testing.T) {
		p := keeping(t, state.Policy{CheckWithin: 2 * day, Retention: day}, 1, 1)
		for range 5 { // what is over is deleted, and the oldest that is left is never a day old
			p.pass(12*time.Hour, serverName(0))
			p.stored(a)
			p.copied(a, "par2")
			p.mark()
			p.maintain(a)
		}
		if got, want := why(p), "was never checked, and has been there for 60h0m0s"; strings.Count(got, want) != 2 {
			t.Errorf("got %q, want %q of both copies", got, want)
		}
	})
	t.Run("a new replica of old snapshots has its time", func(t *testing.T) {
		p := many(t, 1, 1, gold)
		policy := state.Policy{Name: "hourly", Schedule: "@every 1h", RPO: 2 * time.Hour, CheckWithin: 2 * day}
		p.apply(state.InventoryApply, state.InventoryData{Policies: []state.Policy{policy}})
		for range 20 {
			p.pass(day/2, serverName(0))
			p.stored(a)
		}
		p.maintain(a)
		policy.Replicas = []state.SiteName{"par2"}
		p.apply(state.InventoryApply, state.InventoryData{Policies: []state.Policy{policy}})
		p.pass(time.Hour, serverName(0))
		p.copied(a, "par2")
		r := p.now().kept(p.view().Repository(a))
		if got := r.bornAt("par2"); !got.Equal(p.at) {
			t.Errorf("it counts from %s, want from %s: that is when it was copied", got, p.at)
		}
		if got := r.faults("par2"); len(got) != 0 {
			t.Errorf("got %q", got)
		}
	})
	t.Run("what fails is said at once, and a success ends it", func(t *testing.T) {
		p := keeping(t, state.Policy{}, 1, 1)
		fail := state.VerificationRecordData{Account: a, Site: "par2", Kind: state.Checked, Part: 1, Parts: 1, Error: "pack 12 is broken"}
		p.apply(state.VerificationRecord, fail)
		p.apply(state.VerificationRecord, fail)
		if got, want := why(p), "its copy at par2 could not be checked: pack 12 is broken (2 times in a row)"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		fail.Error = ""
		p.apply(state.VerificationRecord, fail)
		if got := why(p); got != "" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("a time that has not come counts for nothing", func(t *testing.T) {
		p := keeping(t, state.Policy{}, 1, 1)
		at := p.at
		p.at = at.Add(30 * day)
		p.apply(state.VerificationRecord, state.VerificationRecordData{Account: a, Site: "par2", Kind: state.Checked, Part: 1, Parts: 2})
		p.at = at
		if got := why(p); !strings.Contains(got, "a coordinator's clock was wrong") {
			t.Errorf("got %q", got)
		}
	})
}

func TestProtectionOf(t *testing.T) {
	tiers := []state.Tier{state.Gold, state.Silver, state.Gold, state.Silver}
	p := many(t, 2, 4, func(i int) state.Tier { return tiers[i] })
	p.apply(state.InventoryApply, state.InventoryData{Servers: []state.Server{{Name: serverName(7), Site: "par2", Capacity: p.view().Server(serverName(0)).Capacity}}})
	p.stored(accountName(0))
	p.copied(accountName(0), "par2") // will be too old
	p.pass(5*time.Hour, serverName(0), serverName(1))
	p.stored(accountName(1))
	p.copied(accountName(1), "par2") // protected
	p.stored(accountName(2))         // copied nowhere
	p.pass(10*time.Minute, serverName(0), serverName(1))

	r := protectionOf(p.now(), ProtectionFilter{})
	var got []state.AccountName
	for _, u := range r.Unprotected {
		got = append(got, u.Account)
	}
	sameNames(t, "worst first", got, accountName(2), accountName(3), accountName(0))
	if r.Accounts != 4 || r.Protected != 1 {
		t.Errorf("got %d of %d protected, want 1 of 4", r.Protected, r.Accounts)
	}
	want := fmt.Sprint([]TierProtection{{state.Gold, 2, 0, 1, 5*time.Hour + 10*time.Minute}, {state.Silver, 2, 1, 1, 10 * time.Minute}})
	if got := fmt.Sprint(r.Tiers); got != want {
		t.Errorf("tiers: got %s, want %s", got, want)
	}
	if f := r.First; f.Waiting != 1 || f.LastHour != 2 || !f.Done.Equal(p.at.Add(30*time.Minute)) {
		t.Errorf("first backups: got %+v, want one that waits, two in the last hour, done in half an hour", f)
	}
	if r := protectionOf(p.now(), ProtectionFilter{Tier: state.Silver}); r.Accounts != 2 || len(r.Tiers) != 1 {
		t.Errorf("silver: got %+v", r)
	}
	if r := protectionOf(p.now(), ProtectionFilter{Site: "par2"}); r.Accounts != 0 || r.Unprotected == nil {
		t.Errorf("par2: got %+v", r)
	}
}

func TestVerificationOf(t *testing.T) {
	p := keeping(t, state.Policy{}, 1, 2)
	a := accountName(0)
	p.pass(time.Minute, serverName(0))
	p.stored(a)
	p.apply(state.ReplicationRecord, state.ReplicationRecordData{Account: a, From: "par1", To: "par2", Error: "the store is full"})
	p.apply(state.VerificationRecord, state.VerificationRecordData{Account: a, Site: "par1", Kind: state.Scrubbed, Error: "object is broken"})
	d := verificationOf(p.now(), p.view().Account(a))
	if len(d.Copies) != 2 || !d.Copies[0].Home || d.CheckWithin != defaultCheckWithin {
		t.Fatalf("got %+v", d)
	}
	home, replica := d.Copies[0], d.Copies[1]
	if home.Snapshot == replica.Snapshot || replica.Failure != "the store is full" || len(home.Faults) != 1 || home.Errors[state.Scrubbed].Count != 1 || replica.Errors != nil {
		t.Errorf("got %+v and %+v", home, replica)
	}
}

func TestRepositoryAlarms(t *testing.T) {
	p := keeping(t, state.Policy{Retention: 2 * time.Hour}, 3, 4)
	record := func(i int, d state.MaintenanceRecordData) {
		d.Account, d.Home = accountName(i), p.view().Repository(accountName(i)).Home
		p.apply(state.MaintenanceRecord, d)
	}
	record(0, state.MaintenanceRecordData{Unknown: []state.SnapshotID{p.view().Snapshots(accountName(0))[0].ID}})
	if got := repositoryAlarms(p.now()); len(got) != 0 {
		t.Errorf("got %+v; what was recorded since is not unknown", got)
	}
	forged := state.SnapshotID(strings.Repeat("f", 64))
	record(1, state.MaintenanceRecordData{Unknown: []state.SnapshotID{forged, state.SnapshotID(strings.Repeat("e", 64))}})
	record(2, state.MaintenanceRecordData{Error: "no room"})
	got := repositoryAlarms(p.now())
	if len(got) != 2 || got[0].Kind != alarmUnknown || !strings.Contains(got[0].Message, "recorded: 2, such as ffffffff of account a00001") ||
		got[1].Kind != alarmMaintenance || !strings.Contains(got[1].Message, "such as that of account a00002 at par1 (1 times in a row): no room") {
		t.Errorf("got %+v", got)
	}
	record(1, state.MaintenanceRecordData{})
	record(2, state.MaintenanceRecordData{})
	if got := repositoryAlarms(p.now()); len(got) != 0 {
		t.Errorf("got %+v when all is well again", got)
	}
}
