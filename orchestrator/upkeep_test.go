package orchestrator

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
	"drp/runbooks"
)

// keeping is a platform with a retention, whose accounts have one snapshot for each hour that passed, copied to par2.
func keeping(t *testing.T, p state.Policy, accounts, hours int) *platform {
	t.Helper()
	pl := many(t, 1, accounts, gold)
	p.Name, p.Schedule, p.Replicas, p.RPO = "hourly", "@every 1h", []state.SiteName{"par1", "par2"}, 2*time.Hour
	pl.apply(state.InventoryApply, state.InventoryData{Policies: []state.Policy{p}})
	for h := range hours {
		if h > 0 {
			pl.pass(time.Hour, serverName(0))
		}
		for i := range accounts {
			pl.stored(accountName(i))
			pl.copied(accountName(i), "par2")
		}
	}
	return pl
}

// copied says that a site has all that the home has.
func (p *platform) copied(account state.AccountName, to state.SiteName) {
	p.t.Helper()
	home := p.view().Repository(account).Home.Site
	var ids []state.SnapshotID
	for _, s := range p.view().Snapshots(account) {
		if _, there := s.At(to); !there {
			ids = append(ids, s.ID)
		}
	}
	p.apply(state.ReplicationRecord, state.ReplicationRecordData{Account: account, From: home, To: to, Snapshots: ids})
}

// mark carries out what is to be marked of every account.
func (p *platform) mark() (n int) {
	p.t.Helper()
	for _, account := range surveyOf(p.now()).forget {
		for _, m := range marks(p.now(), account) {
			p.apply(m.name, m.payload)
			n += len(m.payload.(state.SnapshotsForgetData).Snapshots)
		}
	}
	return n
}

// chores are what the worker of a site is given.
func (p *platform) chores(memory *chores, site state.SiteName) wire.WorkerDesired {
	p.t.Helper()
	memory.take(surveyOf(p.now()))
	return workerDesired(p.view(), site, memory.of(p.now(), site), opened, nil)
}

func kinds(d wire.WorkerDesired) (all []state.VerificationKind) {
	for _, j := range d.Verify {
		all = append(all, j.Kind)
	}
	slices.Sort(all)
	return all
}

func TestMarks(t *testing.T) {
	p := keeping(t, state.Policy{Retention: 10 * time.Hour}, 1, 200)
	all := marks(p.now(), accountName(0))
	if got, want := len(all), 3; got != want {
		t.Fatalf("%d commands, want %d of %d snapshots at most", got, want, forgetChunk)
	}
	if got, want := p.mark(), 190; got != want {
		t.Errorf("%d are marked, want %d: all but those of ten hours", got, want)
	}
	if got := p.mark(); got != 0 {
		t.Errorf("%d are marked once more", got)
	}
	p.maintain(accountName(0))
	p.pass(time.Hour, serverName(0))
	p.stored(accountName(0))
	if got := p.mark(); got != 0 {
		t.Errorf("%d are marked an hour after a maintenance, want it to be left alone for an eighth of the retention", got)
	}
	p.pass(15*time.Minute, serverName(0))
	if got := p.mark(); got != 1 {
		t.Errorf("%d are marked then, want 1", got)
	}
	t.Run("not while the cluster is of an older level", func(t *testing.T) {
		for level, want := range map[int]int{protectionLevel - 1: 0, protectionLevel: 1} {
			p := newPlatformAt(t, level).with(1, 1, gold)
			p.apply(state.InventoryApply, state.InventoryData{Policies: []state.Policy{{Name: "hourly", Schedule: "@every 1h", Retention: time.Hour}}})
			for range 3 {
				p.pass(time.Hour, serverName(0))
				p.stored(accountName(0))
			}
			p.pass(30*day, serverName(0))
			s := surveyOf(p.now())
			if len(s.forget) != want || len(s.maintain) != want || len(s.verify["par1"]) != 3*want {
				t.Errorf("level %d: got %+v", level, s)
			}
		}
	})
}

// maintain is a worker's report that all that is marked is gone.
func (p *platform) maintain(account state.AccountName) {
	p.t.Helper()
	repo := p.view().Repository(account)
	ids, _ := p.now().kept(repo).marked()
	p.apply(state.MaintenanceRecord, state.MaintenanceRecordData{Account: account, Home: repo.Home, Forgotten: ids})
}

