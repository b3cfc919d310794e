package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"drp/e2e/measure"
	"drp/e2e/verdict"
)

const (
	bareLimit   = 1.15
	peerLimit   = 1.10
	resticTimes = 3.0
	resticCPU   = 1.0 / 8
	memoryLimit = 200 << 20
	sample      = 5 // of many small repositories, for restic copy: it is a process for each
)

// benchCase is one situation: what both stores hold before each run.
type benchCase struct {
	name    string
	prepare func(ctx context.Context) (repositories []string, err error) // at the source
	before  func() string                                                // a directory that the target's bucket is a copy of; "": empty
	listing bool                                                         // nothing is copied: only rclone is a fair limit
	alone   bool                                                         // only what drp takes
}

func (b *bench) cases() []benchCase {
	empty := func() string { return "" }
	kept := filepath.Join(b.dir, "kept") // the small repositories, as the target holds them when nothing has changed
	return []benchCase{
		{name: "large", prepare: func(ctx context.Context) ([]string, error) { return b.one(ctx, "16") }, before: empty},
		{name: "many", prepare: b.many, before: empty},
		{name: "unchanged", prepare: func(ctx context.Context) ([]string, error) { return b.keep(ctx, kept) }, before: func() string { return kept }, listing: true},
		{name: "changed", prepare: func(ctx context.Context) ([]string, error) { return b.change(ctx, kept) }, before: func() string { return kept }},
		{name: "packs", prepare: func(ctx context.Context) ([]string, error) { return b.one(ctx, "128") }, before: empty, alone: true},
	}
}

// one large repository, of files that do not compress.
func (b *bench) one(ctx context.Context, packSize string) ([]string, error) {
	if err := b.source.Holds(""); err != nil {
		return nil, err
	}
	home := filepath.Join(b.dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		return nil, err
	}
	defer os.RemoveAll(home)
	const files = 16
	for n := range files {
		if err := measure.WriteRandom(filepath.Join(home, fmt.Sprint(n)), b.size/files); err != nil {
			return nil, err
		}
	}
	if _, err := b.restic(ctx, b.source, "large", "init"); err != nil {
		return nil, err
	}
	_, err := b.restic(ctx, b.source, "large", "backup", "--pack-size", packSize, home)
	return []string{"large"}, err
}

func smallName(n int) string { return fmt.Sprintf("r%04d", n) }

// many small repositories. They are copies of one: to make each would take restic half a second of processor time.
func (b *bench) many(ctx context.Context) ([]string, error) {
	if err := b.source.Holds(""); err != nil {
		return nil, err
	}
	if _, err := b.restic(ctx, b.source, smallName(0), "init"); err != nil {
		return nil, err
	}
	for n := range 3 {
		if err := b.backup(ctx, smallName(0), 40<<10<<n); err != nil {
			return nil, err
		}
	}
	names := []string{smallName(0)}
	for n := 1; n < b.small; n++ {
		if err := measure.CopyTree(filepath.Join(b.source.Path(), smallName(0)), filepath.Join(b.source.Path(), smallName(n))); err != nil {
			return nil, err
		}
		names = append(names, smallName(n))
	}
	return names, nil
}

func (b *bench) backup(ctx context.Context, repository string, size int64) error {
	file := filepath.Join(b.dir, "file")
	if err := measure.WriteRandom(file, size); err != nil {
		return err
	}
	_, err := b.restic(ctx, b.source, repository, "backup", file)
	return err
}

// keep has the target hold all of the small repositories, and notes what that is.
func (b *bench) keep(ctx context.Context, kept string) ([]string, error) {
	names, err := b.many(ctx)
	if err != nil {
		return nil, err
	}
	return names, errors.Join(os.RemoveAll(kept), measure.CopyTree(b.source.Path(), kept))
}

// change adds a snapshot to one repository in a hundred.
func (b *bench) change(ctx context.Context, kept string) ([]string, error) {
	names, err := b.keep(ctx, kept)
	if err != nil {
		return nil, err
	}
	for n := 0; n < len(names); n += 100 {
		if err := b.backup(ctx, names[n], 100<<10); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// measure runs all peers by turns, and says what came of it.
func (b *bench) measure(ctx context.Context, c benchCase) error {
	names, err := c.prepare(ctx)
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	peers, rounds := b.peers(), b.pairs
	if c.alone {
		peers, rounds = peers[:1], 1
	}
	costs := make(map[string][]measure.Cost)
	for round := range rounds {
		for n := range peers {
			p := peers[(n+round)%len(peers)]
			if err := b.target.Holds(c.before()); err != nil {
				return err
			}
			one, err := p.run(ctx)
			if err != nil {
				return err
			}
			if err := b.arrived(); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			costs[p.name] = append(costs[p.name], one)
		}
	}
	if !c.alone {
		b.compare(c, costs)
	}
	most := int64(0)
	for _, one := range costs["drp"] {
		most = max(most, one.Memory)
	}
	b.say(verdict.Verdict{Text: fmt.Sprintf("%s-memory drp=%dMiB", c.name, most>>20), Limit: fmt.Sprintf("%dMiB", memoryLimit>>20), OK: most <= memoryLimit})
	if c.alone || c.listing {
		return nil
	}
	return b.compareRestic(ctx, c, names, costs["drp"])
}

// arrived fails when the target has not as many files as the source: then what was measured was not a copy.
func (b *bench) arrived() error {
	want, err := files(b.source.Path())
	if err != nil {
		return err
	}
	got, err := files(b.target.Path())
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("the target holds %d objects, and the source %d", got, want)
	}
	return nil
}

// files is how many there are below a directory, locks aside.
func files(dir string) (int, error) {
	n := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			n++
		}
		return err
	})
	return n, err
}
