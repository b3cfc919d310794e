package replicator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
)

// Version is one version of an object, or a marker that hides those before it.
type Version struct {
	Object
	ID     string // empty in a bucket that keeps no versions
	Marker bool
	Latest bool // what a listing without versions shows, unless it is a marker
}

// ErrRefused: the store understood what it was asked for and does not do it.
var ErrRefused = errors.New("the store refuses")

var refusals = []int{http.StatusBadRequest, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusConflict}

// KeepsVersions reports whether the bucket keeps what is deleted and replaced in it. One that did so once may still.
func (s *Store) KeepsVersions(ctx context.Context) (bool, error) {
	c, err := s.core.GetBucketVersioning(ctx, s.config.Bucket)
	if err == nil {
		return c.Enabled() || c.Suspended(), nil
	}
	if slices.Contains([]string{"NotImplemented", "MethodNotAllowed", "VersioningNotConfigured"}, minio.ToErrorResponse(err).Code) {
		return false, nil
	}
	return false, fmt.Errorf("ask whether %s keeps versions: %w", s, err)
}

// Versions returns everything whose key begins with prefix, or an error: never a part of it. Kept is what KeepsVersions says:
// then what was deleted or replaced is in it as well. A store may name one twice (versitygw begins a page with the last one of the
// page before, where that is an object's newest): it is in it once.
func (s *Store) Versions(ctx context.Context, prefix string, kept bool) ([]Version, error) {
	if !kept {
		objects, err := s.List(ctx, prefix)
		versions := make([]Version, len(objects))
		for n, o := range objects {
			versions[n] = Version{Object: o, Latest: true}
		}
		return versions, err
	}
	var list []Version
	const once, twice = 1, 2
	seen := make(map[[2]string]uint8)
	for o := range s.core.ListObjectsIter(ctx, s.config.Bucket, minio.ListObjectsOptions{
		Prefix: s.folder + prefix, Recursive: true, WithVersions: true,
	}) {
		if o.Err != nil {
			return nil, fmt.Errorf("list versions of %s/%s: %w", s, prefix, o.Err)
		}
		key, ok := strings.CutPrefix(o.Key, s.folder)
		at := [2]string{key, o.VersionID}
		switch {
		case !ok || !strings.HasPrefix(key, prefix):
			return nil, fmt.Errorf("list versions of %s/%s: %w: it answered with %q, which lies elsewhere", s, prefix, ErrListing, o.Key)
		case seen[at] == twice: // or a store's markers could lead in a circle
			return nil, fmt.Errorf("list versions of %s/%s: %w: it named %q three times", s, prefix, ErrListing, key)
		case seen[at] == once:
			seen[at] = twice
			continue
		case o.VersionID == "":
			return nil, fmt.Errorf("list versions of %s/%s: %w: it gives %q no version", s, prefix, ErrListing, key)
		}
		seen[at] = once
		list = append(list, Version{
			Object: Object{Key: key, Size: o.Size, ETag: o.ETag, Modified: o.LastModified}, ID: o.VersionID, Marker: o.IsDeleteMarker, Latest: o.IsLatest,
		})
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("list versions of %s/%s: %w", s, prefix, context.Cause(ctx))
	}
	return list, nil
}

// Erase deletes one version of an object for good, whatever it is part of: the caller answers for that. One that is gone
// already is no error. ErrRefused: object lock, perhaps (KeptUntil).
func (s *Store) Erase(ctx context.Context, v Version) error {
	err := s.core.RemoveObject(ctx, s.config.Bucket, s.folder+v.Key, minio.RemoveObjectOptions{VersionID: v.ID})
	switch answer := minio.ToErrorResponse(err); {
	case err == nil || answer.Code == minio.NoSuchKey || answer.Code == minio.NoSuchVersion:
		return nil
	case slices.Contains(refusals, answer.StatusCode):
		return fmt.Errorf("erase %s/%s: %w: %w", s, v.Key, ErrRefused, err)
	}
	return s.failed("erase", v.Key, err)
}

// KeptUntil is until when object lock keeps a version; the zero time when it is not known to.
func (s *Store) KeptUntil(ctx context.Context, v Version) time.Time {
	info, err := s.core.StatObject(ctx, s.config.Bucket, s.folder+v.Key, minio.StatObjectOptions{VersionID: v.ID})
	if err != nil {
		return time.Time{}
	}
	until, _ := time.Parse(time.RFC3339, info.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date"))
	return until
}

// Upload is one in parts that was never finished. No listing of objects shows it.
type Upload struct{ Key, ID string }

// Unfinished returns uploads whose key begins with prefix. A store that knows no uploads in parts has none.
func (s *Store) Unfinished(ctx context.Context, prefix string) ([]Upload, error) {
	var list []Upload
	var key, id string
	for {
		page, err := s.core.ListMultipartUploads(ctx, s.config.Bucket, s.folder+prefix, key, id, "", 1000)
		if code := minio.ToErrorResponse(err).Code; code == "NotImplemented" || code == "MethodNotAllowed" {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list unfinished uploads of %s/%s: %w", s, prefix, err)
		}
		for _, u := range page.Uploads {
			name, ok := strings.CutPrefix(u.Key, s.folder)
			if !ok || !strings.HasPrefix(name, prefix) {
				return nil, fmt.Errorf("list unfinished uploads of %s/%s: %w: it answered with %q, which lies elsewhere", s, prefix, ErrListing, u.Key)
			}
			list = append(list, Upload{name, u.UploadID})
		}
		if !page.IsTruncated {
			return list, nil
		}
		if page.NextKeyMarker == key && page.NextUploadIDMarker == id {
			return nil, fmt.Errorf("list unfinished uploads of %s/%s: %w: it does not get further", s, prefix, ErrListing)
		}
		key, id = page.NextKeyMarker, page.NextUploadIDMarker
	}
}

// Abort gives up an upload, with the parts that it has.
func (s *Store) Abort(ctx context.Context, u Upload) error {
	err := s.core.AbortMultipartUpload(ctx, s.config.Bucket, s.folder+u.Key, u.ID)
	if err != nil && minio.ToErrorResponse(err).Code != minio.NoSuchUpload {
		return s.failed("abort the upload of", u.Key, err)
	}
	return nil
}
