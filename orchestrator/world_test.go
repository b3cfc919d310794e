package orchestrator

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// world is servers that do what they are told, when they can be reached, and forget what they run when they crash. It
// knows what really runs where, which the leader can only infer.
type world struct {
	*platform
	reachable map[state.ServerName]bool
	running   map[state.ServerName]map[state.AccountName]state.Token
	held      map[state.ServerName]map[state.AccountName]state.Token // homes on disk
	seenToken map[state.ServerName]map[state.AccountName]state.Token // the agent's journal
	stopped   map[copyOf]bool                                        // in the agents' journals: never started again
	wrong     map[copyOf]bool                                        // copies that a person took for dead and that were not
	history   []string
	saved     [][]byte // states as they were exported
	losses    int      // of all coordinators
	highest   uint64   // incarnation
}

type copyOf struct {
	server  state.ServerName
	account state.AccountName
	token   state.Token
}

func newWorld(t testing.TB) *world {
	w := &world{
		platform: newPlatform(t), reachable: map[state.ServerName]bool{}, stopped: map[copyOf]bool{}, wrong: map[copyOf]bool{},
		running:   map[state.ServerName]map[state.AccountName]state.Token{},
		held:      map[state.ServerName]map[state.AccountName]state.Token{},
		seenToken: map[state.ServerName]map[state.AccountName]state.Token{},
	}
	for _, s := range w.servers() {
		w.reachable[s] = true
		w.running[s], w.held[s], w.seenToken[s] = map[state.AccountName]state.Token{}, map[state.AccountName]state.Token{}, map[state.AccountName]state.Token{}
	}
	return w
}

// note keeps what happened, for whoever has to find out why check failed.
func (w *world) note(format string, args ...any) {
	w.history = append(w.history, w.at.Format("04:05 ")+fmt.Sprintf(format, args...))
}

func (w *world) servers() []state.ServerName {
	return []state.ServerName{"par1-s1", "par1-s2", "par2-s1", "par2-s2"}
}

// sync is one exchange of an agent with the leader, and what the agent does then.
func (w *world) sync(s state.ServerName) {
	w.t.Helper()
	report := wire.AgentReport{Server: s}
	for a, token := range w.held[s] {
		phase := wire.Starting // the home is here; it waits for the leader's word
		switch {
		case w.running[s][a] == token:
			phase = wire.Running
		case w.stopped[copyOf{s, a, token}]:
			phase = wire.Stopped
		}
		report.Accounts = append(report.Accounts, wire.ObservedAccount{Account: a, Token: token, Phase: phase})
	}
	for a, token := range w.seenToken[s] {
		if _, held := w.held[s][a]; !held { // the answer to a stop of what is not here
			report.Accounts = append(report.Accounts, wire.ObservedAccount{Account: a, Token: token, Phase: wire.SetAside})
		}
	}
	w.seen.agent(report, w.at)
	d, err := agentDesired(w.view(), &report, opened)
	if err != nil {
		w.t.Fatal(err)
	}
	if d.Recovering {
		w.tellMemory(s, report)
		return
	}
	for _, want := range d.Accounts {
		name := want.Account.Name
		if want.Token.Less(w.seenToken[s][name]) {
			if w.losses > 0 {
				continue // the agent refuses
			}
			panic(fmt.Sprintf("server %s was told token %s of %s after %s", s, want.Token, name, w.seenToken[s][name]))
		}
		w.seenToken[s][name] = want.Token
		switch {
		case want.Run && w.stopped[copyOf{s, name, want.Token}]: // a deposed leader's word
		case want.Run:
			if w.running[s][name] != want.Token {
				w.note("%s runs %s %s", s, name, want.Token)
			}
			w.running[s][name], w.held[s][name] = want.Token, want.Token
		default:
			w.note("%s stops %s, told %s aside %v", s, name, want.Token, want.SetAside)
			delete(w.running[s], name)
			w.stopped[copyOf{s, name, want.Token}] = true
			if want.SetAside {
				delete(w.held[s], name)
			}
		}
	}
	for _, task := range d.Tasks {
		if task.Task.Kind == state.TaskBackup && w.running[s][task.Task.Account] == task.Task.Token {
			report.Tasks = append(report.Tasks, wire.TaskReport{Task: task.Task.ID, Snapshot: &state.Snapshot{
				ID: state.SnapshotID(fmt.Sprintf("%064x", w.index+1)), Start: w.at, Finished: w.at}})
		}
	}
	if len(report.Tasks) > 0 {
		w.seen.agent(report, w.at)
	}
	for a, token := range w.running[s] { // first contact ends what is stale
		now := w.view().Assignment(a)
		if e := w.view().Erasure(a); e != nil && !e.Waiting() {
			if !e.Token.Less(token) {
				panic(fmt.Sprintf("server %s still runs %s under %s after its contact; it is erased", s, a, token))
			}
			continue // coordinators that know more than these have ordered it
		}
		if w.wrong[copyOf{s, a, token}] && !token.Less(now.Token) {
			continue // given up at a recovery: it goes on until the account is given away again
		}
		if now.Server != s || now.Token != token {
			panic(fmt.Sprintf("server %s still runs %s under %s after its contact; it is %s on %s now", s, a, token, now.Token, now.Server))
		}
	}
}

