package replicator

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// ErrNotFound is what Get and Stat answer for an object that is not there. A missing bucket is not that.
var ErrNotFound = errors.New("object not found")

// ErrListing is of a listing that cannot be true, whatever is in the store.
var ErrListing = errors.New("the store's listing is wrong")

// StoreConfig says where a bucket is and who we are there.
type StoreConfig struct {
	Endpoint  string // URL, http or https
	Bucket    string
	Region    string // us-east-1 when empty
	AccessKey string
	SecretKey string

	// Bandwidth bounds what is read. Stores may share one. Nil: no bound.
	Bandwidth *Bandwidth

	Idle    time.Duration // a request on which nothing has moved for so long is given up; a minute when zero
	Retries int           // how often one request is tried; 10 when zero
}

// String keeps the keys out of logs.
func (c StoreConfig) String() string { return c.Endpoint + "/" + c.Bucket }

// Object is one entry of a listing.
type Object struct {
	Key  string
	Size int64
	ETag string // without quotes; the MD5 of the content on most stores, anything on others

	Modified time.Time // by the store's clock
	Checked  bool      // of a write: the store said that it found the hash that it was given
}

// Store is one bucket of an S3 store. It is safe for concurrent use.
type Store struct {
	core   minio.Core
	config StoreConfig
	folder string // what all keys lie below: "" or "NAME/"
	judge  *judge
	idle   func() // closes idle connections
}

// Open checks the configuration; it sends nothing.
func Open(c StoreConfig) (*Store, error) {
	u, err := url.Parse(c.Endpoint)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("open store: endpoint %q: want http://HOST:PORT or https://HOST:PORT", c.Endpoint)
	}
	if c.Bucket == "" {
		return nil, fmt.Errorf("open store %s: no bucket given", c.Endpoint)
	}
	if c.Region == "" {
		c.Region = "us-east-1"
	}
	if c.Retries == 0 {
		c.Retries = minio.MaxRetry
	}
	if c.Idle == 0 {
		c.Idle = time.Minute
	}
	secure := u.Scheme == "https"
	base, err := minio.DefaultTransport(secure)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", c.Endpoint, err)
	}
	base.DialContext = (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}).DialContext
	base.ResponseHeaderTimeout = 0 // the watch below counts from the last byte of the body, which is fairer to large ones
	core, err := minio.NewCore(u.Host, &minio.Options{
		Creds:      credentials.NewStaticV4(c.AccessKey, c.SecretKey, ""),
		Secure:     secure,
		Region:     c.Region,
		Transport:  &watch{base: throttled(base, c.Bandwidth), idle: c.Idle},
		MaxRetries: c.Retries,
	})
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", c.Endpoint, err)
	}
	return &Store{core: *core, config: c, judge: &judge{}, idle: base.CloseIdleConnections}, nil
}

// Close gives idle connections back. A store can be used again after it.
func (s *Store) Close() { s.idle() }

// Config is what the store was opened with.
func (s *Store) Config() StoreConfig { return s.config }

// String names the store for messages, without its keys.
func (s *Store) String() string { return strings.TrimSuffix(s.config.String()+"/"+s.folder, "/") }

// Under is the part of the store below a folder ("NAME/"), with keys that begin there. It shares the connections.
func (s *Store) Under(folder string) *Store {
	under := *s
	under.folder += folder
	return &under
}

// HasBucket tells whether the bucket is there.
func (s *Store) HasBucket(ctx context.Context) (bool, error) {
	ok, err := s.core.BucketExists(ctx, s.config.Bucket)
	if err != nil {
		return false, fmt.Errorf("look for bucket %s: %w", s, err)
	}
	return ok, nil
}

// EnsureBucket creates the bucket when it is not there.
func (s *Store) EnsureBucket(ctx context.Context) error {
	if ok, err := s.HasBucket(ctx); ok || err != nil {
		return err
	}
	err := s.core.MakeBucket(ctx, s.config.Bucket, minio.MakeBucketOptions{Region: s.config.Region})
	if err != nil && minio.ToErrorResponse(err).Code != minio.BucketAlreadyOwnedByYou {
		return fmt.Errorf("create bucket %s: %w", s, err)
	}
	return nil
}

// List returns every object whose key begins with prefix, or an error: never a part of them.
func (s *Store) List(ctx context.Context, prefix string) ([]Object, error) {
	var list []Object
	for o, err := range s.objects(ctx, prefix, "") {
		if err != nil {
			return nil, err
		}
		list = append(list, o)
	}
	return list, nil
}

// Walk is List for what may be too much to be held in memory: one object after the other. The last may be an error; then they
// were not all.
func (s *Store) Walk(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return s.objects(ctx, prefix, "")
}

// Used is how many bytes all objects have together. It lists them.
func (s *Store) Used(ctx context.Context) (bytes int64, err error) {
	for o, err := range s.objects(ctx, "", "") {
		if err != nil {
			return 0, err
		}
		bytes += o.Size
	}
	return bytes, nil
}

