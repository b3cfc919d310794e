package orchestrator

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// recovered is a platform whose coordinators forgot all that happened after the state that it has.
func recovered(t testing.TB) (*council, *Orchestrator) {
	t.Helper()
	c, o := newCouncil(t, map[string]bool{"par1-c": true})
	o.observed = c.seen
	for _, name := range []string{"a", "b", "d"} {
		c.account(name, state.Gold, gib/8)
	}
	c.start("a", "b", "d")
	for _, name := range []state.AccountName{"a", "b", "d"} {
		c.backup(name, "par2")
	}
	c.at = c.at.Add(2 * time.Hour)
	c.recover(2)
	return c, o
}

func (p *platform) recover(incarnation uint64) {
	p.t.Helper()
	p.apply(state.ClusterRecover, state.ClusterRecoverData{UUID: "c", Incarnation: incarnation, How: state.RecoveredExport, Source: "an export"})
	p.seen.reset()
}

// remember makes a server tell all that it holds and has seen.
func (p *platform) remember(server state.ServerName, holds []wire.ObservedAccount, seen ...wire.SeenToken) {
	for _, h := range holds {
		if !slices.ContainsFunc(seen, func(s wire.SeenToken) bool { return s.Account == h.Account }) {
			seen = append(seen, wire.SeenToken{Account: h.Account, Token: h.Token, Stopped: !holding(h)})
		}
	}
	p.seen.agent(wire.AgentReport{Server: server, Accounts: holds, Memory: &wire.Memory{Tokens: seen}}, p.at)
}

// rememberAll makes each server tell that it runs what the state gives it.
func (p *platform) rememberAll() {
	for _, s := range p.view().Servers() {
		var holds []wire.ObservedAccount
		for _, a := range p.view().AssignmentsOn(s.Name) {
			holds = append(holds, wire.ObservedAccount{Account: a.Account, Token: a.Token, Phase: wire.Running})
		}
		p.remember(s.Name, holds)
	}
}

func runs(account state.AccountName, incarnation, generation uint64) wire.ObservedAccount {
	return wire.ObservedAccount{Account: account, Token: state.Token{Incarnation: incarnation, Generation: generation}, Phase: wire.Running}
}

// Backups are due, an account waits for a server, a run waits for its step: none of it goes on, and nobody is told to do
// anything.
func TestHeld_nothingIsDecided(t *testing.T) {
	c, _ := recovered(t)
	c.account("new", state.Gold, gib/8)
	for _, s := range c.view().Servers() {
		c.remember(s.Name, nil)
	}
	for _, a := range decide(c.now()) {
		if p, ok := a.(propose); !ok || p.name != state.ServerSeen {
			t.Errorf("got %+v decided, want nothing but who is heard", a)
		}
	}
	a := c.view().Assignment("a")
	report := &wire.AgentReport{Server: a.Server, Accounts: []wire.ObservedAccount{runs("a", 1, 9), runs("stranger", 1, 1)}}
	d, err := agentDesired(c.view(), report, opened)
	if err != nil || !d.Recovering || len(d.Accounts)+len(d.Tasks) != 0 {
		t.Errorf("got %+v (%v), want the agent asked for its memory and told nothing", d, err)
	}
	for _, g := range gatewayView(c.view(), "par1").Grants {
		if g.Write {
			t.Errorf("grant %+v: nobody may write", g)
		}
	}
	if d := workerDesired(c.view(), "par2", nil, opened, nil); d.NewSite || len(d.Initial)+len(d.Copy) != 0 {
		t.Errorf("got %+v, want nothing for workers to do", d)
	}
}

// A backup that was under way when the state was saved is no answer to who asks for one: it ends at the resume.
func TestHeld_noBackupIsPromised(t *testing.T) {
	c, o := newCouncil(t, map[string]bool{"par1-c": true})
	o.observed = c.seen
	c.account("a", state.Gold, gib/8)
	c.start("a")
	if len(c.view().Tasks()) == 0 {
		t.Fatal("no backup is under way")
	}
	c.recover(2)
	c.rememberAll()
	tasks, err := o.BackupNow(t.Context(), "operator/claire", []state.AccountName{"a"})
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "drp recover resume") {
		t.Errorf("got %v and %v, want a refusal that says what to do", tasks, err)
	}
}