// check holds what must never happen: an account on two servers, unless a person said of all but one of them, wrongly,
// that they are down.
func (w *world) check() {
	w.t.Helper()
	where := map[state.AccountName][]state.ServerName{}
	for _, s := range w.servers() {
		for a, token := range w.running[s] {
			if !w.wrong[copyOf{s, a, token}] {
				where[a] = append(where[a], s)
			}
		}
	}
	for a, servers := range where {
		if len(servers) > 1 {
			panic(fmt.Sprintf("account %s runs on %v at once\n%s", a, servers, strings.Join(w.history, "\n")))
		}
	}
}

func (w *world) confirm(r *state.Run) {
	var down []state.ServerName
	for _, a := range w.view().RunAccounts(r.ID) {
		if s := a.From; !w.now().answers(s) {
			down = append(down, s)
		}
	}
	if w.try(state.RunConfirm, state.RunConfirmData{Run: r.ID, PlanHash: r.PlanHash, By: "operator/olga", Down: down}).Err != nil {
		return
	}
	w.note("confirm %s down %v", r.ID, down)
	for _, s := range down {
		for a, token := range w.running[s] {
			w.wrong[copyOf{s, a, token}] = true
		}
	}
}

func (w *world) startFailover(site state.SiteName, id int) {
	plan, err := planFailover(w.now(), Scope{Site: site}, "")
	if err != nil {
		return // refused: all answer, or nothing is there
	}
	run := w.failoverRun(state.RunID(fmt.Sprintf("r%d", id)), siteLoss, plan)
	if w.try(state.RunCreate, state.RunCreateData{Run: run}).Err != nil {
		return
	}
	w.try(state.RunAccounts, state.RunAccountsData{Run: run.ID, Accounts: runAccounts(w.now(), run.ID, plan)})
	w.try(state.RunUpdate, state.RunUpdateData{Run: run.ID, ExpectStatus: state.StepPending, Status: state.RunRunning, Steps: run.Steps})
}

// decideOnce is one look of the leader. Each proposal may be lost, as when a leader dies.
func (w *world) decideOnce(rt *rapid.T) {
	for _, a := range decide(w.now()) {
		if rapid.IntRange(0, 9).Draw(rt, "lost") == 0 {
			continue
		}
		switch a := a.(type) {
		case propose:
			if r := w.try(a.name, a.payload); r.Err == nil {
				w.note("%s %+v", a.name, a.payload)
			}
		case createRepository:
			w.try(state.RepositoryCreate, state.RepositoryCreateData{Account: a.account, Site: a.site, SealedPassword: []byte("sealed")})
		case probe:
			w.seen.probed(a.key, wire.ProbeResult{OK: true, At: w.at, Site: "par3"})
		}
	}
}

