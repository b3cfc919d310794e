package orchestrator

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// many is a platform of accounts that run, spread over servers of par1, of which nothing is stored.
func many(t testing.TB, servers, accounts int, tier func(i int) state.Tier) *platform {
	t.Helper()
	return newPlatform(t).with(servers, accounts, tier)
}

func (p *platform) with(servers, accounts int, tier func(i int) state.Tier) *platform {
	p.t.Helper()
	room := state.Resources{Memory: 1 << 50, Processes: 1 << 40, CPU: 1 << 20, Disk: 1 << 60}
	d := state.InventoryData{}
	for i := range servers {
		d.Servers = append(d.Servers, state.Server{Name: serverName(i), Site: "par1", Capacity: room})
	}
	p.apply(state.InventoryApply, d)
	for from := 0; from < accounts; from += 1000 {
		d := state.InventoryData{}
		for i := from; i < min(from+1000, accounts); i++ {
			d.Accounts = append(d.Accounts, state.Account{
				Name: accountName(i), Tier: tier(i), Policy: "hourly", Plan: state.Resources{Memory: 1, Processes: 1, CPU: 0.1, Disk: 1},
				Addresses: []netip.Addr{netip.MustParseAddr(fmt.Sprintf("2001:db8:a::%x:%x", i>>12, 0x1000+i&0xfff))}})
		}
		p.apply(state.InventoryApply, d)
	}
	for i := range accounts {
		p.run(accountName(i), serverName(i%servers))
	}
	for i := range servers {
		p.hear(serverName(i))
	}
	return p
}

func serverName(i int) state.ServerName   { return state.ServerName(fmt.Sprintf("host-%03d", i)) }
func accountName(i int) state.AccountName { return state.AccountName(fmt.Sprintf("a%05d", i)) }
func gold(int) state.Tier                 { return state.Gold }

// run makes an account run on a server, without any of the steps in between.
func (p *platform) run(name state.AccountName, server state.ServerName) {
	p.t.Helper()
	site := p.view().Server(server).Site
	p.apply(state.RepositoryCreate, state.RepositoryCreateData{Account: name, Site: site, SealedPassword: []byte("sealed")})
	p.apply(state.RepositoryReady, state.RepositoryReadyData{Account: name, Home: p.view().Repository(name).Home})
	p.apply(state.Assign, state.AssignData{Account: name, Server: server})
	p.apply(state.AssignmentReady, state.AssignmentReadyData{Account: name, Token: p.view().Assignment(name).Token})
}

// stored gives an account a snapshot, taken at this moment.
func (p *platform) stored(names ...state.AccountName) {
	p.t.Helper()
	for _, name := range names {
		if p.now().backupUnderWay(name) == nil {
			p.apply(state.TaskCreate, state.TaskCreateData{Task: newBackup(p.view().Assignment(name), p.at, p.at, "")})
		}
		p.backup(name)
	}
}

// begin carries out what dueBackups says, and returns whose backups begin.
func (p *platform) begin() []state.AccountName {
	p.t.Helper()
	var names []state.AccountName
	for _, a := range dueBackups(p.now()) {
		create := a.(propose).payload.(state.TaskCreateData)
		p.apply(state.TaskCreate, create)
		names = append(names, create.Task.Account)
	}
	return names
}

func sameNames(t *testing.T, what string, got []state.AccountName, want ...state.AccountName) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestDueBackups_limits(t *testing.T) {
	p := many(t, 3, 30, gold)
	p.apply(state.InventoryApply, state.InventoryData{
		Sites:   []state.Site{siteWith(p, "par1", 5)},
		Servers: []state.Server{serverWith(p, serverName(0), 1)},
	})
	begun := p.begin()
	if got, want := len(begun), 5; got != want {
		t.Fatalf("%d backups begin, want 5: one on the first server, two on each other", got)
	}
	on := map[state.ServerName]int{}
	for _, task := range p.view().Tasks() {
		on[task.Server]++
	}
	if on[serverName(0)] != 1 || on[serverName(1)] != 2 || on[serverName(2)] != 2 {
		t.Errorf("got %v", on)
	}
	if more := p.begin(); len(more) != 0 {
		t.Errorf("%v begin beside them, want none while all places are taken", more)
	}
	p.apply(state.InventoryApply, state.InventoryData{Sites: []state.Site{siteWith(p, "par1", 4)}})
	p.backup(begun[0])
	if more := p.begin(); len(more) != 0 {
		t.Errorf("%v begin, want none: the site has room for four, and four run", more)
	}
	t.Run("a silent server takes nothing from its site", func(t *testing.T) {
		p.pass(time.Minute, serverName(0), serverName(1))
		p.since = p.at.Add(-time.Hour)
		if more := p.begin(); len(more) != 1 {
			t.Errorf("%v begin, want one: two of the four are asked of a server that is silent", more)
		}
	})
}