func TestChores_maintenance(t *testing.T) {
	p := keeping(t, state.Policy{Retention: 2 * time.Hour}, 20, 3)
	for i := range 3 { // of these nothing is over
		p.maintain(accountName(17 + i))
	}
	memory := &chores{}
	if d := p.chores(memory, "par1"); len(d.Maintain) != 0 {
		t.Fatalf("%d repositories are to be maintained, want none: nothing is marked", len(d.Maintain))
	}
	p.mark()
	d := p.chores(memory, "par1")
	if len(d.Maintain) != choresAtOnce {
		t.Fatalf("%d repositories are to be maintained, want %d at a time", len(d.Maintain), choresAtOnce)
	}
	first := d.Maintain[0]
	if len(first.Forget) != 1 || len(first.Known) != 3 || first.Password != "secret" || !slices.Contains(first.Known, first.Forget[0]) {
		t.Errorf("got %+v, want one to forget of three that are known", first)
	}
	var look wire.WorkerDesired
	giveChores(p.view(), "par1", []chore{{repository: string(first.Account), kind: state.Scrubbed}}, opener{}, nil, &look)
	if got := look.Verify[0].Known; len(got) != 2 || slices.Contains(got, first.Forget[0]) {
		t.Errorf("a look is to find %v, want the two that stay", got)
	}
	if d := p.chores(memory, "par2"); len(d.Maintain) != 0 {
		t.Errorf("par2 is given %+v, want nothing: it is nobody's home", d.Maintain)
	}
	p.maintain(first.Account)
	d = p.chores(memory, "par1")
	if len(d.Maintain) != choresAtOnce || slices.ContainsFunc(d.Maintain, func(j wire.MaintainJob) bool { return j.Account == first.Account }) {
		t.Errorf("after one has ended: got %d jobs, want %d others", len(d.Maintain), choresAtOnce)
	}

	t.Run("what was given stays, whatever becomes urgent", func(t *testing.T) {
		before := jobsOf(d.Maintain)
		p.at = p.at.Add(time.Second)
		if after := jobsOf(p.chores(memory, "par1").Maintain); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("got %v, want %v", after, before)
		}
	})
	t.Run("not during a backup", func(t *testing.T) {
		next := first.Account
		for _, name := range jobsOf(d.Maintain) {
			p.maintain(name)
		}
		for i := range 20 {
			if a := p.view().Assignment(accountName(i)); p.now().backupUnderWay(a.Account) == nil {
				p.apply(state.TaskCreate, state.TaskCreateData{Task: newBackup(a, p.at, p.at, "")})
			}
		}
		if got := jobsOf(p.chores(memory, "par1").Maintain); len(got) != 0 {
			t.Errorf("%v are given while all are backed up (%s is done)", got, next)
		}
	})
	t.Run("not while it is copied from there, for a day", func(t *testing.T) {
		p := keeping(t, state.Policy{Retention: 2 * time.Hour}, 1, 4)
		p.mark()
		p.stored(accountName(0)) // and par2 has not got it
		if d := p.chores(&chores{}, "par1"); len(d.Maintain) != 0 {
			t.Errorf("got %+v", d.Maintain)
		}
		p.pass(copyPatience+time.Second, serverName(0))
		if d := p.chores(&chores{}, "par1"); len(d.Maintain) != 1 {
			t.Errorf("got %+v, want it not to wait for ever", d.Maintain)
		}
	})
	t.Run("now and then without anything to forget", func(t *testing.T) {
		p := keeping(t, state.Policy{}, 1, 1)
		p.pass(maintainEvery-time.Second, serverName(0))
		if d := p.chores(&chores{}, "par1"); len(d.Maintain) != 0 {
			t.Errorf("got %+v", d.Maintain)
		}
		p.pass(time.Second, serverName(0))
		if d := p.chores(&chores{}, "par1"); len(d.Maintain) != 1 || len(d.Maintain[0].Forget) != 0 {
			t.Errorf("got %+v, want one with nothing to forget", d.Maintain)
		}
	})
	t.Run("after failures it rests", func(t *testing.T) {
		p := keeping(t, state.Policy{Retention: 2 * time.Hour}, 1, 4)
		p.mark()
		for range 2 {
			p.apply(state.MaintenanceRecord, state.MaintenanceRecordData{Account: accountName(0), Home: p.view().Repository(accountName(0)).Home, Error: "no room"})
		}
		for _, c := range []struct {
			in   time.Duration
			want int
		}{{2*choreRetry - time.Second, 0}, {time.Second, 1}} {
			p.pass(c.in, serverName(0))
			if d := p.chores(&chores{}, "par1"); len(d.Maintain) != c.want {
				t.Errorf("got %d, want %d", len(d.Maintain), c.want)
			}
		}
	})
}