// What servers hold under higher tokens than the state knows was decided after it; of two claims the higher is right.
func TestHeld_adopts(t *testing.T) {
	c, o := recovered(t)
	from := c.view().Assignment("a").Server
	c.remember("par2-s1", []wire.ObservedAccount{runs("a", 1, 2)})
	c.settle()
	if got := c.view().Assignment("a"); got.Server != "par2-s1" || got.Token.Generation != 2 || got.ReadyAt.IsZero() {
		t.Errorf("got %+v, want it on par2-s1 under 1.2, and never made anew", got)
	}
	c.remember("par2-s2", []wire.ObservedAccount{runs("a", 1, 4), runs("stranger", 1, 1)})
	c.remember("par2-s1", []wire.ObservedAccount{runs("a", 1, 2)})
	c.settle()
	if got := c.view().Assignment("a"); got.Server != "par2-s2" || got.Token.Generation != 4 {
		t.Errorf("got %+v, want it on par2-s2 under 1.4", got)
	}
	if home := c.view().Repository("a").Home; home.Site != "par2" {
		t.Errorf("got home %+v, want it where the account is", home)
	}
	r, err := o.Recovery(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Adopted) != 1 || r.Adopted[0].Account != "a" || len(r.Unknown) != 1 || r.Unknown[0].Account != "stranger" {
		t.Errorf("got adopted %v and unknown %v, want a and stranger", r.Adopted, r.Unknown)
	}
	if !slices.Equal(r.Heard, []state.ServerName{"par2-s1", "par2-s2"}) || len(r.Silent) != 2 || r.Silent[0].Server != "par1-s1" {
		t.Errorf("got heard %v and silent %v, want those of par2 and of par1", r.Heard, r.Silent)
	}
	_ = from
}

func TestResume_refused(t *testing.T) {
	c, o := recovered(t)
	c.remember("par1-s1", nil)
	for _, x := range []struct {
		what    string
		request ResumeRequest
		want    string
		kind    error
	}{
		{"another cluster", ResumeRequest{Cluster: "x"}, "this is cluster c", ErrRefused},
		{"servers not heard", ResumeRequest{Cluster: "c"}, "par1-s2, par2-s1, par2-s2", ErrRefused},
		{"one that was heard given up", ResumeRequest{Cluster: "c", Without: []state.ServerName{"par1-s1"}}, "has been heard", ErrRefused},
		{"one that is not there", ResumeRequest{Cluster: "c", Without: []state.ServerName{"par9"}}, "there is no server", state.ErrNotFound},
		{"not all given up", ResumeRequest{Cluster: "c", Without: []state.ServerName{"par1-s2"}}, "par2-s1, par2-s2", ErrRefused},
	} {
		if err := o.Resume(t.Context(), "operator/olga", x.request); !errors.Is(err, x.kind) || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: got %v, want %q", x.what, err, x.want)
		}
	}
	c.hear("par1-s2", "par2-s1", "par2-s2") // they answer, and have not told all that they have seen
	if err := o.Resume(t.Context(), "operator/olga", ResumeRequest{Cluster: "c"}); err == nil {
		t.Error("resumed without the memory of servers")
	}
	if !held(c.view()) {
		t.Error("the cluster is not held any more")
	}
}

// Whatever was under way ends as failed, and tokens begin above all that anybody has ever seen.
func TestResume(t *testing.T) {
	c, o := newCouncil(t, map[string]bool{"par1-c": true})
	o.observed = c.seen
	c.account("a", state.Gold, gib/8)
	c.start("a") // its first backup is under way
	c.backup("a", "par2")
	c.at = c.at.Add(2 * time.Hour)
	c.hear("par1-s1", "par1-s2", "par2-s1", "par2-s2")
	c.settle()
	run := c.failoverRunOf(t, "par1")
	c.recover(2)
	c.rememberAll()
	c.remember("par2-s2", nil, wire.SeenToken{Account: "gone", Token: state.Token{Incarnation: 6, Generation: 1}, Stopped: true})
	if err := o.Resume(t.Context(), "operator/olga", ResumeRequest{Cluster: "c"}); err != nil {
		t.Fatal(err)
	}
	v := c.view()
	if held(v) || v.Cluster().Incarnation != 7 {
		t.Errorf("got %+v, want it to act in incarnation 7", v.Cluster())
	}
	if len(v.Tasks()) != 0 || v.BackupStatus("a").Error == "" {
		t.Errorf("got tasks %v and backup %+v, want the backup failed", v.Tasks(), v.BackupStatus("a"))
	}
	if r := v.Run(run); r.Status != state.RunFailed || !strings.Contains(r.Error, "nothing is replayed") {
		t.Errorf("got run %+v, want it failed", r)
	}
	if err := o.Resume(t.Context(), "operator/olga", ResumeRequest{Cluster: "c"}); !errors.Is(err, ErrRefused) {
		t.Errorf("got %v, want a second resume refused", err)
	}
	last := v.AuditHead()
	if e := v.Audit(last.Seq, 1)[0]; e.Command != state.ClusterResume || e.By != "operator/olga" {
		t.Errorf("got %+v, want the resume on record", e)
	}
}

