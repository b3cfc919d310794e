package maintenance

import (
	"context"
	"fmt"
	"strings"

	"drp/replicator/gateway"
	"drp/replicator/restic"
)

// UnreadableError: snapshots of a repository that no backup recorded cannot be read. restic neither prunes nor checks as
// long as one is there. Maintenance stops at it: without its tree nobody can say what it needs, and it may be a genuine one
// of which an index got lost. Pruned without it, the packs of that index would go as well.
type UnreadableError struct {
	Account   string
	Snapshots []string
	Cause     error
}

func (e *UnreadableError) Error() string {
	var short []string
	for _, id := range e.Snapshots {
		short = append(short, fmt.Sprintf("%.8s", id))
	}
	return fmt.Sprintf("of the repository of %s these snapshots, which no backup recorded, cannot be read: %s. All that backups recorded is whole. "+
		"Nothing is deleted as long as they are there: DRP.md says under \"A snapshot that cannot be read\" how to set one aside (%v)",
		e.Account, strings.Join(short, ", "), e.Cause)
}

func (e *UnreadableError) Unwrap() error { return e.Cause }

// mostTried bounds how many unknown snapshots are tried one by one: each is a run of restic.
const mostTried = 8

// blame finds out whether unknown snapshots are what a run failed for: the repository is whole without them, and is not
// with one of them. Else the error stays what it is.
func (k *Keeper) blame(ctx context.Context, j Job, unknown []string, cause error) error {
	whole := func(shown string) bool {
		var without []string
		for _, id := range unknown {
			if id != shown {
				without = append(without, id)
			}
		}
		return k.with(ctx, j, gateway.LocalOptions{Frozen: true, Without: without}, func(repo restic.Repository) error {
			return k.Tool.Check(ctx, repo, restic.CheckOptions{NoLock: true})
		}) == nil
	}
	if len(unknown) == 0 || !whole("") {
		return cause
	}
	var bad []string
	for _, id := range unknown[:min(len(unknown), mostTried)] {
		if !whole(id) {
			bad = append(bad, id)
		}
	}
	if len(bad) == 0 || ctx.Err() != nil {
		return cause
	}
	return &UnreadableError{Account: j.Account, Snapshots: bad, Cause: cause}
}
