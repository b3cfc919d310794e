package maintenance_test

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"drp/replicator"
	"drp/replicator/maintenance"
	"drp/replicator/storetest"
)

var (
	sequences = flag.Int("sequences", 40, "how many sequences TestWorld tries")
	worldSeed = flag.Uint64("seed", 0, "of the first sequence of TestWorld; 0: a new one")
)

const worldGrace = 30 * time.Hour

// world is three sites, the leader's catalogue, and what may go wrong.
type world struct {
	t       *testing.T
	account string // another one in each sequence: what a dead process has sent may arrive in the next
	seed    uint64
	random  *rand.Rand
	clock   atomic.Int64 // the true time
	tool    *model
	sites   []*worldSite

	home, epoch int
	catalogue   map[string]*entry
	order       []string // ids, oldest first
	stale       []staleJob
	blobs       int
	past        []string // what was done, for the report of a failure
}

type entry struct {
	blobs  []string
	at     map[int]bool // sites that are said to hold it
	marked bool         // to be forgotten: not counted on any more
}

// staleJob is what a site was told when it was the home, and may do when it no longer is.
type staleJob struct {
	site int
	job  maintenance.Job
}

type worldSite struct {
	name   string
	double *storetest.Double
	store  *replicator.Store
	keeper *maintenance.Keeper

	// By how much the clocks of its worker and its store are wrong.
	workerOff, storeOff atomic.Int64
	marked              map[string]time.Time // when each run in its trash was complete, in truth

	mu     sync.Mutex
	left   int // requests until the site dies; negative: it lives
	dead   func()
	broken func(storetest.Call) *storetest.Fault // nil: it is not
}

// breaks has the site's store answer with faults; nil: no longer.
func (s *worldSite) breaks(fault func(storetest.Call) *storetest.Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = fault
}

func (s *worldSite) fault(c storetest.Call) *storetest.Fault {
	s.mu.Lock()
	if broken := s.broken; broken != nil {
		s.mu.Unlock() // it may take it
		return broken(c)
	}
	defer s.mu.Unlock()
	if s.left < 0 {
		return nil
	}
	if s.left > 0 {
		s.left--
		return nil
	}
	s.dead()
	return &storetest.Fault{Status: http.StatusServiceUnavailable, Code: "SlowDown"}
}

// dying has the site's process die after some requests to its store, while f runs: what the store has done by then stays done.
func (s *worldSite) dying(after int, f func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.mu.Lock()
	s.left, s.dead = after, cancel
	s.mu.Unlock()
	f(ctx)
	s.mu.Lock()
	s.left = -1
	s.mu.Unlock()
}

