package orchestrator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"drp/raftstore/audit"
	"drp/raftstore/state"
)

// catchUp brings to a site what other sites' stores have of the trail and it does not. done is false when some is left.
func (e *exporter) catchUp(ctx context.Context, site state.SiteName) (done bool, err error) {
	v := e.config.Store.View()
	sites := storeSites(v)
	if !slices.Contains(sites, site) {
		return true, nil
	}
	here, err := e.list(ctx, site)
	if err != nil {
		return false, err
	}
	has := map[string]bool{}
	for _, name := range here {
		has[name] = true
	}
	more := false
	for _, other := range sites {
		if other == site {
			continue
		}
		there, fault := e.list(ctx, other)
		if fault != nil {
			err = errors.Join(err, fmt.Errorf("site %s: %w", other, fault)) // it may have what no other has
			continue
		}
		words := checkpointsAt(there)
		tried := 0 // of this store: one that is full of rubbish keeps no other's from being looked at
		for _, name := range there {
			if has[name] {
				continue
			}
			if tried++; tried > trailBehind {
				more = true
				break
			}
			if fault := e.carry(ctx, v.Cluster().UUID, name, words, other, site); fault != nil {
				err = errors.Join(err, fmt.Errorf("bring %s from %s: %w", name, other, fault))
				continue
			}
			has[name] = true
		}
	}
	return err == nil && !more, err
}

// checkpointsAt are the checkpoints among names by the entry that they are of.
func checkpointsAt(names []string) map[uint64][]string {
	at := map[uint64][]string{}
	for _, name := range names {
		if said, ok := audit.ParseName(strings.TrimPrefix(name, trailPrefix)); ok && said.Checkpoint {
			at[said.Last] = append(at[said.Last], name)
		}
	}
	return at
}

func (e *exporter) list(ctx context.Context, site state.SiteName) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, trailWithin)
	defer cancel()
	return e.config.Vault.List(ctx, site, trailPrefix)
}

// carry takes an object from one site to another. Nothing can be taken back there, so it is verified before: whoever can
// write to one store must not get a trail of his own into all of them. A segment goes with a coordinator's word on its end.
func (e *exporter) carry(ctx context.Context, cluster, name string, words map[uint64][]string, from, to state.SiteName) error {
	ctx, cancel := context.WithTimeout(ctx, 2*trailWithin)
	defer cancel()
	body, err := e.config.Vault.Get(ctx, from, name)
	if err != nil {
		return err
	}
	said, ok := audit.ParseName(strings.TrimPrefix(name, trailPrefix))
	switch {
	case !ok:
		return errors.New("its name is not one that a coordinator gives")
	case said.Checkpoint:
		_, err = e.word(cluster, name, body)
	default:
		err = e.vouched(ctx, cluster, said, body, words[said.Last], from)
	}
	if err != nil {
		return err
	}
	return e.config.Vault.Put(ctx, to, name, body)
}

// word reads a checkpoint that a coordinator of this cluster has signed.
func (e *exporter) word(cluster, name string, body []byte) (audit.Checkpoint, error) {
	signed, err := audit.ReadCheckpoint(body)
	if err != nil {
		return audit.Checkpoint{}, err
	}
	said, ok := audit.ParseName(strings.TrimPrefix(name, trailPrefix))
	if !ok || signed.Checkpoint.Cluster != cluster || !said.MatchesCheckpoint(signed.Checkpoint, body) {
		return audit.Checkpoint{}, errors.New("it is not the checkpoint that its name speaks of")
	}
	if e.config.Trail.Vouch == nil {
		return audit.Checkpoint{}, errors.New("this coordinator was not told whose word to believe")
	}
	return signed.Checkpoint, e.config.Trail.Vouch(signed)
}

// vouched holds a segment to what its name says, and to one of the checkpoints of its last entry.
func (e *exporter) vouched(ctx context.Context, cluster string, said audit.Named, body []byte, words []string, from state.SiteName) error {
	seg, err := audit.Scan(bytes.NewReader(body), nil)
	if err != nil {
		return err
	}
	if seg.Cluster != cluster || !said.Matches(seg) {
		return errors.New("it is not the segment that its name speaks of")
	}
	for _, name := range words[:min(len(words), mostWords)] {
		text, fault := e.config.Vault.Get(ctx, from, name)
		if fault == nil {
			var c audit.Checkpoint
			if c, fault = e.word(cluster, name, text); fault == nil && c.Hash == seg.Head {
				return nil
			}
		}
		err = errors.Join(err, fault)
	}
	return errors.Join(errors.New("no coordinator has signed a checkpoint of its last entry"), err)
}
