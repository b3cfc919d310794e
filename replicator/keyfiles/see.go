package keyfiles

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"drp/replicator"
)

const (
	keysFolder = "keys/"
	mostBytes  = 64 << 10 // of a key file or a sealed password: they have some hundred
)

// errMissing: an object is not there, or not what it should be.
var errMissing = errors.New("missing")

// MissingError says what is not here and could not be got from the home.
type MissingError struct {
	Names []string // key files, and the SHA-256 of the sealed break-glass password
	First error
}

func (e *MissingError) Error() string {
	if len(e.Names) == 1 {
		return e.First.Error()
	}
	return fmt.Sprintf("%v, and %d more", e.First, len(e.Names)-1)
}

func (e *MissingError) Unwrap() error { return e.First }

// Task is what the keys of one copy are to be like.
type Task struct {
	Name   string            // of the repository
	Have   []string          // key files that have to be here
	File   [sha256.Size]byte // of the sealed break-glass password; zero: there is none
	Remove []string          // key files that may not be here, once all of Have are
}

// SeeTo makes the keys of a site's copy what they are to be. What is missing, or not what its name says, comes from the home;
// source is nil at the home itself. No password is needed. It can be ended at any point and done again.
func SeeTo(ctx context.Context, source, here *replicator.Store, t Task) error {
	if err := checkTask(t); err != nil {
		return err
	}
	config, err := here.List(ctx, t.Name+"/config")
	if err != nil {
		return err
	}
	if len(config) == 0 || config[0].Key != t.Name+"/config" {
		return fmt.Errorf("see to the keys of %s at %s: the repository has no config", t.Name, here)
	}
	missing := &MissingError{}
	want := func(key, name string) error {
		sum, _ := hex.DecodeString(name)
		err := get(ctx, source, here, t.Name, key, [sha256.Size]byte(sum))
		if errors.Is(err, errMissing) {
			missing.Names = append(missing.Names, name)
			if missing.First == nil {
				missing.First = err
			}
			return nil
		}
		return err
	}
	for _, id := range t.Have {
		if err := want(t.Name+"/"+keysFolder+id, id); err != nil {
			return err
		}
	}
	if t.File != ([sha256.Size]byte{}) {
		if err := want(BreakGlassKey(t.Name), hex.EncodeToString(t.File[:])); err != nil {
			return err
		}
	}
	if len(missing.Names) > 0 {
		return missing
	}
	if len(t.Have) == 0 {
		return nil // then nothing is known to open it but what is to go
	}
	for _, id := range t.Remove {
		if err := remove(ctx, here, t.Name, id); err != nil {
			return err
		}
	}
	return nil
}

// checkTask refuses names that would lead elsewhere, and a task that would take away what is to stay: it comes from the leader.
func checkTask(t Task) error {
	if t.Name == "" || strings.ContainsAny(t.Name, "/\\\x00") || strings.HasPrefix(t.Name, ".") {
		return fmt.Errorf("see to keys: %q cannot be the name of a repository", t.Name)
	}
	stays := make(map[string]bool)
	for _, id := range t.Have {
		stays[id] = true
	}
	for _, id := range append(append([]string{}, t.Have...), t.Remove...) {
		if _, ok := replicator.Named(keysFolder + id); !ok {
			return fmt.Errorf("see to the keys of %s: %q cannot be the name of a key", t.Name, id)
		}
	}
	for _, id := range t.Remove {
		if stays[id] {
			return fmt.Errorf("see to the keys of %s: %.8s is to stay and to go", t.Name, id)
		}
	}
	return nil
}

// get has an object of these bytes be here.
func get(ctx context.Context, source, here *replicator.Store, name, key string, want [sha256.Size]byte) error {
	_, err := read(ctx, here, key, want)
	if !errors.Is(err, errMissing) {
		return err
	}
	if source == nil {
		return err
	}
	content, err := read(ctx, source, key, want)
	if err != nil {
		return err
	}
	if key == BreakGlassKey(name) {
		if err := keepSealed(ctx, here, name, want); err != nil {
			return err
		}
	}
	_, err = here.Put(ctx, key, content, want)
	return err
}

// read is an object of these bytes, or errMissing.
func read(ctx context.Context, s *replicator.Store, key string, want [sha256.Size]byte) ([]byte, error) {
	content, err := load(ctx, s, key)
	if err == nil && sha256.Sum256(content) != want {
		return nil, fmt.Errorf("%s/%s is not what it was when it was made: what was is %w", s, key, errMissing)
	}
	return content, err
}

// load is a key's file or a sealed password, or errMissing.
func load(ctx context.Context, s *replicator.Store, key string) ([]byte, error) {
	list, err := s.List(ctx, key) // and not Stat: a bucket that is missing is no missing key
	if err != nil {
		return nil, err
	}
	for _, o := range list {
		if o.Key != key || o.Size > mostBytes {
			continue
		}
		content, err := s.Get(ctx, key, o.Size)
		if errors.Is(err, replicator.ErrNotFound) {
			break
		}
		return content, err
	}
	return nil, fmt.Errorf("%s/%s is %w", s, key, errMissing)
}

// Removed are the key files (keys/ID) that are not to come back to a site's copy of a repository.
func Removed(ctx context.Context, here *replicator.Store, name string) (map[string]bool, error) {
	folder := RemovedFolder(name)
	list, err := here.List(ctx, folder)
	if err != nil {
		return nil, err
	}
	removed := make(map[string]bool, len(list))
	for _, o := range list {
		removed[keysFolder+strings.TrimPrefix(o.Key, folder)] = true
	}
	return removed, nil
}

// Carry brings a repository's sealed break-glass password along with a first copy of it, before anything that it is for. One that
// is here stays as it is: which one counts, SeeTo is told.
func Carry(ctx context.Context, source, here *replicator.Store, name string) error {
	key := BreakGlassKey(name)
	switch there, err := here.List(ctx, key); {
	case err != nil:
		return err
	case len(there) > 0:
		return nil
	}
	list, err := source.List(ctx, key)
	if err != nil || len(list) == 0 || list[0].Key != key || list[0].Size > mostBytes {
		return err
	}
	content, err := source.Get(ctx, key, list[0].Size)
	if err != nil {
		if errors.Is(err, replicator.ErrNotFound) {
			return nil
		}
		return err
	}
	_, err = here.Put(ctx, key, content, sha256.Sum256(content))
	return err
}
