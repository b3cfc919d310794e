package replicator

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

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

// maxObject is more than restic ever writes into one file (packs end soon after 128 MiB). What is larger is not read
// into memory and counts as broken.
const maxObject = 512 << 20

// indexRounds is how often the index is listed again when it changes under the listing.
const indexRounds = 6

// Options of a pass. The zero value works.
type Options struct {
	Workers int     // objects in flight; 4 when zero
	Budget  *Budget // shared by the passes of a process; nil: no bound but the workers
	Logger  *slog.Logger
	// Skip is asked once in a pass, with the ids of the source's snapshots as they were listed, which of its objects
	// (snapshots/ID, index/NAME, data/XX/NAME) are not to be copied. Nil: none.
	Skip func(listed []string) map[string]bool
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
	o.Workers = cmp.Or(o.Workers, 4)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	p := &pass{src: src, dst: dst, prefix: prefix, Options: o}
	if err := checkPrefix(prefix); err != nil {
		return Report{}, err
	}
	err := p.run(ctx)
	slices.Sort(p.report.Broken)
	slices.Sort(p.report.Missing)
	return p.report, err
}

type pass struct {
	Options
	src, dst *Store
	prefix   string
	there    map[string]Object // at the destination, by key

	mu       sync.Mutex
	report   Report
	unhealed []string // broken, and no good one at the destination
	absent   map[string]bool
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
	p.absent = make(map[string]bool)
	if err := p.copyAll(ctx, l.keys); err != nil {
		return err
	}
	if err := p.putConfig(ctx, config); err != nil {
		return err
	}
	if err := p.copyAll(ctx, l.data); err != nil {
		return err
	}
	// An index promises packs, a snapshot promises all of it. Each is written only above what is whole.
	if len(p.absent) > 0 {
		return p.incomplete()
	}
	if err := p.copyAll(ctx, l.index); err != nil {
		return err
	}
	if len(p.absent) > 0 {
		return p.incomplete()
	}
	if err := p.copyAll(ctx, l.snapshots); err != nil {
		return err
	}
	for _, s := range l.snapshots {
		if !p.absent[s.Key] {
			p.report.Snapshots = append(p.report.Snapshots, strings.TrimPrefix(s.Key, p.prefix+string(snapshots)+"/"))
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

// config reads the source's config and holds it against the destination's.
func (p *pass) config(ctx context.Context) ([]byte, error) {
	key := p.prefix + configName
	want, err := p.small(ctx, p.src, key)
	if errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("read %s/%s: %w", p.src, key, ErrNoRepository)
	} else if err != nil {
		return nil, err
	}
	got, err := p.small(ctx, p.dst, key)
	if errors.Is(err, ErrNotFound) {
		return want, nil
	} else if err != nil {
		return nil, err
	}
	if !bytes.Equal(got, want) {
		return nil, fmt.Errorf("compare %s at %s and %s: %w: two repositories, or one was altered; nothing was copied",
			key, p.src, p.dst, ErrConfigDiffers)
	}
	return nil, nil // there already
}

// small reads an object of a few hundred bytes. It asks for a listing, which tells a missing bucket from a missing object.
func (p *pass) small(ctx context.Context, s *Store, key string) ([]byte, error) {
	list, err := s.List(ctx, key)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list, func(o Object) bool { return o.Key == key })
	if i < 0 {
		return nil, ErrNotFound
	}
	if size := list[i].Size; size > 1<<20 {
		return nil, fmt.Errorf("read %s/%s: %d bytes are no config of restic's", s, key, size)
	}
	return s.Get(ctx, key, list[i].Size)
}

func (p *pass) putConfig(ctx context.Context, config []byte) error {
	if config == nil {
		return nil
	}
	if _, err := p.dst.Put(ctx, p.prefix+configName, config, sha256.Sum256(config)); err != nil {
		return err
	}
	p.count(int64(len(config)))
	return nil
}

// listing is what the source held, taken in restic's read order.
type listing struct {
	snapshots, index, data, keys []item
}

func (p *pass) list(ctx context.Context) (l listing, err error) {
	if l.snapshots, err = p.listClass(ctx, snapshots); err != nil {
		return l, err
	}
	if l.index, err = p.listClass(ctx, index); err != nil {
		return l, err
	}
	// A listing in pages is no picture of one moment: it can miss both an index file and the one that replaced it. So
	// the index has to be the same before and after the data were listed.
	for round := 1; ; round++ {
		if l.data, err = p.listClass(ctx, data); err != nil {
			return l, err
		}
		again, err := p.listClass(ctx, index)
		if err != nil {
			return l, err
		}
		if sameKeys(l.index, again) {
			break
		}
		if round == indexRounds {
			return l, fmt.Errorf("list %s/%s: %w: its index changed %d times under the listing", p.src, p.prefix, ErrChanged, round)
		}
		l.index = again
	}
	if l.keys, err = p.listClass(ctx, keys); err != nil {
		return l, err
	}
	// A snapshot has at least one tree in one pack that one index names, and a key opens it.
	if len(l.keys) == 0 || len(l.snapshots) > 0 && (len(l.index) == 0 || len(l.data) == 0) {
		return l, fmt.Errorf("list %s/%s: %d keys, %d snapshots, %d index files and %d packs are no whole repository",
			p.src, p.prefix, len(l.keys), len(l.snapshots), len(l.index), len(l.data))
	}
	p.skip(&l)
	there, err := p.dst.List(ctx, p.prefix)
	if err != nil {
		return l, err
	}
	p.there = make(map[string]Object, len(there))
	for _, o := range there {
		p.there[o.Key] = o
	}
	return l, nil
}

// skip takes out of a listing what is not to be copied.
func (p *pass) skip(l *listing) {
	if p.Skip == nil {
		return
	}
	listed := make([]string, len(l.snapshots))
	for n, s := range l.snapshots {
		listed[n] = strings.TrimPrefix(s.Key, p.prefix+string(snapshots)+"/")
	}
	over := p.Skip(listed)
	for _, list := range []*[]item{&l.snapshots, &l.index, &l.data, &l.keys} {
		*list = slices.DeleteFunc(*list, func(i item) bool { return over[strings.TrimPrefix(i.Key, p.prefix)] })
	}
}

func (p *pass) listClass(ctx context.Context, c class) ([]item, error) {
	list, err := p.src.List(ctx, p.prefix+string(c)+"/")
	if err != nil {
		return nil, err
	}
	return items(p.prefix, c, list), nil
}

func sameKeys(a, b []item) bool {
	if len(a) != len(b) {
		return false
	}
	set := make(map[string]struct{}, len(a))
	for _, i := range a {
		set[i.Key] = struct{}{}
	}
	for _, i := range b {
		if _, ok := set[i.Key]; !ok {
			return false
		}
	}
	return true
}

// copyAll brings one class over. It goes on beyond broken and missing objects, and ends at the first other error.
func (p *pass) copyAll(ctx context.Context, list []item) error {
	group, each := errgroup.WithContext(ctx)
	group.SetLimit(p.Workers)
	for _, i := range list {
		there, ok := p.there[i.Key]
		if ok && same(i.Object, there) {
			continue // hashed when it was written
		}
		if each.Err() != nil {
			break
		}
		group.Go(func() error {
			if !ok {
				return p.bring(each, i)
			}
			return p.settle(each, i, there)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}