// An order to erase an account that is in the export may have been taken back since, by somebody whose word is lost: nothing is
// erased by it. What had begun goes on.
func TestResume_takesBackErasures(t *testing.T) {
	c, o := newCouncil(t, map[string]bool{"par1-c": true})
	o.observed = c.seen
	c.account("a", state.Gold, gib/8)
	c.account("b", state.Gold, gib/8)
	c.start("a", "b")
	c.hear("par1-s1", "par1-s2", "par2-s1", "par2-s2")
	c.apply(state.ErasureOrder, state.ErasureOrderData{Account: "b"})
	c.settle()
	c.say("b", wire.Stopped)
	c.settle()
	c.apply(state.ErasureOrder, state.ErasureOrderData{Account: "a", Wait: time.Hour})
	c.recover(2)
	c.rememberAll()
	if r := recoveryReport(c.now()); !slices.Equal(r.Erasures, []state.AccountName{"a"}) {
		t.Errorf("the report says %v", r.Erasures)
	}
	if err := o.Resume(t.Context(), "operator/olga", ResumeRequest{Cluster: "c"}); err != nil {
		t.Fatal(err)
	}
	c.at = c.at.Add(2 * time.Hour)
	c.hear("par1-s1", "par1-s2", "par2-s1", "par2-s2")
	c.settle()
	if a := c.view().Assignment("a"); a == nil || a.Stop || c.view().Erasure("a") != nil {
		t.Errorf("it is erased by an order from before: %+v, %+v", a, c.view().Erasure("a"))
	}
	if !c.erased("b") || !slices.Equal(c.eraseJobs("par1"), []state.AccountName{"b"}) {
		t.Errorf("what had begun: %+v, jobs %v", c.view().Erasure("b"), c.eraseJobs("par1"))
	}
}

// failoverRunOf records a run that waits for its confirmation.
func (c *council) failoverRunOf(t testing.TB, site state.SiteName) state.RunID {
	t.Helper()
	c.pass(time.Minute, "par2-s1", "par2-s2")
	plan, err := planFailover(c.now(), Scope{Site: site}, "")
	if err != nil {
		t.Fatal(err)
	}
	run := c.failoverRun("r1", siteLoss, plan)
	c.apply(state.RunCreate, state.RunCreateData{Run: run})
	c.apply(state.RunAccounts, state.RunAccountsData{Run: run.ID, Accounts: runAccounts(c.now(), run.ID, plan)})
	c.apply(state.RunUpdate, state.RunUpdateData{Run: run.ID, ExpectStatus: state.StepPending, Status: state.RunRunning, Steps: run.Steps})
	c.settle()
	return run.ID
}

