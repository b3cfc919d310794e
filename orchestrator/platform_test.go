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

// platform is a state that a test builds by commands, as a leader would, and what the leader has heard.
type platform struct {
	t     testing.TB
	state *state.State
	seen  *observed
	at    time.Time
	since time.Time
	index uint64
}

const gib = int64(1) << 30

// newPlatform has two sites with two servers each and a witness. All servers answer.
func newPlatform(t testing.TB) *platform {
	t.Helper()
	return newPlatformAt(t, state.Level)
}

// newPlatformAt is one whose coordinators share a level of commands.
func newPlatformAt(t testing.TB, level int) *platform {
	t.Helper()
	at := time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)
	p := &platform{t: t, state: state.New(), seen: newObserved(), at: at, since: at.Add(-time.Hour)}
	p.apply(state.ClusterInit, state.ClusterInitData{UUID: "c", Incarnation: 1, Level: level})
	store := func(site string) *state.Store {
		return &state.Store{Endpoint: "http://" + site + ".test:7480", Bucket: "drp-" + site}
	}
	capacity := state.Resources{Memory: gib, Processes: 1000, CPU: 4, Disk: 10 * gib}
	p.apply(state.InventoryApply, state.InventoryData{
		Provider: &state.Provider{Name: "p", Prefixes: []netip.Prefix{netip.MustParsePrefix("2001:db8:a::/48")}},
		Sites: []state.Site{
			{Name: "par1", Gateways: []string{"https://par1.test:7460"}, Store: store("par1")},
			{Name: "par2", Gateways: []string{"https://par2.test:7460"}, Store: store("par2")},
			{Name: "par3", Witness: true},
		},
		Servers: []state.Server{
			{Name: "par1-s1", Site: "par1", Capacity: capacity}, {Name: "par1-s2", Site: "par1", Capacity: capacity},
			{Name: "par2-s1", Site: "par2", Capacity: capacity}, {Name: "par2-s2", Site: "par2", Capacity: capacity},
		},
		Policies: []state.Policy{{Name: "hourly", Schedule: "@every 1h", Replicas: []state.SiteName{"par1", "par2"}, RPO: 2 * time.Hour}},
	})
	p.hear("par1-s1", "par1-s2", "par2-s1", "par2-s2")
	return p
}

func (p *platform) apply(name state.Name, payload any) state.Result {
	p.t.Helper()
	r := p.try(name, payload)
	if r.Err != nil {
		p.t.Fatalf("%s: %v", name, r.Err)
	}
	return r
}

func (p *platform) try(name state.Name, payload any) state.Result {
	p.t.Helper()
	p.index++
	r, err := p.state.Apply(p.index, state.NewCommand(name, fmt.Sprint(p.index), p.at, "test", payload))
	if err != nil {
		p.t.Fatalf("%s: %v", name, err)
	}
	return r
}

// account adds one that is placed at par1, 256 MiB unless told otherwise.
func (p *platform) account(name string, tier state.Tier, memory int64) {
	p.t.Helper()
	p.apply(state.InventoryApply, state.InventoryData{Accounts: []state.Account{{
		Name: state.AccountName(name), Tier: tier, Policy: "hourly", Site: "par1",
		Plan:      state.Resources{Memory: memory, Processes: 10, CPU: 1, Disk: gib},
		Addresses: []netip.Addr{netip.MustParseAddr(fmt.Sprintf("2001:db8:a::%x", 0x100+p.index))},
		Services:  []state.Service{{Program: state.Program{Name: "web", Command: []string{"x"}, User: 1000}, Check: &state.Check{HTTP: "http://[::1]:80/"}}},
	}}})
}

// hear makes servers report at this moment, with whatever they last said of their accounts.
func (p *platform) hear(servers ...state.ServerName) {
	for _, s := range servers {
		report := wire.AgentReport{Server: s}
		if old := p.seen.glance().reports[s]; old != nil {
			report.Accounts, report.Tasks = old.Accounts, old.Tasks
		}
		p.seen.agent(report, p.at)
	}
}

// say makes the server of an account's assignment report a phase under its present token.
func (p *platform) say(account state.AccountName, phase wire.Phase) {
	p.t.Helper()
	a := p.view().Assignment(account)
	report := wire.AgentReport{Server: a.Server, Accounts: []wire.ObservedAccount{{Account: account, Token: a.Token, Phase: phase}}}
	if old := p.seen.glance().reports[a.Server]; old != nil {
		for _, o := range old.Accounts {
			if o.Account != account {
				report.Accounts = append(report.Accounts, o)
			}
		}
	}
	p.seen.agent(report, p.at)
}

func (p *platform) view() *state.View { return p.state.View() }

func (p *platform) now() now {
	return now{view: p.view(), seen: p.seen.glance(), at: p.at, since: p.since, own: "par2", sites: []state.SiteName{"par1", "par2", "par3"}, free: &placement{}, held: &heldOnce{}}
}

// settle decides and carries the proposals out for as long as anything is proposed, keeping the reports.
func (p *platform) settle() {
	p.t.Helper()
	for range 50 {
		actions := decide(p.now())
		before := p.index
		for _, a := range actions {
			switch a := a.(type) {
			case propose:
				p.try(a.name, a.payload)
			case createRepository:
				p.apply(state.RepositoryCreate, state.RepositoryCreateData{Account: a.account, Site: a.site, SealedPassword: []byte("sealed")})
			}
		}
		if p.index == before {
			return
		}
	}
	p.t.Fatal("the leader does not come to rest")
}

// start brings an account up: placed, its repository made, reported as running.
func (p *platform) start(names ...state.AccountName) {
	p.t.Helper()
	p.settle()
	for _, name := range names {
		repo := p.view().Repository(name)
		p.apply(state.RepositoryReady, state.RepositoryReadyData{Account: name, Home: repo.Home})
		p.say(name, wire.Running)
	}
	p.settle()
}

// backup finishes the account's pending backup with a snapshot taken at this moment.
func (p *platform) backup(account state.AccountName, copied ...state.SiteName) state.SnapshotID {
	p.t.Helper()
	return p.backupOf(account, nil, copied...)
}

// backupOf is a backup whose parts went so.
func (p *platform) backupOf(account state.AccountName, parts []state.Part, copied ...state.SiteName) state.SnapshotID {
	p.t.Helper()
	for _, task := range p.view().Tasks() {
		if task.Account != account || task.Kind != state.TaskBackup {
			continue
		}
		id := state.SnapshotID(strings.Repeat("0", 56) + fmt.Sprintf("%08x", p.index))
		p.apply(state.TaskFinish, state.TaskFinishData{Task: task.ID, Snapshot: &state.Snapshot{ID: id, Start: p.at, Finished: p.at, Parts: parts}})
		for _, site := range copied {
			home := p.view().Repository(account).Home.Site
			p.apply(state.ReplicationRecord, state.ReplicationRecordData{Account: account, From: home, To: site, Snapshots: []state.SnapshotID{id}})
		}
		return id
	}
	p.t.Fatalf("account %s has no pending backup", account)
	return ""
}

// pass lets time go by; the servers named are heard at its end.
func (p *platform) pass(d time.Duration, heard ...state.ServerName) {
	p.at = p.at.Add(d)
	p.hear(heard...)
}
