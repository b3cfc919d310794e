package orchestrator

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drp/orchestrator/erasure"
	"drp/orchestrator/inventory"
	"drp/orchestrator/wire"
	"drp/raftstore/identity"
	"drp/raftstore/state"
)

var everybody = []state.ServerName{"par1-s1", "par1-s2", "par2-s1", "par2-s2"}

// erasing has accounts a and b that run at par1, and an order to erase a in three days.
func erasing(t *testing.T) *platform {
	t.Helper()
	p := newPlatform(t)
	p.account("a", state.Gold, gib/4)
	p.account("b", state.Gold, gib/4)
	p.start("a", "b")
	p.backup("a", "par2")
	p.backup("b", "par2")
	p.apply(state.ErasureOrder, state.ErasureOrderData{Account: "a", Wait: 3 * day, Reason: "left"})
	return p
}

func (p *platform) erased(account state.AccountName) bool {
	e := p.view().Erasure(account)
	return e != nil && !e.Waiting()
}

// eraseJobs are what a site's worker is told to erase.
func (p *platform) eraseJobs(site state.SiteName) (accounts []state.AccountName) {
	p.t.Helper()
	for _, j := range workerDesired(p.view(), site, nil, opened, nil).Erase {
		accounts = append(accounts, j.Account)
	}
	return accounts
}

// erases has a worker tell how far it is, and the leader take it over.
func (p *platform) erases(site state.SiteName, e wire.Erased) {
	p.t.Helper()
	p.seen.worker(wire.WorkerReport{Site: site, Erased: []wire.Erased{e}}, p.at)
	for _, a := range decide(p.now()) {
		if r, ok := a.(reported); ok {
			p.try(r.name, r.payload)
		}
	}
	p.seen.taken(p.seen.glance())
}

func TestErasure_course(t *testing.T) {
	p := erasing(t)
	p.pass(3*day-time.Second, everybody...)
	p.settle()
	if a := p.view().Assignment("a"); a.Stop || p.erased("a") {
		t.Fatalf("stopped before its time is over: %+v", a)
	}
	if !slices.ContainsFunc(p.view().Tasks(), func(task *state.Task) bool { return task.Account == "a" }) {
		t.Error("it is not backed up any more, though the order can be taken back")
	}
	p.pass(time.Second, everybody...)
	p.settle()
	if a := p.view().Assignment("a"); !a.Stop || p.erased("a") {
		t.Fatalf("got %+v, want it told to stop, and nothing more before it has", a)
	}
	if got := accountStatus(p.now(), p.view().Account("a")).Message; !strings.HasPrefix(got, "to be erased from 2026-11-26T03:00:00Z on, as test ordered") {
		t.Errorf("the status says %q", got)
	}
	server := p.view().Assignment("a").Server
	if got := p.eraseJobs("par1"); got != nil {
		t.Errorf("%v are to be erased before they have stopped", got)
	}
	p.say("a", wire.Stopped)
	p.settle()
	if !p.erased("a") || p.view().Account("a") != nil || p.view().Repository("a") != nil {
		t.Fatalf("it has stopped: got %+v", p.view().Erasure("a"))
	}
	if p.view().Account("b") == nil || len(p.view().Snapshots("b")) == 0 || p.erased("b") {
		t.Error("the other account has lost something")
	}
	for _, d := range p.desired(server).Accounts {
		if d.Account.Name == "a" {
			t.Errorf("what has stopped is left as it is, and not ordered %+v", d)
		}
	}
	for _, site := range []state.SiteName{"par1", "par2"} {
		if got := p.eraseJobs(site); !slices.Equal(got, []state.AccountName{"a"}) {
			t.Errorf("site %s: got jobs %v", site, got)
		}
	}
	if got := p.eraseJobs("par3"); got != nil {
		t.Errorf("the witness is to erase %v", got)
	}
	p.settle() // no repository of it is made again, nor a server given to it

	until := p.at.Add(7 * day)
	p.erases("par1", wire.Erased{ID: "1", Account: "a", Until: until, Repositories: []state.AccountName{"a"}})
	p.erases("par1", wire.Erased{ID: "2", Account: "a", Until: until, Objects: 12, Bytes: 345, Empty: p.at})
	if got := p.eraseJobs("par1"); got != nil {
		t.Errorf("it is empty, and is still told %v", got)
	}
	if got := p.eraseJobs("par2"); len(got) != 1 {
		t.Errorf("par2: got %v", got)
	}
	p.erases("par3", wire.Erased{ID: "1", Account: "a", Empty: p.at}) // of no effect, whoever says so
	if e := p.view().Erasure("a"); !e.Done.IsZero() {
		t.Fatalf("done without par2: %+v", e)
	}
	p.erases("par2", wire.Erased{ID: "1", Account: "a", Until: until, Objects: 8, Bytes: 300, Empty: p.at})
	want := []state.SiteErasure{
		{Site: "par1", Heard: p.at, Until: until, Objects: 12, Bytes: 345, Empty: p.at}, {Site: "par2", Heard: p.at, Until: until, Objects: 8, Bytes: 300, Empty: p.at}}
	if e := p.view().Erasure("a"); e.Done.IsZero() || cmp.Diff(want, e.Sites) != "" {
		t.Errorf("got %+v", e)
	}
}

