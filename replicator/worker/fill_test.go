package worker

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestWorker_Fill(t *testing.T) {
	s := newSite()
	s.worker.Capacity = 1000
	var used, looks atomic.Int64
	var broken atomic.Bool
	used.Store(100)
	s.worker.used = func(context.Context) (int64, error) {
		looks.Add(1)
		if broken.Load() {
			return 0, errors.New("listing broke off")
		}
		return used.Load(), nil
	}
	s.run(t, func(t *testing.T) {
		told := func() *Fill {
			time.Sleep(time.Minute) // at most a poll away
			synctest.Wait()
			s.leader.mu.Lock()
			defer s.leader.mu.Unlock()
			return s.leader.fill
		}
		if f := told(); f != nil {
			t.Errorf("told %+v, and nobody has asked", f)
		}
		s.leader.want(Desired{Fill: true})
		first := told()
		if first == nil || first.Used != 100 || first.Capacity != 1000 || !first.Then.Equal(first.At) {
			t.Fatalf("told %+v", first)
		}
		broken.Store(true)
		time.Sleep(7 * time.Hour)
		if f := told(); f.Used != 100 || looks.Load() < 3 {
			t.Errorf("told %+v after %d looks: a listing that broke off says nothing", f, looks.Load())
		}
		broken.Store(false)
		used.Store(160)
		time.Sleep(24 * time.Hour)
		if f := told(); f.Used != 160 || f.UsedThen != 100 || !f.Then.Equal(first.At) {
			t.Errorf("told %+v", f)
		}
		used.Store(200)
		time.Sleep(30 * 24 * time.Hour)
		f := told()
		if f.UsedThen != 200 || f.At.Sub(f.Then) > fillSpan || f.At.Sub(f.Then) < fillSpan-fillEvery {
			t.Errorf("told %+v: want the last two weeks", f)
		}
	})
}

// TestWorker_Fill_none: without a capacity the store is not listed.
func TestWorker_Fill_none(t *testing.T) {
	s := newSite()
	s.worker.used = func(context.Context) (int64, error) {
		t.Error("looked")
		return 0, nil
	}
	s.run(t, func(t *testing.T) {
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		s.leader.mu.Lock()
		defer s.leader.mu.Unlock()
		if s.leader.fill != nil {
			t.Errorf("told %+v", s.leader.fill)
		}
	})
}
