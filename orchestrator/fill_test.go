package orchestrator

import (
	"strings"
	"testing"
	"time"

	"drp/orchestrator/wire"
)

func TestForecast(t *testing.T) {
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		used, then int64 // of 1000
		span       time.Duration
		want       string
		pressing   bool
	}{
		"grows":               {500, 400, 10 * day, "50% full, full in 50 days", false},
		"grows fast":          {500, 200, 10 * day, "50% full, full in 16 days", true},
		"shrinks":             {400, 500, 10 * day, "40% full, not growing", false},
		"stays":               {400, 400, 10 * day, "40% full, not growing", false},
		"a first look":        {400, 400, 0, "40% full, growth not known yet", false},
		"a morning":           {400, 100, 6 * time.Hour, "40% full, growth not known yet", false},
		"nearly full":         {900, 900, 10 * day, "90% full, not growing", true},
		"nearly full, unseen": {950, 950, 0, "95% full, growth not known yet", true},
		"full":                {1000, 900, 10 * day, "full", true},
		"more than full":      {1100, 1100, 0, "full", true},
		"hardly grows":        {400, 399, 14 * day, "40% full, full in 8400 days", false},
	} {
		got := forecast(&wire.Fill{At: at, Used: c.used, Capacity: 1000, Then: at.Add(-c.span), UsedThen: c.then})
		if got.String() != c.want || got.pressing() != c.pressing {
			t.Errorf("%s: got %q, pressing %t; want %q, %t", name, got, got.pressing(), c.want, c.pressing)
		}
	}
	if forecast(nil) != nil || forecast(&wire.Fill{At: at, Used: 5}) != nil {
		t.Error("a forecast of nothing")
	}
	if f := forecast(&wire.Fill{At: at, Used: 2, Capacity: 1 << 50, Then: at.Add(-10 * day), UsedThen: 1}); *f.FullIn <= 0 {
		t.Errorf("full in %s", *f.FullIn)
	}
}

// TestFill: what a worker tells is in the status, in the protection's report, and an alarm where it presses.
func TestFill(t *testing.T) {
	p := newPlatform(t)
	p.seen.worker(wire.WorkerReport{Site: "par1", Fill: &wire.Fill{At: p.at, Used: 500, Capacity: 1000, Then: p.at.Add(-10 * day), UsedThen: 200}}, p.at)
	p.seen.worker(wire.WorkerReport{Site: "par2", Fill: &wire.Fill{At: p.at, Used: 100, Capacity: 1000, Then: p.at, UsedThen: 100}}, p.at)
	n := p.now()
	alarms := fillAlarms(n)
	if len(alarms) != 1 || alarms[0].Kind != alarmStore || !strings.Contains(alarms[0].Message, "site par1 is 50% full, full in 16 days") {
		t.Errorf("alarms %+v", alarms)
	}
	if n.fill("par2") == nil || n.fill("par3") != nil {
		t.Errorf("got %v and %v", n.fill("par2"), n.fill("par3"))
	}
	stores := storesOf(n)
	if len(stores) != 2 || stores[0].Site != "par1" || stores[0].Fill.FullIn == nil {
		t.Errorf("got %+v", stores)
	}
	p.seen.worker(wire.WorkerReport{Site: "par1"}, p.at) // an older worker, or one that was started anew
	if p.now().fill("par1") == nil {
		t.Error("what was told before is forgotten")
	}
	p.seen.reset()
	if p.now().fill("par1") != nil {
		t.Error("another leader's is believed")
	}
}