func newWorldSites(t *testing.T, w *world) []*worldSite {
	var sites []*worldSite
	for n := range 3 {
		s := &worldSite{name: fmt.Sprint("par", n+1), double: storetest.NewDouble(t), left: -1}
		s.double.Fault = s.fault
		var err error
		s.store, err = replicator.Open(replicator.StoreConfig{
			Endpoint: s.double.Endpoint, Bucket: "bucket", AccessKey: "a", SecretKey: "b", Retries: 1,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.store.Close)
		s.keeper = &maintenance.Keeper{
			Site: s.name, Store: s.store, Scratch: t.TempDir(), Grace: worldGrace,
			Now: func() time.Time { return w.now().Add(time.Duration(s.workerOff.Load())) },
		}
		s.double.Clock = func() time.Time { return w.now().Add(time.Duration(s.storeOff.Load())) }
		sites = append(sites, s)
	}
	return sites
}

// TestWorld tries random sequences of backups, copies, maintenance, failovers, returns and deaths of processes. Whatever
// happens, each snapshot that the leader does not want to forget can be restored where it is said to be.
func TestWorld(t *testing.T) {
	seed := *worldSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	w := &world{t: t}
	w.sites = newWorldSites(t, w)
	did := make(map[string]int)
	for n := range *sequences {
		w.account = fmt.Sprint("shop", n)
		w.begin(seed + uint64(n))
		for range 30 {
			w.step()
			w.look()
			if t.Failed() {
				t.Fatalf("-seed %d -sequences 1:\n%s", seed+uint64(n), strings.Join(w.past, "\n"))
			}
		}
		for _, p := range w.past {
			word, _, _ := strings.Cut(p, " ")
			did[word]++
			if strings.HasSuffix(p, "<nil>") {
				did[word+" done"]++
			}
		}
	}
	t.Logf("from seed %d, %v", seed, did)
	for _, what := range []string{"maintain done", "copy done", "failover", "stale done", "tended", "followed"} {
		if *sequences >= 100 && did[what] == 0 {
			t.Errorf("no sequence had %q: it proves little", what)
		}
	}
}

func (w *world) begin(seed uint64) {
	w.account = cmp.Or(w.account, "shop")
	w.random, w.seed = rand.New(rand.NewPCG(seed, 1)), seed
	w.set(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	w.tool = &model{random: rand.New(rand.NewPCG(seed, 2))}
	w.home, w.epoch, w.blobs = 0, 1, 0
	w.catalogue, w.order, w.stale, w.past = make(map[string]*entry), nil, nil, nil
	for _, s := range w.sites {
		for key := range s.double.Objects() {
			s.double.Forget(key)
		}
		s.keeper.Tool = w.tool
		s.workerOff.Store(0)
		s.storeOff.Store(0)
		s.marked = make(map[string]time.Time)
	}
	w.sites[0].double.Store(w.account+"/config", []byte("config"))
	name, key := w.tool.file(modelFile{})
	w.sites[0].double.Store(w.account+"/keys/"+name, key)
	w.backup(0)
}

func (w *world) did(format string, args ...any) {
	w.past = append(w.past, fmt.Sprintf(format, args...))
}

func (w *world) step() {
	other := (w.home + 1 + w.random.IntN(2)) % 3
	switch w.random.IntN(22) {
	case 0, 1, 2:
		w.backup(w.home)
	case 3, 4, 5, 6:
		w.copy(w.home, other)
	case 7, 8, 9:
		w.maintain()
	case 10:
		w.failover(other)
	case 11, 12:
		if len(w.files(w.sites[other], "snapshots")) > 0 {
			w.copy(other, w.home) // what it alone holds
		}
	case 13:
		if len(w.files(w.sites[other], "snapshots")) > 0 {
			w.backup(other) // its account was not stopped in time
		}
	case 14:
		w.doStale()
	case 15:
		w.copy(other, 3-w.home-other) // past the home
	case 16, 17:
		w.pass(time.Duration(1+w.random.IntN(100)) * time.Hour)
	case 18, 19:
		w.tend(w.random.IntN(3))
	case 20, 21:
		w.setClock(w.random.IntN(3))
	}
	w.pass(time.Minute)
}

func (w *world) now() time.Time       { return time.Unix(0, w.clock.Load()).UTC() }
func (w *world) set(t time.Time)      { w.clock.Store(t.UnixNano()) }
func (w *world) pass(d time.Duration) { w.clock.Add(int64(d)) }

// maybeDying runs f, in half of the cases in a process that dies in the middle of it.
func (w *world) maybeDying(s *worldSite, f func(ctx context.Context)) {
	if w.random.IntN(2) == 0 {
		f(context.Background())
		return
	}
	s.dying(w.random.IntN(60), f)
}

// files are those of one class that lie in a site's store.
func (w *world) files(s *worldSite, class string) map[string]modelFile {
	files := make(map[string]modelFile)
	for key, content := range s.double.Objects() {
		if rest, ok := strings.CutPrefix(key, w.account+"/"+class+"/"); ok {
			var f modelFile
			if err := json.Unmarshal(content, &f); err != nil {
				w.t.Fatal(err)
			}
			files[rest[strings.LastIndex(rest, "/")+1:]] = f
		}
	}
	return files
}

// backup takes up blobs that the site's index names, as restic does.
func (w *world) backup(site int) {
	s := w.sites[site]
	if _, err := s.keeper.Tend(context.Background(), w.account); err != nil {
		w.t.Fatal(err)
	}
	known := make(map[string]bool)
	for _, f := range w.files(s, "index") {
		for _, blobs := range f.Packs {
			for _, b := range blobs {
				known[b] = true
			}
		}
	}
	snapshot, fresh := modelFile{}, modelFile{}
	for _, b := range slices.Sorted(maps.Keys(known)) {
		if w.random.IntN(2) == 0 {
			snapshot.Blobs = append(snapshot.Blobs, b)
		}
	}
	for range 1 + w.random.IntN(3) {
		w.blobs++
		fresh.Blobs = append(fresh.Blobs, fmt.Sprint("b", w.blobs))
	}
	snapshot.Blobs = append(snapshot.Blobs, fresh.Blobs...)
	pack, content := w.tool.file(fresh)
	s.double.Store(w.account+"/data/"+pack[:2]+"/"+pack, content)
	index, content := w.tool.file(modelFile{Packs: map[string][]string{pack: fresh.Blobs}})
	s.double.Store(w.account+"/index/"+index, content)
	id, content := w.tool.file(snapshot)
	s.double.Store(w.account+"/snapshots/"+id, content)
	w.catalogue[id] = &entry{blobs: snapshot.Blobs, at: map[int]bool{site: true}}
	w.order = append(w.order, id)
	w.did("backup %s %.8s %v", s.name, id, snapshot.Blobs)
}

// copy is what a worker does at one site for a CopyJob.
func (w *world) copy(from, to int) {
	source, s := w.sites[from], w.sites[to]
	w.maybeDying(s, func(ctx context.Context) {
		var options replicator.Options
		var lists []maintenance.List
		var err error
		if from == w.home {
			lists, err = s.keeper.Pending(ctx, source.store, w.account, uint64(w.epoch))
		} else {
			options.Skip, err = s.keeper.Over(ctx, w.account)
		}
		var report replicator.Report
		if err == nil {
			report, err = replicator.Pass(ctx, source.store, s.store, w.account+"/", options)
			for _, id := range report.Snapshots {
				if e := w.catalogue[id]; e != nil {
					e.at[to] = true
				}
			}
		}
		w.did("copy %s to %s: %d snapshots, %d objects: %v", source.name, s.name, len(report.Snapshots), report.Objects, err)
		if err != nil || len(lists) == 0 {
			return
		}
		result, err := s.keeper.Follow(ctx, source.store, w.account, lists)
		if result.Objects > 0 {
			w.did("followed %s: %d objects: %v", s.name, result.Objects, err)
		} else {
			w.did("waits %s: %v", s.name, err)
		}
	})
}

// mark is the leader's decision: never the newest of a site.
func (w *world) mark() (forget, known []string) {
	for _, id := range w.order {
		e := w.catalogue[id]
		if e == nil || !e.at[w.home] {
			continue
		}
		newest := false
		for site := range e.at {
			last := true
			for _, later := range w.order[slices.Index(w.order, id)+1:] {
				if l := w.catalogue[later]; l != nil && l.at[site] && !l.marked {
					last = false
				}
			}
			newest = newest || last
		}
		if !newest && w.random.IntN(3) == 0 {
			e.marked = true
		}
		if e.marked {
			forget = append(forget, id)
		}
		if w.random.IntN(20) > 0 || e.marked {
			known = append(known, id)
		}
	}
	return forget, known
}

func (w *world) maintain() {
	forget, known := w.mark()
	job := maintenance.Job{Account: w.account, Epoch: uint64(w.epoch), Forget: forget, Known: known}
	if w.random.IntN(4) == 0 {
		w.stale = append(w.stale, staleJob{w.home, job})
	}
	w.run("maintain", w.home, job)
}

func (w *world) run(what string, site int, job maintenance.Job) {
	s := w.sites[site]
	w.maybeDying(s, func(ctx context.Context) {
		result, err := s.keeper.Run(ctx, job)
		w.did("%s %s forget %d of %d: forgot %d, %d objects: %v", what, s.name, len(job.Forget), len(job.Known), len(result.Forgotten), result.Objects, err)
		for _, id := range result.Forgotten {
			if e := w.catalogue[id]; site == w.home && e != nil && e.marked {
				delete(w.catalogue, id)
			}
		}
	})
}

func (w *world) doStale() {
	if len(w.stale) == 0 {
		return
	}
	j := w.stale[0]
	w.stale = w.stale[1:]
	w.run("stale", j.site, j.job)
}

// failover moves the home to a site that can be restored from.
func (w *world) failover(to int) {
	if _, err := w.sites[to].keeper.Tend(context.Background(), w.account); err != nil {
		w.t.Fatal(err)
	}
	if len(w.files(w.sites[to], "snapshots")) == 0 {
		return
	}
	w.home = to
	w.epoch++
	w.did("failover to %s, epoch %d", w.sites[to].name, w.epoch)
}

// setClock makes one of a site's clocks wrong, or right: in each sequence it is always the same one of the two.
func (w *world) setClock(site int) {
	s, which := w.sites[site], "worker"
	off := &s.workerOff
	if (w.seed>>site)&1 == 1 {
		off, which = &s.storeOff, "store"
	}
	day := 24 * time.Hour
	by := []time.Duration{0, 0, 2 * time.Hour, 10 * day, 400 * day, -time.Hour, -10 * day}[w.random.IntN(7)]
	off.Store(int64(by))
	w.did("clock of the %s of %s is wrong by %s", which, s.name, by)
}

// early tells the runs that have left a site's trash before their time.
func (w *world) early(s *worldSite) {
	there := make(map[string]bool)
	for key := range s.double.Objects() {
		if run, ok := strings.CutSuffix(strings.TrimPrefix(key, ".trash/"+w.account+"/"), "/complete.json"); ok {
			there[run] = true
			if s.marked[run].IsZero() {
				s.marked[run] = w.now().Add(-time.Minute) // it was made in the last step
			}
		}
	}
	for run, at := range s.marked {
		if there[run] {
			continue
		}
		delete(s.marked, run)
		if age := w.now().Sub(at); age < worldGrace {
			w.t.Errorf("%s: run %s left the trash after %s", s.name, run, age)
		}
	}
}

// tend is what a site does now and then; with the key it has looked at everything before.
func (w *world) tend(site int) {
	s := w.sites[site]
	if len(w.files(s, "snapshots")) > 0 && w.random.IntN(2) == 0 {
		if err := s.keeper.HasRead(context.Background(), w.account, 1, 1, s.keeper.Now()); err != nil {
			w.t.Fatal(err)
		}
	}
	w.maybeDying(s, func(ctx context.Context) {
		_, err := s.keeper.Tend(ctx, w.account)
		w.did("tend %s: %v", s.name, err)
	})
}

// trash is how many objects of complete runs a site keeps.
func (w *world) trash(s *worldSite) (n int) {
	objects := s.double.Objects()
	for key := range objects {
		run, _, _ := strings.Cut(strings.TrimPrefix(key, ".trash/"+w.account+"/"), "/")
		if _, complete := objects[".trash/"+w.account+"/"+run+"/complete.json"]; complete {
			n++
		}
	}
	return n
}

// look tries each snapshot that is to be kept wherever it is said to be. A site at which a process died is looked at as
// it is after the next start.
func (w *world) look() {
	for n, s := range w.sites {
		before := w.trash(s)
		if _, err := s.keeper.Tend(context.Background(), w.account); err != nil {
			w.t.Errorf("%s: tend: %v", s.name, err)
			continue
		}
		if after := w.trash(s); after < before {
			w.did("tended %s: %d objects less in the trash", s.name, before-after)
		}
		w.early(s)
		packs, snapshots := w.files(s, "data"), w.files(s, "snapshots")
		there := make(map[string]bool)
		for _, f := range w.files(s, "index") {
			for pack, blobs := range f.Packs {
				for _, b := range blobs {
					there[b] = there[b] || slices.Contains(packs[pack].Blobs, b)
				}
			}
		}
		for id, e := range w.catalogue {
			if !e.at[n] || e.marked {
				continue
			}
			if _, ok := snapshots[id]; !ok {
				w.t.Errorf("%s: snapshot %.8s is gone", s.name, id)
				continue
			}
			for _, b := range e.blobs {
				if !there[b] {
					w.t.Errorf("%s: snapshot %.8s cannot be restored: %s is nowhere", s.name, id, b)
				}
			}
		}
	}
}
