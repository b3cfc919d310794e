package gateway

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// What a stolen server can store in a day is bounded. Nobody else feels it, and a day later it may go on.
func TestGateway_dailyLimit(t *testing.T) {
	_, store := double(t)
	p := newPlatform(t, store)
	limited := writable
	limited.Daily = 100_000
	p.grant(limited, Grant{Account: "shop", Server: server, Token: token, Write: true})
	ours := p.agent(server)
	first, second, third := pattern(1, 60_000), pattern(2, 40_001), pattern(3, 40_000)
	p.want(http.StatusOK, ours, "POST", "data/"+name(first), first)
	p.want(http.StatusOK, ours, "POST", "data/"+name(first), first) // is there already, and counts once
	p.want(http.StatusBadRequest, ours, "POST", "data/"+name(third), second[:40_000])
	got := p.want(http.StatusInsufficientStorage, ours, "POST", "data/"+name(second), second)
	if !strings.Contains(string(got.body), "its limit is 100000") {
		t.Errorf("got %s", got.body)
	}
	p.want(http.StatusOK, ours, "POST", "data/"+name(third), third)
	p.want(http.StatusOK, ours, "POST", "/shop/"+token+"/data/"+name(second), second)
}

func TestAllowances(t *testing.T) {
	var a allowances
	take := func(account string, size int64, at time.Duration) (func(), error) {
		return a.take(account, size, 100, at)
	}
	must := func(account string, size int64, at time.Duration) func() {
		t.Helper()
		back, err := take(account, size, at)
		if err != nil {
			t.Fatal(err)
		}
		return back
	}
	full := func(account string, size int64, at time.Duration) {
		t.Helper()
		var no *refusal
		if _, err := take(account, size, at); !errors.As(err, &no) || no.status != http.StatusInsufficientStorage || !strings.Contains(no.reason, account) {
			t.Errorf("%d bytes at %s: got %v, want that the account's day is full", size, at, err)
		}
	}
	must("shop", 60, time.Hour)
	full("shop", 41, time.Hour)
	must("blog", 100, time.Hour)
	back := must("shop", 40, 2*time.Hour)
	full("shop", 1, 3*time.Hour)
	back()
	must("shop", 40, 3*time.Hour)
	full("shop", 1, 24*time.Hour+59*time.Minute) // the first hour still counts
	must("shop", 60, 25*time.Hour)
	full("shop", 1, 26*time.Hour)
	late := must("shop", 40, 27*time.Hour)
	must("shop", 100, 90*time.Hour) // after more than a day nothing of it counts
	late()                          // nor is it given back twice
	full("shop", 1, 90*time.Hour)
	if _, err := a.take("shop", 1<<40, 0, 90*time.Hour); err != nil {
		t.Errorf("without a limit: got %v", err)
	}
}

func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s slots
		enter := func() (func(), error) { return s.enter(t.Context(), 2, time.Second) }
		var leaves []func()
		for range 2 {
			leave, err := enter()
			if err != nil {
				t.Fatal(err)
			}
			leaves = append(leaves, leave)
		}
		var no *refusal
		if _, err := enter(); !errors.As(err, &no) || no.status != http.StatusServiceUnavailable {
			t.Errorf("got %v, want that there is too much to do", err)
		}
		var group sync.WaitGroup
		group.Go(func() {
			leave, err := enter()
			if err != nil {
				t.Errorf("one place is free: got %v", err)
				return
			}
			leave()
		})
		synctest.Wait() // it waits
		leaves[0]()
		group.Wait()
		leaves[1]()
	})
}
