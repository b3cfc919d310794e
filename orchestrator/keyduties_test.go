package orchestrator

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// plain opens what is sealed by being what it is.
var plain = opener{
	password:    func(r *state.Repository) (string, bool) { return string(r.SealedPassword), true },
	environment: opened.environment,
}

// keyWorld is a platform with one account, and the key files that lie in the sites' stores. Workers die at any point of what
// they do, reports get lost or come late, the home moves.
type keyWorld struct {
	*platform
	r       *rapid.T
	account state.AccountName
	keys    map[state.SiteName]map[string]string // by file: the password that it is for
	removed map[state.SiteName]map[string]bool   // notes: not to come back
	glass   map[state.SiteName]string            // the sealed break-glass password of a site: the password
	late    []lateReport
	passing map[state.SiteName]*keyPass // under way, to a site
	given   map[state.TaskID]string     // the password that was handed out with a task
	restore string                      // and with a restore
	made    int
	done    map[string]int
	calm    bool // nobody dies and nothing is lost any more
}

type lateReport struct {
	site state.SiteName
	said wire.Keyed
}

// keyPass is what a pass has listed.
type keyPass struct {
	from  state.SiteName
	keys  map[string]string
	glass string
	ids   []state.SnapshotID
}

var keySites = []state.SiteName{"par1", "par2", "par4"}

func newKeyWorld(r *rapid.T, t *testing.T) *keyWorld {
	w := &keyWorld{platform: newPlatform(t), r: r, account: "shop", keys: map[state.SiteName]map[string]string{}, removed: map[state.SiteName]map[string]bool{},
		glass: map[state.SiteName]string{}, passing: map[state.SiteName]*keyPass{}, given: map[state.TaskID]string{}, done: map[string]int{}}
	w.apply(state.InventoryApply, state.InventoryData{
		Sites:   []state.Site{{Name: "par4", Gateways: []string{"https://par4.test:7460"}, Store: &state.Store{Endpoint: "http://par4.test:7480", Bucket: "drp-par4"}}},
		Servers: []state.Server{{Name: "par4-s1", Site: "par4", Capacity: state.Resources{Memory: gib, Processes: 1000, CPU: 4, Disk: 10 * gib}}},
	})
	w.offline(1)
	w.platform.account("shop", state.Gold, gib/4)
	w.start("shop")
	home := w.repo().Home.Site
	for _, s := range keySites {
		w.keys[s], w.removed[s] = map[string]string{}, map[string]bool{}
	}
	w.keys[home][keyFile("first", 0)] = w.password()
	return w
}

func keyFile(of string, n int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", of, n))
	return hex.EncodeToString(sum[:])
}

func (w *keyWorld) repo() *state.Repository { return w.view().Repository(w.account) }

// password that the leader hands out.
func (w *keyWorld) password() string { return string(w.repo().SealedPassword) }

// offline makes the n-th key of the keyring, with an offline recipient of its own.
func (w *keyWorld) offline(n int) {
	to := fmt.Sprint("age1offline", n)
	w.apply(state.KeyringSet, state.KeyringSetData{Key: state.Key{
		ID: fmt.Sprint("k", w.index), Recipient: "age1x", Sealed: []byte("x"), Recipients: []string{"age1c", to}, Offline: []string{to}}})
}

func (w *keyWorld) likely(of int) bool {
	return w.calm || rapid.IntRange(0, of).Draw(w.r, "likely") > 0
}

