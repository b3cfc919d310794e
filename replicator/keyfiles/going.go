package keyfiles

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"

	"drp/replicator"
)

// Who leads says which keys are to go, and to whom the next break-glass password is sealed. A leader that lies could have every
// break-glass key removed at every site within the hour. So these are not deleted where they are removed: the key's file, and a
// sealed password that another one takes the place of, lie in replicator.GoingKeysRoot for the site's own grace, and whoever deletes them then
// is not this package. The key of an old password is deleted at once: it was changed for that.

// GoingMark behind the name of what is on its way out (a key file's, or the SHA-256 of a sealed password and ".age") is where it is
// noted since when that is known.
const GoingMark = ".since"

func goingKey(name, file string) string { return replicator.GoingKeysRoot + name + "/" + file }

// IsBreakGlass reports whether a key's file says that it was made for the holders of the offline keys.
func IsBreakGlass(file []byte) bool {
	var f struct {
		User string `json:"username"`
	}
	return json.Unmarshal(file, &f) == nil && f.User == breakGlassUser
}

// RemovedFolder has a note for each key of a repository that is not to come back.
func RemovedFolder(name string) string { return replicator.RemovedKeysRoot + name + "/" }

// remove takes a key away, with a note before that: no pass is to bring it back.
func remove(ctx context.Context, here *replicator.Store, name, id string) error {
	content := []byte(id)
	if _, err := here.Put(ctx, RemovedFolder(name)+id, content, sha256.Sum256(content)); err != nil {
		return err
	}
	at, going := name+"/"+keysFolder+id, goingKey(name, id)
	file, err := load(ctx, here, at)
	switch {
	case errors.Is(err, errMissing):
		if file, err = load(ctx, here, going); errors.Is(err, errMissing) {
			return nil // and none on its way out
		}
		if err != nil || IsBreakGlass(file) {
			return err
		}
		return here.Discard(ctx, going)
	case err != nil:
		return err
	case IsBreakGlass(file):
		if err := here.Discard(ctx, going+GoingMark); err != nil { // of an earlier time
			return err
		}
		return here.Move(ctx, at, going)
	}
	if err := here.Move(ctx, at, going); err != nil {
		return err
	}
	return here.Discard(ctx, going)
}

// keepSealed keeps a repository's sealed password that another one is about to take the place of.
func keepSealed(ctx context.Context, here *replicator.Store, name string, next [sha256.Size]byte) error {
	content, err := load(ctx, here, BreakGlassKey(name))
	if errors.Is(err, errMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	sum := sha256.Sum256(content)
	if sum == next {
		return nil
	}
	going := goingKey(name, hex.EncodeToString(sum[:])+breakGlassSuffix)
	if err := here.Discard(ctx, going+GoingMark); err != nil { // of an earlier time
		return err
	}
	_, err = here.Put(ctx, going, content, sum)
	return err
}
