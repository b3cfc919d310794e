package orchestrator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"drp/raftstore/audit"
	"drp/raftstore/state"
)

// vault keeps what it is given, site by site, and never changes it.
type vault struct {
	mu      sync.Mutex
	objects map[state.SiteName]map[string][]byte
	down    map[state.SiteName]bool
	puts    int
}

func newVault() *vault {
	return &vault{objects: map[state.SiteName]map[string][]byte{"par1": {}, "par2": {}}, down: map[state.SiteName]bool{}}
}

var errDown = errors.New("the gateway does not answer")

func (v *vault) Put(_ context.Context, site state.SiteName, name string, body []byte) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.puts++
	switch old, there := v.objects[site][name]; {
	case v.down[site]:
		return errDown
	case there && !bytes.Equal(old, body):
		return errors.New("another one of that name is there")
	}
	v.objects[site][name] = bytes.Clone(body)
	return nil
}

func (v *vault) List(_ context.Context, site state.SiteName, prefix string) ([]string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.down[site] {
		return nil, errDown
	}
	names := slices.Sorted(maps.Keys(v.objects[site]))
	return slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, prefix) }), nil
}

func (v *vault) Get(_ context.Context, site state.SiteName, name string) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	body, ok := v.objects[site][name]
	switch {
	case v.down[site]:
		return nil, errDown
	case !ok:
		return nil, state.ErrNotFound
	}
	return body, nil
}

func (v *vault) count(site state.SiteName) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.objects[site])
}

func (v *vault) written() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.puts
}

func (v *vault) fail(down bool, sites ...state.SiteName) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range sites {
		v.down[s] = down
	}
}

// verify holds a site's whole trail to its checkpoints.
func (v *vault) verify(t *testing.T, site state.SiteName) audit.Report {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	var files []audit.File
	var words []audit.Checkpoint
	for name, body := range v.objects[site] {
		said, ok := audit.ParseName(strings.TrimPrefix(name, trailPrefix))
		if !ok {
			t.Fatalf("object %s has no name of the trail's", name)
		}
		if said.Checkpoint {
			signed, err := audit.ReadCheckpoint(body)
			if err != nil {
				t.Fatal(err)
			}
			words = append(words, signed.Checkpoint)
			continue
		}
		files = append(files, audit.File{Name: name, Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }})
	}
	report, err := audit.VerifyFiles(files, words...)
	if err != nil {
		t.Fatalf("site %s: %v", site, err)
	}
	return report
}

// manyEntries do not wait for the next export.
const manyEntries = 200

// exporting runs the exporter of a term in a bubble until f returns. It looks at once: sites that are to be down then are named.
func exporting(t *testing.T, f func(t *testing.T, s *trailStore, v *vault), down ...state.SiteName) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o, store := newRecorder(t)
		v := newVault()
		v.fail(true, down...)
		o.config.Vault, o.config.Trail.Entries = v, manyEntries
		o.config.Trail.Sign = func(text []byte) ([][]byte, []byte, error) { return [][]byte{[]byte("certificate")}, text[:8], nil }
		o.config.Trail.Vouch = func(s *audit.Signed) error {
			if string(s.Chain[0]) != "certificate" {
				return errors.New("signed by somebody else")
			}
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		term := &term{Orchestrator: o}
		group.Go(func() { term.keepTrail(ctx) })
		f(t, store, v)
		cancel()
		group.Wait()
	})
}

func (s *trailStore) note(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range n {
		s.p.index++
		c := state.NewCommand(state.AuditNote, fmt.Sprintf("note-%d-%d", s.p.index, i), s.now(), "operator/ada", state.AuditNoteData{Action: "read account", Account: "a"})
		if _, err := s.p.state.Apply(s.p.index, c); err != nil {
			s.p.t.Fatal(err)
		}
	}
}

