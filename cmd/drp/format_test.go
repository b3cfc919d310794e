package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drp/orchestrator"
	"drp/orchestrator/api"
	"drp/raftstore/state"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain, with é and 漢字": "plain, with é and 漢字",
		"\x1b[2J":              `\x1b[2J`,
		"a\r\nb\tc":            `a\r\nb\tc`,
		"\u009b31m":            `\u009b31m`,
		"abc\u202egpj.exe":     `abc\u202egpj.exe`,
		"\xff":                 `\ufffd`,
		"quote ' and \"":       "quote ' and \"",
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q): got %q, want %q", in, got, want)
		}
	}
}

func TestShort(t *testing.T) {
	for in, want := range map[time.Duration]string{
		0: "0.0s", 1540 * time.Millisecond: "1.5s", 12 * time.Second: "12s", 65 * time.Second: "1m05s",
		2*time.Hour + 5*time.Minute: "2h05m", 50 * time.Hour: "2d02h", -time.Minute: "-1m00s",
	} {
		if got := short(in); got != want {
			t.Errorf("short(%v): got %q, want %q", in, got, want)
		}
	}
}

func TestSize(t *testing.T) {
	for in, want := range map[int64]string{0: "0B", 1023: "1023B", 1536: "1.5KiB", 256 << 20: "256MiB", 1 << 40: "1TiB"} {
		if got := size(in); got != want {
			t.Errorf("size(%d): got %q, want %q", in, got, want)
		}
	}
}

func TestTable_FitsWidth(t *testing.T) {
	tab := newTable("A", "WHY")
	tab.add("x", strings.Repeat("a reason ", 30))
	tab.add("y", strings.Repeat("w", 120))
	var b bytes.Buffer
	tab.print(&b)
	for line := range strings.Lines(b.String()) {
		if n := len(strings.TrimRight(line, "\n")); n > tableWidth && !strings.Contains(line, "www") {
			t.Errorf("line of %d letters: %q", n, line)
		}
	}
	if got := strings.Count(strings.Join(strings.Fields(b.String()), " "), "a reason"); got != 30 {
		t.Errorf("got %d reasons, want 30", got)
	}
}

func TestExitCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("anything"), 1},
		{usageError{errors.New("flag")}, 2},
		{state.ErrInvalid, 2},
		{state.ErrNotFound, 2},
		{orchestrator.ErrRefused, 3},
		{state.ErrConflict, 3},
		{api.ErrForbidden, 3},
		{api.ErrUnauthenticated, 3},
		{api.ErrUnreachable, 4},
		{api.ErrNoLeader, 4},
		{orchestrator.ErrNotLeader, 4},
		{orchestrator.ErrUnknownOutcome, 4},
		{fmt.Errorf("%w: %w", orchestrator.ErrUnknownOutcome, state.ErrConflict), 4},
		{&runError{"one of two"}, 5},
		{&interruptError{"run-1"}, 130},
		{context.Canceled, 130},
	} {
		err := c.err
		if err != nil {
			err = fmt.Errorf("do it: %w", err)
		}
		if got := exitCode(err); got != c.want {
			t.Errorf("%v: got %d, want %d", err, got, c.want)
		}
	}
}

func exampleRun() *state.Run {
	return &state.Run{
		ID: "run-1", Runbook: "site-loss", Status: state.RunRunning, Created: time.Unix(1000, 0), Step: 1,
		Steps: []state.RunStep{
			{ID: "fence", Status: state.StepDone, Items: []state.RunItem{{Account: "a", Status: state.StepDone}, {Account: "b", Status: state.StepDone}}},
			{ID: "rebuild", Status: state.StepRunning, Items: []state.RunItem{
				{Account: "a", Status: state.StepDone}, {Account: "b", Status: state.StepRunning, Message: "restoring: 10%\x1b[31m", Server: "s2"},
				{Account: "c", Status: state.StepFailed, Message: "no room"}, {Account: "d", Status: state.StepRunning}}},
			{ID: "verify", Status: state.StepPending},
		},
	}
}

