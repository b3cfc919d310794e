package orchestrator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"drp/orchestrator/export"
	"drp/raftstore/state"
)

// The leader puts a sealed export of the state into every site's store each hour. A coordinator that does not lead looks
// at its own site's, and makes one when the leader's is overdue: for as long as one coordinator lives, exports go on,
// quorum or not.
const (
	exportEvery   = time.Hour
	exportOverdue = 70 * time.Minute
	exportLook    = time.Minute
	exportWithin  = 2 * time.Minute // at one site
)

// An export that is older than this wants somebody to look. A new leader has a while to learn what there is.
const (
	exportAlarm = 2 * time.Hour
	exportGrace = 5 * time.Minute
)

const alarmExport = "export"

// exportAlarms are for sites whose store has no export of these hours.
func (o *Orchestrator) exportAlarms(n now) []Alarm {
	if o.config.Vault == nil {
		return nil
	}
	var all []Alarm
	for _, s := range withStore(n.view.Sites()) {
		e := o.exports.at(s)
		a := Alarm{Kind: alarmExport, Since: e.At}
		switch {
		case e.At.IsZero() && n.at.Sub(n.since) > exportGrace:
			a.Message = fmt.Sprintf("there is no export of the state in the store of site %s", s.Name)
		case !e.At.IsZero() && n.at.Sub(e.At) > exportAlarm:
			a.Message = fmt.Sprintf("the newest export of the state in the store of site %s is %s old", s.Name, n.at.Sub(e.At).Round(time.Minute))
		default:
			continue
		}
		if e.Error != "" {
			a.Message += ": " + e.Error
		}
		all = append(all, a)
	}
	return all
}

// ExportOptions are to whom exports are sealed, and who vouches for them.
type ExportOptions struct {
	// Recipients (age1…) are the coordinators and the operators' offline keys, as of now.
	Recipients func() []string
	// Sign signs with this coordinator's certificate.
	Sign func(message []byte) (chain [][]byte, signature []byte, err error)
}

// ExportedState is one export, as its two objects hold it.
type ExportedState struct {
	Manifest export.Manifest `json:"manifest"`
	Sealed   []byte          `json:"sealed"`
}

// SiteExport is the newest export in one site's store.
type SiteExport struct {
	Site  state.SiteName `json:"site"`
	Name  string         `json:"name,omitempty"`
	At    time.Time      `json:"at,omitzero"`
	Error string         `json:"error,omitempty"` // why the newest attempt failed
}

// exports is what this coordinator knows of the sites' exports.
type exports struct {
	mu    sync.Mutex
	sites map[state.SiteName]SiteExport
}

// at is nil for a site that has no store.
func (e *exports) at(site *state.Site) *SiteExport {
	if site.Store == nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	known := e.sites[site.Name]
	known.Site = site.Name
	return &known
}

// exportedAt is the time of the newest export that each site's store is known to hold; nil when nothing is exported.
func (o *Orchestrator) exportedAt() map[state.SiteName]time.Time {
	if o.config.Vault == nil {
		return nil
	}
	o.exports.mu.Lock()
	defer o.exports.mu.Unlock()
	at := make(map[state.SiteName]time.Time, len(o.exports.sites))
	for site, e := range o.exports.sites {
		at[site] = e.At
	}
	return at
}

func (e *exports) note(s SiteExport) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.sites == nil {
		e.sites = map[state.SiteName]SiteExport{}
	}
	if s.Error != "" {
		old := e.sites[s.Site]
		s.Name, s.At = old.Name, old.At
	}
	e.sites[s.Site] = s
}

