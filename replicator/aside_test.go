package replicator_test

import (
	"errors"
	"testing"

	"drp/replicator"
	"drp/replicator/storetest"
)

func TestStore_Move(t *testing.T) {
	const from, to = "shop/data/aa/" + "a", ".trash/shop/1/data/aa/a"
	for name, c := range map[string]struct {
		before map[string]string
		fault  func(storetest.Call) *storetest.Fault
		want   error
		after  map[string]string
	}{
		"moved":              {map[string]string{from: "x"}, nil, nil, map[string]string{to: "x"}},
		"moved before":       {map[string]string{to: "x"}, nil, nil, map[string]string{to: "x"}},
		"copied before":      {map[string]string{from: "x", to: "x"}, nil, nil, map[string]string{to: "x"}},
		"nothing there":      {nil, nil, replicator.ErrNotFound, nil},
		"something in place": {map[string]string{from: "x", to: "y"}, nil, replicator.ErrOccupied, map[string]string{from: "x", to: "y"}},
		"a store that copies badly": {map[string]string{from: "xy"}, func(c storetest.Call) *storetest.Fault {
			if c.Operation != storetest.Put {
				return nil
			}
			return &storetest.Fault{Change: func(b []byte) []byte { return b[:1] }}
		}, replicator.ErrOccupied, map[string]string{from: "xy", to: "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := storetest.NewDouble(t)
			s := open(t, d.Endpoint, d.Bucket, storetest.Key{Access: "a", Secret: "b"})
			for key, content := range c.before {
				d.Store(key, []byte(content))
			}
			d.Fault = c.fault
			if err := s.Move(t.Context(), from, to); !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Errorf("got %v, want %v", err, c.want)
			}
			got := d.Objects()
			if len(got) != len(c.after) {
				t.Errorf("there are %d objects, want %d", len(got), len(c.after))
			}
			for key, content := range c.after {
				if string(got[key]) != content {
					t.Errorf("%s is %q, want %q", key, got[key], content)
				}
			}
		})
	}
	t.Run("ETags that tell nothing", func(t *testing.T) {
		d := storetest.NewDouble(t)
		d.ETag = func(key string, _ []byte) string { return "of " + key }
		d.Store(from, []byte("x"))
		d.Fault = func(c storetest.Call) *storetest.Fault {
			if c.Operation != storetest.Put {
				return nil
			}
			return &storetest.Fault{Change: func([]byte) []byte { return []byte("y") }}
		}
		s := open(t, d.Endpoint, d.Bucket, storetest.Key{Access: "a", Secret: "b"})
		if err := s.Move(t.Context(), from, to); !errors.Is(err, replicator.ErrOccupied) || string(d.Objects()[from]) != "x" {
			t.Errorf("got %v, and the object is %q", err, d.Objects()[from])
		}
	})
}

// TestStore_Discard: nothing of a repository can be deleted by this package.
func TestStore_Discard(t *testing.T) {
	d := storetest.NewDouble(t)
	s := open(t, d.Endpoint, d.Bucket, storetest.Key{Access: "a", Secret: "b"})
	for key, ok := range map[string]bool{
		"shop/config": false, "shop/keys/a": false, "shop/data/aa/a": false, "shop/index/a": false, "shop/snapshots/a": false,
		"shop/lockss": false, "shop": false, "": false, "shop/data/locks/a": false,
		"shop/locks/a": true, ".trash/shop/1/data/aa/a": true, ".tombstones/shop/1.json": true,
	} {
		d.Store(key, []byte("x"))
		err := s.Discard(t.Context(), key)
		if _, there := d.Objects()[key]; (err == nil) != ok || there == ok {
			t.Errorf("%q: %v, still there: %v; want it deleted: %v", key, err, there, ok)
		}
	}
}

// TestPass_Skip: what is over is not copied, and is not said to be.
func TestPass_Skip(t *testing.T) {
	s := newShelf(t, 3)
	var over string
	_, err := replicator.Pass(t.Context(), s.from, s.to, "shop/", replicator.Options{
		Skip: func(listed []string) map[string]bool {
			over = listed[0]
			return map[string]bool{over: true}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for key := range s.target.Objects() {
		if key == "shop/"+over {
			t.Errorf("%s was copied", key)
		}
	}
	if len(s.target.Objects()) != len(s.source.Objects())-1 {
		t.Errorf("%d objects were copied of %d", len(s.target.Objects()), len(s.source.Objects()))
	}
}