func TestErasure_cancelled(t *testing.T) {
	p := erasing(t)
	p.pass(3*day-time.Minute, everybody...)
	p.apply(state.ErasureCancel, state.ErasureCancelData{Account: "a"})
	p.pass(2*time.Minute, everybody...)
	p.settle()
	if a := p.view().Assignment("a"); a == nil || a.Stop || p.view().Erasure("a") != nil {
		t.Errorf("got %+v", a)
	}
}

// Where clocks differ nobody can tell whether a waiting time is over.
func TestErasure_clocksDiffer(t *testing.T) {
	p := erasing(t)
	p.pass(4*day, everybody...)
	n := p.now()
	n.clocks = "the clock of par2-c is 96h off"
	if got := dueErasures(n); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
	p.settle()
	p.say("a", wire.Stopped)
	p.apply(state.AssignmentFenced, state.AssignmentFencedData{Account: "a", Token: p.view().Assignment("a").Token, Method: state.AgentStopped, By: "x"})
	n = p.now()
	n.clocks = "the clock of par2-c is 96h off"
	if got := dueErasures(n); len(got) != 0 || !strings.Contains(n.stage(p.view().Erasure("a")), "96h off") {
		t.Errorf("got %+v, %s", got, n.stage(p.view().Erasure("a")))
	}
	if got := dueErasures(p.now()); len(got) != 1 {
		t.Errorf("got %+v, want it to begin when they agree", got)
	}
	o := p.brain()
	o.config.Membership = &council{alarms: []Alarm{{Kind: "clock", Message: "96h off"}, {Kind: "digest", Message: "x"}}}
	if got := o.now(p.since).clocks; got != "96h off" {
		t.Errorf("the leader has %q", got)
	}
}

// The clock of the leader leaps over the waiting time, and the store has not seen yet that it differs from those of the others.
func TestErasure_clockLeaps(t *testing.T) {
	p := erasing(t)
	p.apply(state.AssignmentFenced, state.AssignmentFencedData{Account: "a", Token: p.view().Assignment("a").Token, Method: state.ConfirmedDown, By: "x"})
	leader := &term{Orchestrator: p.brain()}
	var clock clockWatch
	look := func(by time.Duration) []action {
		p.at = p.at.Add(by)
		return dueErasures(leader.look(p.since, &clock))
	}
	look(0)
	for range 60 { // it has led for a while
		look(time.Second)
	}
	for range 10 {
		if got := look(4 * day); len(got) != 0 {
			t.Fatalf("its clock leapt: got %+v", got)
		}
		for range 9 {
			if got := look(time.Second); len(got) != 0 {
				t.Fatalf("a moment later: got %+v", got)
			}
		}
		look(-4*day - 9*time.Second) // it was wrong
	}
	look(4 * day)
	if look(9 * time.Second); len(look(time.Second)) != 1 {
		t.Error("nothing is wrong with its clock, and the erasure does not begin")
	}
	clock = clockWatch{}
	if got := look(0); len(got) != 0 {
		t.Errorf("by who has led for a moment: got %+v", got)
	}
}

