package raftstore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"drp/raftstore/state"
)

// corrupt gives one node's state a row that the others do not have, behind raft's back.
func (c *cluster) corrupt(m *member) {
	c.t.Helper()
	r, err := m.fsm.state.Load().Apply(m.View().Index(), token("corrupt", c.id()))
	if err != nil || r.Err != nil {
		c.t.Fatal(err, r.Err)
	}
}

func (c *cluster) wantQuarantine(m *member) {
	c.t.Helper()
	select {
	case <-m.Done():
	case <-time.After(time.Minute):
		c.t.Fatalf("%s goes on with a wrong state", m.name)
	}
	if err := <-c.fatals; !errors.Is(err, ErrQuarantined) {
		c.t.Fatalf("got %v, want %v", err, ErrQuarantined)
	}
	var q *Quarantine
	if err := m.Err(); !errors.As(err, &q) || q.Name != m.name || q.Ours == q.Theirs ||
		!strings.Contains(err.Error(), "drp raft remove "+m.name) || !strings.Contains(err.Error(), "drp server init --join") {
		c.t.Errorf("got %v, want both digests and how to come back", m.Err())
	}
	if _, err := m.Propose(c.ctx, token("late", c.id())); !errors.Is(err, ErrQuarantined) {
		c.t.Errorf("propose: got %v, want %v", err, ErrQuarantined)
	}
	if _, _, err := m.ReadStale(); !errors.Is(err, ErrQuarantined) {
		c.t.Errorf("stale read: got %v, want %v", err, ErrQuarantined)
	}
}

func TestStore_FollowerWithAnotherStateQuarantinesItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		leader := c.leader()
		c.addToken(leader, "one")
		wrong := c.others(leader)[0]
		c.await(wrong, "the command", func(v *state.View) bool { return has(v, "one") })
		c.corrupt(wrong)
		c.wantQuarantine(wrong)
		c.addToken(leader, "the-others-go-on")
		if words := c.raises(leader, AlarmQuarantined, wrong.name); !strings.Contains(words, "is wrong") {
			t.Errorf("got %q, want why", words)
		}
		if m := c.memberOf(leader, wrong.name); m.Quarantined == "" || !m.Healthy.IsZero() {
			t.Errorf("got %+v, want it shown as quarantined", m)
		}
		c.close(wrong)
		if s, err := Open(wrong.cfg); !errors.Is(err, ErrQuarantined) || !strings.Contains(err.Error(), "drp raft remove") {
			t.Errorf("got %v, want that it does not start again", err)
			if s != nil {
				_ = s.Close()
			}
		}
		if err := leader.RemoveMember(c.ctx, wrong.name); err != nil {
			t.Fatal(err)
		}
		back := c.join(wrong.name)
		c.add(leader, wrong.name)
		c.await(back, "what it missed", func(v *state.View) bool { return has(v, "the-others-go-on") && !has(v, "corrupt") })
		c.until("it has a vote again", func() bool { m := c.memberOf(leader, wrong.name); return m != nil && m.Voter })
		c.agree(leader)
	})
}

func TestStore_LeaderWithAnotherStateQuarantinesItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		wrong := c.leader()
		c.addToken(wrong, "one")
		for _, m := range c.others(wrong) {
			c.await(m, "the command", func(v *state.View) bool { return has(v, "one") })
		}
		c.corrupt(wrong)
		c.wantQuarantine(wrong)
		next := c.leaderNow()
		if v, err := next.Read(c.ctx); err != nil || has(v, "corrupt") || !has(v, "one") {
			t.Errorf("the next leader's state: %v", err)
		}
		c.addToken(next, "two")
	})
}

