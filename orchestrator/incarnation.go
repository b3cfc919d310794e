package orchestrator

import (
	"context"
	"fmt"
	"strings"

	"drp/raftstore/state"
)

// claimIncarnation makes the new incarnation known to the stores before the first token of it is given out: were these
// coordinators lost again at once, the next recovery would begin a higher one.
func (o *Orchestrator) claimIncarnation(ctx context.Context, n now) error {
	cluster := n.view.Cluster()
	if next := n.incarnation(); next > cluster.Incarnation {
		if err := o.allFollow(n, next); err != nil {
			return err
		}
		again := state.ClusterRecoverData{UUID: cluster.UUID, Incarnation: next, How: cluster.Held.How, Source: cluster.Held.Source}
		if _, err := o.propose(ctx, o.system(), state.ClusterRecover, again); err != nil {
			return err
		}
	}
	if o.config.Vault == nil {
		return nil
	}
	view, err := o.View(ctx)
	if err != nil {
		return err
	}
	sites := withStore(view.Sites())
	if len(sites) == 0 {
		return nil // nobody recovers from a store that there is not
	}
	results, err := o.exportTo(ctx, view, sites)
	if err != nil {
		return err
	}
	var failed []string
	for _, r := range results {
		if r.Error == "" {
			return nil
		}
		failed = append(failed, string(r.Site)+": "+r.Error)
	}
	return fmt.Errorf("no site's store took an export of this incarnation, so a next recovery could begin the same one. Bring one site's gateway and store up first (%s): %w", strings.Join(failed, "; "), ErrRefused)
}

// allFollow refuses a new incarnation while a coordinator could miss its beginning: coordinators of two incarnations do not
// talk, so it would never hear of it afterwards.
func (o *Orchestrator) allFollow(n now, next uint64) error {
	if o.config.Membership == nil {
		return nil
	}
	for _, m := range o.members(n.view, n.at) {
		if m.Role != RoleUnfinished && !m.Answers {
			return fmt.Errorf("servers have seen an incarnation above that of this cluster, so incarnation %d has to begin, and coordinator %s does not answer (%s): it would be shut out for good. "+
				"Wait for it, or remove it first (drp raft remove %s): %w", next, m.Name, m.Problem, m.Name, ErrRefused)
		}
	}
	return nil
}
