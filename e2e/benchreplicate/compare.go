package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"drp/e2e/verdict"
)

// compare says a line for each peer. A ratio is the median of the rounds' ratios: what hit one round hit both.
func (b *bench) compare(c benchCase, costs map[string][]cost) {
	ratios := func(peer string) []float64 {
		var list []float64
		for n, drp := range costs["drp"] {
			list = append(list, drp.wall/costs[peer][n].wall)
		}
		return list
	}
	faster := "mc"
	if verdict.Median(ratios("rclone")) > verdict.Median(ratios("mc")) {
		faster = "rclone"
	}
	for _, peer := range []string{"bare", "mc", "rclone"} {
		ratio, limit := ratios(peer), 0.0
		switch {
		case c.listing && peer == "rclone":
			limit = 1
		case c.listing:
		case peer == "bare":
			limit = bareLimit
		case peer == faster:
			limit = peerLimit
		}
		v := verdict.Verdict{Text: fmt.Sprintf("%s drp=%s %s=%s ratio=%.2f (%.2f to %.2f in %d) cpu=%.2fs/%.2fs memory=%dMiB/%dMiB", c.name,
			seconds(walls(costs["drp"])), peer, seconds(walls(costs[peer])), verdict.Median(ratio), slices.Min(ratio), slices.Max(ratio), len(ratio),
			verdict.Median(cpus(costs["drp"])), verdict.Median(cpus(costs[peer])), peak(costs["drp"])>>20, peak(costs[peer])>>20)}
		if limit > 0 {
			v.Limit, v.OK = fmt.Sprintf("%.2f", limit), verdict.Median(ratio) <= limit
		}
		b.say(v)
	}
	text := c.name + "-stores"
	for _, p := range b.peers() {
		text += fmt.Sprintf(" %s=%.2fs", p.name, verdict.Median(each(costs[p.name], func(c cost) float64 { return c.stores })))
	}
	b.say(verdict.Verdict{Text: text + " of processor time"})
}

// compareRestic holds drp against restic copy: of many repositories it copies a sample, into repositories that were made
// before, and the rest is taken to be like them.
func (b *bench) compareRestic(ctx context.Context, c benchCase, names []string, drp []cost) error {
	copied := names[:min(len(names), sample)]
	times := float64(len(names)) / float64(len(copied))
	var costs []cost
	for range b.resticPairs {
		if err := b.target.holds(""); err != nil {
			return err
		}
		for _, name := range copied {
			if dir := c.before(); dir != "" {
				if err := copyTree(filepath.Join(dir, name), filepath.Join(b.target.path(), name)); err != nil {
					return err
				}
			} else if _, err := b.restic(ctx, b.target, name, "init", "--copy-chunker-params", "--from-repo", address(b.source, name)); err != nil {
				return err
			}
		}
		one, err := b.resticCopy(ctx, copied)
		if err != nil {
			return err
		}
		one.wall, one.cpu = one.wall*times, one.cpu*times
		costs = append(costs, one)
	}
	ours, theirs := verdict.Median(walls(drp)), verdict.Median(walls(costs))
	oursCPU, theirsCPU := verdict.Median(cpus(drp)), verdict.Median(cpus(costs))
	how := fmt.Sprintf("(%d of %d repositories, %d runs)", len(copied), len(names), len(costs))
	b.say(verdict.Verdict{Text: fmt.Sprintf("%s drp=%s restic-copy=%s ratio=%.2f %s memory=%dMiB/%dMiB", c.name, seconds(walls(drp)), seconds(walls(costs)),
		ours/theirs, how, peak(drp)>>20, peak(costs)>>20), Limit: fmt.Sprintf("%.2f", 1/resticTimes), OK: ours/theirs <= 1/resticTimes})
	b.say(verdict.Verdict{Text: fmt.Sprintf("%s-cpu drp=%.2fs restic-copy=%.2fs ratio=%.3f %s", c.name, oursCPU, theirsCPU, oursCPU/theirsCPU, how),
		Limit: fmt.Sprintf("%.3f", resticCPU), OK: oursCPU/theirsCPU <= resticCPU})
	return nil
}

func seconds(list []float64) string { return fmt.Sprintf("%.2fs", verdict.Median(list)) }

func walls(list []cost) []float64 {
	return each(list, func(c cost) float64 { return c.wall })
}

func cpus(list []cost) []float64 {
	return each(list, func(c cost) float64 { return c.cpu })
}

func each(list []cost, of func(cost) float64) []float64 {
	out := make([]float64, len(list))
	for n, c := range list {
		out[n] = of(c)
	}
	return out
}

func peak(list []cost) (bytes int64) {
	for _, c := range list {
		bytes = max(bytes, c.memory)
	}
	return bytes
}