// objects are those whose key begins with prefix, as the store lists them: by name, on most. The last may be an error;
// then they were not all. With after not empty they begin behind that key.
func (s *Store) objects(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		// ListObjectsIter ends silently when its context does, and would follow a store's tokens in a circle. As long as
		// each name is greater than the one before, there is none.
		var last string
		var seen map[string]struct{}
		first, owner := true, false
		startAfter := ""
		if after != "" {
			startAfter = s.folder + after
		}
		for o := range s.core.ListObjectsIter(ctx, s.config.Bucket, minio.ListObjectsOptions{
			Prefix: s.folder + prefix, Recursive: true, FetchOwner: &owner, StartAfter: startAfter,
		}) {
			if o.Err != nil {
				yield(Object{}, fmt.Errorf("list %s/%s: %w", s, prefix, o.Err))
				return
			}
			key, ok := strings.CutPrefix(o.Key, s.folder)
			if !ok || !strings.HasPrefix(key, prefix) {
				yield(Object{}, fmt.Errorf("list %s/%s: %w: it answered with %q, which lies elsewhere", s, prefix, ErrListing, o.Key))
				return
			}
			if !first && key <= last && seen == nil {
				seen = map[string]struct{}{last: {}}
			}
			if seen != nil {
				if _, twice := seen[key]; twice {
					yield(Object{}, fmt.Errorf("list %s/%s: %w: it named %q twice", s, prefix, ErrListing, key))
					return
				}
				seen[key] = struct{}{}
			}
			last, first = key, false
			if !yield(Object{Key: key, Size: o.Size, ETag: o.ETag, Modified: o.LastModified}, nil) {
				return
			}
		}
		if ctx.Err() != nil {
			yield(Object{}, fmt.Errorf("list %s/%s: %w", s, prefix, context.Cause(ctx)))
		}
	}
}

// Stat asks for one object's size and ETag. On most stores it cannot tell a missing bucket from a missing object.
func (s *Store) Stat(ctx context.Context, key string) (Object, error) {
	info, err := s.core.StatObject(ctx, s.config.Bucket, s.folder+key, minio.StatObjectOptions{})
	if err != nil {
		return Object{}, s.failed("look for", key, err)
	}
	return Object{Key: key, Size: info.Size, ETag: info.ETag, Modified: info.LastModified}, nil
}

// Get reads a whole object into memory. It has to have the given size.
func (s *Store) Get(ctx context.Context, key string, size int64) ([]byte, error) {
	body, err := s.open(ctx, key, size)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	content := make([]byte, size)
	if _, err := io.ReadFull(body, content); err != nil {
		return nil, s.failed("read", key, err)
	}
	return content, nil
}

// hash reads a whole object and returns its SHA-256. It holds no more of it than a small buffer.
func (s *Store) hash(ctx context.Context, key string) (sum [sha256.Size]byte, err error) {
	body, info, _, err := s.core.GetObject(ctx, s.config.Bucket, s.folder+key, minio.GetObjectOptions{})
	if err != nil {
		return sum, s.failed("read", key, err)
	}
	defer body.Close()
	if info.Size > maxObject {
		return sum, s.failed("read", key, fmt.Errorf("%w: %d bytes", ErrBroken, info.Size))
	}
	return s.sumOf(key, body, info.Size)
}

func (s *Store) sumOf(key string, body io.Reader, size int64) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	if n, err := io.Copy(h, body); err != nil {
		return sum, s.failed("read", key, err)
	} else if n != size {
		return sum, s.failed("read", key, io.ErrUnexpectedEOF)
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// open begins to read an object. The answer's length is compared before a byte of it is taken.
func (s *Store) open(ctx context.Context, key string, size int64) (io.ReadCloser, error) {
	body, info, _, err := s.core.GetObject(ctx, s.config.Bucket, s.folder+key, minio.GetObjectOptions{})
	if err != nil {
		return nil, s.failed("read", key, err)
	}
	if info.Size != size {
		body.Close()
		return nil, s.failed("read", key, fmt.Errorf("%w: %d bytes, and not the %d of the listing", ErrBroken, info.Size, size))
	}
	return body, nil
}

// Put writes an object in one request and has the store check its SHA-256. After an error it is unknown whether the
// object is there.
func (s *Store) Put(ctx context.Context, key string, content []byte, sum [sha256.Size]byte) (Object, error) {
	return s.put(ctx, key, bytes.NewReader(content), int64(len(content)), sum)
}

// put writes what a reader has. Without a Seeker it is tried once.
func (s *Store) put(ctx context.Context, key string, content io.Reader, size int64, sum [sha256.Size]byte) (Object, error) {
	// Without DisableContentSha256 a request over plain http is signed as a stream, and the hash would be ignored.
	info, err := s.core.PutObject(ctx, s.config.Bucket, s.folder+key, content, size, "",
		hex.EncodeToString(sum[:]), minio.PutObjectOptions{
			DisableContentSha256: true,
			DisableMultipart:     true,
			ContentType:          "application/octet-stream",
		})
	if err != nil {
		return Object{}, s.failed("write", key, err)
	}
	return Object{Key: key, Size: size, ETag: info.ETag}, nil
}

// remove takes one object away. Only what was never part of a repository is removed by this package.
func (s *Store) remove(ctx context.Context, key string) error {
	if err := s.core.RemoveObject(ctx, s.config.Bucket, s.folder+key, minio.RemoveObjectOptions{}); err != nil {
		return s.failed("remove", key, err)
	}
	return nil
}

// failed names the operation and the object, and turns the store's answer into ErrNotFound where it means that.
func (s *Store) failed(verb, key string, err error) error {
	if minio.ToErrorResponse(err).Code == minio.NoSuchKey {
		return fmt.Errorf("%s %s/%s: %w", verb, s, key, ErrNotFound)
	}
	return fmt.Errorf("%s %s/%s: %w", verb, s, key, err)
}