// One that was never placed has nothing to stop, and is placed nowhere when its time is over.
func TestErasure_neverPlaced(t *testing.T) {
	p := newPlatform(t)
	p.account("a", state.Gold, 100*gib) // it fits nowhere
	p.settle()
	p.apply(state.ErasureOrder, state.ErasureOrderData{Account: "a"})
	p.apply(state.InventoryApply, state.InventoryData{Servers: []state.Server{{Name: "par1-s1", Site: "par1", Capacity: state.Resources{Memory: 200 * gib, Processes: 1000, CPU: 4, Disk: 10 * gib}}}})
	p.hear("par1-s1")
	if got := firstPlacements(p.now()); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
	p.settle()
	if !p.erased("a") || p.view().Assignment("a") != nil || p.view().Repository("a") != nil {
		t.Errorf("got %+v, %+v", p.view().Erasure("a"), p.view().Assignment("a"))
	}
	t.Run("a server holds it all the same", func(t *testing.T) {
		p := newPlatform(t)
		p.account("a", state.Gold, 100*gib)
		p.seen.agent(wire.AgentReport{Server: "par1-s1", Accounts: []wire.ObservedAccount{{Account: "a", Token: state.Token{Incarnation: 1, Generation: 1}, Phase: wire.Running}}}, p.at)
		p.apply(state.ErasureOrder, state.ErasureOrderData{Account: "a"})
		p.settle()
		if got := p.now().stage(p.view().Erasure("a")); p.erased("a") || !strings.Contains(got, "server par1-s1 holds it") {
			t.Errorf("got %s", got)
		}
	})
}

// Its server is dead. A failover of that brings the others back, and its word that the server is down is what the erasure waits
// for; when the server comes back, it stops what is erased.
func TestErasure_deadServer(t *testing.T) {
	p := erasing(t)
	server := p.view().Assignment("a").Server
	p.pass(3*day, everybody...)
	p.settle()
	p.hear(everybody...)
	for range 4 { // before it has stopped it falls silent
		p.pass(10*time.Second, "par2-s1", "par2-s2")
	}
	p.settle()
	if got := p.now().stage(p.view().Erasure("a")); p.erased("a") || !strings.Contains(got, "drp failover server "+string(server)) {
		t.Fatalf("got %q", got)
	}
	old := p.view().Assignment("a").Token
	id := p.failover(siteLoss, Scope{Site: "par1"})
	p.let(30*time.Second, "par2-s1", "par2-s2")
	if !p.erased("a") || p.view().Assignment("a") != nil {
		t.Fatalf("got %+v, %s", p.view().Assignment("a"), p.now().stage(p.view().Erasure("a")))
	}
	if ra := p.item(id, "a"); ra.Status != state.StepFailed || ra.Message != "it is being erased" {
		t.Errorf("its part of the run: got %s %q", ra.Status, ra.Message)
	}
	if b := p.view().Assignment("b"); b.Run != id {
		t.Errorf("the other account: got %+v", b)
	}
	p.say("b", wire.Running)
	p.let(time.Minute, "par2-s1", "par2-s2")
	p.seen.probed(probeKey{id, "b", "web"}, wire.ProbeResult{OK: true, At: p.at, Site: "par3"})
	p.let(time.Minute, "par2-s1", "par2-s2")
	if run := p.view().Run(id); !run.Status.Ended() {
		t.Errorf("the run hangs: %s at step %d", run.Status, run.Step)
	}
	for _, c := range []struct {
		name  string
		token state.Token
		aside bool
	}{{"under its last token", old, false}, {"under one before", state.Token{Incarnation: 1}, true}} {
		t.Run("it comes back, "+c.name, func(t *testing.T) {
			holds := &wire.AgentReport{Server: server, Accounts: []wire.ObservedAccount{{Account: "a", Token: c.token, Phase: wire.Running}}}
			d, err := agentDesired(p.view(), holds, opened)
			if err != nil {
				t.Fatal(err)
			}
			at := slices.IndexFunc(d.Accounts, func(d wire.DesiredAccount) bool { return d.Account.Name == "a" })
			if at < 0 || d.Accounts[at].Run || d.Accounts[at].Token != old || d.Accounts[at].SetAside != c.aside {
				t.Errorf("got %+v, want it told to stop", d.Accounts)
			}
		})
	}
	// The state had forgotten that it was moved, or that it was ever placed, and this server was not heard when it was recovered.
	moved := state.Token{Incarnation: 1, Generation: 9}
	d, ok := stopErased(p.view(), wire.ObservedAccount{Account: "a", Token: moved, Phase: wire.Running})
	if !ok || d.Run || d.SetAside || d.Token != moved {
		t.Errorf("under a token that was lost: got %+v, %v; want it told to stop under that", d, ok)
	}
	above := wire.ObservedAccount{Account: "a", Token: state.Token{Incarnation: 7}, Phase: wire.Running}
	if d, ok := stopErased(p.view(), above); ok { // by coordinators that know more than these
		t.Errorf("under a higher token it is told %+v", d)
	}
}

