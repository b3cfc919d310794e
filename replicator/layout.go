package replicator

import (
	"bytes"
	"crypto/md5" //nolint:gosec // S3's ETag
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// class is a kind of file of a repository: the first part of its name below the repository's prefix.
type class string

const (
	keys      class = "keys"
	data      class = "data"
	index     class = "index"
	snapshots class = "snapshots"
	locks     class = "locks" // never copied, never touched
)

// configName is the one file that is not named by its hash. restic writes it once.
const configName = "config"

// item is an object that is named by the SHA-256 of its content. Repositories have millions of them: it holds no text.
type item struct {
	sum   [sha256.Size]byte
	md5   [md5.Size]byte // the ETag, when it looks like one
	plain bool           // it does
	there mark
	size  int64
}

// mark is what the destination has of an item, as far as a listing can tell.
type mark uint8

const (
	absent  mark = iota
	resized      // one of another size, that cannot be good
	differs      // one of this size; the ETags say that it is another, which proves nothing
	present
)

// key is where an item of a class lies.
func (i *item) key(prefix string, c class) string {
	name := hex.EncodeToString(i.sum[:])
	if c == data {
		return prefix + string(c) + "/" + name[:2] + "/" + name
	}
	return prefix + string(c) + "/" + name
}

// itemOf is what a listing says of an object of that name.
func itemOf(sum [sha256.Size]byte, o Object) item {
	i := item{sum: sum, size: o.Size}
	if looksLikeMD5(o.ETag) {
		_, err := hex.Decode(i.md5[:], []byte(o.ETag))
		i.plain = err == nil
	}
	return i
}

// same reports whether two listings speak of the same content, as far as a listing can tell.
func (i *item) same(o item) bool {
	return i.size == o.size && (!i.plain || !o.plain || i.md5 == o.md5)
}

// holding is what a listing says that a repository has. Each class is in the order of names once it is sorted.
type holding struct {
	config                       *Object
	keys, data, index, snapshots []item
	strange                      int // objects that are no part of a repository; locks are not counted
}

// add takes one object of a listing. What is not named as restic names its files is not part of the repository and is
// left where it is.
func (h *holding) add(prefix string, o Object) {
	name := strings.TrimPrefix(o.Key, prefix)
	if name == configName {
		h.config = &o
		return
	}
	c, sum, ok := parseKey(name)
	switch list := h.class(c); {
	case ok && list != nil:
		*list = append(*list, itemOf(sum, o))
	case !strings.HasPrefix(name, string(locks)+"/"):
		h.strange++
	}
}

// class is the list of one class, nil for what is not copied.
func (h *holding) class(c class) *[]item {
	switch c {
	case keys:
		return &h.keys
	case data:
		return &h.data
	case index:
		return &h.index
	case snapshots:
		return &h.snapshots
	}
	return nil
}

// order is restic's write order: what comes later promises what came before.
var order = []class{keys, data, index, snapshots}

// sort makes find work. Stores list by name, so there is nothing to do as a rule.
func (h *holding) sort() {
	for _, c := range order {
		list := *h.class(c)
		if !slices.IsSortedFunc(list, compareItems) {
			slices.SortFunc(list, compareItems)
		}
	}
}

func (h *holding) find(c class, sum [sha256.Size]byte) *item {
	list := h.class(c)
	if list == nil {
		return nil
	}
	if n, ok := slices.BinarySearchFunc(*list, item{sum: sum}, compareItems); ok {
		return &(*list)[n]
	}
	return nil
}

// mark notes what the destination has of an object.
func (h *holding) mark(c class, there item) {
	if i := h.find(c, there.sum); i != nil {
		switch {
		case i.same(there):
			i.there = present
		case i.size == there.size:
			i.there = differs
		default:
			i.there = resized
		}
	}
}

// markAll notes what the destination has.
func (h *holding) markAll(there *holding) {
	for _, c := range order {
		for _, i := range *there.class(c) {
			h.mark(c, i)
		}
	}
}

// complete reports whether the destination has all of it.
func (h *holding) complete() bool {
	for _, c := range order {
		if slices.ContainsFunc(*h.class(c), func(i item) bool { return i.there != present }) {
			return false
		}
	}
	return true
}

// objects is how many there are.
func (h *holding) objects() int {
	return len(h.keys) + len(h.data) + len(h.index) + len(h.snapshots)
}

// whole refuses a listing of what cannot be all of a repository: a snapshot has at least one tree in one pack that one
// index names, and a key opens it.
func (h *holding) whole() error {
	if len(h.keys) == 0 || len(h.snapshots) > 0 && (len(h.index) == 0 || len(h.data) == 0) {
		return fmt.Errorf("%d keys, %d snapshots, %d index files and %d packs are no whole repository",
			len(h.keys), len(h.snapshots), len(h.index), len(h.data))
	}
	return nil
}

func compareItems(a, b item) int { return bytes.Compare(a.sum[:], b.sum[:]) }

// parseKey takes the name of a file below a repository apart.
func parseKey(name string) (c class, sum [sha256.Size]byte, ok bool) {
	folder, rest, found := strings.Cut(name, "/")
	c = class(folder)
	if !found || c != locks && !slices.Contains(order, c) {
		return "", sum, false
	}
	sum, ok = parseName(c, rest)
	return c, sum, ok
}

// parseName reads "<64 hexadecimal digits>", and for data "<the first two of them>/<64 hexadecimal digits>".
func parseName(c class, name string) (sum [sha256.Size]byte, ok bool) {
	if c == data {
		dir, file, found := strings.Cut(name, "/")
		if !found || !strings.HasPrefix(file, dir) || len(dir) != 2 {
			return sum, false
		}
		name = file
	}
	if len(name) != hex.EncodedLen(len(sum)) || strings.ToLower(name) != name {
		return sum, false
	}
	if _, err := hex.Decode(sum[:], []byte(name)); err != nil {
		return sum, false
	}
	return sum, true
}

// checkPrefix refuses what would make a pass reach beyond one repository.
func checkPrefix(prefix string) error {
	name, ok := strings.CutSuffix(prefix, "/")
	if !ok || name == "" || strings.HasPrefix(name, "/") || strings.HasSuffix(name, "/") {
		return fmt.Errorf("repository prefix %q: want NAME/", prefix)
	}
	return nil
}

// looksLikeMD5 reports whether an ETag may be the MD5 of the content: with multipart uploads it is not.
func looksLikeMD5(etag string) bool {
	if len(etag) != 32 {
		return false
	}
	_, err := hex.DecodeString(etag)
	return err == nil
}
