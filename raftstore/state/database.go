package state

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/tidwall/btree"
)

// database holds the tables as B-trees of which each version stays as it is: who writes copies the nodes on the way. A tree
// costs about 50 bytes for each row; a state of 100,000 accounts has a million entries, and a coordinator that has to
// stay small.
//
// One goroutine writes at a time. Versions are read from any number of goroutines, for as long as anybody likes.
type database struct {
	now atomic.Pointer[version]
	// copying guards the copying of a tree: that marks the old one, and two versions may share it.
	copying *sync.Mutex
	first   map[string]int // which tree is a table's own; those of its indexes come after it
}

// version is all trees at one moment.
type version struct{ trees []*btree.BTreeG[entry] }

// entry is a row under a key. In a table's own tree that is the row's key; in the tree of an index it is the key of the
// index, a separator, and the row's key.
type entry struct {
	key string
	row any
}

// degree of the trees: nodes have up to 15 entries. Wider ones are smaller as a whole, and dearer to change.
const degree = 8

func newTree() *btree.BTreeG[entry] {
	return btree.NewBTreeGOptions(func(a, b entry) bool { return a.key < b.key }, btree.Options{Degree: degree, NoLocks: true})
}

func newDatabase(tables []storedTable) *database {
	d := &database{copying: new(sync.Mutex), first: map[string]int{}}
	empty := new(version)
	for _, t := range tables {
		d.first[t.title()] = len(empty.trees)
		for range 1 + t.indexes() {
			empty.trees = append(empty.trees, newTree())
		}
	}
	d.now.Store(empty)
	return d
}

// fork is a database that begins where this version stands. Nothing that is written to one is seen in the other.
func (d *database) fork(v *version) *database {
	f := &database{copying: d.copying, first: d.first}
	f.now.Store(v)
	return f
}

// read makes a transaction that only reads, of what is there now.
func (d *database) read() *transaction { return &transaction{version: d.now.Load(), db: d} }

// write makes a transaction. Nothing of it is seen before commit.
func (d *database) write() *transaction {
	before := d.now.Load()
	return &transaction{
		db: d, version: &version{trees: append([]*btree.BTreeG[entry](nil), before.trees...)},
		own: make([]bool, len(before.trees)), changed: map[rowKey]int{},
	}
}

// fill makes a transaction for the first rows of an empty database. It keeps no changes: they are everything.
func (d *database) fill() *transaction {
	t := d.write()
	t.changed = nil
	return t
}

// transaction reads and writes one version.
type transaction struct {
	*version
	db      *database
	own     []bool // which trees are this transaction's alone; nil: it only reads
	changes []rowChange
	changed map[rowKey]int // index into changes; nil: none are kept
}

type rowKey struct{ table, key string }

// rowChange is what became of one row. Before is nil for a new one, after for one that was removed.
type rowChange struct {
	table         storedTable
	before, after any
}

// commit makes the version the present one.
func (t *transaction) commit() { t.db.now.Store(t.version) }

// writable is the tree, as this transaction's own.
func (t *transaction) writable(tree int) *btree.BTreeG[entry] {
	if !t.own[tree] {
		t.db.copying.Lock()
		t.trees[tree] = t.trees[tree].Copy()
		t.db.copying.Unlock()
		t.own[tree] = true
	}
	return t.trees[tree]
}

// pack gives the nodes of a table's trees as much room as they need. Where entries come in the order of their keys, as those of a
// snapshot do, a node that was split stays half full, in the array that it had when it was full.
func (t *transaction) pack(table storedTable) {
	first := t.db.first[table.title()]
	for tree := first; tree <= first+table.indexes(); tree++ {
		t.own[tree] = false
		t.writable(tree).ScanMut(func(entry) bool { return true }) // of a copy each node is made anew as it is visited, of the right size
	}
}

func (t *transaction) get(tree int, key string) any {
	e, _ := t.trees[tree].Get(entry{key: key})
	return e.row
}

func (t *transaction) set(tree int, key string, row any) { t.writable(tree).Set(entry{key, row}) }

func (t *transaction) remove(tree int, key string) { t.writable(tree).Delete(entry{key: key}) }

// from goes over the rows whose key is this one or comes after it.
func (t *transaction) from(tree int, key string, yield func(key string, row any) bool) {
	t.trees[tree].Ascend(entry{key: key}, func(e entry) bool { return yield(e.key, e.row) })
}

// prefixed goes over the rows whose key begins so, in the order of keys.
func (t *transaction) prefixed(tree int, prefix string, yield func(row any) bool) {
	t.from(tree, prefix, func(key string, row any) bool { return strings.HasPrefix(key, prefix) && yield(row) })
}

// note keeps what became of a row, for the digest. Of several changes the first before and the last after count.
func (t *transaction) note(table storedTable, key string, before, after any) {
	if t.changed == nil {
		return
	}
	at, again := t.changed[rowKey{table.title(), key}]
	if !again {
		t.changed[rowKey{table.title(), key}] = len(t.changes)
		t.changes = append(t.changes, rowChange{table, before, after})
		return
	}
	t.changes[at].after = after
}
