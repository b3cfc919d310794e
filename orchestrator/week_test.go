package orchestrator

import (
	"flag"
	"fmt"
	"hash/fnv"
	"slices"
	"testing"
	"time"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// week is a platform whose servers back up what they are asked to, each for as long as that account's data take, and whose
// workers copy it a little later.
type week struct {
	*platform
	servers []state.ServerName
	ends    map[state.TaskID]time.Time // of backups that run
	lengths map[state.AccountName]time.Duration
	outage  [2]time.Time // of the store: backups fail, nothing is copied
	most    map[state.ServerName]int
	atSite  int
	begun   map[time.Time]int          // in each minute
	behind  map[state.AccountName]bool // of which par2 lacks something
	made    int
}

func (w *week) storeIsDown() bool { return !w.at.Before(w.outage[0]) && w.at.Before(w.outage[1]) }

// report is what a server says: these backups have ended.
func (w *week) report(server state.ServerName) {
	r := wire.AgentReport{Server: server}
	running := 0
	for _, task := range w.view().TasksOn(server) {
		if _, known := w.ends[task.ID]; !known {
			w.ends[task.ID] = task.Created.Add(w.lengths[task.Account])
			w.begun[w.at.Truncate(time.Minute)]++
		}
		if running++; w.ends[task.ID].After(w.at) {
			continue
		}
		delete(w.ends, task.ID)
		outcome := wire.TaskReport{Task: task.ID}
		if w.storeIsDown() {
			outcome.Error = "the store does not answer"
		} else {
			w.made++
			outcome.Snapshot = &state.Snapshot{ID: state.SnapshotID(fmt.Sprintf("%064x", w.made)), Start: task.Created, Finished: w.at}
			w.behind[task.Account] = true
		}
		r.Tasks = append(r.Tasks, outcome)
	}
	w.most[server] = max(w.most[server], running)
	w.atSite += running
	w.seen.agent(r, w.at)
}

// copyAll is what the worker of par2 does in between.
func (w *week) copyAll() {
	if w.storeIsDown() {
		return
	}
	for name := range w.behind {
		repo := w.view().Repository(name)
		for _, job := range copyJobs(w.view(), repo, "par2") {
			w.apply(state.ReplicationRecord, state.ReplicationRecordData{Account: name, From: job.From, To: "par2", Snapshots: job.Snapshots})
			delete(w.behind, name)
		}
	}
}

// turn is a minute, and one look of the leader.
func (w *week) turn() {
	w.at = w.at.Add(time.Minute)
	w.atSite = 0
	w.copyAll()
	for _, s := range w.servers {
		w.report(s)
	}
	for _, a := range decide(w.now()) {
		if p, ok := a.(propose); ok {
			w.try(p.name, p.payload)
		}
	}
}

// simulated is how long TestWeek lets time go on. What the test is about happens in the first fourteen hours; a whole week takes
// minutes: go test ./orchestrator -run TestWeek -simulate 168h.
var simulated = flag.Duration("simulate", 14*time.Hour, "how long TestWeek lets time go on")

// 500 accounts on four servers, backed up every 15 minutes, while summer time ends, leaders change, and the store is away for
// six hours: but for that time, and what it takes to catch up, every account is within its objective; starts are spread, and
// no server, nor the site, ever runs more at a time than it should.
func TestWeek(t *testing.T) {
	const accounts, perServer, perSite = 500, 30, 110
	const rpo = 40 * time.Minute
	servers := 4
	w := &week{
		platform: many(t, servers, accounts, func(i int) state.Tier { return []state.Tier{state.Gold, state.Silver, state.Bronze}[i%3] }),
		ends:     map[state.TaskID]time.Time{}, lengths: map[state.AccountName]time.Duration{},
		most: map[state.ServerName]int{}, begun: map[time.Time]int{}, behind: map[state.AccountName]bool{},
	}
	shift := time.Date(2026, 10, 24, 22, 0, 0, 0, time.UTC).Sub(w.at) // summer time ends on the 25th at 01:00 UTC
	w.at, w.since = w.at.Add(shift), w.since.Add(shift)
	begin := w.at
	w.outage = [2]time.Time{begin.Add(4 * time.Hour), begin.Add(10 * time.Hour)}
	d := state.InventoryData{
		Sites:    []state.Site{siteWith(w.platform, "par1", perSite)},
		Policies: []state.Policy{{Name: "hourly", Schedule: "*/15 * * * *", TimeZone: "Europe/Paris", RPO: rpo, Replicas: []state.SiteName{"par2"}}},
	}
	for i := range servers {
		w.servers = append(w.servers, serverName(i))
		d.Servers = append(d.Servers, serverWith(w.platform, serverName(i), perServer))
	}
	w.apply(state.InventoryApply, d)
	for i := range accounts {
		h := fnv.New32a()
		fmt.Fprint(h, i)
		w.lengths[accountName(i)] = 15*time.Second + time.Duration(h.Sum32()%75)*time.Second
	}
	seeded, caughtUp := begin.Add(time.Hour), w.outage[1].Add(2*time.Hour)
	late, looks, leaders := 0, 0, 0
	for w.at.Before(begin.Add(*simulated)) {
		w.turn()
		if w.atSite > perSite {
			t.Fatalf("%s: %d backups run at the site, want %d at most", w.at, w.atSite, perSite)
		}
		if w.at.Sub(begin)/(2*time.Hour) > time.Duration(leaders) { // a new leader, who has heard nobody
			leaders++
			w.seen.reset()
			w.since = w.at
		}
		if looks++; looks%12 != 0 || w.at.Before(seeded) || !w.at.Before(w.outage[0]) && w.at.Before(caughtUp) {
			continue
		}
		for i := range accounts {
			a := w.view().Account(accountName(i))
			if why := exposure(w.now(), a, w.view().Repository(a.Name)); why != "" {
				if late++; late < 5 {
					t.Errorf("%s: account %s: %s", w.at, a.Name, why)
				}
			}
		}
		w.forgetOld()
	}
	if late > 0 {
		t.Errorf("%d times an account was outside of its objective", late)
	}
	for s, most := range w.most {
		if most > perServer {
			t.Errorf("server %s ran %d backups at a time, want %d at most", s, most, perServer)
		}
	}
	if want := int(simulated.Hours()-6) * 4 * accounts * 9 / 10; w.made < want {
		t.Errorf("%d backups were made, want %d at least", w.made, want)
	}
	peak := 0
	for minute, n := range w.begun {
		if minute.After(seeded) && (minute.Before(w.outage[0]) || minute.After(caughtUp)) {
			peak = max(peak, n)
		}
	}
	if mean := accounts / 15; peak > 3*mean {
		t.Errorf("%d backups began in one minute, want no more than three times the mean of %d", peak, mean)
	}
	t.Logf("%d backups, %d leaders, at most %d a minute, at a time on servers: %v", w.made, leaders, peak, w.most)
}

// forgetOld keeps the catalogue small, as retention does.
func (w *week) forgetOld() {
	for i := range 500 {
		a := accountName(i)
		all := w.view().Snapshots(a)
		if len(all) < 12 {
			continue
		}
		home := w.view().Repository(a).Home
		var ids []state.SnapshotID
		for _, s := range all[8:] {
			ids = append(ids, s.ID)
		}
		slices.Sort(ids)
		if w.try(state.SnapshotsForget, state.SnapshotsForgetData{Account: a, Home: home, Snapshots: ids}).Err == nil {
			w.apply(state.MaintenanceRecord, state.MaintenanceRecordData{Account: a, Home: home, Forgotten: ids})
		}
	}
}
