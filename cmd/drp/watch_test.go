package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWhileWaiting_Ticks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, ticks, worked := time.Now(), 0, false
		whileWaiting(time.Second, func() { ticks++ }, func() {
			time.Sleep(3500 * time.Millisecond)
			worked = true
		})
		if took := time.Since(begun); ticks != 3 || !worked || took != 3500*time.Millisecond {
			t.Errorf("got %d ticks in %v, worked %t; want 3 in 3.5s", ticks, took, worked)
		}
	})
}

func TestLiveProgress_Tick(t *testing.T) {
	var b bytes.Buffer
	now := time.Unix(1012, 0)
	p := &liveProgress{out: &b, size: func() (int, int) { return 80, 24 }, now: func() time.Time { return now }}
	if p.tick(); b.Len() > 0 {
		t.Errorf("got %q before there is a run", b.String())
	}
	p.show(exampleRun(), "failover")
	b.Reset()
	now = now.Add(time.Second)
	if p.tick(); !strings.Contains(b.String(), "running for 13s") || !strings.HasPrefix(b.String(), "\x1b[") {
		t.Errorf("got %q, want the picture drawn again a second later", b.String())
	}
}

func TestPrintRun_OpenItems(t *testing.T) {
	var b bytes.Buffer
	printRun(&b, exampleRun())
	for _, want := range []string{"rebuild: 1 of 4 done\n", `b        s2      running  restoring: 10%\x1b[31m` + "\n", "c        -       failed   no room\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("got %s\nwant %q in it", b.String(), want)
		}
	}
	if strings.Contains(b.String(), "fence:") {
		t.Errorf("a step that is done has items:\n%s", b.String())
	}
}