// Its server is dead, and there is nothing that it could be brought back from, or no room for it. A failover fences it all the same: an
// erasure that waits for somebody's word would never begin. What does come back has all the room that there is.
func TestErasure_deadServerAndNothingToBringBack(t *testing.T) {
	dead := func(t *testing.T) *platform {
		p := newPlatform(t)
		p.account("a", state.Gold, gib*3/4)
		p.account("b", state.Silver, gib*3/4)
		p.start("a", "b")
		p.backup("b", "par2")
		p.apply(state.InventoryApply, state.InventoryData{Servers: []state.Server{
			{Name: "par2-s2", Site: "par2", Capacity: state.Resources{Memory: gib / 8, Processes: 10, CPU: 1, Disk: gib}}}})
		p.apply(state.ErasureOrder, state.ErasureOrderData{Account: "a", Wait: 40 * time.Second})
		for range 4 {
			p.pass(10*time.Second, "par2-s1", "par2-s2")
		}
		return p
	}
	t.Run("it has no snapshot", func(t *testing.T) {
		p := dead(t)
		plan, err := planFailover(p.now(), Scope{Site: "par1"}, "")
		if err != nil || len(plan.Accounts) != 2 || len(plan.NotFit) > 0 || !plan.Accounts[0].Erased || plan.Accounts[1].Erased {
			t.Fatalf("got %+v, %v; want both, and of a that it comes back nowhere", plan, err)
		}
		id := p.failover(withTimeouts, Scope{Site: "par1"})
		p.let(30*time.Second, "par2-s1", "par2-s2")
		if !p.erased("a") {
			t.Errorf("it is not: %s", p.now().stage(p.view().Erasure("a")))
		}
		if b := p.view().Assignment("b"); b.Run != id {
			t.Errorf("the other account: got %+v", b)
		}
		p.say("b", wire.Running)
		p.let(30*time.Second, "par2-s1", "par2-s2")
		p.seen.probed(probeKey{id, "b", "web"}, wire.ProbeResult{OK: true, At: p.at, Site: "par3"})
		p.settle()
		run := show(p.now(), p.view().Run(id))
		if run.Status != state.RunDone {
			t.Fatalf("got %+v; want it to be done: what left was not to come back", run)
		}
		for _, item := range run.Steps[len(run.Steps)-1].Items {
			if item.Erased != (item.Account == "a") || item.Status != state.StepDone {
				t.Errorf("the last step says %+v", item)
			}
		}
	})
	t.Run("it has one, which takes nobody's place", func(t *testing.T) {
		p := dead(t)
		p.backup("a", "par2")
		if plan, err := planFailover(p.now(), Scope{Site: "par1"}, ""); err != nil || len(plan.Accounts) != 2 || plan.Accounts[1].To != "par2-s1" {
			t.Errorf("got %+v, %v; want b to have the room", plan, err)
		}
	})
	t.Run("it is taken back after the plan", func(t *testing.T) {
		p := dead(t)
		p.backup("a", "par2")
		id := p.failover(withTimeouts, Scope{Site: "par1"})
		p.apply(state.AssignmentFenced, state.AssignmentFencedData{Account: "a", Token: p.view().Assignment("a").Token, Method: state.ConfirmedDown, By: "olga"})
		p.apply(state.ErasureCancel, state.ErasureCancelData{Account: "a"})
		p.let(30*time.Second, "par2-s1", "par2-s2")
		if ra := p.item(id, "a"); ra.Status != state.StepFailed || !strings.Contains(ra.Message, "fail over once more") {
			t.Errorf("its part of the run: got %s %q", ra.Status, ra.Message)
		}
		if a := p.view().Assignment("a"); a.Run != "" {
			t.Errorf("it is assigned without a snapshot: %+v", a)
		}
	})
}

