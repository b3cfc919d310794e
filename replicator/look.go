package replicator

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Found is what lies under a prefix.
type Found string

const (
	Nothing Found = "nothing"
	// HalfMade is what an init leaves that ended too early: keys and no config. Nothing was ever saved in it, and restic
	// refuses to go on with it.
	HalfMade Found = "half made"
	Whole    Found = "a repository" // a config and a key
)

// ErrHeadless: there are packs, indexes or snapshots, and no config. They may be all that is left of a repository, so
// nothing touches them.
var ErrHeadless = errors.New("there are files of a repository but no config")

// Look tells what lies under a prefix ("NAME/").
func (s *Store) Look(ctx context.Context, prefix string) (Found, error) {
	found, _, err := s.look(ctx, prefix)
	return found, err
}

// ClearHalfMade removes what a broken-off init left under a prefix, so that the next one can begin. It refuses
// anything else. Nobody else may be creating a repository there.
func (s *Store) ClearHalfMade(ctx context.Context, prefix string) error {
	found, rest, err := s.look(ctx, prefix)
	if err != nil {
		return err
	}
	if found != HalfMade {
		return fmt.Errorf("clear %s/%s: refused: there is %s", s, prefix, found)
	}
	for _, o := range rest {
		if err := s.remove(ctx, o.Key); err != nil {
			return err
		}
	}
	return nil
}

// look also returns what there is of a half-made repository.
func (s *Store) look(ctx context.Context, prefix string) (Found, []Object, error) {
	if err := checkPrefix(prefix); err != nil {
		return "", nil, err
	}
	config, err := s.List(ctx, prefix+configName)
	if err != nil {
		return "", nil, err
	}
	for _, o := range config {
		if o.Key != prefix+configName {
			continue
		}
		held, err := s.List(ctx, prefix+string(keys)+"/")
		if err != nil {
			return "", nil, err
		}
		if len(held) == 0 {
			return "", nil, fmt.Errorf("look at %s/%s: there is a config and no key: nothing opens it", s, prefix)
		}
		return Whole, nil, nil
	}
	rest, err := s.List(ctx, prefix)
	if err != nil {
		return "", nil, err
	}
	for _, o := range rest {
		name := strings.TrimPrefix(o.Key, prefix)
		if !strings.HasPrefix(name, string(keys)+"/") && !strings.HasPrefix(name, string(locks)+"/") {
			return "", nil, fmt.Errorf("look at %s/%s: %w: %s", s, prefix, ErrHeadless, o.Key)
		}
	}
	if len(rest) == 0 {
		return Nothing, nil, nil
	}
	return HalfMade, rest, nil
}
