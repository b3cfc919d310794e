package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"drp/e2e/measure"
	"drp/e2e/verdict"
)

// compare says a line for each peer. A ratio is the median of the rounds' ratios: what hit one round hit both.
func (b *bench) compare(c benchCase, costs map[string][]measure.Cost) {
	ratios := func(peer string) []float64 {
		var list []float64
		for n, drp := range costs["drp"] {
			list = append(list, drp.Wall/costs[peer][n].Wall)
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
			measure.Seconds(measure.Walls(costs["drp"])), peer, measure.Seconds(measure.Walls(costs[peer])), verdict.Median(ratio), slices.Min(ratio), slices.Max(ratio), len(ratio),
			verdict.Median(measure.CPUs(costs["drp"])), verdict.Median(measure.CPUs(costs[peer])), measure.Peak(costs["drp"])>>20, measure.Peak(costs[peer])>>20)}
		if limit > 0 {
			v.Limit, v.OK = fmt.Sprintf("%.2f", limit), verdict.Median(ratio) <= limit
		}
		b.say(v)
	}
	text := c.name + "-stores"
	for _, p := range b.peers() {
		text += fmt.Sprintf(" %s=%.2fs", p.name, verdict.Median(measure.Each(costs[p.name], func(c measure.Cost) float64 { return c.Others })))
	}
	b.say(verdict.Verdict{Text: text + " of processor time"})
}

// compareRestic holds drp against restic copy: of many repositories it copies a sample, into repositories that were made
// before, and the rest is taken to be like them.
func (b *bench) compareRestic(ctx context.Context, c benchCase, names []string, drp []measure.Cost) error {
	copied := names[:min(len(names), sample)]
	times := float64(len(names)) / float64(len(copied))
	var costs []measure.Cost
	for range b.resticPairs {
		if err := b.target.Holds(""); err != nil {
			return err
		}
		for _, name := range copied {
			if dir := c.before(); dir != "" {
				if err := measure.CopyTree(filepath.Join(dir, name), filepath.Join(b.target.Path(), name)); err != nil {
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
		one.Wall, one.CPU = one.Wall*times, one.CPU*times
		costs = append(costs, one)
	}
	ours, theirs := verdict.Median(measure.Walls(drp)), verdict.Median(measure.Walls(costs))
	oursCPU, theirsCPU := verdict.Median(measure.CPUs(drp)), verdict.Median(measure.CPUs(costs))
	how := fmt.Sprintf("(%d of %d repositories, %d runs)", len(copied), len(names), len(costs))
	b.say(verdict.Verdict{Text: fmt.Sprintf("%s drp=%s restic-copy=%s ratio=%.2f %s memory=%dMiB/%dMiB", c.name, measure.Seconds(measure.Walls(drp)), measure.Seconds(measure.Walls(costs)),
		ours/theirs, how, measure.Peak(drp)>>20, measure.Peak(costs)>>20), Limit: fmt.Sprintf("%.2f", 1/resticTimes), OK: ours/theirs <= 1/resticTimes})
	b.say(verdict.Verdict{Text: fmt.Sprintf("%s-cpu drp=%.2fs restic-copy=%.2fs ratio=%.3f %s", c.name, oursCPU, theirsCPU, oursCPU/theirsCPU, how),
		Limit: fmt.Sprintf("%.3f", resticCPU), OK: oursCPU/theirsCPU <= resticCPU})
	return nil
}
