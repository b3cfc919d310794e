package orchestrator

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"drp/orchestrator/sealing"
	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// named opens every repository with a password that says which one it is of.
var named = opener{
	password:    func(r *state.Repository) (string, bool) { return "of " + r.Name(), true },
	environment: opened.environment,
}

// renew gives an account a new repository, which its home's worker makes.
func (p *platform) renew(name state.AccountName) {
	p.t.Helper()
	repo := p.view().Repository(name)
	p.apply(state.RepositoryRenew, state.RepositoryRenewData{Account: name, Number: repo.Number, SealedPassword: []byte("sealed " + p.at.String() + repo.Name())})
	p.apply(state.RepositoryReady, state.RepositoryReadyData{Account: name, Home: p.view().Repository(name).Home})
}

func (p *platform) asked(server state.ServerName) wire.AgentDesired {
	p.t.Helper()
	d, err := agentDesired(p.view(), &wire.AgentReport{Server: server}, named)
	if err != nil {
		p.t.Fatal(err)
	}
	return d
}

// grants of a site, as NAME or NAME (write).
func (p *platform) grants(site state.SiteName) (all []string) {
	for _, g := range gatewayView(p.view(), site).Grants {
		text := string(g.Account)
		if g.Write {
			text += " (write)"
		}
		all = append(all, text)
	}
	return all
}

func (p *platform) restoring(id state.TaskID, name state.AccountName, from state.SnapshotID) {
	p.t.Helper()
	a := p.view().Assignment(name)
	p.apply(state.TaskCreate, state.TaskCreateData{Task: state.Task{ID: id, Kind: state.TaskRestoreFiles, Account: name, Token: a.Token,
		Restore: &state.RestorePoint{Snapshot: from, Site: p.view().Repository(name).Home.Site}, Path: "www", Target: "x"}})
}

// sealer seals nothing, and no two things alike.
type sealer struct{}

func (sealer) Seal(plain []byte) ([]byte, error)  { return append([]byte("sealed "), plain...), nil }
func (sealer) Open(sealed []byte) ([]byte, error) { return sealed, nil }
func (sealer) Take([]*state.Key) error            { return nil }
func (sealer) Recipient() string                  { return "" }

func TestRenewed_WhatGoesWhere(t *testing.T) {
	p := newPlatform(t)
	p.account("a", state.Gold, gib/4)
	p.start("a")
	old := p.backup("a", "par2")
	server := p.view().Assignment("a").Server
	p.pass(10*time.Minute, server)
	p.renew("a")
	if got, want := p.grants("par1"), []string{"a~2 (write)"}; !slices.Equal(got, want) {
		t.Errorf("grants: got %v, want %v", got, want)
	}
	begun := p.begin()
	if len(begun) != 1 {
		t.Fatal("the first backup into the new repository is not due at once")
	}
	p.restoring("r1", "a", old)
	if got, want := p.grants("par1"), []string{"a~2 (write)", "a"}; !slices.Equal(got, want) {
		t.Errorf("grants during a restore: got %v, want %v", got, want)
	}
	if got := p.grants("par2"); len(got) != 0 {
		t.Errorf("grants elsewhere: got %v", got)
	}
	for _, task := range p.asked(server).Tasks {
		name := "a~2"
		if task.Task.Kind == state.TaskRestoreFiles {
			name = "a"
		}
		if got, want := task.Repository, "rest:https://par1.test:7460/"+name+"/1.1/"; got.URLs[0] != want || got.Password != "of "+name {
			t.Errorf("%s: got %+v, want %s", task.Task.Kind, got, want)
		}
	}
	p.apply(state.TaskFinish, state.TaskFinishData{Task: "r1"})
	if got, want := p.grants("par1"), []string{"a~2 (write)"}; !slices.Equal(got, want) {
		t.Errorf("grants after the restore: got %v, want %v", got, want)
	}
	fresh := p.backup("a")
	jobs := copyJobs(p.view(), p.view().Repository("a"), "par2")
	if len(jobs) != 1 || jobs[0].Account != "a~2" || !slices.Equal(jobs[0].Snapshots, []state.SnapshotID{fresh}) {
		t.Errorf("got copies %+v, want that of a~2", jobs)
	}
	if got := workerDesired(p.view(), "par2", nil, named, nil); len(got.Copy) != 1 || got.NewSite {
		t.Errorf("got %+v", got)
	}
}

