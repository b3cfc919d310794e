package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"drp/replicator/restic"
)

const proofPrefix = "drp-proof-"

// errNoScratch says what is to be done.
var errNoScratch = errors.New("this worker's configuration has no scratch directory to restore into")

// Prove restores a snapshot into a directory of its own, has restic read back what it wrote, and counts what is there
// against the snapshot's own list. The directory is removed in the end.
func (v *Verifier) Prove(ctx context.Context, account, password, snapshot string) (err error) {
	if v.Scratch == "" {
		return errNoScratch
	}
	return v.with(ctx, account, password, func(repo restic.Repository) error {
		want, err := v.Tool.Contents(ctx, repo, snapshot)
		if err != nil {
			return err
		}
		if err := v.fits(want); err != nil {
			return fmt.Errorf("snapshot %.8s of %s: %w", snapshot, account, err)
		}
		dir, err := os.MkdirTemp(v.Scratch, proofPrefix) // mode 0700
		if err != nil {
			return fmt.Errorf("make a directory to restore into: %w", err)
		}
		defer func() {
			if failed := clear(dir); failed != nil && err == nil {
				err = failed
			}
		}()
		// restic gives its target the owner and mode of the snapshot's own root.
		if _, err = v.Tool.Restore(ctx, repo, restic.RestoreOptions{
			Snapshot: snapshot, Target: filepath.Join(dir, "root"), Sparse: true, Verify: true, NoLock: true,
		}); err != nil {
			return err
		}
		got, err := count(filepath.Join(dir, "root"))
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("%w: snapshot %.8s of %s holds %s, and %s came out", ErrDamaged, snapshot, account, describe(want), describe(got))
		}
		return nil
	})
}

func describe(c restic.Contents) string {
	return fmt.Sprintf("%d files, %d directories, %d links and %d bytes", c.Files, c.Directories, c.Links, c.Bytes)
}

// fits refuses what would fill the disk.
func (v *Verifier) fits(c restic.Contents) error {
	if most := cmp.Or(v.MostBytes, DefaultMostBytes); c.Bytes > most {
		return fmt.Errorf("it has %d bytes: only snapshots of up to %d are restored here as a proof", c.Bytes, most)
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(v.Scratch, &disk); err != nil {
		return fmt.Errorf("look at the room in %s: %w", v.Scratch, err)
	}
	const reserve = 10 // percent stay free
	if room := int64(disk.Bavail) * disk.Bsize; c.Bytes > room/100*(100-reserve) {
		return fmt.Errorf("it has %d bytes, and %s has room for %d", c.Bytes, v.Scratch, room)
	}
	return nil
}

// count follows no links. Directories that their owner may not read are opened first: they are copies.
func count(root string) (c restic.Contents, err error) {
	err = walk(root, func(path string, info fs.FileInfo) error {
		switch info.Mode().Type() {
		case 0:
			c.Files++
			c.Bytes += info.Size()
		case fs.ModeDir:
			if path != root {
				c.Directories++
			}
		case fs.ModeSymlink:
			c.Links++
		}
		return nil
	})
	return c, err
}

// walk visits a directory before what is in it, made accessible.
func walk(path string, visit func(path string, info fs.FileInfo) error) error {
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("look at what was restored: %w", err)
	}
	if err := visit(path, info); err != nil || !info.IsDir() {
		return err
	}
	if err := os.Chmod(path, 0o700); err != nil {
		return fmt.Errorf("look at what was restored: %w", err)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return fmt.Errorf("look at what was restored: %w", err)
	}
	for _, e := range entries {
		if err := walk(filepath.Join(path, e.Name()), visit); err != nil {
			return err
		}
	}
	return nil
}

// clear removes a directory, whatever the modes in it are.
func clear(dir string) error {
	if err := os.RemoveAll(dir); err == nil {
		return nil
	}
	if err := walk(dir, func(string, fs.FileInfo) error { return nil }); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// ClearScratch removes what a process that was killed has left. It has to be called before the first Prove, and by
// one process at a time.
func (v *Verifier) ClearScratch() error {
	if v.Scratch == "" {
		return nil
	}
	entries, err := os.ReadDir(v.Scratch)
	if err != nil {
		return fmt.Errorf("clear scratch directory: %w", err)
	}
	var all error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), proofPrefix) || strings.HasPrefix(e.Name(), "drp-restic-") {
			all = errors.Join(all, clear(filepath.Join(v.Scratch, e.Name())))
		}
	}
	return all
}
