package replicator

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// class is a kind of file of a repository: the first part of its name below the repository's prefix.
type class string

const (
	keys      class = "keys"
	data      class = "data"
	index     class = "index"
	snapshots class = "snapshots"
)

// configName is the one file that is not named by its hash. restic writes it once.
const configName = "config"

// item is an object that is named by the SHA-256 of its content.
type item struct {
	Object
	sum [sha256.Size]byte
}

// items takes a listing apart. What is not named as restic names its files is not part of the repository and is
// left where it is.
func items(prefix string, c class, list []Object) []item {
	out := make([]item, 0, len(list))
	for _, o := range list {
		if sum, ok := parseName(c, strings.TrimPrefix(o.Key, prefix+string(c)+"/")); ok {
			out = append(out, item{Object: o, sum: sum})
		}
	}
	return out
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

// same reports whether two listings speak of the same content, as far as a listing can tell.
func same(a, b Object) bool {
	if a.Size != b.Size {
		return false
	}
	return !looksLikeMD5(a.ETag) || !looksLikeMD5(b.ETag) || strings.EqualFold(a.ETag, b.ETag)
}
