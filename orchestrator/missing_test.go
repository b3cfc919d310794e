package orchestrator

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// What is remembered of each site gives the same as what is worked out anew, whatever changes between two looks.
func TestMissing_SameAsAnew(t *testing.T) {
	p := keeping(t, state.Policy{Retention: 3 * time.Hour}, 3, 2)
	known := &missing{}
	last := map[state.SiteName]wire.WorkerDesired{}
	changes := 0
	look := func(what string) {
		t.Helper()
		for _, site := range []state.SiteName{"par1", "par2"} {
			want := workerDesired(p.view(), site, nil, opened, nil)
			for range 2 { // worked out, and looked up
				if got := workerDesired(p.view(), site, nil, opened, known); !cmp.Equal(got, want) {
					t.Errorf("%s: %s: %s", what, site, cmp.Diff(want, got))
				}
			}
			if want.Revision != last[site].Revision {
				changes++
			}
			last[site] = want
		}
	}
	look("at first")
	a, b := accountName(0), accountName(1)
	for h := range 4 {
		p.pass(time.Hour, serverName(0))
		p.stored(a, b)
		look("stored")
		if h%2 == 0 {
			p.copied(a, "par2")
			look("copied")
		}
	}
	p.mark()
	look("marked")
	p.copied(a, "par2")
	look("copied")
	from := func() []wire.CopyJob {
		return known.of(p.view(), p.view().Repository(a), "par9").copies(p.view(), p.view().Repository(a), "par9")
	}
	if got := from(); len(got) != 1 || got[0].From != "par1" {
		t.Errorf("got %+v, want all of it from par1", got)
	}
	p.failOver(a, "par2-s1")
	look("failed over")
	if got := from(); len(got) != 1 || got[0].From != "par2" {
		t.Errorf("got %+v, want all of it from the new home", got)
	}
	p.leaves("par1")
	look("out of the policy")
	if changes < 8 {
		t.Errorf("%d changes of what is wanted: that shows little", changes)
	}
	version := p.view().SnapshotsVersion(b)
	known.of(p.view(), p.view().Repository(b), "par2")
	known.known[missingKey{"par2", b}] = absent{of: version, home: "par1", expected: true}
	if got := known.of(p.view(), p.view().Repository(b), "par2"); len(got.from) != 0 {
		t.Error("it was worked out again though nothing has changed")
	}
	if known.reset(); known.known != nil {
		t.Error("something is left of it")
	}
}

// BenchmarkWorkerDesired is a site's worker asking while one backup ends: 80,000 accounts with eight snapshots each.
func BenchmarkWorkerDesired(b *testing.B) {
	const accounts = 80_000
	p := many(b, 40, accounts, gold)
	for n := range 8 {
		p.at = p.at.Add(time.Hour)
		for i := range accounts {
			p.stored(accountName(i))
			if n == 7 {
				p.copied(accountName(i), "par2")
			}
		}
	}
	for name, known := range map[string]*missing{"anew": nil, "remembered": {}} {
		b.Run(name, func(b *testing.B) {
			workerDesired(p.view(), "par2", nil, opened, known)
			for n := 0; b.Loop(); n++ {
				b.StopTimer()
				p.stored(accountName(n % accounts))
				p.copied(accountName(n%accounts), "par2")
				b.StartTimer()
				if d := workerDesired(p.view(), "par2", nil, opened, known); len(d.Copy) != 0 {
					b.Fatal(fmt.Sprint(len(d.Copy), " copies"))
				}
			}
		})
	}
}