func siteWith(p *platform, name state.SiteName, backups int) state.Site {
	s := *p.view().Site(name)
	s.Backups = backups
	return s
}

func serverWith(p *platform, name state.ServerName, backups int) state.Server {
	s := *p.view().Server(name)
	s.Backups = backups
	return s
}

func TestDueBackups_order(t *testing.T) {
	tiers := []state.Tier{state.Bronze, state.Gold, state.Silver, state.Gold, state.Gold}
	p := many(t, 1, 5, func(i int) state.Tier { return tiers[i] })
	p.apply(state.InventoryApply, state.InventoryData{
		Servers: []state.Server{serverWith(p, serverName(0), 1)},
		Policies: []state.Policy{
			{Name: "strict", Schedule: "@every 1h", Replicas: []state.SiteName{"par2"}, RPO: time.Hour},
			{Name: "lax", Schedule: "@every 1h", Replicas: []state.SiteName{"par2"}, RPO: 24 * time.Hour},
		},
		Accounts: []state.Account{accountWith(p, accountName(3), "strict"), accountWith(p, accountName(1), "lax"), accountWith(p, accountName(4), "strict")},
	})
	for i := range 5 {
		p.stored(accountName(i))
		p.pass(time.Minute, serverName(0))
	}
	p.pass(2*time.Hour, serverName(0))
	var order []state.AccountName
	for range 5 {
		begun := p.begin()
		if len(begun) != 1 {
			t.Fatalf("%v begin, want one at a time", begun)
		}
		order = append(order, begun...)
		p.backup(begun[0])
	}
	// The silver one is twice over its objective; the gold one of the lax policy has most of it left.
	sameNames(t, "order", order, accountName(3), accountName(4), accountName(2), accountName(1), accountName(0))
}

// Where gold accounts alone want more than there is room for, the others are late, and have their turn all the same.
func TestDueBackups_noTierStarves(t *testing.T) {
	p := many(t, 1, 40, func(i int) state.Tier { return []state.Tier{state.Gold, state.Gold, state.Gold, state.Bronze}[i%4] })
	p.apply(state.InventoryApply, state.InventoryData{
		Servers:  []state.Server{serverWith(p, serverName(0), 1)},
		Policies: []state.Policy{{Name: "hourly", Schedule: "*/10 * * * *", Replicas: []state.SiteName{"par2"}, RPO: 10 * time.Minute}},
	})
	for i := range 40 {
		p.stored(accountName(i))
	}
	made := map[state.Tier]int{}
	for range 1600 { // one a minute, and 40 wait for it
		p.pass(time.Minute, serverName(0))
		for _, name := range p.begin() {
			p.backup(name)
			made[p.view().Account(name).Tier]++
		}
	}
	perGold, perBronze := float64(made[state.Gold])/30, float64(made[state.Bronze])/10
	if perBronze == 0 || perGold < 2*perBronze {
		t.Errorf("%.1f backups of each gold account, %.1f of each bronze one: want some of these, and more of those", perGold, perBronze)
	}
}

func accountWith(p *platform, name state.AccountName, policy state.PolicyName) state.Account {
	a := *p.view().Account(name)
	a.Policy = policy
	return a
}

func TestDueBackups_firstOnesTakeHalfWhileOthersWait(t *testing.T) {
	// All first ones are of a higher tier, so that without the budget they would take every place.
	p := many(t, 1, 20, func(i int) state.Tier {
		if i < 10 {
			return state.Bronze
		}
		return state.Gold
	})
	p.apply(state.InventoryApply, state.InventoryData{Servers: []state.Server{serverWith(p, serverName(0), 4)}})
	for i := range 10 {
		p.stored(accountName(i))
	}
	p.pass(time.Second, serverName(0))
	if begun := p.begin(); len(begun) != 3 {
		t.Fatalf("%v begin, want three first ones: nobody else waits, and the last place is left to those that will", begun)
	}
	for _, task := range p.view().Tasks() {
		p.backup(task.Account)
	}
	p.pass(2*time.Hour, serverName(0))
	firsts := 0
	begun := p.begin()
	for _, name := range begun {
		if len(p.view().Snapshots(name)) == 0 {
			firsts++
		}
	}
	if len(begun) != 4 || firsts != 2 {
		t.Errorf("%v begin, %d of them first ones; want four, and half of them first ones", begun, firsts)
	}
}

