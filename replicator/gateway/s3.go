package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"drp/replicator"
)

// S3 is a Store over minio-go.
type S3 struct {
	bucket string
	core   *minio.Core
	list   *replicator.Store
}

// OpenS3 checks the configuration; it sends nothing.
func OpenS3(c replicator.StoreConfig) (*S3, error) {
	c.Retries = 1 // how long a request is held and tried again is the Gateway's decision alone
	list, err := replicator.Open(c)
	if err != nil {
		return nil, err
	}
	c = list.Config() // with its defaults
	u, err := url.Parse(c.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("open store: endpoint: %w", err)
	}
	core, err := minio.NewCore(u.Host, &minio.Options{
		Creds:      credentials.NewStaticV4(c.AccessKey, c.SecretKey, ""),
		Secure:     u.Scheme == "https",
		Region:     c.Region,
		MaxRetries: c.Retries,
	})
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", c.Endpoint, err)
	}
	return &S3{bucket: c.Bucket, core: core, list: list}, nil
}

// Stat implements Store. It reads a byte: an answer to HEAD has no body, and a bucket that is gone (a disk that is not
// mounted) would look the same as a missing object, and make restic believe that there is no repository. The answer to
// GET says which it is, and most objects that are asked for are new.
func (s *S3) Stat(ctx context.Context, key string) (int64, error) {
	part, err := s.Get(ctx, key, 0, 1)
	if err == nil {
		_, _ = io.Copy(io.Discard, part.Body) // else the connection is not used again
		part.Body.Close()
		return part.Total, nil
	}
	if !errors.Is(err, ErrRange) {
		return 0, err
	}
	info, err := s.core.StatObject(ctx, s.bucket, key, minio.StatObjectOptions{}) // it is there, and empty
	if err != nil {
		return 0, classify("look for", key, err)
	}
	return info.Size, nil
}

// Get implements Store.
func (s *S3) Get(ctx context.Context, key string, offset, length int64) (Part, error) {
	var o minio.GetObjectOptions
	ranged := offset > 0 || length >= 0
	if ranged {
		last := ""
		if length >= 0 {
			last = strconv.FormatInt(offset+length-1, 10)
		}
		o.Set("Range", fmt.Sprintf("bytes=%d-%s", offset, last))
	}
	body, info, header, err := s.core.GetObject(ctx, s.bucket, key, o)
	if err != nil {
		return Part{}, classify("read", key, err)
	}
	p := Part{Body: body, Size: info.Size, Total: info.Size}
	if ranged {
		// "bytes 0-99/1234". A store that ignored the range would hand restic other bytes than it asked for.
		_, total, ok := strings.Cut(header.Get("Content-Range"), "/")
		p.Total, err = strconv.ParseInt(total, 10, 64)
		if !ok || err != nil {
			body.Close()
			return Part{}, fmt.Errorf("read %s: the store answered a range with %q", key, header.Get("Content-Range"))
		}
	}
	return p, nil
}

// Put implements Store. Without DisableContentSha256 a request over plain http is signed as a stream, and the
// store ignores the hash.
func (s *S3) Put(ctx context.Context, key, sum string, size int64, body io.Reader) error {
	_, err := s.core.PutObject(ctx, s.bucket, key, body, size, "", sum, minio.PutObjectOptions{
		DisableContentSha256: true,
		DisableMultipart:     true,
		ContentType:          "application/octet-stream",
	})
	if err != nil {
		return classify("write", key, err)
	}
	return nil
}

// List implements Store.
func (s *S3) List(ctx context.Context, prefix string) ([]Object, error) {
	found, err := s.list.List(ctx, prefix)
	if err != nil {
		return nil, classify("list", prefix, err)
	}
	list := make([]Object, len(found))
	for i, o := range found {
		list[i] = Object{Key: o.Key, Size: o.Size}
	}
	return list, nil
}

// Delete implements Store.
func (s *S3) Delete(ctx context.Context, key string) error {
	if err := s.core.RemoveObject(ctx, s.bucket, key, minio.RemoveObjectOptions{}); err != nil {
		if err = classify("delete", key, err); !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return nil
}

// classify adds what a store's answer means. A missing bucket is passing: somebody forgot to mount it.
func classify(verb, key string, err error) error {
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) {
		return fmt.Errorf("%s %s: %w", verb, key, err)
	}
	class := error(nil)
	switch answer.Code {
	case minio.NoSuchKey, "NotFound":
		class = ErrNotFound
	case minio.InvalidRange:
		class = ErrRange
	case minio.AccessDenied, "InvalidAccessKeyId", "SignatureDoesNotMatch":
		class = ErrDenied
	case "XMinioStorageFull", "NoSpaceLeftOnDevice", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded":
		class = ErrFull
	}
	switch {
	case class != nil:
	case answer.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		class = ErrRange
	case answer.StatusCode == http.StatusInsufficientStorage:
		class = ErrFull
	}
	if class == nil {
		return fmt.Errorf("%s %s: %w", verb, key, err)
	}
	return fmt.Errorf("%s %s: %w: %w", verb, key, class, err)
}
