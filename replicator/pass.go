package replicator

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

var (
	// ErrNoRepository: there is no config at the source.
	ErrNoRepository = errors.New("there is no repository")
	// ErrConfigDiffers: source and destination are not the same repository, or one config was changed. Nothing was
	// written. It wants a person.
	ErrConfigDiffers = errors.New("the config differs")
	// ErrChanged: listed objects were gone when they were read; a prune ran meanwhile. Try again after a while.
	ErrChanged = errors.New("the repository was pruned while it was copied")
	// ErrBroken: objects at the source are not what their names say.
	ErrBroken = errors.New("broken objects")
)

// Options of a pass. The zero value works.
type Options struct {
	Workers  int // objects in flight; 4 when zero
	Logger   *slog.Logger
	Progress *Progress // nil: nobody looks
	// Skip is asked once in a pass, with the source's snapshots and index files as they were listed (snapshots/ID, index/NAME),
	// which of its objects (these, and data/XX/NAME) are not to be copied. Nil: none.
	Skip func(listed []string) map[string]bool
}

// Progress is how far something has come. It can be read at any time.
type Progress struct {
	Objects, Bytes atomic.Int64 // copied, or read to look whether they are right
}

func (p *Progress) add(bytes int64) {
	if p != nil {
		p.Objects.Add(1)
		p.Bytes.Add(bytes)
	}
}

// Report is what a pass found and did.
type Report struct {
	// Snapshots are the ids of the source's snapshots that are at the destination with everything that they may need:
	// each object of the pass was hashed when it was written there. Empty when a key, pack or index is not there.
	Snapshots []string
	Objects   int64 // written
	Bytes     int64 // written
	// Broken are keys of objects whose content at the source is not what their name says. They were not written. When
	// the destination holds a good one, the pass has no error for that.
	Broken []string
	// Missing are keys of objects that were listed and then gone.
	Missing []string
}

// IncompleteError is a pass that did not bring everything it listed. It is ErrBroken or, when nothing was broken, ErrChanged.
type IncompleteError struct {
	Broken  []string // neither good at the source nor at the destination
	Missing []string
}

func (e *IncompleteError) Error() string {
	if len(e.Broken) > 0 {
		return fmt.Sprintf("broken at the source and not copied: %s; nothing that may need it was promoted", some(e.Broken))
	}
	return fmt.Sprintf("%s: gone since the listing: %s", ErrChanged, some(e.Missing))
}

func (e *IncompleteError) Is(target error) bool {
	return target == ErrBroken && len(e.Broken) > 0 || target == ErrChanged && len(e.Broken) == 0
}

// some names the first few of a list.
func some(list []string) string {
	const few = 5
	if len(list) <= few {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:few], ", "), len(list)-few)
}

// Pass copies the repository under prefix ("NAME/") from src to dst, once. It is safe to end at any point and to begin
// again: whatever it has written by then is a repository that can be restored, or none yet. Two passes to one
// destination must not run at once. It deletes nothing, and overwrites an object only where the one that is there is
// not what its name says.
func Pass(ctx context.Context, src, dst *Store, prefix string, o Options) (Report, error) {
	if err := checkPrefix(prefix); err != nil {
		return Report{}, err
	}
	return newPass(src, dst, prefix, o).do(ctx)
}

type pass struct {
	Options
	src, dst *Store
	prefix   string
	gate     chan struct{} // bounds the objects in flight of all passes that share it; nil: each has its own bound
	glimpse  *glimpse      // nil: there was none

	mu       sync.Mutex
	report   Report
	unhealed []string // broken, and no good one at the destination
	absent   map[string]bool

	keyFiles, dearFiles int // at the source, and of them what is not copied
}

// glimpse is what both sides were seen to hold just before the pass began.
type glimpse struct {
	here, there holding
	again       *holding // the source, listed after both; nil: not yet
}

func newPass(src, dst *Store, prefix string, o Options) *pass {
	o.Workers = cmp.Or(o.Workers, 4)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &pass{Options: o, src: src, dst: dst, prefix: prefix, absent: make(map[string]bool)}
}

func (p *pass) do(ctx context.Context) (Report, error) {
	err := p.run(ctx)
	slices.Sort(p.report.Broken)
	slices.Sort(p.report.Missing)
	return p.report, err
}

func (p *pass) run(ctx context.Context) error {
	config, err := p.config(ctx)
	if err != nil {
		return err
	}
	l, err := p.list(ctx)
	if err != nil {
		return err
	}
	if config, err = p.stillFree(ctx, config); err != nil {
		return err
	}
	p.keyFiles = len(l.keys)
	for _, c := range order {
		// An index promises packs, a snapshot promises all of it. Each is written only above what is whole.
		if len(p.absent) > 0 && (c == index || c == snapshots) {
			return p.incomplete()
		}
		if err := p.copyAll(ctx, c, *l.class(c)); err != nil {
			return err
		}
		if c == keys {
			if err := p.putConfig(ctx, config); err != nil {
				return err
			}
		}
	}
	for _, s := range l.snapshots {
		if !p.absent[s.key(p.prefix, snapshots)] {
			p.report.Snapshots = append(p.report.Snapshots, hex.EncodeToString(s.sum[:]))
		}
	}
	if len(p.unhealed) > 0 {
		return p.incomplete()
	}
	return nil // a snapshot that has gone was forgotten: nothing is missing
}

func (p *pass) incomplete() error {
	slices.Sort(p.unhealed)
	missing := slices.Clone(p.report.Missing)
	slices.Sort(missing)
	return &IncompleteError{Broken: p.unhealed, Missing: missing}
}

// copyAll brings one class over. It goes on beyond broken and missing objects, and ends at the first other error.
func (p *pass) copyAll(ctx context.Context, c class, list []item) error {
	group, each := errgroup.WithContext(ctx)
	group.SetLimit(p.Workers)
	for n := range list {
		i := &list[n]
		if i.there == present {
			continue // hashed when it was written
		}
		if each.Err() != nil {
			break
		}
		group.Go(func() error {
			if err := p.enter(each); err != nil {
				return err
			}
			defer p.leave()
			if i.there != absent {
				return p.settle(each, c, i, i.key(p.prefix, c))
			}
			return p.bring(each, c, i, i.key(p.prefix, c))
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

func (p *pass) enter(ctx context.Context) error {
	if p.gate == nil {
		return nil
	}
	select {
	case p.gate <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *pass) leave() {
	if p.gate != nil {
		<-p.gate
	}
}