// While commands flow no two nodes are ever at the same index when they talk: the marks tell.
func TestStore_DifferenceIsFoundWithin256Entries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		leader := c.leader()
		wrong := c.others(leader)[1]
		c.addToken(leader, "one")
		c.await(wrong, "the command", func(v *state.View) bool { return has(v, "one") })
		c.corrupt(wrong)
		from := wrong.View().Index()
		busy := time.NewTicker(20 * time.Millisecond)
		defer busy.Stop()
		for i := 0; wrong.Err() == nil; i++ {
			if i > 3*markEvery {
				t.Fatal("not found")
			}
			c.addToken(leader, fmt.Sprintf("t%d", i))
			<-busy.C
		}
		var q *Quarantine
		if !errors.As(wrong.Err(), &q) || q.Index > from+markEvery {
			t.Errorf("got %v, want it found within %d entries of %d", wrong.Err(), markEvery, from)
		}
		<-c.fatals
	})
}

func TestStore_TwoNodesThatDifferRaiseAnAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClusterOf(t, 2, nil)
		leader := c.leader()
		c.addToken(leader, "one")
		other := c.others(leader)[0]
		c.await(other, "the command", func(v *state.View) bool { return has(v, "one") })
		c.corrupt(other)
		for _, pair := range [][2]*member{{leader, other}, {other, leader}} {
			if words := c.raises(pair[0], AlarmDigest, pair[1].name); !strings.Contains(words, "no majority") {
				t.Errorf("got %q, want that nobody knows which one is right", words)
			}
		}
		time.Sleep(time.Minute) // of the bubble's time
		for _, m := range []*member{leader, other} {
			if err := m.Err(); err != nil {
				t.Errorf("%s: got %v, want that nobody quarantines", m.name, err)
			}
		}
	})
}

// A bit of a row changes in memory, or Apply forgot one in the sum.
func TestStore_RowsThatDoNotGiveTheDigestQuarantine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, nil)
		leader := c.leader()
		c.addToken(leader, "one")
		time.Sleep(2*recomputeEvery + time.Minute) // of the bubble's time: between two looks
		synctest.Wait()
		if err := leader.Err(); err != nil {
			t.Fatal(err)
		}
		leader.View().APITokens()[0].Role = "operator"
		time.Sleep(recomputeEvery) // of the bubble's time
		c.wantQuarantine(leader)
		c.addToken(c.leaderNow(), "two")
	})
}

