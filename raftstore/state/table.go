package state

import (
	"encoding/binary"
	"slices"
	"time"
)

// table describes one table, whose rows are *T. Rows are never changed in place: who changes one puts a
// clone of it.
type table[T any] struct {
	name string
	key  func(*T) string // of the row; lists come in its order
	by   []index[T]
}

// index finds rows by something else than their key. A row is found under each of its keys.
type index[T any] struct {
	name string
	keys func(*T) []string
}

// separator ends each key, so that "par1" does not find "par10". No name contains it: see checkName.
const separator = "\x00"

// compound joins the parts of a key. The last part may be left out when listing by prefix.
func compound(parts ...string) string {
	var key string
	for i, p := range parts {
		if i > 0 {
			key += separator
		}
		key += p
	}
	return key
}

// newestFirst is a part of a key that orders rows by falling time.
func newestFirst(t time.Time) string {
	var b [12]byte
	binary.BigEndian.PutUint64(b[:8], ^(uint64(t.Unix()) ^ 1<<63)) // the sign bit, so that 1969 comes before 1970
	binary.BigEndian.PutUint32(b[8:], ^uint32(t.Nanosecond()))
	return string(b[:])
}

func (t table[T]) title() string { return t.name }

// indexes is how many trees there are beside the table's own.
func (t table[T]) indexes() int { return len(t.by) }

// tree is that of an index. An index that does not exist is a bug here.
func (t table[T]) tree(txn *transaction, index string) int {
	for i, ix := range t.by {
		if ix.name == index {
			return txn.db.first[t.name] + 1 + i
		}
	}
	panic("state: table " + t.name + " has no index " + index)
}

// get returns the row with this key, or nil.
func (t table[T]) get(txn *transaction, key string) *T {
	row, _ := txn.get(txn.db.first[t.name], key).(*T)
	return row
}

// first returns the first row in the order of an index, or nil.
func (t table[T]) first(txn *transaction, index string) *T {
	var first *T
	txn.prefixed(t.tree(txn, index), "", func(row any) bool {
		first = row.(*T)
		return false
	})
	return first
}

// list returns all rows in the order of their keys.
func (t table[T]) list(txn *transaction) []*T { return t.collect(txn, txn.db.first[t.name], "") }

// find returns the rows that an index holds under exactly this key, ordered by their own.
func (t table[T]) find(txn *transaction, index, key string) []*T {
	return t.collect(txn, t.tree(txn, index), key+separator)
}

// prefixed returns the rows whose key in this index begins with whole parts, in the index's order.
func (t table[T]) prefixed(txn *transaction, index string, parts ...string) []*T {
	return t.collect(txn, t.tree(txn, index), compound(append(parts, "")...))
}

func (t table[T]) collect(txn *transaction, tree int, prefix string) []*T {
	var list []*T
	txn.prefixed(tree, prefix, func(row any) bool {
		list = append(list, row.(*T))
		return true
	})
	return list
}

// put adds a row, or replaces the one with its key. The caller never touches the row again.
func (t table[T]) put(txn *transaction, row *T) {
	own, key := txn.db.first[t.name], t.key(row)
	old := t.get(txn, key)
	for i, ix := range t.by {
		keys := ix.keys(row)
		if old != nil {
			for _, k := range ix.keys(old) {
				if !slices.Contains(keys, k) {
					txn.remove(own+1+i, compound(k, key))
				}
			}
		}
		for _, k := range keys {
			txn.set(own+1+i, compound(k, key), row)
		}
	}
	txn.set(own, key, row)
	var before any
	if old != nil {
		before = old
	}
	txn.note(t, key, before, row)
}

// dropKey removes the row with this key, if there is one.
func (t table[T]) dropKey(txn *transaction, key string) {
	if row := t.get(txn, key); row != nil {
		t.drop(txn, row)
	}
}

// drop removes a row that is there.
func (t table[T]) drop(txn *transaction, row *T) {
	own, key := txn.db.first[t.name], t.key(row)
	for i, ix := range t.by {
		for _, k := range ix.keys(row) {
			txn.remove(own+1+i, compound(k, key))
		}
	}
	txn.remove(own, key)
	txn.note(t, key, row, nil)
}