func jobsOf(jobs []wire.MaintainJob) (all []state.AccountName) {
	for _, j := range jobs {
		all = append(all, j.Account)
	}
	slices.Sort(all)
	return all
}

// verified is a worker's word.
func (p *platform) verified(site state.SiteName, j wire.VerifyJob, failure string) {
	p.t.Helper()
	p.apply(state.VerificationRecord, state.VerificationRecordData{Account: j.Account, Site: site, Kind: j.Kind, Snapshot: j.Snapshot, Part: j.Part, Parts: j.Parts, Error: failure})
}

func TestChores_verification(t *testing.T) {
	p := keeping(t, state.Policy{CheckWithin: 2 * day, ReadWithin: 10 * day, ProveWithin: 4 * day}, 1, 2)
	a, memory := accountName(0), &chores{}
	p.pass(3*day, serverName(0))
	d := p.chores(memory, "par2")
	if got, want := fmt.Sprint(kinds(d)), "[checked proven]"; got != want {
		t.Fatalf("got %s, want %s: all was hashed when it was copied", got, want)
	}
	job := map[state.VerificationKind]wire.VerifyJob{}
	for _, j := range d.Verify {
		job[j.Kind] = j
	}
	if c := job[state.Checked]; c.Part != 1 || c.Parts != 5 || c.Password == "" {
		t.Errorf("got %+v, want part 1 of 5: two rounds fit into ten days", c)
	}
	for at, other := range map[state.SiteName]state.SiteName{"par2": "par1", "par1": "par2"} {
		for _, j := range p.chores(&chores{}, at).Verify {
			if len(j.Copies) != 1 || j.Copies[0].Site != other || j.Copies[0].Store != *p.view().Site(other).Store {
				t.Errorf("%s is told of the copies %+v, want that of %s to repair its own from", at, j.Copies, other)
			}
			if got, want := len(j.Known), len(p.view().Snapshots(a)); got != want || want == 0 {
				t.Errorf("%s is told of %d snapshots, want %d: every one is at both", at, got, want)
			}
		}
	}
	newest := p.view().Snapshots(a)[0].ID
	if c := job[state.Proven]; c.Snapshot != newest {
		t.Errorf("got %+v, want the newest, %s", c, newest)
	}

	t.Run("a proof goes on with its snapshot", func(t *testing.T) {
		p.stored(a)
		for _, j := range p.chores(memory, "par2").Verify {
			if got, want := len(j.Known), len(p.view().Snapshots(a))-1; got != want {
				t.Errorf("%s is told of %d snapshots, want %d: one is not at par2 yet", j.Kind, got, want)
			}
		}
		p.copied(a, "par2")
		for _, j := range p.chores(memory, "par2").Verify {
			if j.Kind == state.Proven && j.Snapshot != newest {
				t.Errorf("got %s, want %s", j.Snapshot, newest)
			}
		}
	})
	for _, j := range d.Verify {
		p.verified("par2", j, "")
	}
	if d := p.chores(memory, "par2"); len(d.Verify) != 0 {
		t.Errorf("got %+v right after, want nothing", d.Verify)
	}
	if d := p.chores(&chores{}, "par1"); len(d.Verify) != 2 {
		t.Errorf("got %+v at par1, want its copy to be looked at, too", d.Verify)
	}

	t.Run("all data is read within the limit, in parts", func(t *testing.T) {
		for range 30 {
			p.pass(day, serverName(0))
			for _, j := range p.chores(memory, "par2").Verify {
				p.verified("par2", j, "")
			}
			v := p.view().Verification(a, "par2")
			if since := p.at.Sub(v.ReadSince); !v.ReadSince.IsZero() && since > 10*day {
				t.Fatalf("what was read last was there %s ago", since)
			}
		}
		v := p.view().Verification(a, "par2")
		if v.ReadSince.IsZero() || v.Scrubbed.IsZero() {
			t.Errorf("got %+v, want all of it read and scrubbed in a month", v)
		}
	})
	t.Run("the password is not given to scrub", func(t *testing.T) {
		p.pass(10*day, serverName(0))
		for _, j := range p.chores(memory, "par2").Verify {
			if (j.Kind == state.Scrubbed) != (j.Password == "") {
				t.Errorf("got %+v", j)
			}
		}
	})
	t.Run("one that fails rests, and gives way to others", func(t *testing.T) {
		var failing wire.VerifyJob
		for _, j := range p.chores(memory, "par2").Verify {
			if j.Kind == state.Checked {
				failing = j
			}
		}
		p.verified("par2", failing, "pack is broken")
		if got := kinds(p.chores(memory, "par2")); slices.Contains(got, state.Checked) {
			t.Errorf("got %v right after the failure", got)
		}
		p.pass(choreRetry, serverName(0))
		if got := kinds(p.chores(memory, "par2")); !slices.Contains(got, state.Checked) {
			t.Errorf("got %v after the rest, want it checked again", got)
		}
	})
}