// What was not copied before the renewal still is, and counts.
func TestRenewed_Protection(t *testing.T) {
	p := newPlatform(t)
	p.account("a", state.Gold, gib/4)
	p.start("a")
	old := p.backup("a")
	repo := p.view().Repository("a")
	p.apply(state.RepositoryRenew, state.RepositoryRenewData{Account: "a", SealedPassword: []byte("other")})
	jobs := copyJobs(p.view(), repo, "par2")
	if d := workerDesired(p.view(), "par2", nil, named, nil); len(d.Copy) != 1 || d.Copy[0].Account != "a" || len(jobs) != 1 {
		t.Fatalf("got %+v, want what is left of the retired repository to be copied", d.Copy)
	}
	p.apply(state.ReplicationRecord, state.ReplicationRecordData{Account: "a", From: "par1", To: "par2", Snapshots: []state.SnapshotID{old}})
	if why := p.why("a"); why != "" {
		t.Errorf("while the new repository is being made: %s", why)
	}
	d := workerDesired(p.view(), "par1", nil, named, nil)
	if len(d.Initial) != 1 || d.Initial[0].Account != "a~2" || d.Initial[0].Password != "of a~2" {
		t.Fatalf("got %+v, want the new one to be made, and no other", d.Initial)
	}
	p.seen.worker(wire.WorkerReport{Site: "par1", Ready: []wire.Initialised{{Account: "a", Home: d.Initial[0].Home}, {Account: "a~2", Home: d.Initial[0].Home}}}, p.at)
	p.settle()
	if p.view().Repository("a").InitialisedAt.IsZero() {
		t.Error("the new repository is not known to be ready")
	}
	v := verificationOf(p.now(), p.view().Account("a"))
	if v.Protection.Snapshot != old || len(v.Copies) != 4 || v.Copies[0].Retired != "" || v.Copies[2].Retired != "a" {
		t.Errorf("got %+v", v)
	}
	p.apply(state.VerificationRecord, state.VerificationRecordData{Account: "a", Site: "par2", Kind: state.Checked, Part: 1, Parts: 1, Error: "pack 12 is broken"})
	if why := p.why("a"); !strings.Contains(why, "its copy of the retired repository a at par2 could not be checked: pack 12 is broken") {
		t.Errorf("got %q", why)
	}
	p.pass(3*time.Hour, "par1-s1", "par1-s2")
	if why := p.why("a"); !strings.Contains(why, "3h0m0s old") {
		t.Errorf("got %q, want an old snapshot to be too old whichever repository it is in", why)
	}
}

// A failover restores from the repository in which the newest snapshot lies, and takes parts from where they are whole.
func TestRenewed_Failover(t *testing.T) {
	p := newPlatform(t)
	p.account("a", state.Gold, gib/4)
	p.withDatabases("a")
	p.start("a")
	whole := p.backupOf("a", []state.Part{{Name: "postgresql/shop"}, {Name: "mysql/blog"}}, "par2")
	p.pass(time.Hour, "par1-s1", "par1-s2", "par2-s1", "par2-s2")
	p.renew("a")
	p.begin()
	torn := p.backupOf("a", []state.Part{{Name: "postgresql/shop"}, {Name: "mysql/blog", Error: "it is down"}})
	p.apply(state.ReplicationRecord, state.ReplicationRecordData{Account: "a~2", From: "par1", To: "par2", Snapshots: []state.SnapshotID{torn}})
	for range 4 {
		p.pass(10*time.Second, "par2-s1", "par2-s2")
	}
	p.settle()
	p.failover(siteLoss, Scope{Site: "par1"})
	p.settle()
	a := p.view().Assignment("a")
	got := p.asked(a.Server).Accounts[0]
	if *got.Restore != torn || got.Repository.Password != "of a~2" || got.Parts["mysql/blog"] != whole || got.Elsewhere["mysql/blog"].Password != "of a" || len(got.Elsewhere) != 1 {
		t.Errorf("got %+v", got)
	}
	if got, want := p.grants("par2"), []string{"a~2 (write)", "a"}; !slices.Equal(got, want) {
		t.Errorf("grants: got %v, want %v", got, want)
	}
	p.say("a", wire.Running)
	p.settle()
	if got, want := p.grants("par2"), []string{"a~2 (write)"}; !slices.Equal(got, want) {
		t.Errorf("grants once it runs: got %v, want %v", got, want)
	}
}