func TestTerm_keepTrail(t *testing.T) {
	exporting(t, func(t *testing.T, store *trailStore, v *vault) {
		time.Sleep(2 * trailLook)
		head := store.View().AuditHead()
		if head.Exported == 0 || v.count("par1") != 2 {
			t.Fatalf("got %+v and %d objects", head, v.count("par1"))
		}
		puts := v.written()
		time.Sleep(time.Hour)
		if now := v.written(); now != puts {
			t.Errorf("%d objects were put when nothing but the export itself was new", now-puts)
		}
		store.note(3)
		time.Sleep(trailEvery)
		if got := store.View().AuditHead(); got.Exported != got.Seq-1 {
			t.Errorf("got %+v, want all exported but the record of it", got)
		}
		store.note(manyEntries)
		time.Sleep(2 * trailLook) // they are many: they do not wait
		if got := store.View().AuditHead(); got.Exported < got.Seq-2 {
			t.Errorf("got %+v, want all exported", got)
		}
		for _, site := range []state.SiteName{"par1", "par2"} {
			report := v.verify(t, site)
			if want := store.View().AuditHead().Exported; report.First != 1 || report.Last != want || report.Checkpoints == 0 {
				t.Errorf("site %s: got %+v, want 1 to %d", site, report, want)
			}
		}
		if message, _ := trailTrouble(store.View(), store.now()); message != "" {
			t.Errorf("got the alarm %q", message)
		}
	})
}

func TestTerm_keepTrail_storesDown(t *testing.T) {
	t.Run("one of two", func(t *testing.T) {
		exporting(t, func(t *testing.T, store *trailStore, v *vault) {
			time.Sleep(2 * trailLook)
			before := v.count("par2")
			v.fail(true, "par2")
			store.note(10)
			time.Sleep(time.Hour)
			store.note(10)
			time.Sleep(time.Hour)
			if got := store.View().AuditHead(); got.Exported != got.Seq-1 {
				t.Errorf("got %+v, want all exported", got)
			}
			if v.count("par2") != before {
				t.Fatal("the site that is down got something")
			}
			v.fail(false, "par2")
			time.Sleep(2 * trailCatchUp)
			if got, want := v.verify(t, "par2"), v.verify(t, "par1"); got.Head != want.Head || got.Entries != want.Entries {
				t.Errorf("the site that was down has %+v, the other %+v", got, want)
			}
		})
	})
	t.Run("all", func(t *testing.T) {
		exporting(t, func(t *testing.T, store *trailStore, v *vault) {
			store.note(100)
			time.Sleep(10 * time.Minute)
			if message, _ := trailTrouble(store.View(), store.now()); message != "" {
				t.Errorf("got the alarm %q after ten minutes", message)
			}
			time.Sleep(trailLate)
			head := store.View().AuditHead()
			message, since := trailTrouble(store.View(), store.now())
			if head.Exported != 0 || head.Dropped != 0 || !strings.Contains(message, "in no site's store") || since.IsZero() {
				t.Errorf("got %+v, alarm %q since %s", head, message, since)
			}
			v.fail(false, "par1")
			time.Sleep(2 * trailCatchUp)
			if got := store.View().AuditHead(); got.Exported < got.Seq-1 || got.Dropped != 0 {
				t.Errorf("got %+v, want all exported", got)
			}
			if report := v.verify(t, "par1"); report.First != 1 {
				t.Errorf("got %+v", report)
			}
		}, "par1", "par2")
	})
}

// What a store answers is not believed: an append-only place would keep it for ever.
func TestTerm_keepTrail_hostileStore(t *testing.T) {
	exporting(t, func(t *testing.T, store *trailStore, v *vault) {
		store.note(10)
		time.Sleep(time.Hour)
		v.mu.Lock()
		for name, body := range v.objects["par1"] {
			changed := bytes.Clone(body)
			changed[len(changed)/2] ^= 1
			v.objects["par1"][name] = changed
		}
		v.objects["par1"]["audit/anything"] = []byte("x")
		hostile := maps.Clone(v.objects["par1"])
		v.mu.Unlock()
		v.fail(false, "par2")
		time.Sleep(3 * trailCatchUp)
		v.mu.Lock()
		defer v.mu.Unlock()
		for name, body := range v.objects["par2"] { // what is exported since is genuine
			if bytes.Equal(body, hostile[name]) {
				t.Errorf("%s was changed, and was carried on", name)
			}
		}
	}, "par2")
}

