package orchestrator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"drp/raftstore/audit"
	"drp/raftstore/signed"
	"drp/raftstore/state"
)

// TrailOptions say how the audit trail is exported. Zero fields get working defaults.
type TrailOptions struct {
	// Sign signs checkpoints with this coordinator's certificate. Nil: nothing is exported.
	Sign signed.Signer
	// Vouch says why a checkpoint that lies in a store is not a coordinator's of this cluster. Nil: nothing is carried from
	// store to store.
	Vouch func(*audit.Signed) error
	// Every is how often, when there is something to export; default 5 min. Entries is from how many on it is at once; default 2000.
	Every   time.Duration
	Entries uint64
}

const (
	trailEvery   = 5 * time.Minute
	trailEntries = 2_000
	trailLook    = 5 * time.Second
	trailWithin  = time.Minute // for one object at one site
	trailRetry   = time.Minute
	trailCatchUp = 5 * time.Minute // between two tries to bring to a site what it lacks
	trailBehind  = 100             // objects of one store that a site lacks, brought to it between two looks
	mostWords    = 20              // checkpoints of one entry that are looked at

	// One segment has to be read as a whole to be carried from site to site.
	segmentEntries = 5_000
	segmentBytes   = 8 << 20

	trailPrefix = "audit/"
)

// exporter brings the audit trail into every site's store while this coordinator leads. What it remembers only saves work:
// what is exported already stands in the state.
type exporter struct {
	*Orchestrator
	last   time.Time // of the last export that went well
	rest   rests
	behind map[state.SiteName]bool // sites that may lack something
}

