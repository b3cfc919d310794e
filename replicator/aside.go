package replicator

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/minio/minio-go/v7"
)

// ErrOccupied: where an object is to go, another one lies.
var ErrOccupied = errors.New("another object lies there")

// Move puts an object under another name. The store copies it, what came of that is looked at, and only then is the
// first one deleted. It may be ended at any point and done again: at each there is a whole object under one of the
// names, or under both. One that is at its new name already has been moved. It replaces nothing.
func (s *Store) Move(ctx context.Context, from, to string) error {
	there, err := s.Stat(ctx, to)
	arrived := err == nil
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	o, err := s.Stat(ctx, from)
	if errors.Is(err, ErrNotFound) && arrived {
		return nil
	}
	if err != nil {
		return err
	}
	if !arrived {
		if _, err := s.core.CopyObject(ctx, s.config.Bucket, s.folder+from, s.config.Bucket, s.folder+to, nil,
			minio.CopySrcOptions{}, minio.PutObjectOptions{}); err != nil {
			return s.failed("copy to "+to, from, err)
		}
		if there, err = s.Stat(ctx, to); err != nil {
			return err
		}
	}
	if same, err := s.sameContent(ctx, o, there); err != nil {
		return err
	} else if !same {
		return fmt.Errorf("move %s/%s to %s: %w; both stay", s, from, to, ErrOccupied)
	}
	return s.remove(ctx, from)
}

// sameContent reads both objects when their ETags cannot tell.
func (s *Store) sameContent(ctx context.Context, a, b Object) (bool, error) {
	if a.Size != b.Size {
		return false, nil
	}
	if looksLikeMD5(a.ETag) && looksLikeMD5(b.ETag) && strings.EqualFold(a.ETag, b.ETag) {
		return true, nil
	}
	first, err := s.hash(ctx, a.Key)
	if err != nil {
		return false, err
	}
	second, err := s.hash(ctx, b.Key)
	return first == second, err
}

// Discard deletes an object that is no part of a repository: a lock, or what lies under a name that begins with a
// dot, as no account's does. It refuses any other.
func (s *Store) Discard(ctx context.Context, key string) error {
	_, rest, _ := strings.Cut(key, "/")
	if !strings.HasPrefix(key, ".") && !strings.HasPrefix(rest, "locks/") {
		return fmt.Errorf("delete %s/%s: refused: it is part of a repository", s, key)
	}
	return s.remove(ctx, key)
}

// Sum reads an object of the given size and returns its SHA-256. It holds no more of it than a small buffer.
func (s *Store) Sum(ctx context.Context, key string, size int64) ([sha256.Size]byte, error) {
	body, err := s.open(ctx, key, size)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	defer body.Close()
	return s.sumOf(key, body, size)
}

// Named tells which SHA-256 an object has to have, by its name below the repository (data/XX/NAME, index/NAME …);
// false for config, locks and what is no part of a repository.
func Named(name string) (sum [sha256.Size]byte, ok bool) {
	folder, file, _ := strings.Cut(name, "/")
	switch c := class(folder); c {
	case keys, data, index, snapshots:
		return parseName(c, file)
	}
	return sum, false
}