// What was stopped to be erased is nothing that a failover left behind.
func TestErasure_isNotFailedOver(t *testing.T) {
	p := erasing(t)
	p.pass(3*day, everybody...)
	p.settle()
	if !p.view().Assignment("a").Stop {
		t.Fatal("it was not told to stop")
	}
	if plan, err := planFailover(p.now(), Scope{Site: "par1"}, ""); !errors.Is(err, ErrRefused) {
		t.Errorf("got %+v, %v; want nothing to fail over: all servers answer", plan, err)
	}
	p.apply(state.AssignmentStop, state.AssignmentStopData{Account: "b", Token: p.view().Assignment("b").Token})
	plan, err := planFailover(p.now(), Scope{Site: "par1"}, "")
	if err != nil || len(plan.Accounts) != 1 || plan.Accounts[0].Account != "b" {
		t.Errorf("got %+v, %v; want the one that was left behind alone", plan, err)
	}
	p.apply(state.ErasureCancel, state.ErasureCancelData{Account: "a"})
	if plan, err = planFailover(p.now(), Scope{Site: "par1"}, ""); err != nil || len(plan.Accounts) != 2 {
		t.Errorf("got %+v, %v; want the one, too, that is not to be erased any more and was stopped for it", plan, err)
	}
}

func TestErasure_endsARestore(t *testing.T) {
	p := erasing(t)
	p.apply(state.AssignmentFenced, state.AssignmentFencedData{Account: "a", Token: p.view().Assignment("a").Token, Method: state.ConfirmedDown, By: "olga"})
	p.pass(3*day, everybody...)
	p.settle()
	out := restoreFilesStep(p.now(), &state.Run{ID: "r", Steps: []state.RunStep{{ID: "restore"}}}, bound{arguments: map[string]string{"account": "a"}})
	if !p.erased("a") || out.failed != "account a is being erased" {
		t.Errorf("got %+v", out)
	}
}

