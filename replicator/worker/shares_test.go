package worker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"drp/replicator"
)

// TestWorker_Tiers: a site that catches up does the highest tier first, in the order that the leader gave, and the others are
// not left out.
func TestWorker_Tiers(t *testing.T) {
	s := newSite()
	s.worker.Concurrency = 1
	s.setPass(func(_ context.Context, j CopyJob) (replicator.Report, error) {
		time.Sleep(time.Minute)
		return replicator.Report{Snapshots: j.Snapshots}, nil
	})
	s.run(t, func(t *testing.T) {
		var d Desired
		for rank, tier := range []string{"gold", "silver", "bronze"} {
			for n := range 42 {
				j := job(fmt.Sprintf("%s%02d", tier, n), "par1", "s")
				j.Rank = rank
				d.Copy = append(d.Copy, j)
			}
		}
		slices.Reverse(d.Copy) // the tier counts, and not the place of the tier in the list
		s.leader.want(d)
		time.Sleep(42*time.Minute + time.Second)
		synctest.Wait()
		count := map[string]int{}
		last := ""
		for _, account := range s.begun()[:42] {
			account, _, _ = strings.Cut(account, "<-")
			tier := account[:len(account)-2]
			if count[tier]++; tier == "gold" && last != "" && account > last {
				t.Errorf("%s began before %s", last, account)
			}
			if tier == "gold" {
				last = account
			}
		}
		if count["gold"] != 32 || count["silver"] != 8 || count["bronze"] != 2 {
			t.Errorf("of 42 passes got %v, want 32, 8 and 2", count)
		}
		if first := s.begun()[0]; first != "gold41<-par1" {
			t.Errorf("%s was first", first)
		}
	})
}

// TestShares_absent: who had nothing to do for a while is owed nothing, and forgiven nothing.
func TestShares_absent(t *testing.T) {
	var s shares
	some := []*copyJob{{}}
	turn := func(ranks ...int) int {
		waiting := map[int][]*copyJob{}
		for _, r := range ranks {
			waiting[r] = some
		}
		r := s.next(waiting)
		s.begun(r)
		return r
	}
	for range 100 {
		turn(2)
	}
	for range 100 {
		turn(0)
	}
	late := 0
	for range 17 {
		late += turn(0, 2) / 2
	}
	if late != 1 {
		t.Errorf("who had nothing to do for long had %d of 17 turns, want 1", late)
	}
	high := 0
	for range 20 {
		if turn(0, 1) == 0 {
			high++
		}
	}
	if high != 16 {
		t.Errorf("%d of 20 turns, want 16", high)
	}
	low := 0
	for n := range 34 { // the lowest has something to do each second time
		if n%2 == 0 && turn(0, 2) == 2 || n%2 == 1 && turn(0) == 2 {
			low++
		}
	}
	if low > 3 {
		t.Errorf("the lowest had %d of 34 turns", low)
	}
}
