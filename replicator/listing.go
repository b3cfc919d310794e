package replicator

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// indexRounds is how often the index is listed again when it changes under the listing.
const indexRounds = 6

// list is what the source held, taken in restic's read order, and which of it the destination has.
func (p *pass) list(ctx context.Context) (*holding, error) {
	if p.glimpse != nil {
		if l, err := p.second(ctx); l != nil || err != nil {
			return l, err
		}
	}
	l := &holding{}
	for _, c := range []class{snapshots, index} {
		if err := p.listClass(ctx, l, c); err != nil {
			return nil, err
		}
	}
	// A listing in pages is no picture of one moment: it can miss both an index file and the one that replaced it. So
	// the index has to be the same before and after the data were listed.
	for round := 1; ; round++ {
		before := l.index
		for _, c := range []class{data, index} {
			if err := p.listClass(ctx, l, c); err != nil {
				return nil, err
			}
		}
		if sameNames(before, l.index) {
			break
		}
		if round == indexRounds {
			return nil, fmt.Errorf("list %s/%s: %w: its index changed %d times under the listing", p.src, p.prefix, ErrChanged, round)
		}
	}
	if err := p.listClass(ctx, l, keys); err != nil {
		return nil, err
	}
	if err := l.whole(); err != nil {
		return nil, fmt.Errorf("list %s/%s: %w", p.src, p.prefix, err)
	}
	p.skip(l)
	for o, err := range p.dst.objects(ctx, p.prefix, "") {
		if err != nil {
			return nil, err
		}
		if c, sum, ok := parseKey(strings.TrimPrefix(o.Key, p.prefix)); ok {
			l.mark(c, itemOf(sum, o))
		}
	}
	return l, nil
}

// second completes a glimpse by one more listing: the snapshots are those of the glimpse, the packs those of now, and the
// index is the same in both. It returns nil when that does not hold, or cannot be said.
func (p *pass) second(ctx context.Context) (*holding, error) {
	l := p.glimpse.again
	if l == nil {
		l = &holding{}
		last := ""
		for o, err := range p.src.objects(ctx, p.prefix, "") {
			if err != nil {
				return nil, err
			}
			if o.Key < last {
				return nil, nil // the index may have been listed ahead of the packs
			}
			last = o.Key
			l.add(p.prefix, o)
		}
	}
	l.sort()
	if !sameNames(p.glimpse.here.index, l.index) {
		return nil, nil
	}
	l.snapshots = p.glimpse.here.snapshots
	if err := l.whole(); err != nil {
		return nil, fmt.Errorf("list %s/%s: %w", p.src, p.prefix, err)
	}
	p.skip(l)
	l.markAll(&p.glimpse.there)
	return l, nil
}

// skip takes out of a listing what is not to be copied.
func (p *pass) skip(l *holding) {
	if p.Skip == nil {
		return
	}
	listed := make([]string, 0, len(l.snapshots)+len(l.index))
	for _, c := range []class{snapshots, index} {
		for _, i := range *l.class(c) {
			listed = append(listed, i.key("", c))
		}
	}
	over := p.Skip(listed)
	for _, c := range order {
		list := l.class(c)
		*list = slices.DeleteFunc(*list, func(i item) bool { return over[i.key("", c)] })
	}
}

// listClass lists one class anew.
func (p *pass) listClass(ctx context.Context, l *holding, c class) error {
	*l.class(c) = nil
	for o, err := range p.src.objects(ctx, p.prefix+string(c)+"/", "") {
		if err != nil {
			return err
		}
		l.add(p.prefix, o)
	}
	l.sort()
	return nil
}

func sameNames(a, b []item) bool {
	return slices.EqualFunc(a, b, func(x, y item) bool { return x.sum == y.sum })
}

// config reads the source's config and holds it against the destination's. It returns nil when that is there already.
func (p *pass) config(ctx context.Context) ([]byte, error) {
	key := p.prefix + configName
	if g := p.glimpse; g != nil && sameConfig(g.here.config, g.there.config) {
		return nil, nil
	}
	want, err := p.small(ctx, p.src, key)
	if errors.Is(err, ErrNotFound) {
		return nil, fmt.Errorf("read %s/%s: %w", p.src, key, ErrNoRepository)
	} else if err != nil {
		return nil, err
	}
	if p.glimpse != nil && p.glimpse.there.config == nil {
		return want, nil
	}
	got, err := p.small(ctx, p.dst, key)
	if errors.Is(err, ErrNotFound) {
		return want, nil
	} else if err != nil {
		return nil, err
	}
	return nil, p.sameRepository(key, got, want)
}

func (p *pass) sameRepository(key string, got, want []byte) error {
	if bytes.Equal(got, want) {
		return nil
	}
	return fmt.Errorf("compare %s at %s and %s: %w: two repositories, or one was altered; nothing was copied", key, p.src, p.dst, ErrConfigDiffers)
}

// stillFree looks, by another question than a listing, whether the destination has no config yet that one is about to be written
// to. No other object is lost by being written a second time; and a walk through many repositories comes hours after its look. It
// returns nil when the same config is there by now.
func (p *pass) stillFree(ctx context.Context, config []byte) ([]byte, error) {
	if config == nil {
		return nil, nil
	}
	key := p.prefix + configName
	there, err := p.dst.Stat(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return config, nil
	} else if err != nil {
		return nil, err
	}
	var got []byte
	if there.Size == int64(len(config)) {
		if got, err = p.dst.Get(ctx, key, there.Size); err != nil {
			return nil, err
		}
	}
	return nil, p.sameRepository(key, got, config)
}

// sameConfig reports whether two listings say for sure that the configs are the same.
func sameConfig(a, b *Object) bool {
	if a == nil || b == nil {
		return false
	}
	x, y := itemOf([sha256.Size]byte{}, *a), itemOf([sha256.Size]byte{}, *b)
	return x.plain && y.plain && x.same(y)
}

// small reads an object of a few hundred bytes. It asks for a listing, which tells a missing bucket from a missing object.
func (p *pass) small(ctx context.Context, s *Store, key string) ([]byte, error) {
	var found *Object
	if p.glimpse != nil && s == p.src {
		found = p.glimpse.here.config
	}
	if found == nil {
		list, err := s.List(ctx, key)
		if err != nil {
			return nil, err
		}
		n := slices.IndexFunc(list, func(o Object) bool { return o.Key == key })
		if n < 0 {
			return nil, ErrNotFound
		}
		found = &list[n]
	}
	if found.Size > 1<<20 {
		return nil, fmt.Errorf("read %s/%s: %d bytes are no config of restic's", s, key, found.Size)
	}
	return s.Get(ctx, key, found.Size)
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