// First backups into new repositories take the places of first ones, and no more.
func TestRenewed_FirstBackups(t *testing.T) {
	p := keeping(t, state.Policy{}, 8, 1)
	p.apply(state.InventoryApply, state.InventoryData{Servers: []state.Server{{Name: serverName(0), Site: "par1", Backups: 4,
		Capacity: state.Resources{Memory: 1 << 50, Processes: 1 << 40, CPU: 1 << 20, Disk: 1 << 60}}}})
	for i := range 4 {
		p.renew(accountName(i))
	}
	p.pass(time.Hour, serverName(0)) // the others are due, too
	first := 0
	begun := p.begin()
	for _, name := range begun {
		if slices.Index([]state.AccountName{accountName(0), accountName(1), accountName(2), accountName(3)}, name) >= 0 {
			first++
		}
	}
	if len(begun) != 4 || first != 2 {
		t.Errorf("%v begin, %d of them into new repositories; want 4, and 2 of those", begun, first)
	}
	if got := firstBackups(p.now(), p.view().Accounts()); got.Waiting != 4 {
		t.Errorf("%d are said to wait for their first backup, want 4", got.Waiting)
	}
}

// A retired repository goes when the last of its snapshots is over and newer ones are at every site; until then it is copied and
// verified like others, and neither pruned nor written.
func TestRenewed_Removal(t *testing.T) {
	p := keeping(t, state.Policy{Retention: 4 * time.Hour, CheckWithin: time.Hour}, 1, 3)
	a := accountName(0)
	p.renew(a)
	memory := &chores{}
	for h := range 8 {
		p.pass(time.Hour, serverName(0))
		p.stored(a)
		for _, m := range marks(p.now(), a) {
			if h < 4 || m.name != state.SnapshotsForget {
				t.Fatalf("after %d hours: %s %+v", h+1, m.name, m.payload)
			}
			p.apply(m.name, m.payload)
		}
		for _, site := range []state.SiteName{"par1", "par2"} {
			d := p.chores(memory, site)
			if len(d.Remove) > 0 {
				t.Fatalf("after %d hours: %+v", h+1, d.Remove)
			}
			for _, job := range d.Maintain {
				if job.Account != state.AccountName(string(a)+"~2") {
					t.Fatalf("maintenance of %s", job.Account)
				}
			}
			verified := slices.ContainsFunc(d.Verify, func(j wire.VerifyJob) bool { return j.Account == a && j.Kind == state.Checked })
			if h > 1 && !verified {
				t.Errorf("after %d hours the retired repository at %s is not to be checked", h+1, site)
			}
		}
	}
	// par2 has nothing newer: it stays, however old it is.
	longer := p.now()
	if got := removalAlarms(longer); len(got) != 0 {
		t.Errorf("an alarm before a month is over: %+v", got)
	}
	longer.at = longer.at.Add(removalPatience)
	if got := removalAlarms(longer); len(got) != 1 || !strings.Contains(got[0].Message, "no newer snapshot of its account: par2.") {
		t.Errorf("a month after the end of its retention: %+v, want it said that par2 keeps it", got)
	}
	pass := state.ReplicationRecordData{Account: a + "~2", From: "par1", To: "par2"}
	for _, s := range p.view().SnapshotsIn(p.view().Repository(a)) {
		pass.Snapshots = append(pass.Snapshots, s.ID)
	}
	p.apply(state.ReplicationRecord, pass)
	due := removalsDue(p.now(), a)
	if len(due) != 1 || !slices.Contains(surveyOf(p.now()).forget, a) {
		t.Fatalf("got %+v, want the removal of the whole", due)
	}
	p.apply(due[0].name, due[0].payload)
	if got := removalsDue(p.now(), a); len(got) != 0 {
		t.Errorf("once more: %+v", got)
	}
	want := wire.RemoveJob{Account: a, Successor: a + "~2"}
	for _, site := range []state.SiteName{"par1", "par2"} {
		if d := p.chores(memory, site); len(d.Remove) != 1 || d.Remove[0] != want {
			t.Fatalf("%s: got %+v, want %+v", site, d.Remove, want)
		}
	}
	report := func(site state.SiteName, id, why string) {
		t.Helper()
		p.seen.worker(wire.WorkerReport{Site: site, Removed: []wire.Removed{{ID: id, Account: a, Error: why}, {ID: "x" + id, Account: "../x"}}}, p.at)
		for _, action := range reportedRemovals(p.now()) {
			r := action.(reported)
			p.apply(r.name, r.payload)
		}
		p.seen.taken(p.now().seen)
	}
	report("par1", "1", "the store is full")
	if d := p.chores(memory, "par1"); len(d.Remove) != 0 {
		t.Error("asked again at once after a failure")
	}
	if got := removalAlarms(p.now()); len(got) != 0 {
		t.Errorf("an alarm at once: %+v", got)
	}
	late := p.now()
	late.at = late.at.Add(removalPatience + time.Second)
	if got := repositoryAlarms(late); len(got) != 1 || !strings.Contains(got[0].Message, "par1: the store is full") {
		t.Errorf("a month later: %+v", got)
	}
	p.pass(choreRetry, serverName(0))
	if d := p.chores(memory, "par1"); len(d.Remove) != 1 {
		t.Error("not asked again after a while")
	}
	report("par1", "2", "")
	if d := p.chores(memory, "par1"); len(d.Remove) != 0 {
		t.Error("asked again after it was done")
	}
	sealed := p.view().RetiredOf(a)[0].Repository.SealedPassword
	report("par2", "1", "")
	if got := p.view().RetiredOf(a); len(got) != 0 {
		t.Errorf("still there: %+v", got)
	}
	// Its password stays for as long as a site's trash may hold what it opens, and is sealed anew with all others.
	named := slices.ContainsFunc(slices.Collect(sealing.Secrets(p.view())), func(s sealing.Secret) bool {
		return s.Account == a && slices.Equal(s.Sealed, sealed)
	})
	if !named {
		t.Error("the password of the removed one is not among the secrets of the state")
	}
}

