package orchestrator

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// TestVerifyNow: every copy is looked at in each way, before what is due by itself, and once.
func TestVerifyNow(t *testing.T) {
	p := keeping(t, state.Policy{CheckWithin: 20 * day, ReadWithin: 30 * day, ProveWithin: 30 * day}, 2, 2)
	o, a := p.brain(), accountName(1)
	o.chores.take(surveyOf(p.now())) // the next one may take a while: it is not waited for
	look := func(site state.SiteName) []wire.VerifyJob {
		n := p.now()
		n.asks = &o.asks
		return workerDesired(p.view(), site, o.chores.of(n, site), opened, nil).Verify
	}
	before := len(look("par1"))
	asked, err := o.VerifyNow(t.Context(), "support/ida", a)
	if err != nil || !asked.Equal(p.at) {
		t.Fatalf("got %s, %v", asked, err)
	}
	record := func(site state.SiteName, j wire.VerifyJob, failure string, ago time.Duration) {
		p.apply(state.VerificationRecord, state.VerificationRecordData{Account: j.Account, Site: site, Kind: j.Kind, Snapshot: j.Snapshot,
			Part: j.Part, Parts: j.Parts, Error: failure, BeganAgo: ago})
	}
	for _, site := range []state.SiteName{"par1", "par2"} {
		jobs := look(site)
		var kinds []state.VerificationKind
		for _, j := range jobs[:3] {
			if j.Account == a {
				kinds = append(kinds, j.Kind)
			}
		}
		slices.Sort(kinds)
		if want := []state.VerificationKind{state.Checked, state.Proven, state.Scrubbed}; !slices.Equal(kinds, want) {
			t.Fatalf("%s is given %v, want %v of %s first", site, jobs, want, a)
		}
		p.pass(time.Minute, serverName(0))
		// A look that began before it was asked for does not answer; one that failed since does.
		record(site, jobs[0], "", 2*time.Hour)
		if got := look(site); got[0].Account != a || got[0].Kind != jobs[0].Kind {
			t.Errorf("%s: an old look counts: %v", site, got)
		}
		record(site, jobs[0], "a pack is broken", 0)
		record(site, jobs[1], "", time.Minute+reportSlack/2) // dated before it began, by what its report may have taken
		if got := p.waiting(o, a); !slices.ContainsFunc(got, func(l Look) bool { return l == Look{site, jobs[2].Kind} }) ||
			slices.ContainsFunc(got, func(l Look) bool { return l.Site == site && l.Kind != jobs[2].Kind }) {
			t.Errorf("waiting: %v, want of %s %s alone", got, site, jobs[2].Kind)
		}
		record(site, jobs[2], "", 0)
	}
	if got := p.waiting(o, a); len(got) != 0 {
		t.Errorf("waiting: %v, want nothing", got)
	}
	if got := len(look("par1")); got > before {
		t.Errorf("%d jobs, want at most %d: all that was asked for is done", got, before)
	}
}

func (p *platform) waiting(o *Orchestrator, account state.AccountName) []Look {
	v, err := o.AccountProtection(p.t.Context(), account)
	if err != nil {
		p.t.Fatal(err)
	}
	return v.Waiting
}

func TestVerifyNow_Refused(t *testing.T) {
	p := keeping(t, state.Policy{}, mostAsked+1, 1)
	o := p.brain()
	if _, err := o.VerifyNow(t.Context(), "support/ida", "nobody"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	p.account("new", state.Gold, gib/64)
	if _, err := o.VerifyNow(t.Context(), "support/ida", "new"); !errors.Is(err, ErrRefused) {
		t.Errorf("an account without a snapshot: got %v", err)
	}
	for n := range mostAsked + 1 {
		if _, err := o.VerifyNow(t.Context(), fmt.Sprint("support/", n), accountName(n)); (err != nil) != (n == mostAsked) || err != nil && !errors.Is(err, ErrRefused) {
			t.Fatalf("%d: got %v", n, err)
		}
	}
	if _, err := o.VerifyNow(t.Context(), "support/again", accountName(0)); err != nil {
		t.Errorf("the same once more: got %v", err)
	}
	p.pass(askedFor+time.Hour, serverName(0))
	if _, err := o.VerifyNow(t.Context(), "support/later", accountName(mostAsked)); err != nil {
		t.Errorf("when the others are too old to be waited for: got %v", err)
	}
	o.asks.reset()
	if n := o.now(p.since); !n.asks.of(accountName(mostAsked)).IsZero() {
		t.Error("the next leader knows of it")
	}
}
