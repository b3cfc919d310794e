package maintenance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"drp/replicator"
)

// remains is what a site lists of an account.
type remains struct {
	versions []replicator.Version
	uploads  []replicator.Upload
	names    map[string]bool
}

// isOf reports whether a repository is one of an account: the first one bears its name, a later one is called ACCOUNT~N.
func isOf(repository, account string) bool {
	of, number := numbered(repository)
	return repository == account || of == account && number > 1 && accountForm.MatchString(repository)
}

// repositoryOf is the name of the repository that a key in a place is of.
func repositoryOf(p replicator.Place, key string) (name string, ok bool) {
	rest, ok := strings.CutPrefix(key, p.Before)
	if !ok {
		return "", false
	}
	if p.After == "/" {
		name, _, ok = strings.Cut(rest, "/")
		return name, ok
	}
	return strings.CutSuffix(rest, p.After)
}

// find lists all that there is of an account, or fails.
func (k *Keeper) find(ctx context.Context, account string) (*remains, error) {
	kept, err := k.Store.KeepsVersions(ctx)
	if err != nil {
		return nil, err
	}
	r := &remains{names: make(map[string]bool)}
	for _, p := range replicator.Places {
		for _, prefix := range []string{p.Before + account + p.After, p.Before + account + "~"} {
			versions, err := k.Store.Versions(ctx, prefix, kept)
			if err != nil {
				return nil, err
			}
			for _, v := range versions {
				if name, ok := repositoryOf(p, v.Key); ok && isOf(name, account) {
					r.versions = append(r.versions, v)
					r.names[name] = true
				}
			}
			uploads, err := k.Store.Unfinished(ctx, prefix)
			if err != nil {
				return nil, err
			}
			for _, u := range uploads {
				if name, ok := repositoryOf(p, u.Key); ok && isOf(name, account) {
					r.uploads = append(r.uploads, u)
				}
			}
		}
	}
	return r, nil
}

func (r *remains) empty() bool { return len(r.versions) == 0 && len(r.uploads) == 0 }

func (r *remains) repositories() []string { return slices.Sorted(maps.Keys(r.names)) }

func (r *remains) objects() (objects, bytes int64) {
	for _, v := range r.versions {
		bytes += v.Size
	}
	return int64(len(r.versions)), bytes
}

// locks are those that a restic could see.
func (r *remains) locks() (locks []replicator.Object) {
	for _, v := range r.versions {
		_, rest, _ := strings.Cut(v.Key, "/")
		if v.Latest && !v.Marker && !strings.HasPrefix(v.Key, ".") && strings.HasPrefix(rest, locksFolder) {
			locks = append(locks, v.Object)
		}
	}
	return locks
}

// uncounted sums up what is not counted yet, and counts it.
func (r *remains) uncounted(counted map[string]bool) (objects, bytes int64) {
	for _, v := range r.versions {
		if name := v.Key + "\x00" + v.ID; !counted[name] {
			counted[name] = true
			objects, bytes = objects+1, bytes+v.Size
		}
	}
	return objects, bytes
}

// objectsOf are the versions of each object that is a key, or of each that is none; oldest first. Of one object they go one after
// the other: a store may have work with the next one when the newest goes.
func (r *remains) objectsOf(keys bool) (objects [][]replicator.Version) {
	at := make(map[string]int)
	for _, v := range slices.Backward(r.versions) {
		if opens(v.Key) != keys {
			continue
		}
		n, ok := at[v.Key]
		if !ok {
			n = len(objects)
			at[v.Key], objects = n, append(objects, nil)
		}
		objects[n] = append(objects[n], v)
	}
	return objects
}

// opens reports whether an object is a key, or what a key's password can be had from.
func opens(key string) bool {
	return strings.Contains(key, "/keys/") || strings.HasPrefix(key, replicator.GoingKeysRoot) || strings.HasPrefix(key, replicator.BreakGlassRoot)
}

const (
	erasesAtOnce = 8
	mostAsked    = 20 // versions under object lock whose end is asked for in one go
	lockedAgain  = 24 * time.Hour
)

// eraser deletes what was found, and goes on beyond what the store refuses.
type eraser struct {
	store          *replicator.Store
	objects, bytes atomic.Int64 // deleted

	mu      sync.Mutex
	refused []replicator.Version
	first   error
}

// eraseFound deletes what was found, keys first. With an error it tells how far it got.
func (k *Keeper) eraseFound(ctx context.Context, m *erasing, found *remains) (Erasure, error) {
	e := &eraser{store: k.Store}
	err := e.all(ctx, found)
	if err == nil && len(e.refused) == 0 {
		return m.erasure(), nil
	}
	told := m.without(found)
	told.Objects, told.Bytes = told.Objects+e.objects.Load(), told.Bytes+e.bytes.Load()
	if err == nil {
		err = e.refusal(ctx, k, &told)
	}
	return told, fmt.Errorf("erase account %s at %s: %w", m.Account, k.Store, err)
}

func (e *eraser) all(ctx context.Context, found *remains) error {
	for _, keys := range []bool{true, false} {
		group, each := errgroup.WithContext(ctx)
		group.SetLimit(erasesAtOnce)
		for _, versions := range found.objectsOf(keys) {
			if each.Err() != nil {
				break
			}
			group.Go(func() error {
				for _, v := range versions {
					if err := e.one(each, v); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	for _, u := range found.uploads {
		if err := e.store.Abort(ctx, u); err != nil {
			return err
		}
	}
	return nil
}

func (e *eraser) one(ctx context.Context, v replicator.Version) error {
	err := e.store.Erase(ctx, v)
	if errors.Is(err, replicator.ErrRefused) {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.first == nil {
			e.first = err
		}
		e.refused = append(e.refused, v)
		return nil
	}
	if err == nil {
		e.objects.Add(1)
		e.bytes.Add(v.Size)
	}
	return err
}

// refusal says what the store has refused, and until when it is known to.
func (e *eraser) refusal(ctx context.Context, k *Keeper, told *Erasure) error {
	var until time.Time
	for _, v := range e.refused[:min(len(e.refused), mostAsked)] {
		if kept := e.store.KeptUntil(ctx, v); kept.After(until) {
			until = kept
		}
	}
	now := k.now()
	if !until.After(now) {
		return fmt.Errorf("%d objects stay: %w", len(e.refused), e.first)
	}
	told.Next = until
	if most := now.Add(lockedAgain); most.Before(until) {
		told.Next = most
	}
	return fmt.Errorf("%d objects stay: object lock keeps %s until %s, and others perhaps longer: %w",
		len(e.refused), e.refused[0].Key, until.UTC().Format(time.RFC3339), e.first)
}
