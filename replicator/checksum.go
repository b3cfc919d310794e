package replicator

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/minio/minio-go/v7"
)

// trustedFrom is the size (bytes) from which on the hashing of an object is left to a store that was seen to do it.
// A store spends the most on each byte, and computes some checksum anyway: so SHA-256 in its place costs nothing, and
// hashing here as well would cost a quarter of the whole copy.
const trustedFrom = 1 << 20

// putChecked writes an object with its SHA-256 as S3's own checksum of it, which the store verifies and keeps.
func (s *Store) putChecked(ctx context.Context, key string, content io.Reader, size int64, sum [sha256.Size]byte) (Object, error) {
	want := base64.StdEncoding.EncodeToString(sum[:])
	info, err := s.core.PutObject(ctx, s.config.Bucket, s.folder+key, content, size, "", "", minio.PutObjectOptions{
		DisableContentSha256: true, // the payload is not signed; the header with its checksum is
		DisableMultipart:     true,
		ContentType:          "application/octet-stream",
		UserMetadata:         map[string]string{"X-Amz-Checksum-Sha256": want},
	})
	if err != nil {
		return Object{}, s.failed("write", key, err)
	}
	return Object{Key: key, Size: size, ETag: info.ETag, Checked: info.ChecksumSHA256 == want}, nil
}

// judge is what is known of a store's checking of hashes.
type judge struct {
	mu     sync.Mutex
	known  bool
	honest bool
}

// probeName is what checksHashes offers under a wrong hash. A store that checks it never has it.
const probeName = ".drp-probe"

// checksHashes reports whether the store refuses an object whose SHA-256 is not the one announced. It is tried once,
// with any hash that is not the probe's.
func (s *Store) checksHashes(ctx context.Context, wrong [sha256.Size]byte) bool {
	s.judge.mu.Lock()
	defer s.judge.mu.Unlock()
	if s.judge.known {
		return s.judge.honest
	}
	probe := "drp tries whether this store checks hashes"
	_, err := s.putChecked(ctx, probeName, strings.NewReader(probe), int64(len(probe)), wrong)
	switch {
	case err == nil:
		s.judge.known = s.remove(ctx, probeName) == nil
	case refusesHash(err):
		s.judge.known, s.judge.honest = true, true
	case ctx.Err() == nil:
		s.judge.known = true // it may not take anything of that name from us
	}
	return s.judge.honest
}

// refusesHash reports whether a store found another hash than the one announced.
func refusesHash(err error) bool {
	var answer minio.ErrorResponse
	return errors.As(err, &answer) && answer.StatusCode == http.StatusBadRequest &&
		slices.Contains([]string{"BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "InvalidDigest"}, answer.Code)
}
