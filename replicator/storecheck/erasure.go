package storecheck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"

	"drp/replicator"
)

// What the erasure of an account needs: it deletes every version of every object, and what was sent of uploads in parts that
// were never finished. Each is asked for as the erasure asks.

// lacking is a denial that names the right which the key has not, where the store says that this is why; otherwise it is err.
func lacking(err error, right string) error {
	if answer, ok := answered(err); ok && answer.StatusCode == http.StatusForbidden {
		return denied("this key lacks the right %s (%d %s)", right, answer.StatusCode, answer.Code)
	}
	return err
}

// wrong is a denial where a listing cannot be true, or is refused.
func wrong(err error, right string) error {
	if errors.Is(err, replicator.ErrListing) {
		return denied("%v", err)
	}
	if err := lacking(err, right); errors.As(err, new(denial)) {
		return err
	}
	if _, ok := answered(err); ok {
		return denied("%v", err)
	}
	return err
}

// keepsVersions is what the bucket says, or, where it does not say it, what its answers to writes have shown. A bucket that did
// so once, and does no more, need not say which version it writes: it is always the same.
func (p *prober) keepsVersions(ctx context.Context) (kept, unnamed bool) {
	if kept, err := p.store.KeepsVersions(ctx); err != nil || !kept {
		return err != nil && p.gaveVersions(), false
	}
	c, err := p.core.GetBucketVersioning(ctx, p.Store.Bucket)
	return true, err == nil && c.Suspended()
}

// versioning looks whether the bucket says truly what it keeps.
func versioning(ctx context.Context, p *prober) error {
	key := p.key("versioning")
	for range 2 {
		if _, err := p.put(ctx, key, content(small)); err != nil {
			return err
		}
	}
	kept, err := p.store.KeepsVersions(ctx)
	switch {
	case err != nil:
		return lacking(err, "s3:GetBucketVersioning")
	case kept:
		return holds("the bucket keeps versions, and says so")
	case p.gaveVersions():
		return denied("it says that the bucket keeps no versions, and gives what is written there one")
	}
	if list, err := p.store.Versions(ctx, key, true); err == nil && len(list) > 1 { // not all that keep none can list them
		return denied("it says that the bucket keeps no versions, and lists %d of one object", len(list))
	}
	return holds("the bucket keeps no versions, and says so")
}

const keepsNone = "the bucket keeps no versions"

// rewritten is an object that was written more than once.
type rewritten struct {
	key string
	ids []string // of its versions, without what a bucket has replaced that keeps none any more
}

// rewrite writes an object several times.
func (p *prober) rewrite(ctx context.Context, name string, unnamed bool, contents ...[]byte) (rewritten, error) {
	o := rewritten{key: p.key(name)}
	for _, b := range contents {
		info, err := p.put(ctx, o.key, b)
		switch {
		case err != nil:
			return o, err
		case info.VersionID == "" && unnamed:
			info.VersionID = null
		case info.VersionID == "":
			return o, errors.New("the store does not say which version it has written")
		}
		o.ids = append(o.ids, info.VersionID)
	}
	o.ids = slices.Compact(o.ids)
	return o, nil
}

