package state

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
)

// Versions are read, written down and forked while the writer goes on, and none of them ever changes.
func TestDatabase_readWhileWritten(t *testing.T) {
	s := New()
	index := uint64(0)
	command := func(n int) Command {
		name := fmt.Sprintf("t%d", n%97)
		if n/97%2 == 1 {
			return NewCommand(TokenRevoke, fmt.Sprint(n), epoch, "operator/ada", TokenRevokeData{Name: name})
		}
		return NewCommand(TokenCreate, fmt.Sprint(n), epoch, "operator/ada", TokenCreateData{Token: APIToken{
			Name: name, SHA256: make([]byte, 32), Role: "support", Created: epoch, Expires: epoch.AddDate(1, 0, 0)}})
	}
	apply := func(b *Batch, c Command) {
		index++
		if _, err := b.Apply(index, c); err != nil {
			t.Error(err)
		}
	}
	b := s.Batch()
	apply(b, NewCommand(ClusterInit, "init", epoch, "coordinator/a", ClusterInitData{UUID: "7d1f", Incarnation: 1, Level: Level}))
	b.Commit()
	views := make(chan *View, 4)
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for v := range views {
				before := v.Digest()
				for n := range 5 {
					if _, err := v.Preview(command(1_000_000 + n)); err != nil {
						t.Error(err)
					}
				}
				var first, second bytes.Buffer
				if err := v.Persist(&first); err != nil {
					t.Error(err)
				}
				if d, err := v.Recompute(); err != nil || d != before || v.Digest() != before {
					t.Errorf("got digests %s and %s (%v), want %s", d, v.Digest(), err, before)
				}
				if err := v.Persist(&second); err != nil || !bytes.Equal(first.Bytes(), second.Bytes()) {
					t.Errorf("a version has changed (%v)", err)
				}
			}
		})
	}
	for n := range 1500 {
		if n%3 == 0 {
			b = s.Batch()
		}
		apply(b, command(n))
		if n%3 == 2 {
			b.Commit()
			select {
			case views <- s.View():
			default:
			}
		}
	}
	close(views)
	readers.Wait()
}

// TestTransaction_pack: nodes that were filled in the order of keys take less room afterwards, and hold the same.
func TestTransaction_pack(t *testing.T) {
	const count = 100_000
	txn := New().db.fill()
	tree, row := txn.db.first[tokenTable.name], new(APIToken)
	keys := make([]string, count)
	for n := range keys {
		keys[n] = fmt.Sprintf("t%06d", n)
	}
	inUse := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	empty := inUse()
	for _, key := range keys {
		txn.set(tree, key, row)
	}
	before := inUse() - empty
	txn.pack(tokenTable)
	if after := inUse() - empty; after > before*3/4 {
		t.Errorf("%d entries take %d bytes, and before they took %d", count, after, before)
	}
	var got []string
	txn.from(tree, "", func(key string, _ any) bool {
		got = append(got, key)
		return true
	})
	if !slices.Equal(got, keys) {
		t.Errorf("%d entries are there, want %d in their order", len(got), count)
	}
}