func TestChores_firstOnesAreSpread(t *testing.T) {
	p := keeping(t, state.Policy{CheckWithin: 8 * day}, 60, 1)
	count := func() (n int) {
		for _, queue := range surveyOf(p.now()).verify {
			for _, c := range queue {
				if c.kind == state.Checked {
					n++
				}
			}
		}
		return n
	}
	if got := count(); got > 20 {
		t.Errorf("%d of 120 copies are checked at once", got)
	}
	p.pass(2*day, serverName(0))
	if got := count(); got < 30 || got > 90 {
		t.Errorf("%d of 120 copies are to be checked after half of the time", got)
	}
	p.pass(2*day, serverName(0))
	if got := count(); got != 120 {
		t.Errorf("%d of 120 copies are to be checked after half of the limit, want all", got)
	}
}

// A report waits for as long as nothing can be committed, and then for its place among others: a claim is dated at the
// beginning of the look that it rests on all the same.
func TestReportedUpkeep_BeganAgo(t *testing.T) {
	p := keeping(t, state.Policy{}, 1, 4)
	p.pass(day, serverName(0))
	began := p.at.Add(-3 * time.Hour)
	for site, skew := range map[state.SiteName]time.Duration{"par1": 0, "par2": 2 * time.Hour} {
		p.seen.worker(wire.WorkerReport{Site: site, Verified: []wire.Verified{{ID: "m1", Account: accountName(0), Kind: state.Scrubbed, BeganAgo: 3 * time.Hour}}}, p.at.Add(skew))
	}
	p.at = p.at.Add(time.Hour)
	actions := reportedUpkeep(p.now())
	for _, action := range actions {
		r := action.(reported)
		if _, err := p.state.Apply(p.index+1, state.NewCommand(r.name, r.id, r.at, "test", r.payload)); err != nil {
			t.Fatal(err)
		}
		p.index++
	}
	if v := p.view().Verification(accountName(0), "par1"); v == nil || !v.Scrubbed.Equal(began) {
		t.Errorf("got %+v, want scrubbed %s", v, began)
	}
	// The leader's clock was two hours ahead when this came, and is right now.
	if v := p.view().Verification(accountName(0), "par2"); v == nil || !v.Scrubbed.Equal(began.Add(time.Hour)) {
		t.Errorf("got %+v, want scrubbed %s: no wait is below zero", v, began.Add(time.Hour))
	}
}