// One that holds nothing goes soon, and not before whoever may still be writing has heard of it.
func TestRenewed_RemovalOfAnEmptyOne(t *testing.T) {
	p := newPlatform(t)
	p.account("a", state.Gold, gib/4)
	p.start("a")
	p.renew("a")
	if got := removalsDue(p.now(), "a"); len(got) != 0 {
		t.Errorf("at once: %+v", got)
	}
	p.pass(removeAfter)
	got := removalsDue(p.now(), "a")
	if len(got) != 1 {
		t.Fatalf("an hour later: %+v", got)
	}
	p.apply(got[0].name, got[0].payload)
	for _, site := range []state.SiteName{"par1", "par2"} {
		p.apply(state.RepositoryRemoved, state.RepositoryRemovedData{Account: "a", Site: site})
	}
	// Its password goes when no site's trash can hold anything of it any more.
	p.at = p.view().Removed()[0].Gone.Add(state.PasswordKept - time.Second)
	if due := surveyOf(p.now()).forget; len(due)+len(removalsDue(p.now(), "a")) != 0 {
		t.Errorf("before that time: %+v", due)
	}
	p.at = p.at.Add(time.Second)
	if got = removalsDue(p.now(), "a"); len(got) != 1 || got[0].name != state.RepositoryDrop || !slices.Contains(surveyOf(p.now()).forget, "a") {
		t.Fatalf("got %+v, want the password to go", got)
	}
	p.apply(got[0].name, got[0].payload)
	if got := p.view().Removed(); len(got) != 0 {
		t.Errorf("still there: %+v", got)
	}
}

