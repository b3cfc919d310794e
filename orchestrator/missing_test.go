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

// What is to be done about keys, and from where a copy can be repaired, is found by what is remembered, and not by unpacking
// catalogues: it is so in the memory alone that a site holds something.
func TestMissing_Used(t *testing.T) {
	p := many(t, 1, 1, gold)
	a := accountName(0)
	p.stored(a) // at par1 alone
	p.key(a)
	n := p.now()
	repo := n.view.Repository(a)
	if n.view.SnapshotsVersion(a) == nil {
		t.Fatal("its snapshots are not in a catalogue")
	}
	if _, due := n.keyDuty(repo, "par2"); due {
		t.Error("a site that holds nothing has something to do about its keys")
	}
	n.missing = &missing{known: map[missingKey]absent{{"par2", a}: {of: n.view.SnapshotsVersion(a), home: repo.Home.Site, expected: true}}}
	if d, due := n.keyDuty(repo, "par2"); !due || d.make != "" {
		t.Error("a site that holds something has nothing to do about its keys")
	}
	if got := otherCopies(n.view, repo, repo.Home.Site, n.missing); len(got) != 1 || got[0].Site != "par2" {
		t.Errorf("copies: %+v, want that at par2", got)
	}
}

// key makes the break-glass key of an account's repository.
func (p *platform) key(name state.AccountName) {
	repo := p.view().Repository(name)
	p.apply(state.KeysMade, state.KeysMadeData{Account: name, Repository: repo.Name(), Home: repo.Home, Purpose: state.KeyBreakGlass,
		Key: state.Sum([]byte(name)).String(), Asked: []string{"age1a"}, Sealed: []string{"age1a"}, File: state.Sum([]byte("file"))})
}

// BenchmarkKeySurvey is a look at the keys of 20,000 accounts with eight snapshots each, at sites that hold no copy of them.
func BenchmarkKeySurvey(b *testing.B) {
	const accounts = 20_000
	p := many(b, 40, accounts, gold)
	for range 8 {
		p.at = p.at.Add(time.Hour)
		for i := range accounts {
			p.stored(accountName(i))
		}
	}
	for i := range accounts {
		p.key(accountName(i))
	}
	for name, known := range map[string]*missing{"anew": nil, "remembered": {}} {
		b.Run(name, func(b *testing.B) {
			n := p.now()
			n.missing = known
			keySurveyOf(n)
			b.ReportAllocs()
			for b.Loop() {
				keySurveyOf(n)
			}
		})
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
