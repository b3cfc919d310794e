package gateway

import (
	"context"
	"errors"
	"io"
)

// What a Store's error means. Every other error is passing: the request is held and tried again, then answered in a
// way that makes restic try again.
var (
	ErrNotFound = errors.New("object not found")
	ErrRange    = errors.New("range lies outside of the object")
	ErrDenied   = errors.New("store refused our credentials")
	ErrFull     = errors.New("store is full")
)

// Store is the bucket. It is used by many goroutines at once.
type Store interface {
	// Stat returns an object's size. ErrNotFound is said only by a store whose bucket is there.
	Stat(ctx context.Context, key string) (int64, error)
	// Get opens length bytes from offset on, or all from there when length is negative. The caller closes the body.
	Get(ctx context.Context, key string, offset, length int64) (Part, error)
	// Put writes an object of known size and SHA-256 (hexadecimal) in one request. When body fails, nothing is stored;
	// after any other error it is unknown whether the object is there. A body that is an io.Seeker may be sent again.
	Put(ctx context.Context, key, sum string, size int64, body io.Reader) error
	// List returns every object whose key begins with prefix, or an error: never a part of them.
	List(ctx context.Context, prefix string) ([]Object, error)
	// Delete removes an object; one that is not there is no error.
	Delete(ctx context.Context, key string) error
}

// Part is what Get opened.
type Part struct {
	Body  io.ReadCloser
	Size  int64 // of Body
	Total int64 // of the object
}

// Object is one entry of a listing.
type Object struct {
	Key  string
	Size int64
}

// final reports whether trying again cannot help.
func final(err error) bool {
	var no *refusal
	return errors.As(err, &no) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrRange) || errors.Is(err, ErrDenied) || errors.Is(err, ErrFull)
}