// An account was given away under a token that only its former server remembers. Nobody runs it: it is not started under
// the old token, and a failover brings it back under one above all.
func TestResume_lostTrack(t *testing.T) {
	c, o := recovered(t)
	a := *c.view().Assignment("a")
	c.rememberAll()
	given := state.Token{Incarnation: 1, Generation: 5}
	c.remember(a.Server, nil, wire.SeenToken{Account: "a", Token: given, Stopped: true})
	c.settle()
	if got := c.view().Assignment("a"); got.Token != a.Token {
		t.Errorf("got token %s before anybody has resumed, want %s", got.Token, a.Token)
	}
	if err := o.Resume(t.Context(), "operator/olga", ResumeRequest{Cluster: "c"}); err != nil {
		t.Fatal(err)
	}
	if got := c.view().Assignment("a"); got.Server != a.Server || got.Token != given {
		t.Errorf("got %+v, want %s and token %s", got, a.Server, given)
	}
	c.say("a", wire.Stopped) // its agent was told to run it under that token, and has stopped it under that for good
	c.settle()
	got := c.view().Assignment("a")
	if !got.Stop || got.Fenced == nil || got.Fenced.Method != state.AgentStopped {
		t.Fatalf("got %+v, want it stopped and fenced by the agent's word", got)
	}
	plan, err := planFailover(c.now(), Scope{Server: a.Server}, "")
	if err != nil || len(plan.Accounts) != 1 || plan.Accounts[0].Account != "a" {
		t.Fatalf("got plan %+v (%v), want a brought back", plan, err)
	}
	r := c.apply(state.Assign, state.AssignData{Account: "a", Server: plan.Accounts[0].To, Previous: given,
		Restore: &state.RestorePoint{Snapshot: plan.Accounts[0].Snapshot, Site: plan.Accounts[0].ReadAt}})
	if want := (state.Token{Incarnation: 2, Generation: 6}); r.Token != want {
		t.Errorf("got token %s, want %s: above all, in both parts", r.Token, want)
	}
}

// Of those that have seen the token, one was told to run the account, and has not begun yet. It is its server, and not one
// that has stopped: else the word of that one would fence what the other is about to start.
func TestResume_lostTrackOfOneThatIsAboutToStart(t *testing.T) {
	given := state.Token{Incarnation: 1, Generation: 5}
	for _, holder := range []state.ServerName{"par1-s1", "par1-s2", "par2-s1", "par2-s2"} {
		c, o := recovered(t)
		c.rememberAll()
		for _, s := range c.view().Servers() {
			c.remember(s.Name, nil, wire.SeenToken{Account: "a", Token: given, Stopped: s.Name != holder})
		}
		if err := o.Resume(t.Context(), "operator/olga", ResumeRequest{Cluster: "c"}); err != nil {
			t.Fatal(err)
		}
		if got := c.view().Assignment("a"); got.Server != holder || got.Token != given {
			t.Errorf("got %+v, want %s on %s", got, given, holder)
		}
	}
}

// A new cluster where the old one should have been recovered (all disks lost, and drp server init on each): what servers still
// run is not given to others with an empty home.
func TestDecide_newClusterOfOldServers(t *testing.T) {
	c, _ := newCouncil(t, map[string]bool{"par1-c": true})
	c.remember("par2-s2", []wire.ObservedAccount{runs("old", 1, 1)})
	c.account("old", state.Gold, gib/8)
	c.settle()
	if got := c.view().Assignment("old"); got != nil {
		t.Errorf("got %+v, want it left alone: par2-s2 runs it", got)
	}
	if got := accountStatus(c.now(), c.view().Account("old")).Message; !strings.Contains(got, "par2-s2 runs it under token 1.1") {
		t.Errorf("got status %q, want it to say who runs it", got)
	}
}

// An account that a server runs and the inventory does not know is never given to another server with an empty home,
// neither while held nor when it is applied again afterwards. Applied while the cluster is held, it is taken over.
func TestHeld_unknownAccounts(t *testing.T) {
	c, o := recovered(t)
	c.rememberAll()
	stranger := runs("stranger", 1, 3)
	c.remember("par2-s2", []wire.ObservedAccount{stranger, runs("late", 1, 1)})
	c.settle()
	c.account("stranger", state.Gold, gib/8)
	c.settle()
	if got := c.view().Assignment("stranger"); got == nil || got.Server != "par2-s2" || got.Token != stranger.Token {
		t.Errorf("got %+v, want it taken over from par2-s2", got)
	}
	if err := o.Resume(t.Context(), "operator/olga", ResumeRequest{Cluster: "c"}); err != nil {
		t.Fatal(err)
	}
	c.account("late", state.Gold, gib/8)
	c.settle()
	if got := c.view().Assignment("late"); got != nil {
		t.Errorf("got %+v, want it left alone: another server runs it", got)
	}
	report := c.seen.glance().reports["par2-s2"]
	d, err := agentDesired(c.view(), report, opened)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range d.Accounts {
		if a.Account.Name == "late" {
			t.Errorf("got order %+v for an account that the state does not know", a)
		}
	}
	status := accountStatus(c.now(), c.view().Account("late"))
	if !strings.Contains(status.Message, "par2-s2 runs it under token 1.1") {
		t.Errorf("got status %q, want it to say who runs it", status.Message)
	}
}