// work has the worker of a site do one of its jobs, or a part of it.
func (w *keyWorld) work(site state.SiteName) {
	jobs := w.now().keyJobs(site, keySurveyOf(w.now()).duties[site], plain)
	if len(jobs) == 0 {
		return
	}
	job := jobs[0]
	said := wire.Keyed{ID: fmt.Sprint("report", w.made), Account: job.Account, Home: job.Home, Make: job.Make, Version: job.Version, Asked: job.Recipients}
	w.made++
	dies := !w.likely(4)
	switch job.Make {
	case "":
		if !w.see(site, job, &said) {
			return
		}
	case state.KeyBreakGlass:
		if !w.opens(site, job.Password) {
			w.r.Fatalf("%s was given a password that does not open its copy", site)
		}
		password := fmt.Sprint("glass ", w.made)
		said.Key, said.Sealed = keyFile(password, w.made), job.Recipients
		w.keys[site][said.Key] = password
		if dies {
			return
		}
		w.glass[site] = password
		said.File = state.Sum([]byte(password))
		for _, id := range w.files(site) {
			if id != said.Key && strings.HasPrefix(w.keys[site][id], "glass") {
				said.Old = append(said.Old, id)
			}
		}
	case state.KeyRotation:
		if !w.opens(site, job.Password) {
			w.r.Fatalf("%s was given a password that does not open its copy", site)
		}
		for _, id := range w.files(site) {
			switch password := w.keys[site][id]; {
			case password == job.Next:
				said.Key = id
			case !strings.HasPrefix(password, "glass"):
				said.Old = append(said.Old, id)
			}
		}
		if said.Key == "" {
			said.Key = keyFile(job.Next, w.made)
			w.keys[site][said.Key] = job.Next
		}
	}
	w.done[string(job.Make)]++
	w.tell(site, said)
}

func (w *keyWorld) files(site state.SiteName) []string { return slices.Sorted(maps.Keys(w.keys[site])) }

// see is keyfiles.SeeTo, which may die after each of its steps: false.
func (w *keyWorld) see(site state.SiteName, job wire.KeyJob, said *wire.Keyed) bool {
	home := job.Home.Site
	for _, id := range job.Have {
		if w.keys[site][id] == "" {
			if password := w.keys[home][id]; password != "" && job.Store != nil {
				w.keys[site][id] = password
			} else {
				said.Missing, said.Error = append(said.Missing, id), "missing"
			}
		}
		if !w.likely(20) {
			return false
		}
	}
	if job.File != (state.Digest{}) && state.Sum([]byte(w.glass[site])) != job.File {
		if state.Sum([]byte(w.glass[home])) == job.File && job.Store != nil {
			w.glass[site] = w.glass[home]
		} else {
			said.Missing, said.Error = append(said.Missing, job.File.String()), "missing"
		}
	}
	if len(said.Missing) > 0 {
		return true
	}
	for _, id := range job.Remove {
		if !w.likely(20) {
			return false
		}
		w.removed[site][id] = true
		delete(w.keys[site], id)
	}
	return true
}

// tell brings a report to the leader at once, later, or later once more.
func (w *keyWorld) tell(site state.SiteName, said wire.Keyed) {
	if !w.likely(5) {
		w.late = append(w.late, lateReport{site, said})
		return
	}
	if !w.likely(5) {
		w.late = append(w.late, lateReport{site, said})
	}
	w.seen.worker(wire.WorkerReport{Site: site, Keyed: []wire.Keyed{said}}, w.at)
	for _, a := range reportedKeys(w.now()) {
		r := a.(reported)
		w.index++
		if _, err := w.state.Apply(w.index, state.NewCommand(r.name, r.id, w.at, "test", r.payload)); err != nil {
			w.r.Fatal(err)
		}
	}
	w.seen.taken(w.now().seen)
}

func (w *keyWorld) opens(site state.SiteName, password string) bool {
	return slices.Contains(slices.Collect(maps.Values(w.keys[site])), password)
}

// copy begins a pass to a site, or ends the one that is under way.
func (w *keyWorld) copy(to state.SiteName) {
	if p := w.passing[to]; p != nil {
		delete(w.passing, to)
		maps.Copy(w.keys[to], p.keys)
		for id := range w.removed[to] {
			delete(w.keys[to], id) // left out, whatever the source has
		}
		w.try(state.ReplicationRecord, state.ReplicationRecordData{Account: w.account, From: p.from, To: to, Snapshots: p.ids})
		w.done["copied"]++
		return
	}
	jobs := copyJobs(w.view(), w.repo(), to)
	if len(jobs) == 0 || !holds(w.view(), w.view().Account(w.account), w.repo(), to) {
		return
	}
	p := &keyPass{from: jobs[0].From, keys: maps.Clone(w.keys[jobs[0].From]), ids: jobs[0].Snapshots, glass: w.glass[jobs[0].From]}
	if w.glass[to] == "" {
		w.glass[to] = p.glass
	}
	w.passing[to] = p
}

