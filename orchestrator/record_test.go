package orchestrator

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"drp/raftstore/state"
)

// trailStore is a state behind the store's interface. Proposals take a second, and fail while fail is set.
type trailStore struct {
	mu    sync.Mutex
	p     *platform
	fail  error
	tried int
	ahead time.Duration // of the bubble's clock
}

// now is the platform's time, which goes on as the bubble's does.
func (s *trailStore) now() time.Time { return time.Now().Add(s.ahead) }

func (s *trailStore) Propose(_ context.Context, c state.Command) (state.Result, error) {
	time.Sleep(time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tried++
	if s.fail != nil {
		return state.Result{}, s.fail
	}
	s.p.index++
	r, err := s.p.state.Apply(s.p.index, c)
	return r, err
}

func (s *trailStore) View() *state.View {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.p.state.View()
}

func (s *trailStore) Read(context.Context) (*state.View, error) { return s.View(), nil }
func (s *trailStore) Leader() (string, bool)                    { return "par1-c", true }
func (s *trailStore) Changed() <-chan struct{}                  { return make(chan struct{}) }
func (s *trailStore) Lead(ctx context.Context, f func(context.Context) error) error {
	return f(ctx)
}

func (s *trailStore) failing(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func newRecorder(t *testing.T) (*Orchestrator, *trailStore) {
	t.Helper()
	store := &trailStore{p: newPlatform(t)}
	store.ahead = time.Until(store.p.at)
	store.p.apply(state.ClusterLevel, state.ClusterLevelData{Level: state.Level})
	o := New(Config{Name: "par1-c", Store: store, Clock: store.now, Logger: slog.New(slog.DiscardHandler)})
	o.setSince(time.Now())
	return o, store
}

func TestOrchestrator_Record(t *testing.T) {
	read := state.AuditNoteData{Action: "read snapshots", Account: "guestbook", Detail: "route list-snapshots"}
	entries := func(s *trailStore) int {
		n := 0
		for _, e := range s.View().Audit(1, 1000) {
			if e.Command == state.AuditNote {
				n++
			}
		}
		return n
	}
	t.Run("once a minute for the same person and thing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o, store := newRecorder(t)
			other := read
			other.Account = "clock"
			for _, c := range []struct {
				wait time.Duration
				by   string
				note state.AuditNoteData
				want int
			}{
				{0, "support/eve", read, 1}, {10 * time.Second, "support/eve", read, 1}, {0, "support/bob", read, 2}, {0, "support/eve", other, 3},
				{40 * time.Second, "support/eve", read, 3}, {15 * time.Second, "support/eve", read, 4},
			} {
				time.Sleep(c.wait)
				if err := o.Record(t.Context(), c.by, c.note); err != nil {
					t.Fatal(err)
				}
				if got := entries(store); got != c.want {
					t.Errorf("%s reads of %s: got %d entries, want %d", c.by, c.note.Account, got, c.want)
				}
			}
			e := store.View().Audit(store.View().AuditHead().Seq, 1)[0]
			if e.By != "support/eve" || e.Subject != "account guestbook" || e.Detail != "read snapshots route list-snapshots" {
				t.Errorf("got %+v", e)
			}
			if len(o.records.recent) > 3 {
				t.Errorf("%d records are kept in memory", len(o.records.recent))
			}
		})
	})
	t.Run("many at once wait for the one commit", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o, store := newRecorder(t)
			var group sync.WaitGroup
			for range 20 {
				group.Go(func() {
					if err := o.Record(t.Context(), "support/eve", read); err != nil {
						t.Error(err)
					}
					if entries(store) == 0 {
						t.Error("it was answered before the entry was committed")
					}
				})
			}
			group.Wait()
			if got := entries(store); got != 1 {
				t.Errorf("got %d entries, want 1", got)
			}
		})
	})
	t.Run("none when it cannot be committed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o, store := newRecorder(t)
			store.failing(ErrUnknownOutcome)
			var group sync.WaitGroup
			for range 5 { // who waited for a commit that failed tries on their own
				group.Go(func() {
					err := o.Record(t.Context(), "support/eve", read)
					if !errors.Is(err, ErrNotRecorded) || !errors.Is(err, ErrUnknownOutcome) {
						t.Errorf("got %v", err)
					}
				})
			}
			group.Wait()
			if store.tried != 5 {
				t.Errorf("got %d tries, want 5", store.tried)
			}
			store.failing(nil)
			if err := o.Record(t.Context(), "support/eve", read); err != nil || entries(store) != 1 {
				t.Errorf("got %v and %d entries", err, entries(store))
			}
		})
	})
	t.Run("not by one who does not lead", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o, _ := newRecorder(t)
			o.setSince(time.Time{})
			if err := o.Record(t.Context(), "support/eve", read); !errors.Is(err, ErrNotLeader) {
				t.Errorf("got %v", err)
			}
		})
	})
	t.Run("a refusal of the state is none, too", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o, _ := newRecorder(t)
			if err := o.Record(t.Context(), "support/eve", state.AuditNoteData{}); !errors.Is(err, ErrNotRecorded) {
				t.Errorf("got %v", err)
			}
		})
	})
}
