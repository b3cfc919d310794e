package replicator_test

import (
	"errors"
	"testing"

	"drp/replicator"
	"drp/replicator/storetest"
)

func TestStore_ClearHalfMade(t *testing.T) {
	for name, c := range map[string]struct {
		holds []string
		want  replicator.Found
		err   bool
	}{
		"empty":               {nil, replicator.Nothing, false},
		"another's":           {[]string{"shop2/config", "shop2/keys/a"}, replicator.Nothing, false},
		"keys alone":          {[]string{"shop/keys/a", "shop/keys/b"}, replicator.HalfMade, false},
		"whole":               {[]string{"shop/config", "shop/keys/a"}, replicator.Whole, false},
		"whole with data":     {[]string{"shop/config", "shop/keys/a", "shop/data/ab/c"}, replicator.Whole, false},
		"no key":              {[]string{"shop/config", "shop/data/ab/c"}, "", true},
		"keys and data":       {[]string{"shop/keys/a", "shop/data/ab/c"}, "", true},
		"keys and a snapshot": {[]string{"shop/keys/a", "shop/snapshots/c"}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			d := storetest.NewDouble(t)
			s := (&shelf{}).open(t, d)
			for _, key := range c.holds {
				d.Store(key, []byte("x"))
			}
			got, err := s.Look(t.Context(), "shop/")
			if got != c.want || (err != nil) != c.err {
				t.Errorf("got %q and %v, want %q", got, err, c.want)
			}
			err = s.ClearHalfMade(t.Context(), "shop/")
			left := len(d.Objects())
			switch {
			case c.want == replicator.HalfMade && (err != nil || left != 0):
				t.Errorf("%d objects are left, error %v", left, err)
			case c.want != replicator.HalfMade && (err == nil || left != len(c.holds)):
				t.Errorf("%d of %d objects are left, error %v", left, len(c.holds), err)
			}
		})
	}
	t.Run("a listing that fails", func(t *testing.T) {
		d := storetest.NewDouble(t)
		s := (&shelf{}).open(t, d)
		d.Store("shop/keys/a", []byte("x"))
		d.Store("shop/data/ab/c", []byte("x"))
		d.Fault = func(c storetest.Call) *storetest.Fault {
			if c.Operation == storetest.List && c.Key == "shop/" {
				return &storetest.Fault{Truncate: true}
			}
			return nil
		}
		if err := s.ClearHalfMade(t.Context(), "shop/"); err == nil || errors.Is(err, replicator.ErrHeadless) {
			t.Errorf("got %v, want the listing's error", err)
		}
		if len(d.Objects()) != 2 {
			t.Error("something was removed")
		}
	})
}