func TestPicture(t *testing.T) {
	got := picture(exampleRun(), "failover of site par1", 6, time.Unix(1012, 0))
	want := []string{
		"failover of site par1: running for 12s (run run-1)",
		"  fence          done, 2 of 2",
		"  rebuild        running, 1 of 4, 1 failed",
		`    b                    running  restoring: 10%\x1b[31m, server s2`,
		"    c                    failed   no room",
		"  verify         pending",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("picture (-want +got):\n%s", diff)
	}
	if got := len(picture(exampleRun(), "", 2, time.Unix(1012, 0))); got != 4 {
		t.Errorf("got %d lines where there is no room, want the steps alone", got)
	}
}

func TestLiveProgress(t *testing.T) {
	var b bytes.Buffer
	p := &liveProgress{out: &b, size: func() (int, int) { return 40, 24 }, now: func() time.Time { return time.Unix(1012, 0) }}
	p.show(exampleRun(), "failover")
	first := b.String()
	lines := strings.Count(first, "\n")
	if strings.Contains(first, "\x1b") {
		t.Errorf("the first picture moves the cursor: %q", first)
	}
	b.Reset()
	p.note("coordinator a has no answer")
	if want := fmt.Sprintf("\x1b[%dA\x1b[J", lines); !strings.HasPrefix(b.String(), want) {
		t.Errorf("got %q, want the old picture wiped with %q", b.String(), want)
	}
	if i := strings.Index(b.String(), "no answer"); i < 0 || i > strings.Index(b.String(), "fence") {
		t.Errorf("the note does not stand above the picture: %q", b.String())
	}
	for line := range strings.Lines(first) {
		if n := len([]rune(line)); n > 40 {
			t.Errorf("line of %d letters on a terminal of 40: %q", n, line)
		}
	}
	b.Reset()
	p.end()
	p.note("later")
	if got := strings.Count(b.String(), "\x1b["); got != 2 {
		t.Errorf("got %q, want what stands at the end to stay", b.String())
	}
}

func TestSummarize(t *testing.T) {
	run := exampleRun()
	run.Status, run.Error = state.RunFailed, "3 of 4 accounts did not come back"
	run.Steps[1].Status, run.Steps[2].Status = state.StepDone, state.StepDone
	run.Steps[2].Items = []state.RunItem{
		{Account: "a", Status: state.StepDone, Server: "s2", RPO: 5 * time.Second, RTO: 9 * time.Second},
		{Account: "b", Status: state.StepDone, Server: "s2", RPO: 7 * time.Second, RTO: 30 * time.Second},
		{Account: "c", Status: state.StepFailed, Message: "no room"},
		{Account: "d", Status: state.StepRunning},
	}
	s := summarize(run, []orchestrator.PlanRefusal{{Account: "e", Reason: "it was never copied"}, {Account: "c", Reason: "said already"}})
	var got []string
	for _, r := range s.results {
		got = append(got, fmt.Sprintf("%s %t %s", r.account, r.back, r.reason))
	}
	want := []string{"a true ", "b true ", "c false no room", "d false 3 of 4 accounts did not come back", "e false it was never copied"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	if got, want := s.line("failover"), "failover: failed: accounts=5 back=2 rpo_max=7.0s rto_p50=9.0s rto_max=30s"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := s.err(); exitCode(err) != codeRun || !strings.Contains(err.Error(), "e (it was never copied)") {
		t.Errorf("got %v", err)
	}

	run.Status, run.Error, run.Steps[1].Items = state.RunDone, "", nil
	run.Steps[2].Items = []state.RunItem{
		{Account: "a", Status: state.StepDone, Server: "s2", RPO: 5 * time.Second, RTO: 9 * time.Second},
		{Account: "b", Status: state.StepDone, Server: "s2", Message: "it is being erased", Erased: true},
	}
	s = summarize(run, nil)
	if got, want := s.line("failover"), "failover: done: accounts=2 back=1 erased=1 rpo_max=5.0s rto_p50=9.0s rto_max=9.0s"; got != want || s.err() != nil {
		t.Errorf("with an account that left: got %q and %v, want %q", got, s.err(), want)
	}
}
