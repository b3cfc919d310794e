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
	"time"

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
	found, err := replicator.Scrub(ctx, v.Store, account+"/", replicator.Options{Workers: cmp.Or(v.Workers, 2)})
	switch damage := found.Damage(); {
	case err != nil:
		return err
	case found.Objects == 0:
		return fmt.Errorf("scrub %s/%s: there is no repository", v.Store, account)
	case damage != "": // what is gone too: nothing is deleted meanwhile but by others
		return fmt.Errorf("scrub %s/%s: %w: %s", v.Store, account, ErrDamaged, damage)
	}
	return nil
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