func TestErasureAlarms(t *testing.T) {
	alarms := func(p *platform) (all []string) {
		for _, a := range erasureAlarms(p.now()) {
			if a.Kind != "erasure" || a.Since.IsZero() {
				t.Errorf("got %+v", a)
			}
			all = append(all, a.Message)
		}
		return all
	}
	expect := func(t *testing.T, p *platform, want ...string) {
		t.Helper()
		got := alarms(p)
		if len(got) != len(want) {
			t.Fatalf("got %q, want %q", got, want)
		}
		for i := range want {
			if !strings.Contains(got[i], want[i]) {
				t.Errorf("got %q, want %q", got[i], want[i])
			}
		}
	}
	t.Run("it does not stop", func(t *testing.T) {
		p := erasing(t)
		p.pass(4*day, everybody...)
		p.settle()
		expect(t, p)
		p.pass(time.Second, everybody...)
		expect(t, p, "1 accounts were to be erased")
	})
	begun := func(t *testing.T) *platform {
		p := erasing(t)
		p.pass(3*day, everybody...)
		p.settle()
		p.say("a", wire.Stopped)
		p.settle()
		expect(t, p)
		return p
	}
	t.Run("a site says nothing", func(t *testing.T) {
		p := begun(t)
		p.pass(14*day, everybody...)
		expect(t, p)
		p.pass(time.Second, everybody...)
		expect(t, p, "2 erasures at sites are not done")
		if !strings.Contains(alarms(p)[0], "its worker has not answered yet") {
			t.Errorf("got %q", alarms(p))
		}
	})
	t.Run("a site fails", func(t *testing.T) {
		p := begun(t)
		p.erases("par1", wire.Erased{ID: "1", Account: "a", Error: "the store is full"})
		p.pass(day, everybody...)
		expect(t, p)
		p.pass(time.Second, everybody...)
		expect(t, p, "account a at site par1: the store is full")
		p.erases("par1", wire.Erased{ID: "2", Account: "a", Until: p.at.Add(30 * day)})
		p.erases("par2", wire.Erased{ID: "2", Account: "a", Until: p.at.Add(30 * day)})
		p.pass(43*day, everybody...)
		expect(t, p) // its grace is long
		p.pass(2*day, everybody...)
		expect(t, p, "2 erasures at sites are not done")
		p.erases("par1", wire.Erased{ID: "3", Account: "a", Empty: p.at})
		p.erases("par2", wire.Erased{ID: "3", Account: "a", Empty: p.at})
		expect(t, p)
	})
	t.Run("many", func(t *testing.T) {
		p := newPlatform(t)
		for i := range erasureUsual + 1 {
			expect(t, p)
			p.account(string(accountName(i)), state.Gold, gib/100)
			p.apply(state.ErasureOrder, state.ErasureOrderData{Account: accountName(i), Wait: day})
		}
		expect(t, p, "21 accounts are being erased, or are to be")
		o := p.brain()
		o.config.Membership = &council{}
		if !slices.ContainsFunc(o.alarms(p.now()), func(a Alarm) bool { return a.Kind == "erasure" }) {
			t.Error("it is not among the alarms of the status")
		}
	})
}