func (w *keyWorld) backup() {
	if task := w.now().backupUnderWay(w.account); task != nil {
		if password, ok := w.given[task.ID]; ok && !w.opens(w.repo().Home.Site, password) {
			w.r.Fatalf("the backup under way was given %q, and that opens nothing at its home any more", password)
		}
		w.platform.backup(w.account)
		return
	}
	a := w.view().Assignment(w.account)
	if a.Stop || a.Fenced != nil || a.ReadyAt.IsZero() {
		return
	}
	task := newBackup(a, w.at, w.at, fmt.Sprint(w.index))
	w.apply(state.TaskCreate, state.TaskCreateData{Task: task})
	w.given[task.ID] = w.password()
}

// failover gives the account to a server at a site that holds a snapshot, and brings that back with the password of that moment.
func (w *keyWorld) failover(to state.SiteName) {
	a := w.view().Assignment(w.account)
	if a.ReadyAt.IsZero() {
		if w.restore != "" && !w.opens(w.repo().Home.Site, w.restore) {
			w.r.Fatalf("the restore under way was given %q, and that opens nothing there any more", w.restore)
		}
		w.try(state.AssignmentReady, state.AssignmentReadyData{Account: w.account, Token: a.Token})
		return
	}
	for _, s := range w.view().Snapshots(w.account) {
		if _, there := s.At(to); !there {
			continue
		}
		w.apply(state.AssignmentStop, state.AssignmentStopData{Account: w.account, Token: a.Token})
		w.apply(state.AssignmentFenced, state.AssignmentFencedData{Account: w.account, Token: a.Token, Method: state.AgentStopped, By: string(a.Server)})
		w.apply(state.Assign, state.AssignData{Account: w.account, Server: state.ServerName(to) + "-s1", Previous: a.Token,
			Restore: &state.RestorePoint{Snapshot: s.ID, Site: to}})
		w.restore = w.password()
		w.done["failover"]++
		return
	}
}

func (w *keyWorld) step() {
	w.at = w.at.Add(time.Minute)
	site := rapid.SampledFrom(keySites).Draw(w.r, "site")
	switch rapid.SampledFrom([]string{"work", "work", "work", "work", "move", "move", "copy", "copy", "backup", "backup", "rotate", "failover", "late", "offline", "wait", "policy"}).Draw(w.r, "step") {
	case "work":
		w.work(site)
	case "move":
		if p, due := w.now().keyMove(w.repo()); due {
			w.done[string(p.name)]++
			w.apply(p.name, p.payload)
		}
	case "copy":
		w.copy(site)
	case "backup":
		w.backup()
	case "rotate":
		w.made++
		w.try(state.KeysRotate, state.KeysRotateData{Account: w.account, Sealed: fmt.Appendf(nil, "password %d", w.made)})
	case "failover":
		w.failover(site)
	case "late":
		if len(w.late) > 0 {
			l := w.late[0]
			w.late = w.late[1:]
			w.tell(l.site, l.said)
		}
	case "offline":
		w.offline(rapid.IntRange(1, 2).Draw(w.r, "recipient"))
	case "wait":
		w.at = w.at.Add(time.Duration(rapid.IntRange(1, 40*24).Draw(w.r, "hours")) * time.Hour)
	case "policy":
		replicas := [][]state.SiteName{{"par1", "par2"}, {"par1", "par2", "par4"}, {"par2", "par4"}}
		w.apply(state.InventoryApply, state.InventoryData{Policies: []state.Policy{{
			Name: "hourly", Schedule: "@every 1h", RPO: 2 * time.Hour, Replicas: rapid.SampledFrom(replicas).Draw(w.r, "replicas")}}})
	}
}