// listVersions has more versions and markers than a page of a listing.
func listVersions(ctx context.Context, p *prober) error {
	kept, unnamed := p.keepsVersions(ctx)
	if !kept {
		return holds(keepsNone)
	}
	objects := make([]rewritten, p.keys/3+1) // two versions and a marker each
	var group errgroup.Group
	group.SetLimit(atOnce)
	for n := range objects {
		group.Go(func() (err error) {
			if objects[n], err = p.rewrite(ctx, fmt.Sprintf("versions/%d", n), unnamed, []byte("1"), []byte("2")); err != nil {
				return err
			}
			return p.remove(ctx, objects[n].key)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	var list []replicator.Version
	kind := fmt.Sprintf("list versions of %d objects", len(objects))
	if err := p.timed(kind, 0, func() (err error) {
		list, err = p.store.Versions(ctx, p.prefix+"versions/", true)
		return err
	}); err != nil {
		return wrong(err, "s3:ListBucketVersions")
	}
	versions, hidden := make(map[[2]string]bool), make(map[string]bool)
	for _, v := range list {
		if !v.Marker {
			versions[[2]string{v.Key, v.ID}] = true
		} else if v.Latest {
			hidden[v.Key] = true
		}
	}
	wanted, missing, shown := 0, 0, 0
	for _, o := range objects {
		if !hidden[o.key] {
			shown++
		}
		for _, id := range o.ids {
			if id == null {
				continue // its marker has replaced it
			}
			wanted++
			if !versions[[2]string{o.key, id}] {
				missing++
			}
		}
	}
	switch {
	case missing > 0:
		return denied("of %d versions it lists %d", wanted, wanted-missing)
	case shown > 0:
		return denied("of %d objects that were deleted it lists no marker as the latest of %d", len(objects), shown)
	}
	return nil
}

// null is the version of what is written while a bucket that kept versions keeps none.
const null = "null"

// deleteVersion deletes as the erasure does: the oldest version first, the newest last.
func deleteVersion(ctx context.Context, p *prober) error {
	kept, unnamed := p.keepsVersions(ctx)
	if !kept {
		return holds(keepsNone)
	}
	newest := content(small)
	o, err := p.rewrite(ctx, "by-version", unnamed, content(small), content(small), newest)
	if err != nil {
		return err
	}
	for n, id := range o.ids {
		if err := p.erase(ctx, replicator.Version{Object: replicator.Object{Key: o.key}, ID: id}); err != nil {
			return err
		}
		got, err := p.get(ctx, o.key)
		last := n == len(o.ids)-1
		switch {
		case err != nil && code(err) != minio.NoSuchKey:
			return err
		case err != nil && !last:
			return denied("when one version is deleted the object is gone")
		case err == nil && last:
			return denied("a version that was deleted is read")
		case err == nil && !bytes.Equal(got, newest):
			return denied("when an old version is deleted the object has another content")
		}
	}
	return deleteMarker(ctx, p, unnamed)
}

// deleteMarker deletes what a deletion has left.
func deleteMarker(ctx context.Context, p *prober, unnamed bool) error {
	o, err := p.rewrite(ctx, "marked", unnamed, content(small))
	if err != nil {
		return err
	}
	if err := p.remove(ctx, o.key); err != nil {
		return err
	}
	marker := func() (marker replicator.Version, ok bool, err error) {
		list, err := p.store.Versions(ctx, o.key, true)
		if n := slices.IndexFunc(list, func(v replicator.Version) bool { return v.Marker }); err == nil && n >= 0 {
			return list[n], true, nil
		}
		return marker, false, err
	}
	m, ok, err := marker()
	if err == nil && !ok {
		err = errors.New("none is listed")
	}
	if err != nil {
		return fmt.Errorf("versions are deleted by their ids; of the markers of deletions it cannot be told: %w", err)
	}
	if err := p.erase(ctx, m); err != nil {
		return err
	}
	if _, ok, err = marker(); err != nil {
		return err
	} else if ok {
		return denied("a marker that was deleted is listed")
	}
	if _, err := p.get(ctx, o.key); !unnamed && code(err) == minio.NoSuchKey {
		return denied("when the marker of a deletion is deleted the version before it is gone too")
	}
	return nil
}

// erase deletes a version, or says what keeps it.
func (p *prober) erase(ctx context.Context, v replicator.Version) error {
	err := p.store.Erase(ctx, v)
	if !errors.Is(err, replicator.ErrRefused) {
		return err
	}
	if until := p.store.KeptUntil(ctx, v); until.After(p.now()) {
		return denied("object lock keeps all that is written, for now until %s", until.UTC().Format(time.RFC3339))
	}
	return wrong(err, "s3:DeleteObjectVersion")
}

// uploads begins one in parts and gives it up.
func uploads(ctx context.Context, p *prober) error {
	const right = "s3:AbortMultipartUpload"
	key := p.key("uploads/begun")
	if err := lacking(p.store.Abort(ctx, replicator.Upload{Key: key, ID: "none-such"}), right); errors.As(err, new(denial)) {
		return err // and so none is begun that would stay
	}
	id, err := p.core.NewMultipartUpload(ctx, p.Store.Bucket, key, minio.PutObjectOptions{})
	if c := code(err); c == "NotImplemented" || c == "MethodNotAllowed" {
		return holds("the store knows no uploads in parts")
	} else if err != nil {
		return fmt.Errorf("begin an upload in parts: %w", err)
	}
	p.begun(key, id)
	part := content(small)
	if _, err := p.core.PutObjectPart(ctx, p.Store.Bucket, key, id, 1, bytes.NewReader(part), small, minio.PutObjectPartOptions{}); err != nil {
		return fmt.Errorf("write a part: %w", err)
	}
	ours := replicator.Upload{Key: key, ID: id}
	listed := func() (bool, error) { // as the erasure asks: by what keys begin with
		list, err := p.store.Unfinished(ctx, p.prefix+"uploads/")
		return slices.Contains(list, ours), err
	}
	switch there, err := listed(); {
	case err != nil:
		return wrong(err, "s3:ListBucketMultipartUploads")
	case !there:
		return denied("an upload that was begun is not listed by what its key begins with")
	}
	if err := p.store.Abort(ctx, ours); err != nil {
		return wrong(err, right)
	}
	if there, err := listed(); err != nil {
		return err
	} else if there {
		return denied("an upload that was aborted is listed")
	}
	return nil
}