// KeepExports sees to it that exports are made, until ctx ends. Every coordinator runs it.
func (o *Orchestrator) KeepExports(ctx context.Context) error {
	if o.config.Vault == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	for {
		if err := o.lookAtExports(ctx); err != nil && ctx.Err() == nil {
			o.log.Error("export state", "error", err)
		}
		timer := time.NewTimer(exportLook)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// lookAtExports makes an export when one is due.
func (o *Orchestrator) lookAtExports(ctx context.Context) error {
	view, limit := o.config.Store.View(), exportOverdue
	sites := withStore(view.Sites())
	_, err := o.leading()
	leads := err == nil
	if leads {
		limit = exportEvery
	}
	due := false
	for _, s := range sites {
		if leads || s.Name == o.config.Site {
			due = due || o.exportDue(ctx, view, s, limit)
		}
	}
	if !due {
		return nil
	}
	if leads { // what is exported is not behind what was acknowledged
		if view, err = o.View(ctx); err != nil {
			return err
		}
	}
	_, err = o.exportTo(ctx, view, sites)
	return err
}

func withStore(sites []*state.Site) []*state.Site {
	return slices.DeleteFunc(slices.Clone(sites), func(s *state.Site) bool { return s.Store == nil || len(s.Gateways) == 0 })
}

// exportDue reports whether a site's newest export is too old, or of an incarnation before the present one. A store that
// cannot be asked counts as due: the attempt to write there will say why.
func (o *Orchestrator) exportDue(ctx context.Context, view *state.View, site *state.Site, limit time.Duration) bool {
	cluster := view.Cluster()
	if cluster == nil {
		return false
	}
	fresh := func(s *SiteExport) bool {
		m, err := export.ParseName(s.Name)
		age := o.config.Clock().Sub(s.At)
		return err == nil && m.Incarnation >= cluster.Incarnation && age < limit && age > -exportLook
	}
	if fresh(o.exports.at(site)) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, exportWithin)
	defer cancel()
	list, err := o.config.Vault.List(ctx, site.Name, "exports/")
	if err != nil {
		return true
	}
	for _, name := range slices.Backward(list) {
		base, ok := strings.CutSuffix(strings.TrimPrefix(name, "exports/"), export.Clear)
		m, err := export.ParseName(base)
		if !ok || err != nil {
			continue
		}
		found := SiteExport{Site: site.Name, Name: base, At: m.At}
		o.exports.note(found)
		return !fresh(&found)
	}
	return true
}

// seal makes an export of a view.
func (o *Orchestrator) seal(view *state.View) (*ExportedState, error) {
	options := o.config.Exports
	if options.Recipients == nil || options.Sign == nil {
		return nil, errors.New("export state: this coordinator was not told to whom to seal it")
	}
	var sealed bytes.Buffer
	m, err := export.Write(&sealed, view, options.Recipients(), o.config.Name, o.config.Clock())
	if err != nil {
		return nil, err
	}
	if m.Chain, m.Signature, err = options.Sign(m.Signed()); err != nil {
		return nil, fmt.Errorf("export state: %w", err)
	}
	return &ExportedState{Manifest: m, Sealed: sealed.Bytes()}, nil
}

// exportTo puts one export into the stores of sites, at all of them at once.
func (o *Orchestrator) exportTo(ctx context.Context, view *state.View, sites []*state.Site) ([]SiteExport, error) {
	e, err := o.seal(view)
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal(e.Manifest)
	if err != nil {
		return nil, fmt.Errorf("export state: encode manifest: %w", err)
	}
	name := e.Manifest.Name()
	results := make([]SiteExport, len(sites))
	var group sync.WaitGroup
	for i, s := range sites {
		group.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, exportWithin)
			defer cancel()
			// The manifest comes last: where it is, the export is whole.
			err := o.config.Vault.Put(ctx, s.Name, "exports/"+name+export.Sealed, e.Sealed)
			if err == nil {
				err = o.config.Vault.Put(ctx, s.Name, "exports/"+name+export.Clear, manifest)
			}
			results[i] = SiteExport{Site: s.Name, Name: name, At: e.Manifest.At}
			if err != nil {
				results[i] = SiteExport{Site: s.Name, Error: err.Error()}
				o.log.Error("put export into store", "site", s.Name, "error", err)
			}
			o.exports.note(results[i])
		})
	}
	group.Wait()
	failed := 0
	for _, r := range results {
		if r.Error != "" {
			failed++
		}
	}
	o.log.Info("state exported", "export", name, "bytes", len(e.Sealed), "sites", len(sites)-failed, "failed", failed)
	return results, nil
}

// ExportState implements API. The record comes before the data.
func (o *Orchestrator) ExportState(ctx context.Context, by string) (*ExportedState, error) {
	view, err := o.recordedExport(ctx, by, "to a file")
	if err != nil {
		return nil, err
	}
	return o.seal(view)
}

// ExportNow implements API.
func (o *Orchestrator) ExportNow(ctx context.Context, by string) ([]SiteExport, error) {
	view, err := o.recordedExport(ctx, by, "to every site's store")
	if err != nil {
		return nil, err
	}
	sites := withStore(view.Sites())
	if len(sites) == 0 || o.config.Vault == nil {
		return nil, fmt.Errorf("export state: no site has a store and a gateway: %w", ErrRefused)
	}
	return o.exportTo(ctx, view, sites)
}

func (o *Orchestrator) recordedExport(ctx context.Context, by, where string) (*state.View, error) {
	if _, err := o.leading(); err != nil {
		return nil, err
	}
	if _, err := o.propose(ctx, by, state.AuditNote, state.AuditNoteData{Action: "export state", Detail: where}); err != nil {
		return nil, fmt.Errorf("export state: record it: %w", err)
	}
	return o.View(ctx)
}