func TestErase(t *testing.T) {
	p := newPlatform(t)
	p.account("a", state.Gold, gib/4)
	p.start("a")
	p.backup("a", "par2")
	o := p.brain()
	authority, err := identity.NewAuthority("c")
	if err != nil {
		t.Fatal(err)
	}
	certificate, key, err := authority.Issue(identity.Coordinator, "par1-c", []string{"::1"}, 30*day)
	if err != nil {
		t.Fatal(err)
	}
	credentials, err := identity.New(certificate, key, authority.CertificatePEM())
	if err != nil {
		t.Fatal(err)
	}
	sync := func() { p.index = o.config.Store.View().Index() }
	request := ErasureRequest{Account: "a", After: time.Hour, Reason: "left", DryRun: true}
	report, err := o.Erase(t.Context(), "operator/olga", request)
	want := &ErasureReport{Account: "a", NotBefore: p.at.Add(time.Hour), Server: p.view().Assignment("a").Server, Repositories: []string{"a"}, Snapshots: 1,
		Newest: p.at, Sites: []state.SiteName{"par1", "par2"}}
	if diff := cmp.Diff(want, report); err != nil || diff != "" || p.view().Erasure("a") != nil {
		t.Errorf("dry run: %v %s", err, diff)
	}
	for _, bad := range []ErasureRequest{{Account: "nobody"}, {Account: "nobody", DryRun: true}, {Account: "a", After: -1, DryRun: true}, {Account: "a", After: 91 * day}} {
		if _, err := o.Erase(t.Context(), "operator/olga", bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
		sync()
	}
	request.DryRun = false
	for range 2 { // asked twice it is done once
		if report, err = o.Erase(t.Context(), "operator/olga", request); err != nil || !report.NotBefore.Equal(want.NotBefore) {
			t.Fatalf("got %+v, %v", report, err)
		}
		sync()
		p.pass(time.Minute, everybody...)
	}
	looks := request
	looks.DryRun = true
	if report, err = o.Erase(t.Context(), "operator/olga", looks); err != nil || !report.NotBefore.Equal(want.NotBefore) {
		t.Errorf("dry run of what is ordered: got %+v, %v; want the time of the order", report, err)
	}
	sync()
	if e := p.view().Erasure("a"); e.By != "operator/olga" || e.Reason != "left" {
		t.Errorf("got %+v", e)
	}
	if err := o.CancelErasure(t.Context(), "operator/olga", "a"); err != nil || p.view().Erasure("a") != nil {
		t.Errorf("got %v", err)
	}
	sync()
	if err := o.CancelErasure(t.Context(), "operator/olga", "a"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	sync()
	if _, err := o.Erase(t.Context(), "operator/olga", request); err != nil {
		t.Fatal(err)
	}
	sync()

	o.config.Trail.Sign = credentials.Sign
	refused := func(words string) {
		t.Helper()
		if _, err := o.ErasureCertificate(t.Context(), "a"); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), words) {
			t.Errorf("got %v, want %q", err, words)
		}
	}
	p.at = time.Now().UTC().Add(time.Hour) // its certificate is as good as new
	p.hear(everybody...)
	refused("has not begun: server par1-s1 has not stopped it yet")
	p.settle()
	p.say("a", wire.Stopped)
	p.settle()
	refused("site par1: its worker has not answered yet; site par2")
	if s, err := o.Erasure(t.Context(), "a"); err != nil || !strings.HasPrefix(s.Stage, "site par1:") {
		t.Errorf("got %+v, %v", s, err)
	}
	p.erases("par1", wire.Erased{ID: "1", Account: "a", Objects: 12, Bytes: 345, Empty: p.at})
	p.erases("par2", wire.Erased{ID: "1", Account: "a", Error: "the store is away"})
	refused("everywhere yet: site par2: the store is away")
	p.erases("par2", wire.Erased{ID: "2", Account: "a", Objects: 1, Bytes: 1, Empty: p.at})
	text, err := o.ErasureCertificate(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	signed, err := erasure.Read(text)
	if err != nil {
		t.Fatal(err)
	}
	if by, err := signed.Check(credentials.Authority()); err != nil || by != "par1-c" {
		t.Errorf("got %q, %v", by, err)
	}
	if c := signed.Certificate; c.Account != "a" || c.By != "operator/olga" || len(c.Sites) != 2 || c.Cluster != "c" {
		t.Errorf("got %+v", c)
	}
	if all, err := o.Erasures(t.Context()); err != nil || len(all) != 1 || all[0].Stage != "done" {
		t.Errorf("got %+v, %v", all, err)
	}
	again := inventory.File{Name: "a.yaml", Data: []byte("kind: account\nname: a\nplan: {memory: 1MiB, processes: 1, cpu: 1, disk: 1MiB}\npolicy: hourly\n")}
	if _, err := o.Apply(t.Context(), "operator/olga", "id", []inventory.File{again}, false); err == nil || !strings.Contains(err.Error(), "a.yaml:2:7: account a: it is erased since") {
		t.Errorf("its name is taken again: %v", err)
	}
	for _, account := range []state.AccountName{"b", ""} {
		if _, err := o.ErasureCertificate(t.Context(), account); !errors.Is(err, state.ErrNotFound) {
			t.Errorf("account %q: got %v", account, err)
		}
		if _, err := o.Erasure(t.Context(), account); !errors.Is(err, state.ErrNotFound) {
			t.Errorf("account %q: got %v", account, err)
		}
	}
}

// While a coordinator is too old for the commands nothing is ordered.
func TestErase_level(t *testing.T) {
	p := newPlatformAt(t, state.LevelErasures-1)
	p.account("a", state.Gold, gib/4)
	o := p.brain()
	if _, err := o.Erase(t.Context(), "operator/olga", ErasureRequest{Account: "a", DryRun: true}); !errors.Is(err, ErrRefused) {
		t.Errorf("got %v", err)
	}
	if err := o.CancelErasure(t.Context(), "operator/olga", "a"); !errors.Is(err, ErrRefused) {
		t.Errorf("got %v", err)
	}
}
