package agent

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"drp/orchestrator/agent/guard"
	"drp/orchestrator/wire"
	"drp/raftstore/state"
)

// recover is the word of a leader that comes out of a loss.
func (w *world) recover() {
	w.mu.Lock()
	w.desired = wire.AgentDesired{Revision: w.desired.Revision + 1, Recovering: true}
	close(w.news)
	w.news = make(chan struct{})
	w.mu.Unlock()
	w.settle()
}

// Coordinators that have lost their memory change nothing here, and are told all of it: also of what was stopped and is
// set aside, and what only the guard remembers.
func TestAgent_recovering(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.agent()()
		backups := make(chan struct{})
		w.backups = backups
		task := wire.DesiredTask{Task: state.Task{ID: "b1", Kind: state.TaskBackup, Account: "shop", Token: token(1)}}
		w.want(these(run("shop", 1), run("blog", 2), run("wiki", 1)))
		w.want(these(run("shop", 1), setAside("blog", 3), stop("wiki", 1)))
		w.want(these(run("shop", 1), stop("wiki", 1))) // blog is not named any more, and forgotten but on the disk
		w.want(these(run("shop", 1), stop("wiki", 1)), task)
		w.mu.Lock()
		w.routes[netip.MustParseAddr("2001:db8:a::cc")] = guard.Route{Account: "guarded", Token: token(7)}
		w.mu.Unlock()
		time.Sleep(2 * firstLook) // what was stopped is looked at once more
		w.happened()
		if w.last().Memory != nil {
			t.Error("memory was told without having been asked for")
		}

		w.recover()
		w.expect("nothing is ordered")
		w.expectTold("shop", "1.1 running")
		want := &wire.Memory{Tokens: []wire.SeenToken{
			{Account: "blog", Token: token(3), Stopped: true}, {Account: "guarded", Token: token(7)},
			{Account: "shop", Token: token(1)}, {Account: "wiki", Token: token(1), Stopped: true},
		}}
		if diff := cmp.Diff(want, w.last().Memory); diff != "" {
			t.Errorf("memory (-want +got):\n%s", diff)
		}
		close(backups)
		w.settle()
		if got := w.last().Tasks; len(got) != 1 || got[0].Error != "" {
			t.Errorf("got tasks %+v, want the backup that was under way done", got)
		}

		w.want(these(run("shop", 1)))
		w.expect("the same word as before the loss")
		if w.last().Memory != nil {
			t.Error("memory is still told")
		}
	})
}

func TestAgent_recoveringWithoutGuard(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		defer w.agent()()
		w.want(these(run("shop", 1)))
		w.mu.Lock()
		w.guardGone = true
		w.mu.Unlock()
		w.recover()
		if got := w.last().Memory; got != nil {
			t.Errorf("got half a memory: %+v", got)
		}
	})
}

// Most of the coordinators from before a recovery come back, and lead each other. Nothing of what they say is done, also
// after this agent was started again.
func TestAgent_earlierIncarnation(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		stop := w.agent()
		word := func(incarnation uint64, recovering bool, accounts ...wire.DesiredAccount) {
			w.mu.Lock()
			w.desired = wire.AgentDesired{Revision: w.desired.Revision + 1, Incarnation: incarnation, Recovering: recovering, Accounts: accounts}
			close(w.news)
			w.news = make(chan struct{})
			w.mu.Unlock()
			time.Sleep(2 * heartbeat)
			w.settle()
		}
		word(0, false, run("shop", 1)) // one that does not say its incarnation
		w.expectTold("shop", "1.1 running")
		word(3, true)
		word(1, false, run("shop", 2)) // nothing was ordered under 3 yet
		w.expectTold("shop", "1.2 running")
		word(3, false, run("shop", 2))
		for _, old := range []uint64{0, 1, 2} {
			word(old, false, run("shop", 9), run("blog", 1))
			w.expectTold("shop", "1.2 running")
			w.expectTold("blog", "nothing")
		}
		stop()
		defer w.agent()()
		word(2, false, run("shop", 9), run("blog", 1))
		w.expectTold("blog", "nothing")
		if got := w.last().Incarnation; got != 3 {
			t.Errorf("got incarnation %d told, want 3", got)
		}
		word(2, true) // another recovery, of coordinators that have forgotten 3
		if got := w.last(); got.Memory == nil || got.Incarnation != 3 {
			t.Errorf("got %+v, want all that is remembered", got)
		}
		word(4, false, run("blog", 1))
		w.expectTold("blog", "1.1 running")
	})
}

// The engines are told to a leader that asks for them. One that answers no more may be an older one, which refuses them.
func TestAgent_engines(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		ask := func(yes bool) {
			w.mu.Lock()
			w.desired = wire.AgentDesired{Revision: w.desired.Revision + 1, AskEngines: yes}
			close(w.news)
			w.news = make(chan struct{})
			w.mu.Unlock()
			time.Sleep(2 * heartbeat)
		}
		defer w.agent()()
		ask(false)
		if w.last().Engines != nil {
			t.Error("told without having been asked for")
		}
		ask(true)
		if got := w.last().Engines; got == nil || !cmp.Equal(got.List, []state.Engine{state.PostgreSQL}) {
			t.Errorf("got %v", got)
		}
		w.leaderGone(true)
		time.Sleep(2 * heartbeat)
		w.mu.Lock()
		before := len(w.reports)
		w.mu.Unlock()
		w.leaderGone(false)
		time.Sleep(4 * heartbeat) // an answer comes when there is news, or after a heartbeat
		w.mu.Lock()
		first := w.reports[before]
		w.mu.Unlock()
		if first.Engines != nil {
			t.Error("told to whoever leads next, unasked")
		}
		if w.last().Engines == nil {
			t.Error("not told again")
		}
	})
}
