package export_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"drp/orchestrator/export"
	"drp/raftstore/identity"
)

func exportName(index int) string { return fmt.Sprintf("i000001-%016d", index) }

// hourly are exports of one signer, one an hour, the newest at end.
func hourly(signer string, n int, end time.Time) []export.Stored {
	var all []export.Stored
	for i := range n {
		all = append(all, export.Stored{Name: exportName(1000 + i), Signer: signer, At: end.Add(-time.Duration(n-1-i) * time.Hour)})
	}
	return all
}

func remaining(all []export.Stored) []export.Stored {
	over := export.Over(all)
	return slices.DeleteFunc(slices.Clone(all), func(s export.Stored) bool { return slices.Contains(over, s.Name) })
}

func TestOver_leavesTwoDaysThenOneADay(t *testing.T) {
	end := time.Date(2026, 11, 26, 12, 30, 0, 0, time.UTC)
	left := remaining(hourly("par1-c", 60*24, end))
	// 49 of the last 48 hours; then the last of each day from the 24th (until 12:30 it is within those) back to the 23rd of October;
	// the 22nd's last one, 23:30, is 34 days and 13 hours old.
	var ages []time.Duration
	for _, s := range left {
		ages = append(ages, end.Sub(s.At))
	}
	days := map[time.Time]int{}
	for i, s := range left {
		if ages[i] > 48*time.Hour {
			days[s.At.Truncate(24*time.Hour)]++
			if s.At.Hour() != 23 {
				t.Errorf("%s stays, and is not the last of its day", s.At)
			}
		}
	}
	if got := len(left); got != 49+33 || len(days) != 33 {
		t.Errorf("%d stay, of %d days beyond the last two: want 82 and 33", got, len(days))
	}
	if oldest := slices.Max(ages); oldest > 35*24*time.Hour {
		t.Errorf("the oldest that stays is %s old", oldest)
	}
}

func TestOver_leavesTheNewestThirtyWhateverTheirAge(t *testing.T) {
	end := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	old := hourly("par1-c", 100, end.AddDate(0, -6, 0))
	left := remaining(append(slices.Clone(old), export.Stored{Name: exportName(9000), Signer: "par2-c", At: end}))
	if len(left) != 31 || !slices.ContainsFunc(left, func(s export.Stored) bool { return s.Name == old[99].Name }) {
		t.Errorf("%d stay, want thirty of the one who stopped, the newest among them, and that of the other", len(left))
	}
}

// Whoever can write exports as one coordinator cannot have those of another deleted, nor by a clock that jumps all of its own.
func TestOver_property(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		all := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) export.Stored {
			return export.Stored{
				Name:   exportName(rapid.IntRange(0, 500).Draw(t, "index")),
				Signer: rapid.SampledFrom([]string{"", "par1-c", "par2-c"}).Draw(t, "signer"),
				At:     base.Add(time.Duration(rapid.IntRange(0, 24*400).Draw(t, "hour")) * time.Hour),
			}
		}), 0, 200, func(s export.Stored) string { return s.Name }).Draw(t, "exports")
		left := remaining(all)
		var newest time.Time
		for _, s := range all {
			if s.At.After(newest) {
				newest = s.At
			}
		}
		for _, s := range all {
			if newest.Sub(s.At) <= 48*time.Hour && !slices.Contains(left, s) {
				t.Fatalf("%+v is gone, and is not two days older than the newest", s)
			}
		}
		for _, signer := range []string{"", "par1-c", "par2-c"} {
			of := func(list []export.Stored) []export.Stored {
				return slices.DeleteFunc(slices.Clone(list), func(s export.Stored) bool { return s.Signer != signer })
			}
			mine, stay := of(all), of(left)
			if len(stay) < min(30, len(mine)) {
				t.Fatalf("%d of %d stay of %q", len(stay), len(mine), signer)
			}
			if len(mine) == 0 {
				continue
			}
			greatest := slices.MaxFunc(mine, func(a, b export.Stored) int { return strings.Compare(a.Name, b.Name) })
			if !slices.Contains(stay, greatest) {
				t.Fatalf("the newest state of %q is gone: %+v", signer, greatest)
			}
		}
		if again := export.Over(left); len(again) > 0 {
			t.Fatalf("done twice, it takes %v too", again)
		}
	})
}

// shelf is a shop's store for somebody who may delete, with the times of its own clock.
type shelf struct {
	*shop
	at      map[string]time.Time
	refuse  string // a deletion of this object fails
	deleted []string
	reads   int
}

func (s *shelf) Objects(context.Context) (map[string]time.Time, error) {
	times := map[string]time.Time{}
	for n := range s.objects {
		times[n] = s.at[n]
	}
	return times, nil
}

func (s *shelf) Get(ctx context.Context, name string) ([]byte, error) {
	s.reads++
	return s.shop.Get(ctx, name)
}

func (s *shelf) Delete(_ context.Context, name string) error {
	if name == s.refuse {
		return errors.New("the store does not answer")
	}
	delete(s.objects, name)
	s.deleted = append(s.deleted, name)
	return nil
}

func (s *shelf) took(name string, at time.Time) {
	s.at[name+export.Sealed], s.at[name+export.Clear] = at, at
}

func TestThinner(t *testing.T) {
	s := &shelf{shop: newShop(t), at: map[string]time.Time{}}
	other := s.credentials("par2-c")
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var own []string
	for i := range 40 {
		own = append(own, s.export(s.signer))
		s.took(own[i], begin.Add(time.Duration(i)*time.Minute))
	}
	foreign := s.export(other)
	s.took(foreign, begin)
	forger, err := identity.NewAuthority("cluster-a")
	if err != nil {
		t.Fatal(err)
	}
	for range 50 { // signed by a stranger: they push nobody's out
		s.took(s.export(issued(t, forger, identity.Coordinator, "par2-c")), begin.AddDate(0, 3, 0))
	}
	s.objects["half"+export.Sealed], s.at["half"+export.Sealed] = []byte("x"), begin
	s.refuse = own[3] + export.Sealed
	thinner := &export.Thinner{Shelf: s, Vouch: export.SignedBy(s.signer)}
	if _, err := thinner.Thin(t.Context()); err == nil {
		t.Error("the store failed, and nobody says so")
	}
	s.refuse = ""
	reads := s.reads
	if _, err := thinner.Thin(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.reads != reads {
		t.Errorf("%d manifests were read twice", s.reads-reads)
	}
	for i, name := range own {
		_, sealed := s.objects[name+export.Sealed]
		_, clear := s.objects[name+export.Clear]
		if want := i >= 10; sealed != want || clear != want {
			t.Errorf("export %d of 40: sealed %v, manifest %v, want both %v", i, sealed, clear, want)
		}
	}
	if _, ok := s.objects[foreign+export.Clear]; !ok {
		t.Error("the only one of the other coordinator is gone")
	}
	if _, ok := s.objects["half"+export.Sealed]; ok {
		t.Error("a sealed state without a manifest stays for ever")
	}
	if len(s.objects) != 2*(30+1+50) {
		t.Errorf("%d objects are left", len(s.objects))
	}
	for i, d := range s.deleted { // a manifest speaks for what is there
		name, sealed := strings.CutSuffix(d, export.Sealed)
		if sealed && name != "half" && !slices.Contains(s.deleted[:i], name+export.Clear) {
			t.Errorf("%s went before its manifest", d)
		}
	}
	if look := s.newest(); look.Found == nil {
		t.Error("nothing is left to recover from")
	}
}
