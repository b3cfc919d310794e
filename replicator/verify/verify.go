// Package verify looks whether a site's copy of a repository is good. Scrub needs no key: each object's bytes give its
// name. Check has restic look at everything and read a part of all data. Prove restores a snapshot and compares.
//
// Nothing here writes to a repository, and none of it needs a lock: what is added meanwhile is not looked at. Of one
// account nothing may be deleted while it runs.
package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"drp/replicator"
	"drp/replicator/gateway"
	"drp/replicator/restic"
)

// Tool is restic.
type Tool interface {
	Check(ctx context.Context, repo restic.Repository, o restic.CheckOptions) error
	Contents(ctx context.Context, repo restic.Repository, snapshot string) (restic.Contents, error)
	Restore(ctx context.Context, repo restic.Repository, o restic.RestoreOptions) (restic.Restored, error)
}

// Verifier verifies one site's copies. Store is needed; Tool, for Check and Prove.
type Verifier struct {
	Store   *replicator.Store
	Tool    Tool
	Workers int    // objects that Scrub reads at once; 2 when zero
	Scratch string // where Prove restores to; Prove refuses to work without
	// MostBytes is how large a snapshot may be that Prove restores. DefaultMostBytes when zero.
	MostBytes int64
	Log       *slog.Logger
	Now       func() time.Time // time.Now when nil
}

// DefaultMostBytes of a snapshot that is restored as a proof.
const DefaultMostBytes = 100 << 30

// ErrDamaged: something of the copy is not what it should be.
var ErrDamaged = errors.New("the copy is damaged")

func (v *Verifier) now() time.Time {
	if v.Now != nil {
		return v.Now()
	}
	return time.Now()
}

// Scrub reads every object of a repository and holds its hash against its name. It needs no key and holds nothing of an
// object but a small buffer. The config, which has no such name, is its caller's to compare.
func (v *Verifier) Scrub(ctx context.Context, account string) error {
	list, err := v.Store.List(ctx, account+"/")
	if err != nil {
		return err
	}
	var mu sync.Mutex
	var broken []string
	found := 0
	group, each := errgroup.WithContext(ctx)
	group.SetLimit(cmp.Or(v.Workers, 2))
	for _, o := range list {
		want, ok := replicator.Named(strings.TrimPrefix(o.Key, account+"/"))
		if !ok {
			continue
		}
		found++
		if each.Err() != nil {
			break
		}
		group.Go(func() error {
			good, err := v.good(each, o, want)
			if err == nil && !good {
				mu.Lock()
				broken = append(broken, o.Key)
				mu.Unlock()
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	switch slices.Sort(broken); {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case found == 0:
		return fmt.Errorf("scrub %s/%s: there is no repository", v.Store, account)
	case len(broken) > 0:
		return fmt.Errorf("scrub %s/%s: %w: %d of %d objects are not what their names say: %s",
			v.Store, account, ErrDamaged, len(broken), found, some(broken))
	}
	return nil
}

// readings is how often an object is read before it counts as broken: a bit can also flip on the way.
const readings = 3

func (v *Verifier) good(ctx context.Context, o replicator.Object, want [32]byte) (bool, error) {
	for range readings {
		sum, err := v.Store.Sum(ctx, o.Key, o.Size)
		switch {
		case errors.Is(err, replicator.ErrNotFound):
			return false, nil // nothing is deleted meanwhile but by others
		case err != nil:
			return false, err
		case sum == want:
			return true, nil
		}
	}
	return false, nil
}

func some(list []string) string {
	const few = 5
	if len(list) <= few {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:few], ", "), len(list)-few)
}

// Check has restic look at the whole structure, and read one part of all data (from 1). It returns the moment from
// which on additions were not looked at.
func (v *Verifier) Check(ctx context.Context, account, password string, part, parts int) (began time.Time, err error) {
	began = v.now()
	err = v.with(ctx, account, password, func(repo restic.Repository) error {
		return v.Tool.Check(ctx, repo, restic.CheckOptions{Part: part, Parts: parts, NoLock: true})
	})
	return began, err
}

// with opens a door for restic, through which the repository is as it was at this moment. There is no cache: a copied
// repository has the same id, and with a cache it looks whole when it is not.
func (v *Verifier) with(ctx context.Context, account, password string, do func(restic.Repository) error) error {
	store, err := gateway.OpenS3(v.Store.Config())
	if err != nil {
		return err
	}
	door, err := gateway.NewLocal(ctx, store, account, gateway.LocalOptions{Frozen: true, Dir: v.Scratch, Log: v.Log})
	if err != nil {
		return err
	}
	defer door.Close()
	if err := do(restic.Repository{URL: door.URL(), Password: password}); err != nil {
		return fmt.Errorf("%s/%s: %w", v.Store, account, err) // restic knows no more than the door
	}
	return nil
}
