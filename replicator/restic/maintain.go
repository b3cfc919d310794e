package restic

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
)

// forgetAtOnce is how many snapshots one forget names: an argument list has its limits.
const forgetAtOnce = 500

// patience lets a backup that began a moment ago come to its end.
const patience = "--retry-lock=5m"

// Forget removes snapshots, each by its whole id. It knows no policy: what is over, others decide.
func (r *Runner) Forget(ctx context.Context, repo Repository, ids []string) error {
	for _, id := range ids {
		if !snapshotName.MatchString(id) { // "latest", or a prefix, is more than was asked for
			return fmt.Errorf("restic forget: snapshot %q: want 64 hexadecimal digits", id)
		}
	}
	for some := range slices.Chunk(ids, forgetAtOnce) {
		if _, err := r.run(ctx, repo, call{verb: "forget", args: append([]string{patience, "--"}, some...), limit: r.limit()}); err != nil {
			return err
		}
	}
	return nil
}

// Prune removes what no snapshot needs. Up to a tenth may stay: packs that are mostly in use are not written anew for it.
func (r *Runner) Prune(ctx context.Context, repo Repository) error {
	_, err := r.run(ctx, repo, call{verb: "prune", args: []string{patience, "--max-unused=10%"}, limit: r.limit()})
	return err
}

// Contents is how much a snapshot holds.
type Contents struct {
	Files, Directories, Links int64
	Bytes                     int64 // of the files, holes too
}

// Contents counts what a snapshot holds, without a lock. Sockets and devices are not counted.
func (r *Runner) Contents(ctx context.Context, repo Repository, snapshot string) (Contents, error) {
	if !snapshotName.MatchString(snapshot) {
		return Contents{}, fmt.Errorf("restic ls: snapshot %q: want 64 hexadecimal digits", snapshot)
	}
	var c Contents
	header := false
	said, err := r.run(ctx, repo, call{verb: "ls", args: []string{"--no-lock", "--", snapshot}, limit: r.limit(), line: func(line []byte) {
		var node struct {
			Message string `json:"message_type"`
			Type    string `json:"type"`
			Size    int64  `json:"size"`
		}
		if json.Unmarshal(line, &node) != nil {
			return
		}
		header = header || node.Message == "snapshot"
		switch {
		case node.Message != "node":
		case node.Type == "file":
			c.Files++
			c.Bytes += node.Size
		case node.Type == "dir":
			c.Directories++
		case node.Type == "symlink":
			c.Links++
		}
	}})
	if err == nil && !header {
		err = &Error{Verb: "ls", Class: ErrFailed, Message: "no snapshot in its output", Tail: said.text()}
	}
	return c, err
}