// Whoever has one site's store can write a trail there that is sound in itself. It gets into no other store, and keeps
// nothing that is genuine from getting there.
func TestTerm_keepTrail_forgedTrail(t *testing.T) {
	exporting(t, func(t *testing.T, store *trailStore, v *vault) {
		v.mu.Lock()
		v.objects["par0"] = map[string][]byte{}
		v.mu.Unlock()
		store.must(state.InventoryApply, state.InventoryData{Sites: []state.Site{{Name: "par0", Gateways: []string{"https://par0.test:7460"}, Store: &state.Store{Endpoint: "http://par0.test:7480", Bucket: "drp-par0"}}}})
		time.Sleep(2 * trailLook)
		v.fail(true, "par2")
		store.note(10)
		time.Sleep(time.Hour)
		v.mu.Lock()
		for i := range 2 * trailBehind { // par0 is the hostile one, and the first that is asked
			for name, body := range forgedTrail(t, store.View().Cluster().UUID, i) {
				v.objects["par0"][name] = body
			}
		}
		v.mu.Unlock()
		v.fail(false, "par2")
		time.Sleep(3 * trailCatchUp)
		if got, want := v.verify(t, "par2"), v.verify(t, "par1"); got.Head != want.Head || got.Checkpoints != want.Checkpoints {
			t.Errorf("got %+v, want the trail of the honest site: %+v", got, want)
		}
	})
}

func (s *trailStore) must(name state.Name, payload any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.p.apply(name, payload)
}

// forgedTrail is a segment with its checkpoint, with another signature than a coordinator's.
func forgedTrail(t *testing.T, cluster string, i int) map[string][]byte {
	t.Helper()
	var text bytes.Buffer
	w, err := audit.NewWriter(&text, audit.Header{Cluster: cluster, First: 1})
	if err != nil {
		t.Fatal(err)
	}
	e := &state.AuditEntry{Seq: 1, Index: 1, By: "operator/eve", Command: state.AuditNote, Detail: fmt.Sprint(i)}
	e.Hash = e.Chain(state.Digest{})
	if err := errors.Join(w.Add(e), w.Close()); err != nil {
		t.Fatal(err)
	}
	word, err := audit.Sign(audit.Checkpoint{Cluster: cluster, Incarnation: 1, Seq: 1, Hash: e.Hash}, func(text []byte) ([][]byte, []byte, error) {
		return [][]byte{[]byte("an agent's")}, text[:8], nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		trailPrefix + audit.SegmentName(1, 1, e.Hash): text.Bytes(), trailPrefix + audit.CheckpointName(1, word): word,
	}
}

// A leader that ended between its export and the record of it leaves a next one that begins where the state stands: the
// two overlap, and agree.
func TestTerm_keepTrail_nextLeader(t *testing.T) {
	exporting(t, func(t *testing.T, store *trailStore, v *vault) {
		store.note(5)
		store.failing(ErrNotLeader)
		time.Sleep(2 * trailLook)
		if v.count("par1") == 0 || store.View().AuditHead().Exported != 0 {
			t.Fatalf("got %d objects and %+v, want an export without a record", v.count("par1"), store.View().AuditHead())
		}
		store.note(5)
		store.failing(nil)
		time.Sleep(2 * trailCatchUp)
		report := v.verify(t, "par1")
		if head := store.View().AuditHead(); report.Last != head.Exported || report.First != 1 {
			t.Errorf("got %+v, head %+v", report, head)
		}
	})
}

// The newest exported entry stays in memory however long no store answers: the next export begins with its hash. And when
// many wait, a person hears of it at once.
func TestTerm_keepTrail_manyWait(t *testing.T) {
	exporting(t, func(t *testing.T, store *trailStore, v *vault) {
		time.Sleep(2 * trailLook)
		v.fail(true, "par1", "par2")
		store.note(trailCrowding + 1)
		head := store.View().AuditHead()
		seg, err := nextSegment(store.View())
		if err != nil || seg.first != head.Exported+1 || seg.last != seg.first+segmentEntries-1 {
			t.Errorf("got entries from %d to %d, %v; want %d from %d", seg.first, seg.last, err, segmentEntries, head.Exported+1)
		}
		if message, _ := trailTrouble(store.View(), store.now()); message == "" || head.Dropped != 0 {
			t.Errorf("got no alarm, and %d entries dropped", head.Dropped)
		}
		v.fail(false, "par1")
		time.Sleep(2 * trailEvery)
		if report := v.verify(t, "par1"); report.First != 1 || report.Last < head.Seq {
			t.Errorf("got %+v, want all up to %d", report, head.Seq)
		}
	})
}
