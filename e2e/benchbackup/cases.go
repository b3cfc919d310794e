package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"drp/e2e/measure"
	"drp/e2e/verdict"
)

const (
	limit    = 1.15
	password = "bench"
	direct   = "direct" // the repository of restic alone; the gateway's is the account's
)

// benchCase is one situation.
type benchCase struct {
	name string
	home func(b *bench, dir string) error // writes what is backed up
	kept bool                             // there is a snapshot before; else the repositories are new for each run
	edit func(b *bench, dir string, round int) error
}

var cases = []benchCase{
	{name: "large", home: (*bench).largeFiles},
	{name: "small", home: (*bench).smallFiles},
	{name: "unchanged", home: (*bench).smallFiles, kept: true},
	{name: "changed", home: (*bench).smallFiles, kept: true, edit: (*bench).change},
}

func (b *bench) largeFiles(dir string) error {
	const files = 8
	for n := range files {
		if err := measure.WriteRandom(filepath.Join(dir, fmt.Sprint(n)), b.size/files); err != nil {
			return err
		}
	}
	return nil
}

// smallFiles have 1 to 8 KiB, and a hundred lie in a directory.
func (b *bench) smallFiles(dir string) error {
	for n := range b.small {
		if n%100 == 0 {
			if err := os.Mkdir(filepath.Dir(b.smallFile(dir, n)), 0o700); err != nil {
				return err
			}
		}
		if err := measure.WriteRandom(b.smallFile(dir, n), int64(1+n%8)<<10); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) smallFile(dir string, n int) string {
	return filepath.Join(dir, fmt.Sprint(n/100), fmt.Sprint(n%100))
}

// change writes one file in a hundred anew.
func (b *bench) change(dir string, round int) error {
	for n := round % 100; n < b.small; n += 100 {
		if err := measure.WriteRandom(b.smallFile(dir, n), int64(1+n%8)<<10); err != nil {
			return err
		}
	}
	return nil
}

// measure runs both by turns, and says what came of it.
func (b *bench) measure(ctx context.Context, c benchCase) error {
	home := filepath.Join(b.dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		return err
	}
	defer os.RemoveAll(home)
	if err := c.home(b, home); err != nil {
		return fmt.Errorf("write files: %w", err)
	}
	run := map[string]func() (measure.Cost, error){
		"drp":    func() (measure.Cost, error) { return b.through(ctx, home) },
		"restic": func() (measure.Cost, error) { return b.straight(ctx, home) },
	}
	if c.kept {
		if err := b.anew(ctx, account, direct); err != nil {
			return err
		}
		for _, one := range run {
			if _, err := one(); err != nil {
				return err
			}
		}
	}
	if err := b.gateway.forget(); err != nil {
		return err
	}
	costs := map[string][]measure.Cost{}
	for round := range b.pairs {
		if c.edit != nil {
			if err := c.edit(b, home, round); err != nil {
				return err
			}
		}
		order := []string{"drp", "restic"}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, name := range order {
			if !c.kept {
				if err := b.anew(ctx, map[string]string{"drp": account, "restic": direct}[name]); err != nil {
					return err
				}
			}
			one, err := run[name]()
			if err != nil {
				return err
			}
			costs[name] = append(costs[name], one)
		}
	}
	return b.judge(c, costs["drp"], costs["restic"])
}

// judge says a line. The ratio is the median of the pairs' ratios: what hit one of a pair hit both.
func (b *bench) judge(c benchCase, drp, restic []measure.Cost) error {
	memory, err := b.gateway.memory()
	if err != nil {
		return err
	}
	var ratios []float64
	for n := range drp {
		ratios = append(ratios, drp[n].Wall/restic[n].Wall)
	}
	gateway := verdict.Median(measure.Each(drp, func(c measure.Cost) float64 { return c.Others }))
	ratio := verdict.Median(ratios)
	b.say(verdict.Verdict{
		Text: fmt.Sprintf("%s drp=%s restic=%s ratio=%.2f (%.2f to %.2f in %d; spread %s and %s) gateway: cpu=%.2fs memory=%dMiB; restic: cpu=%.2fs/%.2fs memory=%dMiB/%dMiB",
			c.name, measure.Seconds(measure.Walls(drp)), measure.Seconds(measure.Walls(restic)), ratio, slices.Min(ratios), slices.Max(ratios), len(ratios),
			spread(drp), spread(restic), gateway, memory>>20,
			verdict.Median(measure.CPUs(drp)), verdict.Median(measure.CPUs(restic)), measure.Peak(drp)>>20, measure.Peak(restic)>>20),
		Limit: fmt.Sprintf("%.2f", limit), OK: ratio <= limit,
	})
	return nil
}

func spread(list []measure.Cost) string {
	walls := measure.Walls(list)
	return fmt.Sprintf("%.2fs to %.2fs", slices.Min(walls), slices.Max(walls))
}

// anew makes empty repositories in place of those that were there. A gateway writes no config and no keys.
func (b *bench) anew(ctx context.Context, repositories ...string) error {
	for _, r := range repositories {
		if err := os.RemoveAll(filepath.Join(b.store.Path(), r)); err != nil {
			return err
		}
		if _, err := b.restic(ctx, "", b.atStore(r), "init"); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) atStore(repository string) []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + measure.AccessKey, "AWS_SECRET_ACCESS_KEY=" + measure.SecretKey, "AWS_DEFAULT_REGION=" + measure.Region,
		"RESTIC_REPOSITORY=s3:" + b.store.Endpoint + "/" + b.store.Bucket + "/" + repository,
	}
}

func (b *bench) straight(ctx context.Context, home string) (measure.Cost, error) {
	return b.backup(ctx, home, b.atStore(direct))
}

func (b *bench) through(ctx context.Context, home string) (measure.Cost, error) {
	return b.backup(ctx, home, []string{
		"RESTIC_REPOSITORY=" + b.gateway.url, "RESTIC_CACERT=" + b.gateway.root, "RESTIC_TLS_CLIENT_CERT=" + b.gateway.agent,
	})
}

func (b *bench) backup(ctx context.Context, home string, env []string) (measure.Cost, error) {
	return b.restic(ctx, home, env, "backup", "--host", account, ".")
}

func (b *bench) restic(ctx context.Context, dir string, env []string, args ...string) (measure.Cost, error) {
	children := measure.Children{Programs: b.programs, Home: b.dir, Others: func() (float64, error) { return measure.ProcessorTime(b.gateway.cmd.Process.Pid) }}
	cost, err := children.Run(ctx, dir, append(env, "RESTIC_PASSWORD="+password), "restic", append([]string{"--no-cache", "--quiet"}, args...)...)
	if err != nil {
		said, _ := os.ReadFile(filepath.Join(b.dir, "gateway.log"))
		err = errors.Join(err, fmt.Errorf("the gateway said:\n%s", said))
	}
	return cost, err
}