// holdsCopy: the catalogue has a copy there.
func (w *keyWorld) holdsCopy(site state.SiteName) bool {
	return w.repo().Home.Site == site || slices.ContainsFunc(w.view().Snapshots(w.account), func(s *state.Snapshot) bool {
		_, there := s.At(site)
		return there
	})
}

// look holds the promise: at each site that holds a copy, the password that the leader hands out opens it.
func (w *keyWorld) look() {
	for _, site := range keySites {
		if !w.holdsCopy(site) {
			continue
		}
		if !w.opens(site, w.password()) {
			w.r.Fatalf("the copy at %s is not opened by %q, which the leader hands out; its keys are %v; known is %+v",
				site, w.password(), w.keys[site], w.view().RepositoryKeys("shop"))
		}
		row := w.view().RepositoryKeys("shop")
		if row != nil && row.BreakGlass != nil && row.At(site).Version == row.Version && row.At(site).Failure == nil && !w.opens(site, w.glass[site]) {
			w.r.Fatalf("the break-glass password at %s opens nothing there", site)
		}
	}
}

// TestKeys_Property: whoever dies when, no site is ever left with a copy that the password in use does not open, nothing that is under
// way loses the password that it was given, and in the end everything comes to rest: one password, one break-glass key, everywhere.
func TestKeys_Property(t *testing.T) {
	did := map[string]int{}
	rapid.Check(t, func(r *rapid.T) {
		w := newKeyWorld(r, t)
		for range rapid.IntRange(20, 120).Draw(r, "steps") {
			w.step()
			w.look()
		}
		w.rest()
		for what, n := range w.done {
			did[what] += n
		}
	})
	for _, what := range []string{"rotation", "breakglass", "", "keys.switch", "keys.retire", "failover", "copied"} {
		if did[what] == 0 {
			t.Errorf("no sequence had %q: it proves little", what)
		}
	}
}

// rest lets everybody work without a fault, until nothing is left to do.
func (w *keyWorld) rest() {
	if w.view().Assignment(w.account).ReadyAt.IsZero() {
		w.failover("par1")
	}
	if w.now().backupUnderWay(w.account) != nil {
		w.backup()
	}
	w.late, w.calm = nil, true
	for range 200 {
		w.at = w.at.Add(7 * time.Hour) // longer than any failure rests
		for _, site := range keySites {
			w.copy(site)
			w.copy(site)
			w.work(site)
		}
		if p, due := w.now().keyMove(w.repo()); due {
			w.done[string(p.name)]++
			w.apply(p.name, p.payload)
		}
		w.look()
	}
	row := w.view().RepositoryKeys("shop")
	if row == nil || row.Rotation != nil || row.BreakGlass == nil {
		w.r.Fatalf("it does not come to rest: %+v", row)
	}
	for _, site := range keySites {
		if !w.holdsCopy(site) {
			continue
		}
		for id, password := range w.keys[site] {
			if slices.Contains(row.Remove, id) || strings.HasPrefix(password, "password") && password != w.password() {
				w.r.Fatalf("%s still has the key of %q", site, password)
			}
		}
	}
}