// Whatever happens: a snapshot is opened with its own repository's password and by its own URL, backups go to the present one,
// servers write there alone, and nothing is pruned or forgotten in a retired one.
func TestProperty_RepositoriesAreNotMixedUp(t *testing.T) {
	restored := 0
	rapid.Check(t, func(r *rapid.T) {
		p := keeping(t, state.Policy{Retention: 6 * time.Hour}, 2, 1)
		names := []state.AccountName{accountName(0), accountName(1)}
		for step := range rapid.IntRange(5, 40).Draw(r, "steps") {
			name := rapid.SampledFrom(names).Draw(r, "account")
			repo := p.view().Repository(name)
			switch rapid.SampledFrom([]string{"backup", "backup", "renew", "copy", "pass", "restore", "forget", "move"}).Draw(r, "what") {
			case "backup":
				if n := p.now(); n.backupUnderWay(name) != nil {
					p.backup(name)
				} else if as := p.view().Assignment(name); !as.ReadyAt.IsZero() {
					p.apply(state.TaskCreate, state.TaskCreateData{Task: newBackup(as, p.at, p.at, "")})
				}
			case "renew":
				p.renew(name)
			case "copy":
				for _, repo := range p.view().RepositoriesOf(name) {
					for _, site := range []state.SiteName{"par1", "par2"} {
						for _, job := range copyJobs(p.view(), repo, site) {
							p.apply(state.ReplicationRecord, state.ReplicationRecordData{Account: job.Account, From: job.From, To: site, Snapshots: job.Snapshots})
						}
					}
				}
			case "pass":
				p.pass(time.Duration(rapid.IntRange(1, 5).Draw(r, "hours"))*time.Hour, serverName(0), "par2-s1")
			case "restore":
				if all := p.view().Snapshots(name); len(all) > 0 {
					s := rapid.SampledFrom(all).Draw(r, "snapshot")
					p.try(state.TaskCreate, state.TaskCreateData{Task: state.Task{ID: state.TaskID(fmt.Sprint("r", step)), Kind: state.TaskRestoreFiles, Account: name,
						Token: p.view().Assignment(name).Token, Restore: &state.RestorePoint{Snapshot: s.ID, Site: repo.Home.Site}, Path: "www", Target: "x"}})
				}
			case "forget":
				for _, m := range marks(p.now(), name) {
					p.try(m.name, m.payload)
				}
			case "move":
				as := p.view().Assignment(name)
				to := state.ServerName("par2-s1")
				if as.Server == to {
					to = serverName(0)
				}
				for _, s := range p.view().Snapshots(name) {
					if _, there := s.At(p.view().Server(to).Site); there && s.ForgetAt.IsZero() {
						p.try(state.AssignmentFenced, state.AssignmentFencedData{Account: name, Token: as.Token, Method: state.ConfirmedDown, By: "ada"})
						p.try(state.Assign, state.AssignData{Account: name, Server: to, Previous: as.Token, Restore: &state.RestorePoint{Snapshot: s.ID, Site: p.view().Server(to).Site}})
						if rapid.Bool().Draw(r, "ready") {
							p.try(state.AssignmentReady, state.AssignmentReadyData{Account: name, Token: p.view().Assignment(name).Token})
						}
						break
					}
				}
			}
			restored += p.notMixedUp(r)
		}
	})
	if restored == 0 {
		t.Error("nothing was ever restored from a retired repository: the steps drawn try nothing")
	}
}

// notMixedUp looks at all that servers, gateways and workers are told, and says how often a retired repository is restored from.
func (p *platform) notMixedUp(r *rapid.T) (restored int) {
	v := p.view()
	opens := func(what string, access *wire.RepositoryAccess, account state.AccountName, id state.SnapshotID) {
		repo := v.RepositoryOf(v.Snapshot(account, id))
		if access == nil {
			return
		}
		if access.Password != "of "+repo.Name() || !strings.Contains(access.URLs[0], "/"+repo.Name()+"/") {
			r.Fatalf("%s: snapshot %s is in %s, and is to be opened by %+v", what, id.Short(), repo.Name(), access)
		}
		if v.IsRetired(repo) {
			restored++
		}
	}
	for _, server := range v.Servers() {
		d := p.asked(server.Name)
		for _, a := range d.Accounts {
			if a.Restore != nil {
				opens("rebuild", a.Repository, a.Account.Name, *a.Restore)
			}
		}
		for _, task := range d.Tasks {
			if task.Task.Restore != nil {
				opens("restore", &task.Repository, task.Task.Account, task.Task.Restore.Snapshot)
			} else if want := "of " + v.Repository(task.Task.Account).Name(); task.Repository.Password != want {
				r.Fatalf("a backup of %s goes by password %q, want %q", task.Task.Account, task.Repository.Password, want)
			}
		}
	}
	retired := func(name state.AccountName) bool {
		repo := v.RepositoryNamed(string(name))
		return repo == nil || v.IsRetired(repo)
	}
	for _, site := range []state.SiteName{"par1", "par2"} {
		for _, g := range gatewayView(v, site).Grants {
			if g.Write && retired(g.Account) {
				r.Fatalf("server %s may write to %s", g.Server, g.Account)
			}
		}
		for _, job := range p.chores(&chores{}, site).Maintain {
			if retired(job.Account) {
				r.Fatalf("%s is to be maintained", job.Account)
			}
			for _, id := range job.Forget {
				account, number, _ := state.ParseRepositoryName(string(job.Account))
				if s := v.Snapshot(account, id); s.Repository != number {
					r.Fatalf("snapshot %s of repository %d is to be forgotten in %s", id.Short(), s.Repository, job.Account)
				}
			}
		}
	}
	return restored
}

