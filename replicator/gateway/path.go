package gateway

import (
	"errors"
	"net/http"
	"regexp"
	"strings"
)

// folder is one of the five in a repository whose files are named by their SHA-256; or config, or the root.
type folder string

const (
	root      folder = ""
	config    folder = "config"
	keys      folder = "keys"
	data      folder = "data"
	index     folder = "index"
	snapshots folder = "snapshots"
	locks     folder = "locks"
)

// target is what a request's path names.
type target struct {
	account, token string
	folder         folder
	name           string // 64 hexadecimal digits; empty for the root, config and a whole folder
}

var (
	accountForm = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}(~[1-9][0-9]{0,8})?$`) // ~N: of a later repository of the account
	tokenForm   = regexp.MustCompile(`^(0|[1-9][0-9]{0,19})\.(0|[1-9][0-9]{0,19})$`)
	nameForm    = regexp.MustCompile(`^[0-9a-f]{64}$`)
	errPath     = errors.New("not a path of a repository")
)

// targetOf reads /ACCOUNT/TOKEN/, /ACCOUNT/TOKEN/config, /ACCOUNT/TOKEN/FOLDER/ and /ACCOUNT/TOKEN/FOLDER/NAME, and
// nothing that only means one of these: nothing is cleaned, decoded or completed.
func targetOf(r *http.Request) (target, error) {
	if r.URL.RawPath != "" || r.URL.Host != "" || !strings.HasPrefix(r.URL.Path, "/") {
		return target{}, errPath
	}
	part := strings.Split(r.URL.Path[1:], "/")
	if len(part) < 3 || len(part) > 4 || !accountForm.MatchString(part[0]) || !tokenForm.MatchString(part[1]) {
		return target{}, errPath
	}
	t := target{account: part[0], token: part[1], folder: folder(part[2])}
	switch t.folder {
	case root, config:
		if len(part) == 3 {
			return t, nil
		}
	case keys, data, index, snapshots, locks:
		if len(part) != 4 {
			break
		}
		if t.name = part[3]; t.name == "" || nameForm.MatchString(t.name) {
			return t, nil
		}
	}
	return target{}, errPath
}

// key is where the object lies in the bucket: as restic's own S3 backend lays it out under the prefix ACCOUNT. For a
// whole folder it is the prefix of its objects.
func (t target) key() string {
	switch {
	case t.folder == root || t.folder == config:
		return t.account + "/" + string(t.folder)
	case t.folder == data && t.name != "":
		return t.account + "/data/" + t.name[:2] + "/" + t.name
	default:
		return t.account + "/" + string(t.folder) + "/" + t.name
	}
}

// nameIn takes a listed key apart again; ok is false for what restic's layout does not have there.
func (t target) nameIn(key string) (name string, ok bool) {
	found := t
	found.name = key[strings.LastIndexByte(key, '/')+1:]
	if !nameForm.MatchString(found.name) || found.key() != key {
		return "", false
	}
	return found.name, true
}