func TestKeyAlarms(t *testing.T) {
	p := newPlatform(t)
	p.account("shop", state.Gold, gib/4)
	p.start("shop")
	kinds := func() string {
		var all []string
		for _, a := range keyAlarms(p.now(), 90*day) {
			all = append(all, a.Kind)
		}
		return strings.Join(all, " ")
	}
	made := state.KeysMadeData{Account: "shop", Repository: "shop", Home: p.view().Repository("shop").Home, Purpose: state.KeyBreakGlass,
		Key: keyFile("glass", 1), Asked: []string{"age1o"}, Sealed: []string{"age1o"}, File: state.Sum([]byte("x"))}
	failed := made
	failed.Error = "the store is full"
	for _, want := range []string{"", "", "keys"} { // it has to last
		p.apply(state.KeysMade, failed)
		if got := kinds(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	p.apply(state.KeysMade, made)
	if got := kinds(); got != "" {
		t.Errorf("once it is made: %q", got)
	}
	p.at = p.at.Add(91 * day)
	if got := kinds(); got != "break-glass" {
		t.Errorf("never tried for 91 days: %q", got)
	}
	p.apply(state.BreakGlassRecord, state.BreakGlassRecordData{Store: "s3", Count: 1})
	if got := kinds(); got != "" {
		t.Errorf("when it was tried: %q", got)
	}
	p.apply(state.BreakGlassRecord, state.BreakGlassRecordData{Store: "s3", Count: 1, Failed: []string{"shop"}, Error: "no"})
	if got := kinds(); got != "break-glass" {
		t.Errorf("when that failed: %q", got)
	}
	p.apply(state.BreakGlassRecord, state.BreakGlassRecordData{Store: "s3", Count: 1})
	other := made
	other.Sealed = []string{"age1site"}
	p.apply(state.KeysMade, other)
	if got := kinds(); got != "break-glass" {
		t.Errorf("sealed to others than the coordinators know: %q", got)
	}
}

// TestKeyMove_Exported: a recovery from an export of the time before would have a password that opens nothing.
func TestKeyMove_Exported(t *testing.T) {
	p := newPlatform(t)
	p.account("shop", state.Gold, gib/4)
	p.start("shop")
	home := p.view().Repository("shop").Home
	for _, task := range p.view().Tasks() {
		p.apply(state.TaskFinish, state.TaskFinishData{Task: task.ID, Error: "x"})
	}
	p.apply(state.InventoryApply, state.InventoryData{Policies: []state.Policy{{Name: "hourly", Schedule: "@every 1h", RPO: time.Hour}}})
	p.apply(state.KeysRotate, state.KeysRotateData{Account: "shop", Sealed: []byte("next")})
	p.apply(state.KeysMade, state.KeysMadeData{Account: "shop", Repository: "shop", Home: home, Purpose: state.KeyRotation, Key: keyFile("next", 1)})
	p.apply(state.KeysSeen, state.KeysSeenData{Account: "shop", Repository: "shop", Site: home.Site, Version: 1})
	move := func(exported map[state.SiteName]time.Time) state.Name {
		n := p.now()
		n.exported = exported
		m, _ := n.keyMove(p.view().Repository("shop"))
		return m.name
	}
	if got := move(map[state.SiteName]time.Time{}); got != state.KeysSwitch {
		t.Fatalf("next is %q", got)
	}
	p.apply(state.KeysSwitch, state.KeysSwitchData{Account: "shop", Repository: "shop", Version: 1})
	switched := p.at
	p.at = p.at.Add(time.Hour)
	// One that is dated in the future was made while a leader's clock was wrong: perhaps long before the switch.
	for exported, want := range map[time.Time]state.Name{{}: "", switched: "", switched.Add(time.Minute): state.KeysRetire, p.at.Add(365 * day): ""} {
		if got := move(map[state.SiteName]time.Time{home.Site: exported}); got != want {
			t.Errorf("with an export of %s next is %q, want %q", exported, got, want)
		}
	}
	site := *p.view().Site(home.Site)
	site.Gateways = nil
	p.apply(state.InventoryApply, state.InventoryData{Sites: []state.Site{site}})
	if got := move(map[state.SiteName]time.Time{}); got != state.KeysRetire {
		t.Errorf("at a site that gets no exports next is %q: it would wait for ever", got)
	}
	if got := keyAlarms(p.now(), 90*day); len(got) != 0 {
		t.Errorf("alarms at once: %+v", got)
	}
	p.pass(8 * day)
	if got := keyAlarms(p.now(), 90*day); len(got) != 1 || !strings.Contains(got[0].Message, "stands still") || !strings.Contains(got[0].Message, "shop") {
		t.Errorf("after a week: %+v, want an alarm that the change stands still", got)
	}
	if got := move(nil); got != state.KeysRetire {
		t.Errorf("where nothing is exported next is %q", got)
	}
}