func TestCompromised(t *testing.T) {
	p := newPlatform(t)
	for _, name := range []string{"a", "b"} {
		p.account(name, state.Gold, gib/4)
		p.start(state.AccountName(name))
		p.backup(state.AccountName(name), "par2")
	}
	server := p.view().Assignment("a").Server
	o := p.brain()
	o.config.Sealer = sealer{}
	ask := func(r CompromisedRequest) *CompromisedReport {
		t.Helper()
		r.Server = server
		report, err := o.Compromised(t.Context(), "operator/olga", r)
		if err != nil {
			t.Fatal(err)
		}
		p.index = o.config.Store.View().Index()
		return report
	}
	present := func(want string) {
		t.Helper()
		if got := p.view().Repository("a").Name(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if _, err := o.Compromised(t.Context(), "operator/olga", CompromisedRequest{Server: "par9-s9"}); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("got %v, want %v", err, state.ErrNotFound)
	}
	if r := ask(CompromisedRequest{DryRun: true}); r.Certificate != "revoked" || r.Accounts[0].Present != "a~2" || !r.Accounts[0].Runs {
		t.Errorf("got %+v", r)
	}
	present("a")
	if len(p.view().Revocations()) != 0 {
		t.Error("a dry run has revoked something")
	}

	p.pass(time.Second, server)
	ask(CompromisedRequest{Reason: "stolen"})
	present("a~2")
	row := p.view().RetiredOf("a")[0]
	if row.Server != server || row.By != "operator/olga" || row.Reason != "stolen" {
		t.Errorf("got %+v", row)
	}
	if string(p.view().Repository("a").SealedPassword) == string(row.Repository.SealedPassword) {
		t.Error("the password is the old one")
	}
	if other := p.view().Assignment("b").Server; other != server && p.view().Repository("b").Number != 0 {
		t.Error("an account that the server never ran was given a new repository")
	}
	// Its poll may have begun before.
	if _, err := o.AgentSync(t.Context(), wire.AgentReport{Server: server}); !errors.Is(err, ErrRefused) {
		t.Errorf("a server that was shut out is answered: %v", err)
	}
	for _, again := range []bool{false, true} { // done twice it is done once, unless that is what one wants
		p.pass(time.Minute, server)
		ask(CompromisedRequest{Again: again})
		present(map[bool]string{false: "a~2", true: "a~3"}[again])
	}
	// Set up anew it may have been given the new password.
	p.pass(time.Minute)
	p.apply(state.CertificateIssue, state.CertificateIssueData{Certificate: state.Certificate{
		Serial: "0a", Role: "agent", Holder: string(server), Issued: p.at, NotAfter: p.at.Add(day)}})
	if _, err := o.AgentSync(t.Context(), wire.AgentReport{Server: server}); err != nil {
		t.Errorf("enrolled anew: %v", err)
	}
	p.pass(time.Minute, server)
	ask(CompromisedRequest{})
	present("a~4")
}

// A server that keeps its certificate is given the new passwords: only what it has stored nothing in is left alone.
func TestCompromised_KeepsItsCertificate(t *testing.T) {
	p := newPlatform(t)
	p.account("a", state.Gold, gib/4)
	p.start("a")
	p.backup("a", "par2")
	server := p.view().Assignment("a").Server
	o := p.brain()
	o.config.Sealer = sealer{}
	for i, want := range []string{"a~2", "a~2", "a~3"} {
		p.pass(time.Minute, server)
		if i == 2 {
			p.apply(state.RepositoryReady, state.RepositoryReadyData{Account: "a", Home: p.view().Repository("a").Home})
			p.begin()
			p.backup("a")
		}
		report, err := o.Compromised(t.Context(), "operator/olga", CompromisedRequest{Server: server, KeepCertificate: true})
		if err != nil {
			t.Fatal(err)
		}
		p.index = o.config.Store.View().Index()
		if got := p.view().Repository("a").Name(); got != want || report.Certificate != "kept" || !strings.Contains(report.Todo[0], "keeps its certificate") {
			t.Errorf("%d: got %s, %+v, want %s", i, got, report, want)
		}
	}
	if len(p.view().Revocations()) != 0 {
		t.Error("its certificate is revoked")
	}
}