func TestDueBackups_pauses(t *testing.T) {
	pause := func(kind state.PauseKind, name string) state.Pause {
		return state.Pause{Kind: kind, Name: name, Reason: "disk is being exchanged"}
	}
	p := many(t, 2, 4, gold)
	p.apply(state.PauseSet, state.PauseSetData{Pause: pause(state.PauseAccount, string(accountName(0)))})
	p.apply(state.PauseSet, state.PauseSetData{Pause: pause(state.PauseServer, string(serverName(1)))})
	sameNames(t, "with one account and the other server paused", p.begin(), accountName(2))
	p.apply(state.PauseSet, state.PauseSetData{Pause: pause(state.PauseSite, "par1")})
	p.apply(state.PauseClear, state.PauseClearData{Kind: state.PauseAccount, Name: string(accountName(0))})
	p.apply(state.PauseClear, state.PauseClearData{Kind: state.PauseServer, Name: string(serverName(1))})
	sameNames(t, "with the site paused", p.begin())
	if got := p.now().backupUnderWay(accountName(2)); got == nil {
		t.Error("the one that ran is gone, want it to go on")
	}
	p.apply(state.PauseClear, state.PauseClearData{Kind: state.PauseSite, Name: "par1"})
	if got := p.begin(); len(got) != 3 {
		t.Errorf("%v begin after the pauses, want all others", got)
	}
}

func TestAgentDesired_noMoreBackupsThanTheServerRuns(t *testing.T) {
	p := many(t, 1, 5, gold)
	for i := range 5 { // by hand
		p.at = p.at.Add(time.Second)
		p.apply(state.TaskCreate, state.TaskCreateData{Task: newBackup(p.view().Assignment(accountName(4-i)), time.Time{}, p.at, "by-hand")})
	}
	given := func() (names []state.AccountName) {
		for _, task := range p.desired(serverName(0)).Tasks {
			names = append(names, task.Task.Account)
		}
		return names
	}
	sameNames(t, "given", given(), accountName(4), accountName(3))
	p.backup(accountName(4))
	sameNames(t, "given when one has ended", given(), accountName(3), accountName(2))
}

func TestSlowBackup(t *testing.T) {
	p := many(t, 1, 1, gold)
	a := accountName(0)
	slow := func() string { return p.now().slowBackup(p.view().Account(a)) }
	p.begin()
	p.at = p.at.Add(61 * time.Minute) // half of the objective is an hour
	if got, want := slow(), "its backup has been running for 1h1m0s"; got != want {
		t.Errorf("a first one: got %q, want %q", got, want)
	}
	p.backup(a) // it took 61 minutes
	p.pass(2*time.Hour, serverName(0))
	p.begin()
	p.at = p.at.Add(3 * 61 * time.Minute)
	if got := slow(); got != "" {
		t.Errorf("at three times of what it takes: got %q, want nothing yet", got)
	}
	p.at = p.at.Add(time.Minute)
	if got, want := slow(), "its backup has been running for 3h4m0s; the last one took 1h1m0s"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	t.Run("the status says so", func(t *testing.T) {
		p.hear(serverName(0))
		p.say(a, wire.Running)
		if got := accountStatus(p.now(), p.view().Account(a)).Message; !strings.HasPrefix(got, "its backup has been running for") {
			t.Errorf("got %q", got)
		}
	})
}

// What a look of the leader costs with 80,000 accounts: nearly nobody is due, and after an outage everybody is.
func BenchmarkDueBackups(b *testing.B) {
	const accounts, servers = 80_000, 400
	p := many(b, servers, accounts, gold)
	for i := range accounts {
		task := newBackup(p.view().Assignment(accountName(i)), p.at, p.at, "")
		p.apply(state.TaskCreate, state.TaskCreateData{Task: task})
		p.apply(state.TaskFinish, state.TaskFinishData{Task: task.ID, Snapshot: &state.Snapshot{
			ID: state.SnapshotID(fmt.Sprintf("%064x", i+1)), Start: p.at, Finished: p.at}})
	}
	start := p.at
	for _, line := range []string{"@every 15m", "*/15 * * * *", "0 3 * * *"} {
		p.apply(state.InventoryApply, state.InventoryData{Policies: []state.Policy{
			{Name: "hourly", Schedule: line, TimeZone: "Europe/Paris", Replicas: []state.SiteName{"par2"}, RPO: time.Hour}}})
		for name, in := range map[string]time.Duration{"few": time.Minute, "all": 25 * time.Hour} {
			b.Run(strings.ReplaceAll(line, " ", "_")+"/"+name, func(b *testing.B) {
				p.at = start.Add(in)
				for i := range servers {
					p.hear(serverName(i))
				}
				for b.Loop() {
					dueBackups(p.now())
				}
				b.ReportMetric(float64(len(p.now().waitingBackups(nil))), "due")
			})
		}
	}
}

// A server on which nothing is stored yet lends all of its places to first ones.
func TestDueBackups_firstOnesTakeAllOfANewServer(t *testing.T) {
	p := many(t, 1, 10, gold)
	p.apply(state.InventoryApply, state.InventoryData{Servers: []state.Server{serverWith(p, serverName(0), 4)}})
	if begun := p.begin(); len(begun) != 4 {
		t.Errorf("%v begin, want four", begun)
	}
}