// turn is a few seconds in which everybody who can be reached talks to the leader, and the copiers do their work.
func (w *world) turn(rt *rapid.T) {
	w.at = w.at.Add(4 * time.Second)
	for _, s := range w.servers() {
		if w.reachable[s] {
			w.sync(s)
		}
	}
	for _, repo := range w.view().Repositories() {
		w.try(state.RepositoryReady, state.RepositoryReadyData{Account: repo.Account, Home: repo.Home})
		for _, s := range w.view().Snapshots(repo.Account) {
			for _, to := range []state.SiteName{"par1", "par2"} {
				w.try(state.ReplicationRecord, state.ReplicationRecordData{Account: repo.Account, From: repo.Home.Site, To: to, Snapshots: []state.SnapshotID{s.ID}})
			}
		}
	}
	w.decideOnce(rt)
	w.check()
}

// Whatever servers, links, leaders and operators do: no account ever runs twice, and no token is ever given out twice.
func TestWorld_noAccountRunsTwice(t *testing.T) {
	moved, erased := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		for _, name := range []string{"a", "b", "c", "d"} { // d is erased now and then
			w.account(name, state.Gold, gib/8)
		}
		for range 6 { // placed, and backed up for the first time
			w.turn(rt)
		}
		for i := range rapid.IntRange(20, 120).Draw(rt, "length") {
			server := rapid.SampledFrom(w.servers()).Draw(rt, "server")
			switch rapid.IntRange(0, 16).Draw(rt, "event") {
			case 7:
				w.export()
			case 8:
				w.loseCoordinators(rapid.IntRange(0, max(0, len(w.saved)-1)).Draw(rt, "export"))
			case 10:
				w.try(state.ErasureOrder, state.ErasureOrderData{Account: "d", Wait: time.Duration(rapid.IntRange(0, 60).Draw(rt, "wait")) * time.Second})
			case 9:
				w.resume(rapid.Bool().Draw(rt, "without"))
			case 0:
				w.note("toggle %s", server)
				w.reachable[server] = !w.reachable[server]
			case 6:
				w.note("toggle site of %s", server) // a whole site is cut off, or comes back
				for _, s := range w.view().ServersAt(w.view().Server(server).Site) {
					w.reachable[s.Name] = !w.reachable[s.Name]
				}
			case 1:
				w.note("reboot %s", server) // the machine reboots: nothing starts before the leader's word
				clear(w.running[server])
			case 2:
				w.note("new leader") // a new leader, who has heard nobody yet
				w.seen.reset()
				w.since = w.at
			case 3:
				w.startFailover(rapid.SampledFrom([]state.SiteName{"par1", "par2"}).Draw(rt, "site"), i)
			case 4:
				for _, r := range w.view().Runs() {
					if r.Status == state.RunWaiting {
						w.confirm(r)
						if rapid.Bool().Draw(rt, "erased meanwhile") {
							w.try(state.ErasureOrder, state.ErasureOrderData{Account: "d"})
						}
					}
				}
			case 5:
				w.at = w.at.Add(time.Duration(rapid.IntRange(1, 40).Draw(rt, "seconds")) * time.Second)
			default:
			}
			w.turn(rt)
		}
		for _, a := range w.view().Assignments() {
			moved += int(a.Token.Generation) - 1
		}
		if e := w.view().Erasure("d"); e != nil && !e.Waiting() {
			erased++
		}
	})
	if moved == 0 {
		t.Error("no account ever moved, so nothing was shown")
	}
	if erased == 0 {
		t.Error("no account was ever erased, so nothing was shown of that")
	}
	t.Logf("%d moves, %d erased", moved, erased)
}