// keepTrail exports until the leadership ends.
func (t *term) keepTrail(ctx context.Context) {
	if t.config.Vault == nil || t.config.Trail.Sign == nil {
		return
	}
	e := &exporter{Orchestrator: t.Orchestrator, behind: map[state.SiteName]bool{}}
	for _, s := range storeSites(e.config.Store.View()) {
		e.behind[s] = true // an earlier leader may have known; this one looks
	}
	for {
		e.look(ctx)
		timer := time.NewTimer(trailLook)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

func storeSites(v *state.View) []state.SiteName {
	var sites []state.SiteName
	for _, s := range v.Sites() {
		if s.Store != nil {
			sites = append(sites, s.Name)
		}
	}
	return sites
}

// rests keep what has failed from being tried at each look: until when.
type rests struct{ export, catchUp time.Time }

// over reports whether a rest has ended. A clock that stepped back must not make it a long one.
func over(until, now time.Time, length time.Duration) bool {
	return !now.Before(until) || until.Sub(now) > length
}

func (e *exporter) look(ctx context.Context) {
	now := e.config.Clock()
	for over(e.rest.export, now, trailRetry) && e.due(e.config.Store.View(), now) && ctx.Err() == nil {
		if err := e.export(ctx); err != nil {
			if ctx.Err() == nil {
				e.log.Error("export audit trail; its entries stay with the coordinators", "error", err)
			}
			e.rest.export = now.Add(trailRetry)
			return
		}
		e.last = now
	}
	if !over(e.rest.catchUp, now, trailCatchUp) {
		return
	}
	for site := range e.behind {
		done, err := e.catchUp(ctx, site)
		switch {
		case err != nil && ctx.Err() == nil:
			e.log.Warn("bring to a store what it may lack of the audit trail", "site", site, "error", err)
			e.rest.catchUp = now.Add(trailCatchUp)
		case done:
			delete(e.behind, site)
		}
	}
}

// due reports whether there is something to export. That the last export is recorded is nothing: it would never end.
func (e *exporter) due(v *state.View, now time.Time) bool {
	head := v.AuditHead()
	pending := head.Seq - head.Exported
	every, entries := e.config.Trail.Every, e.config.Trail.Entries
	if every == 0 {
		every = trailEvery
	}
	if entries == 0 {
		entries = trailEntries
	}
	since := now.Sub(e.last)
	if v.Cluster() == nil || v.Level() < state.LevelOf(state.AuditExported) || pending == 0 ||
		(pending < entries && since >= 0 && since < every) {
		return false
	}
	return slices.ContainsFunc(v.Audit(head.Exported+1, 100), func(a *state.AuditEntry) bool { return a.Command != state.AuditExported })
}

// export puts the next segment and a checkpoint of its last entry into every store that takes them. One is enough: then the
// entries may leave the coordinators' memory, and the other stores get theirs from that one.
func (e *exporter) export(ctx context.Context) error {
	v := e.config.Store.View()
	seg, err := nextSegment(v)
	if err != nil {
		return err
	}
	word := audit.Checkpoint{Cluster: v.Cluster().UUID, Incarnation: v.Cluster().Incarnation, Seq: seg.last, Hash: seg.head, At: e.config.Clock()}
	signed, err := audit.Sign(word, e.config.Trail.Sign)
	if err != nil {
		return err
	}
	objects := []object{
		{trailPrefix + audit.SegmentName(seg.first, seg.last, seg.head), seg.text},
		{trailPrefix + audit.CheckpointName(seg.last, signed), signed},
	}
	took, err := e.putEverywhere(ctx, storeSites(v), objects)
	if len(took) == 0 {
		return errors.Join(fmt.Errorf("no site's store took entries %d to %d", seg.first, seg.last), err)
	}
	if err != nil {
		e.log.Warn("a store did not take a part of the audit trail; it gets it from another site", "error", err)
	}
	refused, err := e.report(ctx, state.AuditExported, state.AuditExportedData{Through: seg.last, Hash: seg.head, Sites: took})
	if err == nil && refused {
		err = errors.New("the state refused to record the export")
	}
	return err
}

type object struct {
	name string
	body []byte
}

// putEverywhere returns the sites that took all objects, and why others did not.
func (e *exporter) putEverywhere(ctx context.Context, sites []state.SiteName, objects []object) (took []state.SiteName, err error) {
	var mu sync.Mutex
	var group sync.WaitGroup
	for _, site := range sites {
		group.Go(func() {
			fault := e.putAll(ctx, site, objects)
			mu.Lock()
			defer mu.Unlock()
			if fault != nil {
				e.behind[site] = true
				err = errors.Join(err, fmt.Errorf("site %s: %w", site, fault))
				return
			}
			took = append(took, site)
		})
	}
	group.Wait()
	slices.Sort(took)
	return took, err
}

func (e *exporter) putAll(ctx context.Context, site state.SiteName, objects []object) error {
	for _, o := range objects {
		ctx, cancel := context.WithTimeout(ctx, trailWithin)
		err := e.config.Vault.Put(ctx, site, o.name, o.body)
		cancel()
		if err != nil {
			return err
		}
	}
	return nil
}

// segment is one as it goes into a store.
type segment struct {
	first, last uint64
	head        state.Digest
	text        []byte
}

// nextSegment begins where the last export ended. When entries were dropped before any store had them, it begins after the
// oldest one that there is, whose hash is the only one known: the gap shows in the trail's verification.
func nextSegment(v *state.View) (segment, error) {
	head := v.AuditHead()
	header := audit.Header{Cluster: v.Cluster().UUID, First: 1}
	before := head.Exported
	if head.First > before && head.First > 1 {
		before = head.First
	}
	if before > 0 {
		list := v.Audit(before, 1)
		if len(list) == 0 || list[0].Seq != before {
			return segment{}, fmt.Errorf("the state lacks entry %d of the audit trail", before)
		}
		header.First, header.Previous = before+1, list[0].Hash
	}
	var text bytes.Buffer
	w, err := audit.NewWriter(&text, header)
	if err != nil {
		return segment{}, err
	}
	for _, entry := range v.Audit(header.First, segmentEntries) {
		if text.Len() > segmentBytes {
			break
		}
		if err := w.Add(entry); err != nil {
			return segment{}, err
		}
	}
	if err := w.Close(); err != nil {
		return segment{}, err
	}
	last, hash := w.Head()
	return segment{header.First, last, hash, text.Bytes()}, nil
}

// Limits beyond which a person has to hear that the trail is not exported: well before anything is dropped.
const (
	trailLate     = 30 * time.Minute
	trailCrowding = 3 * trailEntries
)

// trailTrouble says what is wrong with the export of the audit trail, and since when. Empty: nothing.
func trailTrouble(v *state.View, at time.Time) (message string, since time.Time) {
	head := v.AuditHead()
	if head.Seq == head.Exported {
		return "", time.Time{}
	}
	pending := head.Seq - head.Exported
	oldest := v.Audit(max(head.Exported+1, head.First), 1)
	if len(oldest) > 0 {
		since = oldest[0].At
	}
	switch {
	case head.Dropped > 0 && head.First > head.Exported+1:
		return fmt.Sprintf("the audit trail has lost entries %d to %d: no site's store took them, and the coordinators had no room for more", head.Exported+1, head.First-1), since
	case pending > trailCrowding, pending > 1 && at.Sub(since) > trailLate:
		return fmt.Sprintf("%d entries of the audit trail are in no site's store, the oldest from %s: look whether the sites' gateways answer; when the coordinators have no room for more, the oldest are lost",
			pending, since.Format(time.RFC3339)), since
	}
	return "", time.Time{}
}
