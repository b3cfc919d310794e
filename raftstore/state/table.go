package state

import (
	"encoding/binary"
	"fmt"
	"time"

	memdb "github.com/hashicorp/go-memdb"
)

// table describes one memdb table, whose rows are *T. Rows are never changed in place: who changes one puts a
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

func (t table[T]) schema() *memdb.TableSchema {
	s := &memdb.TableSchema{Name: t.name, Indexes: map[string]*memdb.IndexSchema{
		"id": {Name: "id", Unique: true, Indexer: singleKey[T]{t.key}},
	}}
	for _, ix := range t.by {
		s.Indexes[ix.name] = &memdb.IndexSchema{Name: ix.name, AllowMissing: true, Indexer: manyKeys[T]{keys: ix.keys}}
	}
	return s
}

// get returns the row with this key, or nil.
func (t table[T]) get(txn *memdb.Txn, key string) *T {
	row, err := txn.First(t.name, "id", key)
	return t.must(row, err)
}

// first returns the first row in the order of an index, or nil.
func (t table[T]) first(txn *memdb.Txn, index string) *T {
	row, err := txn.First(t.name, index)
	return t.must(row, err)
}

// must holds that tables and indexes are named in this package alone: an error of memdb's is a bug here.
func (t table[T]) must(row any, err error) *T {
	if err != nil {
		panic("state: read " + t.name + ": " + err.Error())
	}
	if row == nil {
		return nil
	}
	return row.(*T)
}

// list returns all rows in the order of their keys.
func (t table[T]) list(txn *memdb.Txn) []*T { return t.collect(txn.Get(t.name, "id")) }

// find returns the rows that an index holds under exactly this key, ordered by their own.
func (t table[T]) find(txn *memdb.Txn, index, key string) []*T {
	return t.collect(txn.Get(t.name, index, key))
}

// prefixed returns the rows whose key in this index begins with whole parts, in the index's order.
func (t table[T]) prefixed(txn *memdb.Txn, index string, parts ...string) []*T {
	return t.collect(txn.Get(t.name, index+"_prefix", compound(append(parts, "")...)))
}

func (t table[T]) collect(rows memdb.ResultIterator, err error) []*T {
	if err != nil {
		panic("state: list " + t.name + ": " + err.Error())
	}
	var list []*T
	for row := rows.Next(); row != nil; row = rows.Next() {
		list = append(list, row.(*T))
	}
	return list
}

// put adds a row, or replaces the one with its key. The caller never touches the row again.
func (t table[T]) put(txn *memdb.Txn, row *T) {
	if err := txn.Insert(t.name, row); err != nil {
		panic("state: write " + t.name + ": " + err.Error())
	}
}

// drop removes a row that is there.
func (t table[T]) drop(txn *memdb.Txn, row *T) {
	if err := txn.Delete(t.name, row); err != nil {
		panic("state: delete " + t.name + ": " + err.Error())
	}
}

// singleKey and manyKeys are memdb's indexers over our key functions.
type singleKey[T any] struct{ key func(*T) string }

func (s singleKey[T]) FromObject(row any) (bool, []byte, error) {
	return true, []byte(s.key(row.(*T)) + separator), nil
}

func (s singleKey[T]) FromArgs(args ...any) ([]byte, error) { return keyFromArgs(args) }

func (s singleKey[T]) PrefixFromArgs(args ...any) ([]byte, error) { return prefixFromArgs(args) }

type manyKeys[T any] struct{ keys func(*T) []string }

func (m manyKeys[T]) FromObject(row any) (bool, [][]byte, error) {
	keys := m.keys(row.(*T))
	vals := make([][]byte, len(keys))
	for i, k := range keys {
		vals[i] = []byte(k + separator)
	}
	return len(vals) > 0, vals, nil
}

func (m manyKeys[T]) FromArgs(args ...any) ([]byte, error) { return keyFromArgs(args) }

func (m manyKeys[T]) PrefixFromArgs(args ...any) ([]byte, error) { return prefixFromArgs(args) }

func keyFromArgs(args []any) ([]byte, error) {
	prefix, err := prefixFromArgs(args)
	return append(prefix, separator...), err
}

func prefixFromArgs(args []any) ([]byte, error) {
	if len(args) != 1 {
		return nil, fmt.Errorf("got %d parts of a key, want 1", len(args))
	}
	key, ok := args[0].(string)
	if !ok {
		return nil, fmt.Errorf("got a key of type %T, want a string", args[0])
	}
	return []byte(key), nil
}