func TestReportedUpkeep(t *testing.T) {
	p := keeping(t, state.Policy{Retention: 2 * time.Hour}, 1, 4)
	a := accountName(0)
	p.mark()
	home := p.view().Repository(a).Home
	marked, _ := p.now().kept(p.view().Repository(a)).marked()
	forged := state.SnapshotID(fmt.Sprintf("%064x", 0xf0f0))
	p.seen.worker(wire.WorkerReport{Site: "par1",
		Maintained: []wire.Maintained{{ID: "m1", Account: a, Home: home, Forgotten: marked, Objects: 3, Bytes: 9,
			Unknown: []state.SnapshotID{p.view().Snapshots(a)[0].ID, forged}}},
		Verified: []wire.Verified{{ID: "m1", Account: a, Kind: state.Checked, Part: 1, Parts: 4}}}, p.at)
	p.seen.worker(wire.WorkerReport{Site: "par2",
		Maintained: []wire.Maintained{{ID: "x", Account: a, Home: home, Error: "not its home"}},
		Verified:   []wire.Verified{{ID: "m1", Account: a, Kind: state.Proven, Snapshot: p.view().Snapshots(a)[0].ID, Error: "differs"}}}, p.at)
	ids := map[string]bool{}
	for _, action := range reportedUpkeep(p.now()) {
		r := action.(reported)
		ids[r.id] = true
		for range 2 { // once more, as after a change of leaders
			if _, err := p.state.Apply(p.index+1, state.NewCommand(r.name, r.id, p.at, "test", r.payload)); err != nil {
				t.Fatal(err)
			}
			p.index++
		}
	}
	if len(ids) != 3 {
		t.Errorf("got ids %v, want three that differ", ids)
	}
	m := p.view().Maintenance(a)
	if m == nil || m.Error != "" || m.Objects != 3 || m.Unknown != 1 || m.Example != forged {
		t.Errorf("got %+v, want the home's own word, and one unknown snapshot", m)
	}
	if got := len(p.view().Snapshots(a)); got != 2 {
		t.Errorf("%d snapshots are left, want 2", got)
	}
	if v := p.view().Verification(a, "par2"); v == nil || v.Errors[state.Proven].Count != 1 {
		t.Errorf("got %+v, want one failure, counted once", v)
	}
	p.seen.taken(p.seen.glance())
	if got := len(reportedUpkeep(p.now())); got != 0 {
		t.Errorf("%d are proposed again", got)
	}
}

// Whatever is over by the policy, the state never refuses to have it marked, and nobody restores from it any more.
func TestWorld_whatIsOverIsNeverTheLast(t *testing.T) {
	marked := 0
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		for _, name := range []string{"a", "b"} {
			w.account(name, state.Gold, gib/8)
		}
		for range 6 {
			w.turn(rt)
		}
		for i := range rapid.IntRange(20, 60).Draw(rt, "length") {
			switch rapid.IntRange(0, 6).Draw(rt, "event") {
			case 0:
				for _, s := range w.view().ServersAt(rapid.SampledFrom([]state.SiteName{"par1", "par2"}).Draw(rt, "cut")) {
					w.reachable[s.Name] = !w.reachable[s.Name]
				}
			case 1:
				w.startFailover(rapid.SampledFrom([]state.SiteName{"par1", "par2"}).Draw(rt, "site"), i)
			case 2:
				for _, r := range w.view().Runs() {
					if r.Status == state.RunWaiting {
						w.confirm(r)
					}
				}
			case 3:
				w.apply(state.InventoryApply, state.InventoryData{Policies: []state.Policy{{
					Name: "hourly", Schedule: "@every 1m", RPO: 2 * time.Hour,
					Replicas:  rapid.SampledFrom([][]state.SiteName{{"par1", "par2"}, {"par2"}, nil}).Draw(rt, "replicas"),
					Retention: time.Duration(rapid.IntRange(0, 10).Draw(rt, "retention")) * time.Minute}}})
			default:
				w.at = w.at.Add(time.Minute)
			}
			w.turn(rt)
			for _, account := range surveyOf(w.now()).forget {
				for _, m := range marks(w.now(), account) {
					if r := w.try(m.name, m.payload); r.Err != nil && !readNow(w.platform, account) {
						rt.Fatalf("%s: %v", account, r.Err)
					}
					marked++
				}
				if repo := w.view().Repository(account); rapid.Bool().Draw(rt, "maintained") {
					ids, _ := w.now().kept(repo).marked()
					w.apply(state.MaintenanceRecord, state.MaintenanceRecordData{Account: account, Home: repo.Home, Forgotten: ids})
				}
			}
			w.check()
		}
	})
	if marked == 0 {
		t.Error("nothing was ever marked, so nothing was shown")
	}
}

// readNow reports whether something under way restores the account: then a refusal is right.
func readNow(p *platform, account state.AccountName) bool {
	for _, r := range p.view().Runs() {
		if !r.Status.Ended() {
			return true
		}
	}
	a := p.view().Assignment(account)
	return a != nil && a.Restore != nil && a.ReadyAt.IsZero()
}