func TestCompare(t *testing.T) {
	good, bad, other := state.Sum([]byte("good")), state.Sum([]byte("bad")), state.Sum([]byte("other"))
	at := func(d state.Digest) []mark { return []mark{{256, d}, {512, d}} }
	hellos := func(digests map[string]state.Digest) map[string]*hello {
		list := map[string]*hello{}
		for name, d := range digests {
			list[name] = &hello{Name: name, Marks: at(d)}
		}
		return list
	}
	three, five := []string{"a", "b", "c"}, []string{"a", "b", "c", "d", "e"}
	for _, test := range []struct {
		name       string
		ours       state.Digest
		voters     []string
		theirs     map[string]state.Digest
		quarantine bool
		differ     string
		majority   bool
	}{
		{"all the same", good, three, map[string]state.Digest{"b": good, "c": good}, false, "", false},
		{"nobody heard", good, three, nil, false, "", false},
		{"one other differs", good, three, map[string]state.Digest{"b": good, "c": bad}, false, "c", true},
		{"we differ", bad, three, map[string]state.Digest{"b": good, "c": good}, true, "", false},
		{"two of three known", bad, three, map[string]state.Digest{"b": good}, false, "b", false},
		{"all differ", bad, three, map[string]state.Digest{"b": good, "c": other}, false, "b, c", false},
		{"two against two of five", bad, five, map[string]state.Digest{"b": bad, "c": good, "d": good}, false, "c, d", false},
		{"three against two of five", bad, five, map[string]state.Digest{"b": bad, "c": good, "d": good, "e": good}, true, "", false},
		{"we have no vote", bad, []string{"b", "c", "d"}, map[string]state.Digest{"b": good, "c": good}, true, "", false},
		{"others without a vote do not count", bad, []string{"a", "b"}, map[string]state.Digest{"b": good, "c": good, "d": good}, false, "b, c, d", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := compare("a", at(test.ours), test.voters, hellos(test.theirs))
			if (got.quarantine != nil) != test.quarantine || joined(got.differ) != test.differ || got.majority != test.majority {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestMarks(t *testing.T) {
	var m marks
	digest := func(s string) func() state.Digest { return func() state.Digest { return state.Sum([]byte(s)) } }
	m.cross(0, 3, digest("a"))
	m.cross(3, 256, digest("b"))
	m.cross(256, 257, digest("c")) // entry 256 itself is in
	m.cross(257, 700, digest("d")) // the next one is 700: 512 never reached the state
	m.cross(700, 701, digest("e"))
	want := []mark{{256, state.Sum([]byte("c"))}, {512, state.Sum([]byte("d"))}}
	if got := m.all(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	m.cross(701, 1<<30, digest("f"))
	if got := m.all(); len(got) != keptMarks || got[keptMarks-1].Index != 1<<30-markEvery {
		t.Errorf("got %d marks up to %d", len(got), got[len(got)-1].Index)
	}
}

// Two nodes get the same commands, with indexes between them that never reach the state; one is in another state from some
// point on. Their marks are the same before it and differ after it, whenever each was restored from a snapshot.
func TestFSM_Marks(t *testing.T) {
	node := func() *fsm { return newFSM("a", newAlarms(slog.New(slog.DiscardHandler)), nil) }
	commands := map[string][]byte{} // the same bytes for all
	apply := func(f *fsm, index uint64, name string) {
		t.Helper()
		data, ok := commands[name]
		if !ok {
			var err error
			if data, err = json.Marshal(token(name, name)); err != nil {
				t.Fatal(err)
			}
			commands[name] = data
		}
		if r, ok := f.Apply(&raft.Log{Index: index, Data: data}).([]state.Result); !ok || r[0].Err != nil {
			t.Fatalf("entry %d: %v", index, r[0].Err)
		}
	}
	a, b, restored := node(), node(), node()
	for index := uint64(2); index < 1100; index++ {
		if index%7 == 0 || index == 512 { // a barrier, or the like
			continue
		}
		name := fmt.Sprintf("t%d", index)
		apply(a, index, name)
		if index == 701 {
			name = "another"
		}
		apply(b, index, name)
		switch {
		case index == 256:
			if len(a.marks.all()) != 1 {
				t.Error("a mark waits for the next command where it need not")
			}
		case index == 300:
			var snapshot bytes.Buffer
			if err := a.view().Persist(&snapshot); err != nil {
				t.Fatal(err)
			}
			if err := restored.Restore(io.NopCloser(&snapshot)); err != nil {
				t.Fatal(err)
			}
		case index > 300:
			apply(restored, index, fmt.Sprintf("t%d", index))
		}
	}
	got := func(f *fsm) (list []uint64) {
		for _, m := range f.marks.all() {
			list = append(list, m.Index)
		}
		return list
	}
	if !slices.Equal(got(a), []uint64{256, 512, 768, 1024}) || !slices.Equal(got(restored), []uint64{512, 768, 1024}) {
		t.Fatalf("got marks at %v, and %v after a restore", got(a), got(restored))
	}
	for i, m := range a.marks.all() {
		if same := m == b.marks.all()[i]; same != (m.Index < 700) {
			t.Errorf("mark %d: the same %v, want %v", m.Index, same, m.Index < 700)
		}
		if i > 0 && m != restored.marks.all()[i-1] {
			t.Errorf("mark %d differs after a restore", m.Index)
		}
	}
	others := map[string]*hello{"b": {Name: "b", Marks: a.marks.all()}, "c": {Name: "c", Marks: restored.marks.all()}}
	if v := compare("a", b.marks.all(), []string{"a", "b", "c"}, others); v.quarantine == nil || v.index != 1024 {
		t.Errorf("got %+v, want a quarantine", v)
	}
}
