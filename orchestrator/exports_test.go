package orchestrator

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"drp/orchestrator/export"
	"drp/raftstore/state"
)

// shelf is a vault in memory.
type shelf struct {
	mu      sync.Mutex
	objects map[state.SiteName]map[string][]byte
	down    map[state.SiteName]bool
	lists   int
}

var errNoGateway = errors.New("no gateway answers")

func (s *shelf) Put(_ context.Context, site state.SiteName, name string, body []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down[site] {
		return errNoGateway
	}
	if old, ok := s.objects[site][name]; ok && !bytes.Equal(old, body) {
		return state.ErrConflict
	}
	if s.objects[site] == nil {
		s.objects[site] = map[string][]byte{}
	}
	s.objects[site][name] = body
	return nil
}

func (s *shelf) List(_ context.Context, site state.SiteName, prefix string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists++
	if s.down[site] {
		return nil, errNoGateway
	}
	var names []string
	for n := range s.objects[site] {
		if strings.HasPrefix(n, prefix) {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names, nil
}

func (s *shelf) Get(_ context.Context, site state.SiteName, name string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.objects[site][name]; ok {
		return b, nil
	}
	return nil, state.ErrNotFound
}

// exportingCouncil is a coordinator at par1 with a vault.
func exportingCouncil(t testing.TB) (*council, *Orchestrator, *shelf, *age.X25519Identity) {
	t.Helper()
	key, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	c, o := newCouncil(t, map[string]bool{"par1-c": true})
	v := &shelf{objects: map[state.SiteName]map[string][]byte{}, down: map[state.SiteName]bool{}}
	o.observed, o.config.Vault = c.seen, v
	o.config.Exports = ExportOptions{
		Recipients: func() []string { return []string{key.Recipient().String()} },
		Sign:       func(m []byte) ([][]byte, []byte, error) { return [][]byte{{1}}, m[:8], nil },
	}
	return c, o, v, key
}

func (s *shelf) exports(site state.SiteName) int {
	names, _ := s.List(context.Background(), site, "exports/")
	return len(names) / 2
}

func TestExports_eachHour(t *testing.T) {
	c, o, v, key := exportingCouncil(t)
	look := func() {
		t.Helper()
		if err := o.lookAtExports(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	want := func(what string, n int) {
		t.Helper()
		for _, site := range []state.SiteName{"par1", "par2"} {
			if got := v.exports(site); got != n {
				t.Errorf("%s: got %d exports at %s, want %d", what, got, site, n)
			}
		}
	}
	look()
	want("none yet", 1)
	for range 10 {
		c.at = c.at.Add(5 * time.Minute)
		look()
	}
	want("within the hour", 1)
	c.at = c.at.Add(11 * time.Minute)
	look()
	want("after the hour", 2)
	// The next leader learns from the stores what there is.
	o.exports = exports{}
	c.at = c.at.Add(30 * time.Minute)
	look()
	want("another leader", 2)

	v.down["par2"] = true
	c.at = c.at.Add(31 * time.Minute)
	look()
	if got := o.exports.at(c.view().Site("par2")); got.Error == "" || got.At.IsZero() {
		t.Errorf("got %+v, want why the newest attempt failed, and the export before", got)
	}
	if alarms := o.exportAlarms(c.now()); len(alarms) != 0 {
		t.Errorf("got alarms %+v an hour after the newest export", alarms)
	}
	c.at = c.at.Add(time.Hour)
	if alarms := o.exportAlarms(c.now()); len(alarms) != 1 || !strings.Contains(alarms[0].Message, "site par2 is 2h1m0s old: no gateway answers") {
		t.Errorf("got alarms %+v, want par2's exports", alarms)
	}
	v.down["par2"] = false
	c.at = c.at.Add(time.Minute)
	look()
	if v.exports("par2") != 3 {
		t.Errorf("got %d exports at par2, want one more as soon as it is back", v.exports("par2"))
	}

	c.recover(2)
	c.at = c.at.Add(time.Minute)
	look()
	names, err := v.List(t.Context(), "par1", "exports/i000002-")
	if err != nil || len(names) != 2 {
		t.Fatalf("got %v (%v), want an export of the new incarnation at once", names, err)
	}
	sealed, err := v.Get(t.Context(), "par1", names[0])
	if err != nil {
		t.Fatal(err)
	}
	got, err := export.Open(bytes.NewReader(sealed), key)
	if err != nil || got.View().Digest() != c.view().Digest() {
		t.Errorf("got %v, want the state as it is", err)
	}
}

// While a leader exports, the others leave it at that; when its exports are overdue at their own site, they make one.
func TestExports_withoutLeader(t *testing.T) {
	c, o, v, _ := exportingCouncil(t)
	if err := o.lookAtExports(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.setSince(time.Time{})
	c.at = c.at.Add(65 * time.Minute)
	if err := o.lookAtExports(t.Context()); err != nil || v.exports("par1") != 1 {
		t.Errorf("after 65 minutes: got %d exports (%v), want that to be the leader's", v.exports("par1"), err)
	}
	c.at = c.at.Add(6 * time.Minute)
	if err := o.lookAtExports(t.Context()); err != nil || v.exports("par1") != 2 || v.exports("par2") != 2 {
		t.Errorf("after 71 minutes: got %d and %d exports (%v), want one more at each site", v.exports("par1"), v.exports("par2"), err)
	}
}

func TestExportState_recorded(t *testing.T) {
	c, o, _, key := exportingCouncil(t)
	e, err := o.ExportState(t.Context(), "operator/olga")
	if err != nil {
		t.Fatal(err)
	}
	s, err := e.Manifest.Check(e.Sealed, key)
	if err != nil {
		t.Fatal(err)
	}
	head := c.view().AuditHead()
	if last := s.View().Audit(head.Seq, 1); len(last) != 1 || last[0].By != "operator/olga" || last[0].Command != state.AuditNote {
		t.Errorf("got %+v, want the record of the export in the export itself", last)
	}
}

// A cluster that cannot leave word of its incarnation anywhere does not act.
func TestResume_claimsItsIncarnation(t *testing.T) {
	c, o, v, _ := exportingCouncil(t)
	c.recover(2)
	c.rememberAll()
	c.remember("par2-s2", nil)
	v.down["par1"], v.down["par2"] = true, true
	if err := o.Resume(t.Context(), "operator/olga", ResumeRequest{Cluster: "c"}); !errors.Is(err, ErrRefused) || !held(c.view()) {
		t.Errorf("got %v, want it refused while no store takes an export", err)
	}
	v.down["par2"] = false
	if err := o.Resume(t.Context(), "operator/olga", ResumeRequest{Cluster: "c"}); err != nil || held(c.view()) {
		t.Errorf("got %v, want it to act", err)
	}
}