// brain is a coordinator that leads a platform.
func (p *platform) brain() *Orchestrator {
	m := newMemory()
	m.state, m.index = p.state, p.index
	o := New(Config{Name: "a", Store: m, Peers: noPeers{}, Clock: func() time.Time { return p.at }, Logger: slog.New(slog.DiscardHandler)})
	o.observed = p.seen
	o.setSince(p.since)
	return o
}

func TestNobodyRestoresFromWhatIsMarked(t *testing.T) {
	p := keeping(t, state.Policy{Retention: 2 * time.Hour}, 1, 4)
	a := accountName(0)
	p.mark()
	over, _ := p.now().kept(p.view().Repository(a)).marked()
	if len(over) != 2 {
		t.Fatalf("%d are marked, want 2", len(over))
	}
	repo := p.view().Repository(a)
	for _, job := range copyJobs(p.view(), repo, "par9") {
		for _, id := range job.Snapshots {
			if slices.Contains(over, id) {
				t.Errorf("snapshot %s is copied, though it is over", id.Short())
			}
		}
	}
	step := bound{Step: runbooks.Step{Type: runbooks.RestoreFiles}, arguments: map[string]string{
		"account": string(a), "path": "www", "at": p.at.Add(-150 * time.Minute).Format(time.RFC3339)}}
	out := restoreFilesStep(p.now(), &state.Run{ID: "r", Steps: []state.RunStep{{ID: "restore"}}}, step)
	if out.failed == "" {
		t.Errorf("got %+v, want nothing as old as that: what there was is over", out)
	}
	t.Run("failover", func(t *testing.T) {
		p := keeping(t, state.Policy{}, 1, 1)
		p.apply(state.InventoryApply, state.InventoryData{Policies: []state.Policy{{Name: "hourly", Schedule: "@every 1h"}}}) // par2 is to hold nothing any more
		p.pass(time.Hour, serverName(0))
		p.stored(a)
		old := p.view().Snapshots(a)[1]
		p.apply(state.SnapshotsForget, state.SnapshotsForgetData{Account: a, Home: p.view().Repository(a).Home, Snapshots: []state.SnapshotID{old.ID}})
		free := p.now().placement("", func(*state.Server) bool { return true })
		s, _, _, _ := findRecovery(p.now(), free, p.view().Account(a), func(site state.SiteName) bool { return site == "par1" })
		if s != nil {
			t.Errorf("%s is to be restored, though it is being deleted", s.ID.Short())
		}
	})
}

func TestBackupNow_paused(t *testing.T) {
	p := many(t, 1, 1, gold)
	o := p.brain()
	for _, pause := range []state.Pause{{Kind: state.PauseAccount, Name: "a00000"}, {Kind: state.PauseServer, Name: "host-000"}, {Kind: state.PauseSite, Name: "par1", Reason: "the store is moved"}} {
		if err := o.PauseBackups(t.Context(), "operator/olga", pause); err != nil {
			t.Fatal(err)
		}
		_, err := o.BackupNow(t.Context(), "operator/olga", []state.AccountName{accountName(0)})
		want := fmt.Sprintf("backups of %s %s have been paused by operator/olga since 2026-11-23T03:00:00Z", pause.Kind, pause.Name)
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), pause.Reason) ||
			!strings.Contains(err.Error(), fmt.Sprintf("drp backup resume %s %s", pause.Kind, pause.Name)) {
			t.Errorf("got %v, want %q, and how to end it", err, want)
		}
		if report, err := o.Status(t.Context()); err != nil || len(report.Pauses) != 1 || report.Pauses[0].Name != pause.Name {
			t.Errorf("status: got %+v, %v; want the pause to be shown", report, err)
		}
		if err := o.ResumeBackups(t.Context(), "operator/olga", pause.Kind, pause.Name); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.ResumeBackups(t.Context(), "operator/olga", state.PauseSite, "par1"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("resume what is not paused: got %v", err)
	}
	if tasks, err := o.BackupNow(t.Context(), "operator/olga", []state.AccountName{accountName(0)}); err != nil || len(tasks) != 1 {
		t.Errorf("got %v, %v", tasks, err)
	}
}
